// Wires by io_uring: TCP that is accepted, and Unix sockets. TLS, and connections to TCP ports, are made by ../net/ beside it.

import { bindSocket, closeDescriptor } from '@xengate/channel'
import { once } from 'node:events'
import { unlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { getSystemErrorName } from 'node:util'
import type { ListenAt, Listening, ListeningListener, Transport } from '../transport.ts'
import { RingListening } from './accepting.ts'
import { theLoop } from './loop.ts'
import { duplicate, errorNumber, F_DUPFD_CLOEXEC, listen } from './system.ts'
import { RingWire } from './wire.ts'

/** How many connections wait in the kernel to be accepted; it may allow fewer (net.core.somaxconn). */
const BACKLOG = 4096

/** See the head of this file. Only where `probeRing` says that it works. */
export const RING: Transport = {
  name: 'ring',
  listen: listenAt,
  adopt: (fd, isUnix) => new RingWire(theLoop(), fd, isUnix),
}

/** Makes what all wires of the ring share. Throws when that cannot be had. */
export function prepare(): void {
  theLoop()
}

async function listenAt(at: ListenAt, listener: ListeningListener): Promise<Listening> {
  if ('fd' in at) return listening(at.fd, listener)
  if ('host' in at) return listening(await boundTo(at.host, at.port), listener)
  const bound = bindSocket(at.path)
  if (bound.kind === 'failed') throw systemError('listen', bound.code, at.path)
  return listening(bound.fd, listener, () => removeFile(at.path))
}

function listening(fd: number, listener: ListeningListener, closed: () => void = () => {}): Listening {
  if (listen(fd, BACKLOG) === 0) return new RingListening(theLoop(), fd, listener, closed)
  const code = getSystemErrorName(-errorNumber())
  closeDescriptor(fd)
  closed()
  throw systemError('listen', code, `descriptor ${fd}`)
}

/** A socket that Node.js has bound, since it knows names and both kinds of addresses; it accepts nothing before it is closed here. */
async function boundTo(host: string, port: number): Promise<number> {
  const server = createServer()
  server.listen({ host, port, backlog: BACKLOG })
  await once(server, 'listening')
  const { _handle: handle } = server as unknown as { readonly _handle: { readonly fd: number } }
  const fd = duplicate(handle.fd, F_DUPFD_CLOEXEC, 0)
  const code = fd === -1 ? getSystemErrorName(-errorNumber()) : ''
  server.close()
  if (fd === -1) throw systemError('listen', code, host)
  return fd
}

function removeFile(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Somebody has removed it.
  }
}

function systemError(call: string, code: string, where: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${call} ${code}: ${where}`), { code, syscall: call })
}

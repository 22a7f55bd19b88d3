// Wires by node:net: everywhere, and for what only Node.js has: TLS, and connecting to TCP ports.

import { createServer } from 'node:net'
import type { ListenAt, Listening, Transport } from '../transport.ts'
import { type AcceptedHandle, acceptHandles } from './accepting.ts'
import { NetWire } from './wire.ts'

/** How many connections wait in the kernel to be accepted; it may allow fewer (net.core.somaxconn). */
const BACKLOG = 4096

/** See the head of this file. */
export const NET: Transport = {
  name: 'net',
  listen: (at, listener) =>
    listenForHandles(at, {
      accepted: (handle) => listener.accepted(NetWire.ofHandle(handle)),
      failed: (code) => listener.failed(code),
    }),
  adopt: (fd) => NetWire.ofDescriptor(fd),
}

/** Hears what a listening socket brings, before it is a wire. */
export interface HandleListener {
  /** A connection, which is the listener's. */
  accepted(handle: AcceptedHandle): void
  /** A connection could not be accepted. @param code the system's name of the error: EMFILE, … */
  failed(code: string): void
}

/** Accepts connections as Node.js's handles. Rejects with the system's error when that cannot be. */
export function listenForHandles(at: ListenAt, listener: HandleListener): Promise<Listening> {
  const server = createServer()
  const { promise, resolve, reject } = Promise.withResolvers<Listening>()
  server.once('error', reject)
  const listening = (): void => {
    server.off('error', reject)
    const takeAll = acceptHandles(
      server,
      (handle) => listener.accepted(handle),
      (code) => listener.failed(code),
    )
    const address = server.address()
    resolve({
      port: address === null || typeof address === 'string' ? 0 : address.port,
      close: () => void server.close(),
      finish: () => {
        takeAll()
        server.close()
      },
    })
  }
  // Of a descriptor, Node.js takes the backlog only here.
  if ('fd' in at) server.listen(at, BACKLOG, listening)
  else server.listen({ ...at, backlog: BACKLOG }, listening)
  return promise
}

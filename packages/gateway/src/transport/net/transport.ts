// Wires by node:net: everywhere, and for what only Node.js has: TLS, and connecting to TCP ports.

import { closeDescriptor } from '@xengate/channel'
import { createServer, type Server } from 'node:net'
import { duplicate, F_DUPFD_CLOEXEC } from '../ring/system.ts'
import type { ListenAt, Listening, Transport } from '../transport.ts'
import { acceptAll, acceptHandles, handleOf } from './accepting.ts'
import type { Handle, NewHandle } from './handle.ts'
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
  adopt: (fd, isUnix) => NetWire.ofDescriptor(fd, isUnix),
}

/** Hears what a listening socket brings, before it is a wire. */
export interface HandleListener {
  /** A connection, which is the listener's. */
  accepted(handle: Handle): void
  /** A connection could not be accepted. @param code the system's name of the error: EMFILE, … */
  failed(code: string): void
}

/** Accepts connections as Node.js's handles. Rejects with the system's error when that cannot be. */
export async function listenForHandles(at: ListenAt, listener: HandleListener): Promise<Listening> {
  const listening = new NetListening('path' in at, listener)
  await listening.open(at)
  return listening
}

/** A listening socket of Node.js, which cannot be told to wait: it is closed, and a copy of its descriptor keeps what waits there. */
class NetListening implements Listening {
  readonly #isPath: boolean
  readonly #listener: HandleListener
  #server: Server | null = null
  /** While it is paused; -1 else. */
  #keptFd = -1
  /** Of its connections; null before it listens. */
  #handleType: NewHandle | null = null

  /** @param isPath whether it is bound to a path here, which goes when it is closed */
  constructor(isPath: boolean, listener: HandleListener) {
    this.#isPath = isPath
    this.#listener = listener
  }

  open(at: ListenAt): Promise<void> {
    const server = createServer()
    this.#server = server
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    const listening = (): void => {
      server.off('error', reject)
      this.#handleType = handleOf(server).constructor
      acceptHandles(
        server,
        (handle) => this.#listener.accepted(handle),
        (code) => this.#listener.failed(code),
      )
      resolve()
    }
    // Of a descriptor, Node.js takes the backlog only here.
    if ('fd' in at) server.listen(at, BACKLOG, listening)
    else server.listen({ ...at, backlog: BACKLOG }, listening)
    return promise
  }

  get port(): number {
    const address = this.#server?.address() ?? null
    return address === null || typeof address === 'string' ? 0 : address.port
  }

  pause(): void {
    if (this.#server?.listening !== true || this.#isPath) return
    const fd = duplicate(handleOf(this.#server).fd, F_DUPFD_CLOEXEC, 0)
    if (fd === -1) return
    this.#keptFd = fd
    this.#server.close()
    this.#server = null
  }

  resume(): void {
    if (this.#keptFd === -1) return
    const fd = this.#keptFd
    this.#keptFd = -1
    this.open({ fd }).catch((error: NodeJS.ErrnoException) => this.#listener.failed(error.code ?? 'unknown'))
  }

  finish(): void {
    // Also while it is paused: what waits there is to be answered all the same.
    const fd = this.#server?.listening === true ? handleOf(this.#server).fd : this.#keptFd
    if (fd !== -1 && this.#handleType !== null)
      acceptAll(fd, this.#handleType, (handle) => this.#listener.accepted(handle))
    this.close()
  }

  close(): void {
    this.#server?.close()
    this.#server = null
    if (this.#keptFd !== -1) closeDescriptor(this.#keptFd)
    this.#keptFd = -1
  }
}

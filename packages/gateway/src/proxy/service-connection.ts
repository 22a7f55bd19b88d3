// One connection to a service.
//
//   from        to          method
//   IDLE        BUSY        take          an exchange (or tunnel) owns the connection and hears all that happens on it
//   BUSY        IDLE        release       the exchange is complete in both directions; the pool keeps the connection
//   any         CLOSED      destroy, or the socket closed
//
// While IDLE nothing may arrive: a byte, an end or an error closes the connection, so that nothing left over from one
// response ever reaches the next.

import { Socket } from 'node:net'
import { descriptorOf, setSendBuffer } from '@xengate/channel'
import { BLOCK_BYTES } from './blocks.ts'
import { BorrowedReads } from './borrowed-reads.ts'
import { Outgoing } from './outgoing.ts'

/** Where a connection goes: to a Unix socket, or to a TCP port, where `greeting` is what it begins with. */
export type Where =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly greeting: string }

/** How often a quiet TCP connection is probed. */
const KEEP_ALIVE_MS = 60_000

/** What the owner of a busy connection hears. */
export interface ServiceListener {
  /** Bytes arrived; they are borrowed until this returns. */
  serviceBytes(bytes: Buffer, from: number, to: number): void
  /** The service will send no more. */
  serviceEnded(): void
  /** The connection is gone; after this the listener hears nothing more. */
  serviceClosed(): void
  /** What was written has gone out: write on. */
  serviceDrained(): void
}

/**
 * A socket that reads what has arrived before it gives in to a failed write. A service may answer early and close while a
 * body is still being sent to it; the write then fails although the answer is there to be read. The service is gone by
 * then, so that all it said is in the socket's buffer: the next turns of the event loop read it.
 */
class PatientSocket extends Socket {
  #isGivingIn = false

  override destroy(error?: Error): this {
    const isWriteFailed = error !== undefined && 'syscall' in error && error.syscall === 'write'
    if (!isWriteFailed || this.#isGivingIn) return super.destroy(error)
    this.#isGivingIn = true
    setImmediate(() => setImmediate(() => super.destroy(error)))
    return this
  }
}

/** A connection to a service; see the diagram above. */
export class ServiceConnection {
  readonly socket: Socket
  readonly outgoing: Outgoing
  /** Whether the service says that it reads every body to its end. */
  readsBodies = false
  /** Whether it has been idle: the service may close it just when it is used again. */
  wasIdle = false
  /** While idle: since when, on the gateway's clock, in milliseconds. */
  idleSinceMs = 0
  readonly #reads = new BorrowedReads((bytes, count) => this.#bytes(bytes, count))
  readonly #isUnix: boolean
  #listener: ServiceListener | null = null
  #hasEnded = false
  #isClosed = false
  #isClosing = false
  #onClosed: (() => void) | null = null

  /** @param fd of a connection to a Unix socket; null where a TCP port is to be connected to */
  private constructor(fd: number | null) {
    this.#isUnix = fd !== null
    const options = { allowHalfOpen: true, onread: this.#reads.onread }
    this.socket = new PatientSocket(fd === null ? options : { ...options, fd })
    this.outgoing = new Outgoing(this.socket)
    this.socket.on('error', () => {}) // 'close' follows
    this.socket.on('end', () => this.#ended())
    this.socket.on('drain', () => this.#listener?.serviceDrained())
    this.socket.on('close', () => this.#closed())
  }

  /**
   * @param fd of a connection to a Unix socket, whose owner this is from now on
   * @param readsBodies whether the service says that it reads every body to its end
   */
  static ofUnixSocket(fd: number, readsBodies: boolean): ServiceConnection {
    const connection = new ServiceConnection(fd)
    connection.readsBodies = readsBodies
    return connection
  }

  /**
   * Connects to a TCP port.
   * @param timeoutMs how long that may take
   * @param connected called once: without an error when the connection is there, with it when it cannot be had
   */
  static toPort(
    where: Extract<Where, { port: number }>,
    timeoutMs: number,
    connected: (connection: ServiceConnection, error: NodeJS.ErrnoException | undefined) => void,
  ): void {
    const connection = new ServiceConnection(null)
    const { socket, outgoing } = connection
    const failed = (error: NodeJS.ErrnoException): void => connected(connection, error)
    socket.once('error', failed)
    socket.once('connect', () => {
      socket.off('error', failed)
      socket.setTimeout(0).setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS)
      outgoing.text(where.greeting)
      connected(connection, undefined)
    })
    socket.setTimeout(timeoutMs, () => socket.destroy(timedOut()))
    socket.connect({ host: where.host, port: where.port })
  }

  /** Makes room for a body of many pieces: in the system's room for a Unix socket, 1 GiB takes half as long again. */
  expectBulk(): void {
    // TCP makes room by itself, and stops to when it is told how much.
    if (this.#isUnix) setSendBuffer(descriptorOf(this.socket), BLOCK_BYTES)
  }

  /** Whether the connection can take an exchange. */
  get isUsable(): boolean {
    return !this.#hasEnded && !this.#isClosed
  }

  /** Whether the service has ended its side. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Gives the connection to `listener`. */
  take(listener: ServiceListener): void {
    this.#listener = listener
  }

  /** Takes the connection back from its listener, which is done with it. */
  release(): void {
    this.#listener = null
    // Paused for a client that was slow to take interim responses, it would not show that the service closes it.
    if (this.socket.isPaused()) this.socket.resume()
  }

  /** Ends the connection now; its listener hears nothing more. */
  destroy(): void {
    this.#listener = null
    this.socket.destroy()
  }

  /**
   * Ends the connection after what is written has gone out; its listener hears nothing more, and what arrives is dropped.
   * @param idleTimeoutMs how long the service may take nothing before the rest is given up
   */
  close(idleTimeoutMs: number): void {
    this.#listener = null
    this.#isClosing = true
    this.socket.resume()
    this.socket.setTimeout(idleTimeoutMs, () => this.socket.destroy())
    this.socket.destroySoon()
  }

  /** `listener` is called when the connection closes. */
  onClosed(listener: () => void): void {
    this.#onClosed = listener
  }

  #bytes(bytes: Buffer, count: number): boolean {
    if (this.#isClosing) return false
    if (this.#listener === null) this.destroy()
    else this.#listener.serviceBytes(bytes, 0, count)
    return this.#listener !== null
  }

  #ended(): void {
    this.#hasEnded = true
    if (this.#isClosing) return
    if (this.#listener === null) this.destroy()
    else this.#listener.serviceEnded()
  }

  #closed(): void {
    this.#isClosed = true
    this.#reads.close()
    const listener = this.#listener
    this.#listener = null
    this.#onClosed?.()
    listener?.serviceClosed()
  }
}

function timedOut(): NodeJS.ErrnoException {
  return Object.assign(new Error('the connection was not made in time'), { code: 'ETIMEDOUT' })
}

// One connection to an upstream: a service, the XenAPI endpoint, or xapi.
//
//   from        to          method
//   IDLE        BUSY        take          an exchange (or tunnel) owns the connection and hears all that happens on it
//   BUSY        IDLE        release       the exchange is complete in both directions; the pool keeps the connection
//   any         CLOSED      destroy, or the wire is closed
//
// While IDLE nothing may arrive: a byte, an end or an error closes the connection, so that nothing left over from one
// response ever reaches the next. The pool looks once more, by `isQuiet`, before it gives a connection to a request.

import { SERVICE_CONNECTION, type ServiceCounters } from '../../metrics/counters.ts'
import type { Wire, WireListener } from '../../transport/transport.ts'

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

/** See the head of this file. */
export class ServiceConnection implements WireListener {
  readonly wire: Wire
  /** Whether the service says that it reads every body to its end. */
  readonly readsBodies: boolean
  /** Whether it has been idle: the service may close it just when it is used again. */
  wasIdle = false
  /** While idle: since when, on the gateway's clock, in milliseconds. */
  idleSinceMs = 0
  /** Of what it leads to. */
  readonly counters: ServiceCounters
  readonly #closedListener: (connection: ServiceConnection) => void
  #listener: ServiceListener | null = null
  #hasEnded = false
  #isClosed = false
  #isKept = false

  /**
   * @param wire whose owner this is from now on
   * @param counters of what it leads to
   * @param closed called when the connection is closed
   */
  constructor(
    wire: Wire,
    readsBodies: boolean,
    counters: ServiceCounters,
    closed: (connection: ServiceConnection) => void,
  ) {
    this.wire = wire
    this.counters = counters
    counters.connectionIs(SERVICE_CONNECTION.ACTIVE, null)
    this.readsBodies = readsBodies
    this.#closedListener = closed
    wire.listener = this
  }

  /** Whether the connection can take an exchange, as far as is known. */
  get isUsable(): boolean {
    return !this.#hasEnded && !this.#isClosed
  }

  /** Whether the service has ended its side. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** It is kept, or taken to be used. */
  set isKept(isKept: boolean) {
    this.#isKept = isKept
    if (isKept) this.counters.connectionIs(SERVICE_CONNECTION.IDLE, SERVICE_CONNECTION.ACTIVE)
    else this.counters.connectionIs(SERVICE_CONNECTION.ACTIVE, SERVICE_CONNECTION.IDLE)
  }

  /** Gives the connection to `listener`. */
  take(listener: ServiceListener): void {
    this.#listener = listener
  }

  /** Takes the connection back from its listener, which is done with it. */
  release(): void {
    this.#listener = null
    // Paused for a client that was slow to take interim responses, it would not show that the service closes it.
    this.wire.resume()
  }

  /** Ends the connection now; its listener hears nothing more. */
  destroy(): void {
    this.#listener = null
    this.#isClosed = true
    this.wire.destroy()
  }

  /**
   * Ends the connection after what is written has gone out; its listener hears nothing more, and what arrives is dropped.
   * @param idleTimeoutMs how long the service may take nothing before the rest is given up
   */
  close(idleTimeoutMs: number): void {
    this.#listener = null
    this.#isClosed = true
    this.wire.finish(idleTimeoutMs)
  }

  bytes(bytes: Buffer, from: number, to: number): boolean {
    if (this.#listener === null) this.destroy()
    else this.#listener.serviceBytes(bytes, from, to)
    return this.#listener !== null
  }

  ended(): void {
    this.#hasEnded = true
    if (this.#listener === null) this.destroy()
    else this.#listener.serviceEnded()
  }

  drained(): void {
    this.#listener?.serviceDrained()
  }

  closed(): void {
    this.#isClosed = true
    const listener = this.#listener
    this.#listener = null
    this.counters.connectionIs(null, this.#isKept ? SERVICE_CONNECTION.IDLE : SERVICE_CONNECTION.ACTIVE)
    this.#closedListener(this)
    listener?.serviceClosed()
  }
}

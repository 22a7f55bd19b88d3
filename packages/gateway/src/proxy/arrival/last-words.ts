// An accepted connection that gets one answer and no more: what the client still sends is read and dropped for a while, since
// closing on it would reset the connection, and take the answer along.

import type { Wire, WireListener } from '../../transport/transport.ts'
import type { Arrival } from './arrival.ts'

/** How long, in milliseconds, and how much, in bytes, such a client may go on sending. */
const LINGER_MS = 5000
const LINGER_BYTES_MAX = 16 * 1024 * 1024

/** See the head of this file. */
export class LastWords implements Arrival, WireListener {
  readonly #wire: Wire
  readonly #closed: () => void
  #deadlineMs: number
  #bytes = 0

  /**
   * @param wire whose owner this is from now on
   * @param lingers whether the client is waited for; if not, one that is still sending may lose the answer
   * @param nowMs on the gateway's clock
   * @param closed called when the connection is gone
   */
  constructor(wire: Wire, text: string, lingers: boolean, nowMs: number, closed: () => void) {
    this.#wire = wire
    this.#closed = closed
    this.#deadlineMs = nowMs + LINGER_MS
    wire.listener = this
    wire.text(text)
    wire.flush()
    wire.end(() => {
      if (!lingers) wire.destroy()
    })
  }

  bytes(_bytes: Buffer, from: number, to: number): boolean {
    this.#bytes += to - from
    if (this.#bytes > LINGER_BYTES_MAX) this.#wire.destroy()
    return false
  }

  ended(): void {
    this.#wire.finish(LINGER_MS)
  }

  drained(): void {}

  closed(): void {
    this.#closed()
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.#wire.destroy()
  }

  hasten(deadlineMs: number): void {
    this.#deadlineMs = Math.min(this.#deadlineMs, deadlineMs)
  }

  destroy(): void {
    this.#wire.destroy()
  }
}

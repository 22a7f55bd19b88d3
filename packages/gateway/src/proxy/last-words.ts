// An accepted connection that gets one answer and no more: what the client still sends is read and dropped for a while, since
// closing on it would reset the connection, and take the answer along.

import type { Socket } from 'node:net'

/** How long, in milliseconds, and how much, in bytes, such a client may go on sending. */
const LINGER_MS = 5000
const LINGER_BYTES_MAX = 16 * 1024 * 1024

/** See the head of this file. */
export class LastWords {
  readonly #socket: Socket
  #deadlineMs: number
  #bytes = 0

  /**
   * @param socket whose bytes are given to `drop`, by whoever reads it
   * @param lingers whether the client is waited for; if not, one that is still sending may lose the answer
   * @param nowMs on the gateway's clock
   * @param closed called when the connection is gone
   */
  constructor(socket: Socket, text: string, lingers: boolean, nowMs: number, closed: () => void) {
    this.#socket = socket
    this.#deadlineMs = nowMs + LINGER_MS
    socket.on('error', () => {}) // 'close' follows
    socket.once('end', () => socket.destroySoon())
    socket.once('close', closed)
    socket.end(text, 'latin1', () => {
      if (!lingers) socket.destroy()
    })
  }

  drop(count: number): void {
    this.#bytes += count
    if (this.#bytes > LINGER_BYTES_MAX) this.#socket.destroy()
  }

  /** Called by the sweep: gives up if the deadline has passed. */
  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.#socket.destroy()
  }

  /** The gateway stops: the client has until `deadlineMs`. */
  hasten(deadlineMs: number): void {
    this.#deadlineMs = Math.min(this.#deadlineMs, deadlineMs)
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

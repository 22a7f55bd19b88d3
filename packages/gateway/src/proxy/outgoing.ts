// Bytes on their way to one socket: a head and the small pieces around it become one write.

import type { Socket } from 'node:net'

/** Data up to this many bytes is copied into the text that is being gathered; more goes out as a buffer of its own. */
const INLINE_BYTES_MAX = 4096

/**
 * Gathers what one turn has to say to `socket`, and writes it at `flush`. Bytes given are borrowed: what cannot be
 * written at once is copied.
 */
export class Outgoing {
  readonly #socket: Socket
  #text = ''
  #isCorked = false

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** Adds text, one byte a character. */
  text(text: string): void {
    this.#text += text
  }

  /** Adds the bytes from `from` to `to`. */
  data(bytes: Buffer, from: number, to: number): void {
    if (to - from <= INLINE_BYTES_MAX) {
      this.#text += bytes.toString('latin1', from, to)
      return
    }
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
    }
    this.#writeText()
    this.#socket.write(Buffer.from(bytes.subarray(from, to)))
  }

  /** Writes what was gathered. */
  flush(): void {
    this.#writeText()
    if (!this.#isCorked) return
    this.#isCorked = false
    this.#socket.uncork()
  }

  #writeText(): void {
    if (this.#text === '') return
    this.#socket.write(this.#text, 'latin1')
    this.#text = ''
  }
}

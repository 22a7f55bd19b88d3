// Bytes on their way to one socket: a head and the small pieces around it become one write.

import type { Socket } from 'node:net'

/** Data up to this many bytes is copied into the text that is being gathered; more goes out as a buffer of its own. */
const INLINE_BYTES_MAX = 4096

/** As long as the longest read; what was kept of several reads takes more than one. */
const BLOCK_BYTES = 65_536
/** Free blocks that are kept. */
const FREE_BLOCKS_MAX = 32
/**
 * Blocks that data is copied into while it waits to be written. They are used again and again: as garbage, one a read, they
 * made a worker grow by 60 MiB while 1 GiB passed.
 */
const freeBlocks: Buffer[] = []

function takeBlock(): Buffer {
  return freeBlocks.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
}

function giveBack(block: Buffer): void {
  if (freeBlocks.length < FREE_BLOCKS_MAX) freeBlocks.push(block)
}

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
    for (let at = from; at < to; at += BLOCK_BYTES) {
      const block = takeBlock()
      const count = bytes.copy(block, 0, at, Math.min(to, at + BLOCK_BYTES))
      this.#socket.write(block.subarray(0, count), () => giveBack(block))
    }
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

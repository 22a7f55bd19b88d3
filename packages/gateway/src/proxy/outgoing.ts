// Bytes on their way to one socket: a head and the small pieces around it become one write.

import type { Socket } from 'node:net'
import { descriptorOf, unsentBytes } from '@xengate/channel'
import { BLOCK_BYTES, type Block } from './blocks.ts'
import { blockOf } from './borrowed-reads.ts'

/** Data up to this many bytes is copied into the text that is being gathered; more goes out as a buffer of its own. */
const INLINE_BYTES_MAX = 4096

/** As long as the longest read; what was kept of several reads takes more than one. */
const COPY_BYTES = 65_536
/** Free buffers for copies that are kept. */
const FREE_COPIES_MAX = 32
/**
 * Buffers that data is copied into while it waits to be written, where it was not read into a block. They are used again
 * and again: as garbage, one a read, they made a worker grow by 60 MiB while 1 GiB passed.
 */
const freeCopies: Buffer[] = []

function takeCopy(): Buffer {
  return freeCopies.pop() ?? Buffer.allocUnsafeSlow(COPY_BYTES)
}

function giveBackCopy(copy: Buffer): void {
  if (freeCopies.length < FREE_COPIES_MAX) freeCopies.push(copy)
}

/** The part used of Node.js's handle of a socket, by which `net.Socket` judges its own timeouts. */
interface WriteQueue {
  readonly writeQueueSize: number
}

/**
 * Gathers what one turn has to say to `socket`, and writes it at `flush`. Bytes given are borrowed: what cannot be
 * written at once is copied, unless it was read into a block.
 */
export class Outgoing {
  readonly #socket: Socket
  #text = ''
  #isCorked = false
  /** The block that was written from since the last flush, and how many writes that were. */
  #block: Block | null = null
  #blockWrites = 0
  /** Whether the last data was written from a block, so that what waits is not copied. */
  #isFromBlock = false
  /** What waited when `hasMoved` was asked last. */
  #pendingBytes = 0

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
    if (this.#text !== '' && !this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
    }
    this.#writeText()
    const block = blockOf(bytes)
    this.#isFromBlock = block !== null
    if (block === null) this.#copyAndWrite(bytes, from, to)
    else this.#writeFrom(block, from, to)
  }

  #writeFrom(block: Block, from: number, to: number): void {
    if (this.#block !== block) this.#blockWrites = 0
    this.#block = block
    this.#blockWrites++
    this.#socket.write(block.bytes.subarray(from, to), block.lend())
  }

  #copyAndWrite(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; at += COPY_BYTES) {
      const copy = takeCopy()
      const count = bytes.copy(copy, 0, at, Math.min(to, at + COPY_BYTES))
      this.#socket.write(copy.subarray(0, count), () => giveBackCopy(copy))
    }
  }

  /** Whether nothing more should be read that would be written here: `drain` follows. */
  get isFull(): boolean {
    const { writableNeedDrain, writableLength } = this.#socket
    return writableNeedDrain && (!this.#isFromBlock || writableLength > BLOCK_BYTES)
  }

  /** Whether some of what was written waits for the peer. */
  get isPending(): boolean {
    return this.#socket.writableLength > 0
  }

  /**
   * How much waits for the peer, in bytes; falls as the peer takes it. The kernel's part counts: it may hold megabytes, and takes
   * more only when a third of them is gone, which is minutes to a slow reader.
   */
  get pendingBytes(): number {
    const { writableLength, _handle: handle } = this.#socket as Socket & { readonly _handle: WriteQueue | null }
    // What is being written counts as a whole until the last of it is taken; the handle knows how much of that is left.
    return writableLength + (handle?.writeQueueSize ?? 0) + unsentBytes(descriptorOf(this.#socket))
  }

  /** How much the peer has taken in all, in bytes. */
  get takenBytes(): number {
    return this.#socket.bytesWritten - this.pendingBytes
  }

  /** Whether the peer has taken something since this was asked last. */
  hasMoved(): boolean {
    if (this.#pendingBytes === 0 && !this.isPending) return false
    const pending = this.pendingBytes
    const hasMoved = pending < this.#pendingBytes
    this.#pendingBytes = pending
    return hasMoved
  }

  /** Writes what was gathered. */
  flush(): void {
    this.#writeText()
    if (this.#isCorked) {
      this.#isCorked = false
      this.#socket.uncork()
    }
    if (this.#block === null) return
    if (this.#socket.writableLength === 0) this.#block.settle(this.#blockWrites)
    this.#block = null
    this.#blockWrites = 0
  }

  #writeText(): void {
    if (this.#text === '') return
    this.#socket.write(this.#text, 'latin1')
    this.#text = ''
  }
}

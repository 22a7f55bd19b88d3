// Bytes on their way out of a wire: a head and the small pieces around it become one write.

import { BLOCK_BYTES, type Block, blockOf } from './blocks.ts'

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

/**
 * Gathers what one turn has to say, and has it written at `flush`. Bytes given are borrowed: what cannot be written at once is
 * copied, unless it was read into a block.
 */
export abstract class Output {
  #text = ''
  #isMore = false
  /** The block that was written from since the last flush, and how many writes that were. */
  #block: Block | null = null
  #blockWrites = 0
  /** Whether the last data was written from a block, so that what waits is not copied. */
  #isFromBlock = false
  /** What waited, and what was taken, when `hasMoved` was asked last. */
  #pendingBytes = 0
  #takenBytes = 0

  /** Writes text, one byte a character. @param isMore whether it belongs to what was, or will be, written before `writeAll` */
  protected abstract writeText(text: string, isMore: boolean): void
  /** Writes bytes that are not overwritten before `done` is called. */
  protected abstract writeBytes(bytes: Buffer, done: () => void): void
  /** What follows, up to `writeAll`, is to be one write. */
  protected abstract writeMore(): void
  /** What was written since `writeMore` is all. */
  protected abstract writeAll(): void
  /** Bytes that were written here and that the kernel has not taken, as far as is known in this turn: what waits for its end is not among them. */
  protected abstract readonly queuedBytes: number
  /** The same and what the kernel holds: it may hold megabytes, and takes more only when a third of them is gone. */
  abstract readonly pendingBytes: number
  /** All that was written. */
  protected abstract readonly writtenBytes: number

  text(text: string): void {
    this.#text += text
  }

  data(bytes: Buffer, from: number, to: number): void {
    if (to - from <= INLINE_BYTES_MAX) {
      this.#text += bytes.toString('latin1', from, to)
      return
    }
    if (this.#text !== '' && !this.#isMore) {
      this.#isMore = true
      this.writeMore()
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
    this.writeBytes(block.bytes.subarray(from, to), block.lend())
  }

  #copyAndWrite(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; at += COPY_BYTES) {
      const copy = takeCopy()
      const count = bytes.copy(copy, 0, at, Math.min(to, at + COPY_BYTES))
      this.writeBytes(copy.subarray(0, count), () => giveBackCopy(copy))
    }
  }

  #writeText(): void {
    if (this.#text === '') return
    const text = this.#text
    this.#text = ''
    this.writeText(text, this.#isMore)
  }

  flush(): void {
    this.#writeText()
    if (this.#isMore) {
      this.#isMore = false
      this.writeAll()
    }
    if (this.#block === null) return
    if (this.queuedBytes === 0) this.#block.settle(this.#blockWrites)
    this.#block = null
    this.#blockWrites = 0
  }

  get isPending(): boolean {
    return this.queuedBytes > 0
  }

  /** How many bytes may be queued before the wire is full: of a block as many as it has, since they are not copied. */
  protected get queueBytesMax(): number {
    return this.#isFromBlock ? BLOCK_BYTES : 0
  }

  get takenBytes(): number {
    return this.writtenBytes - this.pendingBytes
  }

  hasMoved(): boolean {
    if (this.#pendingBytes === 0 && !this.isPending) return false
    this.#pendingBytes = this.pendingBytes
    // As much may wait as did before, although the peer takes what it is given.
    const taken = this.writtenBytes - this.#pendingBytes
    const hasMoved = taken > this.#takenBytes
    this.#takenBytes = taken
    return hasMoved
  }
}

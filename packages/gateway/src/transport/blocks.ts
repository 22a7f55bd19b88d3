// Memory for bodies: one socket reads into a block and another writes from it, without a copy between them.
//
// A read goes into a block, `lend` counts each write from it, and `settle` takes back those that the kernel has taken whole
// by the end of the turn, which is the usual case. The reader goes on in the same block only when none is left; otherwise
// it leaves the block to the writes, and the last of their callbacks gives it back.

/** Bytes of a block: in fewer bytes, a big body takes more turns of the event loop; in more, it falls out of the caches. */
export const BLOCK_BYTES = 524_288
/** Blocks that a process makes, 32 MiB in all. Past it reads go into a buffer that all share, and what waits is copied. */
export const BLOCKS_MAX = 64

/** See the head of this file. */
export class Block {
  readonly bytes: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  #isRead = true
  /** Writes whose callbacks are still to come. */
  #loans = 0
  /** Writes of this turn that are not known to have been taken whole. */
  #unsettled = 0

  /** Whether the next read would overwrite what a write still needs. */
  get isNeeded(): boolean {
    return this.#unsettled > 0
  }

  /** Counts a write. @returns what is to be called when it is over */
  lend(): () => void {
    this.#loans++
    this.#unsettled++
    return this.#returned
  }

  readonly #returned = (): void => {
    this.#loans--
    if (this.#unsettled > this.#loans) this.#unsettled = this.#loans
    this.#giveBack()
  }

  /** `count` of the writes lent for have been taken whole by the kernel. */
  settle(count: number): void {
    this.#unsettled = Math.max(0, this.#unsettled - count)
  }

  /** No socket reads into it any more. */
  leave(): void {
    this.#isRead = false
    this.#giveBack()
  }

  #giveBack(): void {
    if (!this.#isRead && this.#loans === 0) free.push(this)
  }

  /** Takes it into use again. */
  take(): void {
    this.#isRead = true
    this.#unsettled = 0
  }
}

const free: Block[] = []
let madeCount = 0

/** How many blocks are read into, or needed by a write. */
export function blocksInUse(): number {
  return madeCount - free.length
}

/** The block that is being read from now, if any. */
let borrowed: Block | null = null

/** Says of which block bytes are that are borrowed from now on; null when of none. */
export function borrow(block: Block | null): void {
  borrowed = block
}

/** The block that `bytes` are, while they are borrowed; null when they are elsewhere. */
export function blockOf(bytes: Buffer): Block | null {
  return borrowed !== null && borrowed.bytes === bytes ? borrowed : null
}

/** A block to read into; null when all are in use. */
export function takeBlock(): Block | null {
  const block = free.pop()
  if (block !== undefined) {
    block.take()
    return block
  }
  if (madeCount >= BLOCKS_MAX) return null
  madeCount++
  return new Block()
}

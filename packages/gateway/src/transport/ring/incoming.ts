// What one connection reads. A read is armed when its bytes can be told, and after they were: so pausing within that is immediate,
// and a connection that is paused holds the bytes of one read at most.
//
// Small reads go into buffers that all share. When one was full and more of the same is to come, the next goes into a block, which can
// be sent from without a copy. The first into a block takes only what is there: a connection that waits keeps no block from others,
// unless it has just filled one.

import { type Block, borrow, takeBlock } from '../blocks.ts'
import { BUFFER_BYTES, BUFFER_GROUP, BUFFER_STRIDE } from './buffers.ts'
import type { Loop } from './loop.ts'
import { addressOf } from './memory.ts'
import { COMPLETION_BUFFER, COMPLETION_BUFFER_SHIFT, ENTRY_BUFFER_GROUP, ENTRY_BUFFER_SELECT } from './ring.ts'
import { ENTRY_OPERATION_FLAGS, OPCODE } from './ring.ts'
import { EAGAIN, ECANCELED, EINTR, ENOBUFS, MSG_DONTWAIT } from './system.ts'

/** A read into a block as long as that is part of something big, as with `node:net`. */
const BIG_BYTES = 65_536

/** In the entry's two bytes behind its flags. */
const POLL_FIRST = 1 << 16

/** Hears what is read. */
export interface Reader {
  /** @returns whether more of the same is to come */
  read(bytes: Buffer, from: number, to: number): boolean
  readEnded(): void
  readFailed(): void
}

/** See the head of this file. */
export class Incoming {
  readonly #loop: Loop
  readonly #reader: Reader
  /** Whether the kernel has a read, or its completion waits to be told. */
  isArmed = false
  /** Whether the peer has ended, or reading has failed. */
  isOver = false
  #isPaused = false
  /** Whether the read that is armed was cancelled, and the connection may be somebody else's to read. */
  #isStopped = false
  /** Bytes that came while it was paused; empty of an end. */
  #held: Buffer | null = null
  #block: Block | null = null
  /** Whether the read that is armed, or was last, goes into the block. */
  #isIntoBlock = false
  /** Whether the next read should be one into a block. */
  #isBig = false
  /** Whether the last read has taken all that was there. */
  #isShort = false
  /** Whether the next read into a block may wait. */
  #mayWait = false
  /** Of the read that is armed. */
  #ticket = 0

  constructor(loop: Loop, reader: Reader) {
    this.#loop = loop
    this.#reader = reader
  }

  /** Whether a read is to be armed. */
  get isWanted(): boolean {
    return !this.isArmed && !this.#isPaused && !this.isOver && this.#held === null
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  /** Whether something was read that is not told. */
  get isHolding(): boolean {
    return this.#held !== null
  }

  /** Whether a read is armed in the kernel, and nothing has come for it: then nothing is there. */
  get isWaiting(): boolean {
    const { ring } = this.#loop
    return this.isArmed && !this.#isStopped && ring.hasTaken(this.#ticket) && !ring.hasNews
  }

  pause(): void {
    this.#isPaused = true
  }

  /** @returns whether something is to be told, or a read to be armed */
  resume(): boolean {
    this.#isPaused = false
    this.#isStopped = false
    return this.#held !== null || this.isWanted
  }

  /** @param cancel cancels the read that is armed; returns whether that was possible. @returns whether nothing is read any more */
  stop(cancel: () => boolean): boolean {
    this.#isPaused = true
    if (this.#held !== null || this.isOver) return false
    if (this.isArmed && !this.#isStopped && !cancel()) return false
    this.#isStopped = true
    return true
  }

  /** Tells what came while it was paused. */
  tellHeld(): void {
    const held = this.#held
    if (held === null || this.#isPaused) return
    this.#held = null
    if (held.length === 0) this.#end()
    else this.#tell(held, 0, held.length)
  }

  /** Adds the entry of a read. */
  arm(fd: number, slot: number, operation: number): void {
    this.isArmed = true
    const { ring } = this.#loop
    if (this.#isBig) this.#useBlock()
    else this.#leaveBlock()
    const block = this.#block
    this.#isIntoBlock = block !== null
    if (block === null) {
      // After a short read nothing is there as a rule, which the kernel need not find out by trying.
      const code = OPCODE.RECV | (ENTRY_BUFFER_SELECT << 8) | (this.#isShort ? POLL_FIRST : 0)
      const at = ring.add(code, fd, slot, operation, 0, 0)
      ring.entries[at + ENTRY_BUFFER_GROUP] = BUFFER_GROUP
    } else {
      const at = ring.add(OPCODE.RECV, fd, slot, operation, addressOf(block.bytes), block.bytes.length)
      if (!this.#mayWait) ring.entries[at + ENTRY_OPERATION_FLAGS] = MSG_DONTWAIT
    }
    this.#ticket = ring.ticket
  }

  #useBlock(): void {
    if (this.#block !== null && !this.#block.isNeeded) return
    this.#block?.leave()
    this.#block = takeBlock()
  }

  #leaveBlock(): void {
    this.#block?.leave()
    this.#block = null
  }

  /** The read that was armed is completed. */
  completed(result: number, flags: number): void {
    this.isArmed = false
    const index = (flags & COMPLETION_BUFFER) === 0 ? -1 : flags >>> COMPLETION_BUFFER_SHIFT
    try {
      if (result > 0) this.#took(result, index)
      else if (result === 0) this.#tookEnd()
      else this.#failed(-result)
    } finally {
      if (index !== -1) this.#loop.buffers.giveBack(index)
    }
  }

  #took(count: number, index: number): void {
    const bytes = this.#isIntoBlock ? this.#block?.bytes : this.#loop.buffers.bytes
    if (bytes === undefined) return
    const from = this.#isIntoBlock ? 0 : index * BUFFER_STRIDE
    if (this.#isPaused) {
      // A copy of no more than was read: the block is for others.
      this.#held = Buffer.from(bytes.subarray(from, from + count))
      this.#isBig = false
      this.#leaveBlock()
      return
    }
    this.#isBig = false
    if (!this.#isIntoBlock) {
      this.#mayWait = false
      this.#isShort = count < BUFFER_BYTES
      this.#isBig = this.#tell(bytes, from, from + count) && count === BUFFER_BYTES
      return
    }
    borrow(this.#block)
    try {
      this.#isBig = this.#tell(bytes, 0, count)
    } finally {
      borrow(null)
    }
    this.#mayWait = count >= BIG_BYTES
  }

  #tell(bytes: Buffer, from: number, to: number): boolean {
    return this.#reader.read(bytes, from, to)
  }

  #tookEnd(): void {
    if (this.#isPaused) this.#held = Buffer.alloc(0)
    else this.#end()
  }

  #end(): void {
    this.isOver = true
    this.#leaveBlock()
    this.#reader.readEnded()
  }

  #failed(errno: number): void {
    if (errno === EAGAIN) this.#isBig = false // nothing was there for the block
    if (errno === ENOBUFS) this.#loop.buffers.wasShort() // there are some again by the end of the turn
    if (errno === EAGAIN || errno === EINTR || errno === ENOBUFS || errno === ECANCELED) return
    this.isOver = true
    this.#leaveBlock()
    this.#reader.readFailed()
  }

  /** Gives up its block. No read may be armed. */
  close(): void {
    this.#held = null
    this.isOver = true
    this.#leaveBlock()
  }
}

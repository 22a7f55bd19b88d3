// Reads into one buffer that every socket of the process shares. Node.js would allocate 64 KiB for each read, and give most
// of it back; what is done with bytes here is done within the turn of their read, or they are copied. While a big body
// passes, its socket reads into blocks of its own, which can be written from without a copy.

import type { SocketConstructorOpts } from 'node:net'
import { acceptBetweenReads } from './accepting.ts'
import { type Block, borrow, takeBlock } from '../blocks.ts'

/** Bytes that one read into the shared buffer takes at most. A read as long as that is part of something big. */
const SHARED_BYTES = 65_536
const READ_BUFFER = Buffer.allocUnsafeSlow(SHARED_BYTES)

/**
 * Takes the first `count` bytes of `bytes`, which are borrowed until it returns.
 * @returns whether more of the same body is to come
 */
export type TakeBytes = (bytes: Buffer, count: number) => boolean

/** What one socket reads into: the shared buffer, or a block of its own while a big body passes. */
export class BorrowedReads {
  readonly #take: TakeBytes
  #block: Block | null = null
  /** What the next read is to use, when that changes. */
  #next: Buffer | undefined = READ_BUFFER
  #isClosed = false

  /** @param take is given what is read */
  constructor(take: TakeBytes) {
    this.#take = take
  }

  /** The option of that name of the socket. Its types do not say that no buffer at all means the one before. */
  get onread(): NonNullable<SocketConstructorOpts['onread']> {
    const onread = {
      buffer: () => this.#nextBuffer(),
      callback: (count: number, bytes: Buffer) => this.#read(count, bytes),
    }
    return onread as NonNullable<SocketConstructorOpts['onread']>
  }

  /** Gives up the block, if there is one; to be called when the socket has closed. */
  close(): void {
    this.#isClosed = true
    this.#share()
  }

  /** Node.js asks before the first read, and after each. */
  #nextBuffer(): Buffer | undefined {
    const next = this.#next
    this.#next = undefined
    return next
  }

  #read(count: number, bytes: Buffer): true {
    borrow(this.#block)
    const expectsMore = this.#take(bytes, count)
    borrow(null)
    const isBig = expectsMore && count >= SHARED_BYTES && !this.#isClosed
    if (!isBig) this.#share()
    else if (this.#block === null || this.#block.isNeeded) this.#useBlock()
    acceptBetweenReads()
    return true
  }

  #useBlock(): void {
    this.#block?.leave()
    this.#block = takeBlock()
    this.#next = this.#block === null ? READ_BUFFER : this.#block.bytes
  }

  #share(): void {
    if (this.#block === null) return
    this.#block.leave()
    this.#block = null
    this.#next = READ_BUFFER
  }
}

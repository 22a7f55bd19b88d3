// Reads into one buffer that every socket of the process shares. Node.js would allocate 64 KiB for each read, and give most
// of it back; what is done with bytes here is done within the turn of their read, or they are copied. While a big body
// passes, its socket reads into blocks of its own, which can be written from without a copy.

import type { SocketConstructorOpts } from 'node:net'
import { acceptBetweenReads } from './accepting.ts'
import { type Block, borrow, takeBlock } from '../blocks.ts'

/** Bytes that one read into the shared buffer takes at most. A read as long as that is part of something big. */
const SHARED_BYTES = 65_536
const SHARED: Buffer = Buffer.allocUnsafeSlow(SHARED_BYTES)

/** Takes what is read. */
export interface Reader {
  /**
   * Takes the first `count` bytes of `bytes`, which are borrowed until it returns.
   * @returns whether more of the same body is to come
   */
  take(bytes: Buffer, count: number): boolean
}

/** What one socket reads into: the shared buffer, or a block of its own while a big body passes. */
export class BorrowedReads {
  readonly #reader: Reader
  #block: Block | null = null
  #isClosed = false
  /** What the next read goes into. */
  #buffer = SHARED

  /** @param reader is given what is read */
  constructor(reader: Reader) {
    this.#reader = reader
  }

  /** What the next read is to go into. */
  get buffer(): Buffer {
    return this.#buffer
  }

  /** The option of that name of a stream. Its types do not say that no buffer at all means the one before. */
  get onread(): NonNullable<SocketConstructorOpts['onread']> {
    // Node.js asks before the first read, and after each. A stream that is made within a read does not begin with the block of that:
    // when the read is over it may be given back, and the stream is not asked again before it reads.
    let used: Buffer | undefined
    const onread = {
      buffer: () => {
        const next = used === undefined ? SHARED : this.#buffer
        return next === used ? undefined : (used = next)
      },
      callback: (count: number, bytes: Buffer) => {
        this.read(bytes, count)
        return true
      },
    }
    return onread as NonNullable<SocketConstructorOpts['onread']>
  }

  /** `count` bytes have been read into `bytes`: `buffer`, as it was when reading began. */
  read(bytes: Buffer, count: number): void {
    borrow(this.#block)
    const expectsMore = this.#reader.take(bytes, count)
    borrow(null)
    const isBig = expectsMore && count >= SHARED_BYTES && !this.#isClosed
    if (!isBig) this.#share()
    else if (this.#block === null || this.#block.isNeeded) this.#useBlock()
    acceptBetweenReads()
  }

  /** Gives up the block, if there is one; to be called when the socket has closed. */
  close(): void {
    this.#isClosed = true
    this.#share()
  }

  #useBlock(): void {
    this.#block?.leave()
    this.#block = takeBlock()
    this.#buffer = this.#block === null ? SHARED : this.#block.bytes
  }

  #share(): void {
    if (this.#block === null) return
    this.#block.leave()
    this.#block = null
    this.#buffer = SHARED
  }
}

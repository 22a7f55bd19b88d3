// What waits to be sent on one connection: pieces of text, which is put into memory that stays until it is sent, and of buffers that
// their owners leave alone until then. One send of io_uring is under way at a time, with as many pieces as it takes.

import { addressOf, freed, mapMemory, type Mapping } from './memory.ts'
import { ENTRY_OPERATION_FLAGS, OPCODE, type Ring } from './ring.ts'
import { ECONNRESET, errorNumber, MSG_DONTWAIT, MSG_NOSIGNAL, send } from './system.ts'

/** Memory for one connection while it sends: a `struct msghdr`, its vectors, and text. No power of 2, as in buffers.ts. */
const PAGE_BYTES = 16_704
/** Pieces of one send. */
const VECTORS_MAX = 16
const VECTORS_AT = 64
const VECTOR_BYTES = 16
const TEXT_AT = VECTORS_AT + VECTORS_MAX * VECTOR_BYTES
/** When a page has so much of text, no more should be written. */
const FULL_AT = PAGE_BYTES - 2048
/** Pages are mapped so many at a time, which take memory only once they are used. */
const PAGES = 64

interface Page {
  readonly address: number
  readonly bytes: Buffer
  readonly words: Int32Array
}

const freePages: Page[] = []

function takePage(): Page {
  const free = freePages.pop()
  if (free !== undefined) return free
  const mapping: Mapping = mapMemory(PAGES * PAGE_BYTES)
  for (let index = 0; index < PAGES; index++) {
    const from = index * PAGE_BYTES
    const bytes = mapping.bytes.subarray(from, from + PAGE_BYTES)
    const words = mapping.words.subarray(from / 4, (from + PAGE_BYTES) / 4)
    freePages.push({ address: mapping.address + from, bytes, words })
  }
  return takePage()
}

/** Bytes one behind the other. */
class Piece {
  address: number
  bytes: number
  /** What is at the address; it is kept alive by this. Null of a page. */
  readonly memory: Buffer | null
  readonly #done: (() => void) | null

  constructor(address: number, bytes: number, memory: Buffer | null, done: (() => void) | null) {
    this.address = address
    this.bytes = bytes
    this.memory = memory
    this.#done = done
  }

  done(): void {
    this.#done?.()
  }
}

/** See the head of this file. */
export class SendQueue {
  readonly #pieces: (Piece | undefined)[] = []
  /** Pieces before this one are sent. */
  #first = 0
  /** And there are none from this one on. */
  #end = 0
  /** Pieces of the send that is under way. */
  #sendingCount = 0
  #page: Page | null = null
  #pageBytes = TEXT_AT
  /** Bytes that are not known to be in the kernel. */
  bytes = 0

  /** Whether more text would soon need memory of its own, a piece each. */
  get isTextFull(): boolean {
    return this.#pageBytes >= FULL_AT
  }

  /** Adds text, one byte a character. */
  addText(text: string): void {
    const { length } = text
    this.bytes += length
    this.#page ??= takePage()
    const at = this.#pageBytes
    if (length > PAGE_BYTES - at) {
      const memory = Buffer.allocUnsafeSlow(length)
      memory.write(text, 'latin1')
      this.#pieces[this.#end++] = new Piece(addressOf(memory), length, memory, null)
      return
    }
    this.#page.bytes.write(text, at, length, 'latin1')
    this.#pageBytes += length
    const address = this.#page.address + at
    const last = this.#end > this.#first + this.#sendingCount ? this.#pieces[this.#end - 1] : undefined
    if (last !== undefined && last.memory === null && last.address + last.bytes === address) last.bytes += length
    else this.#pieces[this.#end++] = new Piece(address, length, null, null)
  }

  /** Adds bytes. @param done is called when they are sent, or will not be */
  addBytes(memory: Buffer, done: () => void): void {
    this.bytes += memory.length
    this.#pieces[this.#end++] = new Piece(addressOf(memory), memory.length, memory, done)
  }

  /**
   * Adds the entry of a send, when none is under way and something waits.
   * @returns how many bytes it has
   */
  submit(ring: Ring, fd: number, slot: number, operation: number): number {
    const count = Math.min(this.#end - this.#first, VECTORS_MAX)
    const first = this.#pieces[this.#first]
    if (first === undefined) return 0
    this.#sendingCount = count
    if (count === 1) {
      const at = ring.add(OPCODE.SEND, fd, slot, operation, first.address, first.bytes)
      ring.entries[at + ENTRY_OPERATION_FLAGS] = MSG_NOSIGNAL
      return first.bytes
    }
    this.#page ??= takePage()
    const bytes = this.#writeVectors(this.#page, count)
    const at = ring.add(OPCODE.SENDMSG, fd, slot, operation, this.#page.address, 1)
    ring.entries[at + ENTRY_OPERATION_FLAGS] = MSG_NOSIGNAL
    return bytes
  }

  #writeVectors({ address, words }: Page, count: number): number {
    // struct msghdr: a name, which there is none, vectors and how many, no control message.
    words.fill(0, 0, 14)
    writeAddress(words, 4, address + VECTORS_AT)
    words[6] = count
    let bytes = 0
    for (let index = 0; index < count; index++) {
      const piece = this.#pieces[this.#first + index]
      if (piece === undefined) break
      const at = (VECTORS_AT + index * VECTOR_BYTES) / 4
      writeAddress(words, at, piece.address)
      words[at + 2] = piece.bytes
      words[at + 3] = 0
      bytes += piece.bytes
    }
    return bytes
  }

  /** The send that was under way is over: the kernel has taken `count` bytes of it. */
  sent(count: number): void {
    this.#sendingCount = 0
    this.bytes -= count
    let left = count
    while (left > 0) {
      const piece = this.#pieces[this.#first]
      if (piece === undefined) break
      if (left < piece.bytes) {
        piece.address += left
        piece.bytes -= left
        return
      }
      left -= piece.bytes
      this.#pieces[this.#first++] = undefined
      piece.done()
    }
    if (this.#first === this.#end) this.#clear()
    else if (this.#first >= VECTORS_MAX) this.#moveUp()
  }

  /** Puts the pieces that wait first. */
  #moveUp(): void {
    this.#pieces.copyWithin(0, this.#first, this.#end)
    this.#pieces.fill(undefined, this.#end - this.#first, this.#end)
    this.#end -= this.#first
    this.#first = 0
  }

  /** Gives the kernel as much as it takes at once, while no send is under way. @returns whether the peer has reset the connection */
  sendNow(fd: number): boolean {
    for (;;) {
      const piece = this.#pieces[this.#first]
      if (piece === undefined) return false
      const asked = piece.bytes
      const count = send(fd, piece.address, asked, MSG_DONTWAIT | MSG_NOSIGNAL)
      if (count <= 0) return count === -1 && errorNumber() === ECONNRESET
      this.sent(count)
      if (count < asked) return false
    }
  }

  /** Drops what waits. No send may be under way. */
  drop(): void {
    const pieces = this.#pieces.slice(this.#first, this.#end)
    this.#pieces.fill(undefined, this.#first, this.#end)
    this.#clear()
    this.bytes = 0
    for (const piece of pieces) piece?.done()
  }

  #clear(): void {
    this.#first = 0
    this.#end = 0
    if (this.#page === null) return
    freed(this.#page.bytes, 0, this.#pageBytes)
    freePages.push(this.#page)
    this.#page = null
    this.#pageBytes = TEXT_AT
  }
}

function writeAddress(words: Int32Array, at: number, address: number): void {
  words[at] = address
  words[at + 1] = address / 2 ** 32
}

// What reads go into: buffers that the kernel takes when it has bytes, so that a connection that waits holds none. They are given
// back as soon as their bytes are told, or copied.

import { freed, mapMemory, type Mapping } from './memory.ts'
import { type Ring, RingError } from './ring.ts'

/** Bytes of a buffer: a head, or the first of something big. */
export const BUFFER_BYTES = 8192
/** From one to the next: a little more, since beginnings that are a power of 2 apart push each other out of the processor's caches. */
export const BUFFER_STRIDE: number = BUFFER_BYTES + 320
/** How many there are at most: as many reads complete at one time, the others a turn later. A power of 2. */
const BUFFERS = 512
/** How many there are at first. They are used in turn, so that more than are needed would only take memory. */
const FIRST_BUFFERS = 32
/** The number of their ring. */
export const BUFFER_GROUP = 0
const ENTRY_BYTES = 16
/** The number of the next entry is in the last two bytes of the first. */
const TAIL_AT = 14

/** See the head of this file. */
export class ReadBuffers {
  readonly #entries: Mapping
  readonly #memory: Mapping
  #tail = 0
  /** How many are in use. */
  #count: number

  /** Throws `RingError`. @param count how many at most, a power of 2 */
  constructor(ring: Ring, count: number = BUFFERS) {
    this.#entries = mapMemory(count * ENTRY_BYTES)
    this.#memory = mapMemory(count * BUFFER_STRIDE)
    const errno = ring.registerBuffers(this.#entries.address, count, BUFFER_GROUP)
    if (errno !== 0) throw new RingError('io_uring_register', errno)
    this.#count = Math.min(count, FIRST_BUFFERS)
    for (let index = 0; index < this.#count; index++) this.#add(index)
  }

  /** There was none for a read. */
  wasShort(): void {
    if (this.#count < Math.floor(this.#memory.bytes.length / BUFFER_STRIDE)) this.#add(this.#count++)
  }

  /** All of them; the one of number `index` begins at `index * BUFFER_STRIDE`. */
  get bytes(): Buffer {
    return this.#memory.bytes
  }

  giveBack(index: number): void {
    freed(this.#memory.bytes, index * BUFFER_STRIDE, (index + 1) * BUFFER_STRIDE)
    this.#add(index)
  }

  #add(index: number): void {
    const { words } = this.#entries
    const count = words.length / (ENTRY_BYTES / 4)
    const at = (this.#tail & (count - 1)) * (ENTRY_BYTES / 4)
    const address = this.#memory.address + index * BUFFER_STRIDE
    words[at] = address
    words[at + 1] = address / 2 ** 32
    words[at + 2] = BUFFER_BYTES
    // The buffer's number is the lower half of this word; of the first entry, the upper half is the ring's tail.
    this.#tail = (this.#tail + 1) & 0xffff
    words[at + 3] = index
    this.#entries.bytes.writeUInt16LE(this.#tail, TAIL_AT)
  }
}

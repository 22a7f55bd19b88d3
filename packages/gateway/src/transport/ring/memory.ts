// Memory that the kernel is told of by its address. An address keeps nothing alive, so all of it is mapped and stays as long as its
// owner is, or is a buffer that its user holds until the completion: the garbage collector moves no ArrayBuffer's memory.

import koffi from 'koffi'
import { errorNumber, mmap, munmap } from './system.ts'

/** Mapped memory. */
export interface Mapping {
  readonly address: number
  readonly bytes: Buffer
  readonly words: Int32Array
}

const PROT_READ_WRITE = 3
const MAP_SHARED = 1
const MAP_PRIVATE_ANONYMOUS = 0x22
const MAP_POPULATE = 0x8000

/** Maps `bytes` bytes of zeros, which take memory only once they are touched. Throws the system's error. */
export function mapMemory(bytes: number): Mapping {
  return map(bytes, MAP_PRIVATE_ANONYMOUS, -1, 0)
}

/** Maps `bytes` bytes that the kernel shares by the descriptor `fd`. Throws the system's error. */
export function mapShared(bytes: number, fd: number, offset: number): Mapping {
  return map(bytes, MAP_SHARED | MAP_POPULATE, fd, offset)
}

function map(bytes: number, flags: number, fd: number, offset: number): Mapping {
  const address = mmap(0, bytes, PROT_READ_WRITE, flags, fd, offset)
  if (address === -1) throw new Error(`cannot map memory: error ${errorNumber()}`)
  const memory = koffi.view(address, bytes)
  return { address, bytes: Buffer.from(memory), words: new Int32Array(memory) }
}

/** Gives memory back; nobody may touch it any more. */
export function unmap(mapping: Mapping): void {
  munmap(mapping.address, mapping.bytes.length)
}

/** Where `memory` is. Its user holds it as long as the kernel may use that. */
export function addressOf(memory: Buffer): number {
  return Number(koffi.address(memory))
}

const POISON = 0xee
let isPoisoning = false

/** Has memory overwritten as soon as it is not its user's any more, so that tests notice whoever uses it still. */
export function poisonFreed(): void {
  isPoisoning = true
}

/** The bytes from `from` to `to` have no user any more. */
export function freed(bytes: Buffer, from: number, to: number): void {
  if (isPoisoning) bytes.fill(POISON, from, to)
}

/** Memory for a call's arguments. */
export function pinned(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes))
}

// Memory that a worker counts in and the primary reads: it is the kernel's, by a descriptor that the worker is given, so that it stays as
// it is when the worker is killed. No file system has it, so that no user's rights and no full disk stand in the way.

import { closeSync } from 'node:fs'
import koffi, { type KoffiFunc } from 'koffi'
import { addressOf, pinned } from '../transport/ring/memory.ts'
import { duplicate as fcntl, errorNumber, mmap, munmap, systemCall } from '../transport/ring/system.ts'

/**
 * Bytes of one worker's memory, which takes pages as they are used: 20 KiB and 2 KiB for each service. A thousand services and their
 * methods are enough for it.
 */
export const COUNTERS_BYTES: number = 4 * 1024 * 1024

/** Of memfd_create, by architecture; those that are younger have the same one. */
const MEMFD_CREATE: Readonly<Record<string, number>> = { x64: 319, ia32: 356, arm: 385, ppc64: 360, s390x: 350 }
const MEMFD_CREATE_YOUNGER = 279
const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
/** From now on nobody makes it shorter, which would end who reads beyond its end, or longer, or allows it again. */
const F_ADD_SEALS = 1033
const SEALS = 0x1 | 0x2 | 0x4
/** What `/proc` calls it. */
const NAME = 'xengate-counters'
const truncate: KoffiFunc<(fd: number, bytes: number) => number> = koffi.load(null).func('int ftruncate(int, int64)')

const PROT_READ_WRITE = 3
const MAP_SHARED = 1

/** The system does not give memory: the text says why. */
export class SharedMemoryError extends Error {
  override readonly name = 'SharedMemoryError'
}

/** Mapped memory. */
export interface SharedMemory {
  readonly memory: ArrayBuffer
  /** Gives it back; nobody may touch it any more. */
  readonly unmap: () => void
}

/** Makes memory of zeros. @returns its descriptor, which is the caller's. @throws {SharedMemoryError} */
export function createSharedMemory(): number {
  const name = pinned(NAME.length + 1)
  name.write(NAME)
  const call = MEMFD_CREATE[process.arch] ?? MEMFD_CREATE_YOUNGER
  const fd = systemCall(call, addressOf(name), MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0, 0, 0)
  if (fd === -1) throw new SharedMemoryError(`cannot make memory for counters: error ${errorNumber()}`)
  if (truncate(fd, COUNTERS_BYTES) === -1 || fcntl(fd, F_ADD_SEALS, SEALS) === -1) {
    const error = errorNumber()
    closeSync(fd)
    throw new SharedMemoryError(`cannot make memory for counters: error ${error}`)
  }
  return fd
}

/** Maps what `createSharedMemory` made, in this or another process. @throws {SharedMemoryError} */
export function mapSharedMemory(fd: number): SharedMemory {
  const address = mmap(0, COUNTERS_BYTES, PROT_READ_WRITE, MAP_SHARED, fd, 0)
  if (address === -1) throw new SharedMemoryError(`cannot map the counters: error ${errorNumber()}`)
  return { memory: koffi.view(address, COUNTERS_BYTES), unmap: () => void munmap(address, COUNTERS_BYTES) }
}

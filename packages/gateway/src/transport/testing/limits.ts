// The system's limits and options, for tests that reach them.

import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import koffi from 'koffi'

const prlimit = koffi.load(null).func('int prlimit(int, int, void *, void *)') as (
  pid: number,
  resource: number,
  next: Uint8Array | null,
  before: Uint8Array,
) => number
const RLIMIT_NOFILE = 7

const getsockopt = koffi.load(null).func('int getsockopt(int, int, int, void *, void *)') as (
  fd: number,
  level: number,
  option: number,
  value: Uint8Array,
  bytes: Uint8Array,
) => number
export const SO_SNDBUF = 7

export function socketOption(fd: number, level: number, option: number): number {
  const value = Buffer.from(new ArrayBuffer(4))
  const bytes = Buffer.from(new ArrayBuffer(4))
  bytes.writeInt32LE(4)
  assert.equal(getsockopt(fd, level, option, value, bytes), 0)
  return value.readInt32LE()
}

/** Opens files until that is impossible. */
export function useUpDescriptors(): number[] {
  const descriptors: number[] = []
  try {
    for (;;) descriptors.push(openSync('/dev/null', 'r'))
  } catch {
    return descriptors
  }
}

/** Lets this process have no descriptor of `count` or above. @returns what takes that back */
export function limitDescriptors(count: number): () => void {
  const before = Buffer.from(new ArrayBuffer(16))
  const next = Buffer.from(new ArrayBuffer(16))
  assert.equal(prlimit(0, RLIMIT_NOFILE, null, before), 0)
  before.copy(next)
  next.writeBigUInt64LE(BigInt(count), 0)
  const ignored = Buffer.from(new ArrayBuffer(16))
  assert.equal(prlimit(0, RLIMIT_NOFILE, next, ignored), 0)
  return () => assert.equal(prlimit(0, RLIMIT_NOFILE, before, ignored), 0)
}

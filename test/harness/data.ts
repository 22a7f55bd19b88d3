// A lot of data to send, which shows when a part of it is lost or doubled.

import type { Hash } from 'node:crypto'

/** Pieces of the data: no two are alike. */
const PIECES = Array.from({ length: 61 }, (_, index) => Buffer.alloc(64 * 1024 + index * 7, index * 31 + 1))

/** `bytes` bytes in pieces; `hash` takes what was given out. */
export function* sampleData(bytes: number, hash: Hash): Generator<Buffer> {
  let left = bytes
  for (let index = 0; left > 0; index++) {
    const piece = PIECES[index % PIECES.length]?.subarray(0, left) ?? Buffer.alloc(0)
    hash.update(piece)
    left -= piece.length
    yield piece
  }
}

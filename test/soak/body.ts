// Bodies that are known byte for byte to whoever knows their seed, so that what arrives is compared and not only counted.

import { Random } from './random.ts'

/** Bytes that bodies are cut from. Odd, and no multiple of any buffer: a piece in a wrong place is another piece. */
const POOL_BYTES = 8_388_593
const pool = Buffer.alloc(POOL_BYTES + 3)
new Random(1).fill(pool)

/** Bytes by which a wrong piece is looked for. */
const SAMPLE_BYTES = 16

/** The bytes of one body. */
export class Body {
  readonly #from: number

  constructor(seed: number) {
    this.#from = (seed >>> 0) % POOL_BYTES
  }

  /** Up to `count` bytes from `position` on, at least one; not a copy. */
  piece(position: number, count: number): Buffer {
    const from = (this.#from + position) % POOL_BYTES
    return pool.subarray(from, Math.min(from + count, POOL_BYTES))
  }

  /** @returns what is wrong with `bytes`, which are to be at `position`; null when nothing is */
  difference(bytes: Buffer, position: number): string | null {
    for (let at = 0; at < bytes.length;) {
      const wanted = this.piece(position + at, bytes.length - at)
      const got = bytes.subarray(at, at + wanted.length)
      if (!got.equals(wanted)) return this.#explain(got, wanted, position + at)
      at += wanted.length
    }
    return null
  }

  #explain(got: Buffer, wanted: Buffer, position: number): string {
    let at = 0
    while (got[at] === wanted[at]) at++
    const sample = got.subarray(at, at + SAMPLE_BYTES)
    const found = sample.length < SAMPLE_BYTES ? -1 : pool.indexOf(sample)
    const instead = (found - this.#from + POOL_BYTES) % POOL_BYTES
    const where =
      found === -1 ? 'which are of no body' : `which are those of byte ${instead} of this body, or of another one`
    return `the bytes from ${position + at} on are ${sample.toString('hex')}, ${where}`
  }
}

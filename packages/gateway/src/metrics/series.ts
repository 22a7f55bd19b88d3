// Series of counts in memory that another process may read at any time, also after its writer was killed: nothing that was counted is
// lost, and a series that is there is whole.
//
//   cell 0            (two 32-bit integers) how many cells are used, which is told last when a series is added
//   cells 1 … 32      nobody's: what is counted where there was no room
//   from cell 33 on   series, one behind the other:
//       one cell      (two 32-bit integers) count of its values, bytes of its key
//       …             the key in UTF-8, filled up to whole cells
//       …             the values
//
// A value is a double, which memory takes and gives in one piece on every processor that Node.js runs on, and which counts exactly to 2^53.

const CELL_BYTES = 8
/** Longest key: the path of a socket, or a host's name, and what is around it. */
const KEY_BYTES_MAX = 512
/** The first of the cells that are nobody's: enough for a histogram. */
export const NOWHERE = 1
const FIRST = 33

/** A series as it is found in memory. */
export interface FoundSeries {
  readonly key: string
  /** Its first value, and how many there are. */
  readonly at: number
  readonly count: number
}

/** See the head of this file. */
export class SeriesMemory {
  /** Values, by their cells. */
  readonly cells: Float64Array
  readonly #words: Int32Array
  readonly #bytes: Buffer

  constructor(memory: ArrayBuffer) {
    this.cells = new Float64Array(memory)
    this.#words = new Int32Array(memory)
    this.#bytes = Buffer.from(memory)
  }

  get used(): number {
    return Math.max(FIRST, Atomics.load(this.#words, 0))
  }

  /**
   * Adds a series of `count` zeros; there is one writer.
   * @param reserved cells that have to be left
   * @returns its first cell, or `NOWHERE` when there is no room
   */
  add(key: string, count: number, reserved: number): number {
    const start = this.used
    const keyBytes = Buffer.byteLength(key)
    const at = start + 1 + Math.ceil(keyBytes / CELL_BYTES)
    if (at + count + reserved > this.cells.length || keyBytes > KEY_BYTES_MAX) return NOWHERE
    this.#words[2 * start] = count
    this.#words[2 * start + 1] = keyBytes
    this.#bytes.write(key, (start + 1) * CELL_BYTES)
    Atomics.store(this.#words, 0, at + count)
    return at
  }

  /** The series that were added at `from`, which is what `used` was then, or later; from 0 on all. */
  *seriesFrom(from: number): Generator<FoundSeries> {
    const end = Math.min(this.used, this.cells.length)
    let start = Math.max(FIRST, from)
    while (start < end) {
      const [count = 0, keyBytes = 0] = this.#words.subarray(2 * start, 2 * start + 2)
      const at = start + 1 + Math.ceil(keyBytes / CELL_BYTES)
      // Whoever writes here may be another's process by now.
      if (count <= 0 || keyBytes <= 0 || keyBytes > KEY_BYTES_MAX || at + count > end) return
      const keyAt = (start + 1) * CELL_BYTES
      yield { key: this.#bytes.toString('utf8', keyAt, keyAt + keyBytes), at, count }
      start = at + count
    }
  }
}

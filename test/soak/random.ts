// Chance that can be repeated: the same seed gives the same numbers.

/** Numbers from a seed (mulberry32). */
export class Random {
  #state: number

  /** @param seed any whole number; its lowest 32 bits count */
  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** @returns a number from 0 to below 1 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number from `least` to `most`. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1))
  }

  /** Whether something happens that does so in `part` of all cases. */
  isSo(part: number): boolean {
    return this.next() < part
  }

  pick<Item>(items: readonly [Item, ...(readonly Item[])]): Item {
    return items[this.integer(0, items.length - 1)] ?? items[0]
  }

  /** A seed for what is to be repeated by itself. */
  seed(): number {
    return this.integer(0, 2 ** 32 - 1)
  }

  fill(bytes: Buffer): void {
    for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(this.seed(), at)
  }
}

// A queue in which those who wait take turns: of each the first comes first, and who has many in it waits no less for its own, and keeps
// nobody waiting for all of them.

/** See the head of this file. */
export class FairQueue<Item> {
  /** By whose they are, in the order of their turns. */
  readonly #items = new Map<string, Item[]>()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** @param whose who takes turns with others */
  add(whose: string, item: Item): void {
    const own = this.#items.get(whose)
    if (own === undefined) this.#items.set(whose, [item])
    else own.push(item)
    this.#size++
  }

  /** Takes out the first of whose turn it is. */
  take(): Item | undefined {
    for (const [whose, own] of this.#items) {
      const item = own.shift()
      this.#size--
      this.#items.delete(whose)
      if (own.length > 0) this.#items.set(whose, own)
      return item
    }
    return undefined
  }

  /** Takes out one that does not wait any more. @returns whether it was there */
  remove(whose: string, item: Item): boolean {
    const own = this.#items.get(whose)
    const index = own?.indexOf(item) ?? -1
    if (own === undefined || index === -1) return false
    own.splice(index, 1)
    this.#size--
    if (own.length === 0) this.#items.delete(whose)
    return true
  }

  /** Takes out the last of who has most, if that is more than `whose` will have with one more. */
  takeFromLongest(whose: string): Item | undefined {
    let longest: Item[] = []
    for (const own of this.#items.values()) if (own.length > longest.length) longest = own
    if (longest.length <= (this.#items.get(whose)?.length ?? 0) + 1) return undefined
    this.#size--
    return longest.pop()
  }
}

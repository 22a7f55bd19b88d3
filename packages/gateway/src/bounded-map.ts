// A map that never has more than so many entries.

/** Past its limit the entry that comes first goes. */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly #max: number
  readonly #dropped: ((key: K, value: V) => void) | undefined

  /** @param dropped told of each entry that had to go */
  constructor(max: number, dropped?: (key: K, value: V) => void) {
    super()
    this.#max = max
    this.#dropped = dropped
  }

  /** A key that is there keeps its place; a new one comes last. */
  override set(key: K, value: V): this {
    super.set(key, value)
    if (this.size > this.#max) this.#dropFirst()
    return this
  }

  /** Puts `key` last, also one that is there. */
  setLast(key: K, value: V): void {
    this.delete(key)
    this.set(key, value)
  }

  #dropFirst(): void {
    for (const [key, value] of this) {
      this.delete(key)
      this.#dropped?.(key, value)
      return
    }
  }
}

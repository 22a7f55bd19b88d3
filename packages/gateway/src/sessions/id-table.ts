// A hash table of what has a session id. V8's Map makes a key of each string that it is asked about, in a table of all such strings, which
// with a million sessions takes longer than the rest of admission (decision 102).

/** What is found by its id. */
export interface Identified {
  /** Any text. Ids that valid sessions have end in digits made by chance, and are told apart by those as a rule. */
  readonly id: string
}

/** How many characters at an id's end its hash is made of. */
const HASHED_CHARACTERS = 11
const SLOTS_MIN = 1024
/** No entry has this hash. */
const FREE = 0

/** Entries by their ids: open addressing with linear probing, at most half full. */
export class IdTable<Entry extends Identified> {
  readonly #max: number
  readonly #dropped: (entry: Entry) => void
  /** Of each slot's entry, `FREE` where there is none; so a slot that is looked at costs nothing but a look into it. */
  #hashes = new Int32Array(SLOTS_MIN)
  #entries = slots<Entry>(SLOTS_MIN)
  #mask = SLOTS_MIN - 1
  #size = 0
  /** Where the next entry that has to go is looked for. */
  #hand = 0

  /**
   * @param max how many entries it keeps; past it one goes, any but the new one
   * @param dropped told of each that had to go, after it went
   */
  constructor(max: number, dropped: (entry: Entry) => void) {
    this.#max = max
    this.#dropped = dropped
  }

  get size(): number {
    return this.#size
  }

  /** The entry with this id. */
  find(id: string): Entry | undefined {
    const hash = hashOf(id)
    const hashes = this.#hashes
    for (let slot = hash & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const found = hashes[slot]
      if (found === FREE) return undefined
      if (found !== hash) continue
      const entry = this.#entries[slot]
      if (entry?.id === id) return entry
    }
  }

  /** Adds `entry`, in the place of one with its id. */
  add(entry: Entry): void {
    this.remove(entry.id)
    if (this.#size === this.#max) this.#dropOne()
    if ((this.#size + 1) * 2 > this.#hashes.length) this.#grow()
    this.#put(hashOf(entry.id), entry)
    this.#size++
  }

  /** Removes the entry with this id, if there is one. */
  remove(id: string): void {
    const hash = hashOf(id)
    for (let slot = hash & this.#mask; this.#hashes[slot] !== FREE; slot = (slot + 1) & this.#mask) {
      if (this.#entries[slot]?.id === id) return this.#vacate(slot)
    }
  }

  /** All entries, in no order. */
  all(): Entry[] {
    return this.#entries.filter((entry) => entry !== undefined)
  }

  #put(hash: number, entry: Entry): void {
    let slot = hash & this.#mask
    while (this.#hashes[slot] !== FREE) slot = (slot + 1) & this.#mask
    this.#hashes[slot] = hash
    this.#entries[slot] = entry
  }

  /** Empties a slot, and moves up those behind it that would not be found past an empty one. */
  #vacate(slot: number): void {
    let free = slot
    for (let from = (slot + 1) & this.#mask; this.#hashes[from] !== FREE; from = (from + 1) & this.#mask) {
      const hash = this.#hashes[from] ?? FREE
      const isBehindItsPlace = ((from - hash) & this.#mask) >= ((from - free) & this.#mask)
      if (!isBehindItsPlace) continue
      this.#hashes[free] = hash
      this.#entries[free] = this.#entries[from]
      free = from
    }
    this.#hashes[free] = FREE
    this.#entries[free] = undefined
    this.#size--
  }

  #dropOne(): void {
    while (this.#hashes[this.#hand] === FREE) this.#hand = (this.#hand + 1) & this.#mask
    const entry = this.#entries[this.#hand]
    this.#vacate(this.#hand)
    this.#hand = (this.#hand + 1) & this.#mask
    if (entry !== undefined) this.#dropped(entry)
  }

  #grow(): void {
    const hashes = this.#hashes
    const entries = this.#entries
    this.#hashes = new Int32Array(hashes.length * 2)
    this.#entries = slots(hashes.length * 2)
    this.#mask = this.#hashes.length - 1
    for (let slot = 0; slot < hashes.length; slot++) {
      const entry = entries[slot]
      if (entry !== undefined) this.#put(hashes[slot] ?? FREE, entry)
    }
  }
}

function slots<Entry>(count: number): (Entry | undefined)[] {
  return Array.from({ length: count })
}

/** Of the id's end, by FNV-1a, and mixed, since its lowest bits say in which slot to look first; never `FREE`. */
function hashOf(id: string): number {
  let hash = id.length
  for (let index = Math.max(0, id.length - HASHED_CHARACTERS); index < id.length; index++) {
    hash = Math.imul(hash ^ id.charCodeAt(index), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b)
  hash ^= hash >>> 13
  return hash === FREE ? 1 : hash
}

// What all processes of a gateway count, added up. Those that have ended stay in it: no sum ever falls, and none is added twice.
//
// A process's memory is read where it is. What it counted is taken over, once, when it has ended; its gauges go with it.

import { FAMILIES, type Family, type FamilyName, HISTOGRAM_VALUES, parseKey } from './families.ts'
import { OTHER } from './counters.ts'
import { SeriesMemory } from './series.ts'

/**
 * Series of all processes that ever were, of which each has a bound of its own; beyond it those of services are `_other`, and beyond twice
 * as many, which no worker in its right mind comes to, all labels are.
 */
const SERIES_MAX = 50_000

/** A series, with what it comes to. */
export interface Series {
  readonly name: FamilyName
  readonly family: Family
  /** In the order of the family's labels. */
  readonly values: readonly string[]
  /** One, or those of a histogram. */
  readonly total: Float64Array
}

/** A series of one value that nobody counts: it is looked at when all is read. */
export function seriesOf(name: FamilyName, value: number, ...values: readonly string[]): Series {
  return { name, family: FAMILIES[name], values, total: Float64Array.of(value) }
}

interface Sum extends Series {
  /** Of processes that have ended. */
  readonly ended: Float64Array
}

/** See the head of this file. */
export class Sums {
  readonly #byKey = new Map<string, Sum>()
  readonly #sources = new Set<Source>()
  /** What the process had counted whose place this one has taken, by its word, which is told anew as long as it lives. */
  #inherited: readonly { readonly sum: Sum; readonly values: readonly number[] }[] = []

  /** Takes in what a process counts in `memory`. */
  add(memory: ArrayBuffer): Source {
    const source = new Source(memory, (key) => this.#sumOf(key))
    this.#sources.add(source)
    return source
  }

  /**
   * The process of `source` has ended: nobody writes its memory any more, which is not looked at after this.
   * @returns whether that was not known yet
   */
  end(source: Source): boolean {
    if (!this.#sources.delete(source)) return false
    source.addTo((sum) => (sum.family.kind === 'gauge' ? null : sum.ended))
    return true
  }

  /** Adds up what there is now. Its numbers are those of the next call after that. */
  all(): readonly Series[] {
    const sums = () => this.#byKey.values()
    // First all that is there, since a source may bring what is new.
    for (const source of this.#sources) source.look()
    for (const { total, ended } of sums()) total.set(ended)
    for (const { sum, values } of this.#inherited) add(sum, sum.total, values)
    for (const source of this.#sources) source.addTo(({ total }) => total)
    return [...sums()]
  }

  /** All that there is now, for another process to go on from. */
  get counted(): [key: string, values: number[]][] {
    this.all()
    return [...this.#byKey].map(([key, { total }]) => [key, [...total]])
  }

  /** Takes what another process has counted, and its gauges, in place of what it said before. */
  inherit(counted: readonly (readonly [key: string, values: readonly number[]])[]): void {
    this.#inherited = counted.flatMap(([key, values]) => {
      const sum = this.#sumOf(key)
      return sum?.total.length === values.length ? [{ sum, values }] : []
    })
  }

  /** The other process is gone, and its gauges with it. */
  leaveInherited(): void {
    this.#inherited = this.#inherited.filter(({ sum }) => sum.family.kind !== 'gauge')
  }

  #sumOf(key: string): Sum | undefined {
    const known = this.#byKey.get(key)
    if (known !== undefined) return known
    const parsed = parseKey(key)
    if (parsed === undefined) return undefined
    const { family: name, values } = parsed
    const family = FAMILIES[name]
    if (values.length !== family.labels.length) return undefined
    const bounded = this.#bounded(values)
    if (bounded.some((value, index) => value !== values[index])) return this.#sumOf([name, ...bounded].join('\n'))
    const count = family.kind === 'histogram' ? HISTOGRAM_VALUES : 1
    const sum = { name, family, values, total: new Float64Array(count), ended: new Float64Array(count) }
    this.#byKey.set(key, sum)
    return sum
  }

  /** The values of a new series' labels, as far as there is room for more. */
  #bounded(values: readonly string[]): readonly string[] {
    const { size } = this.#byKey
    if (size >= 2 * SERIES_MAX) return values.map(() => OTHER)
    return size < SERIES_MAX || values.length === 0 || values.includes(OTHER) ? values : values.with(0, OTHER)
  }
}

/** What one process counts. */
export class Source {
  readonly #memory: SeriesMemory
  readonly #sumOf: (key: string) => Sum | undefined
  /** Where each series is in the memory; those up to `#read` are known. */
  readonly #places: { readonly sum: Sum; readonly at: number }[] = []
  #read = 0

  constructor(memory: ArrayBuffer, sumOf: (key: string) => Sum | undefined) {
    this.#memory = new SeriesMemory(memory)
    this.#sumOf = sumOf
  }

  /** Finds the series that were added since this was called last. */
  look(): void {
    // It only grows, also while this reads: what was found is known, and nothing else.
    if (this.#memory.used <= this.#read) return
    for (const { key, at, count } of this.#memory.seriesFrom(this.#read)) {
      const sum = this.#sumOf(key)
      if (sum?.total.length === count) this.#places.push({ sum, at })
      this.#read = at + count
    }
  }

  /** Adds its values to those that `into` names. What no counter can be is left out: whoever writes there may be another's by now. */
  addTo(into: (sum: Sum) => Float64Array | null): void {
    this.look()
    const { cells } = this.#memory
    for (const { sum, at } of this.#places) {
      const values = into(sum)
      if (values !== null) add(sum, values, cells, at)
    }
  }
}

function add({ family }: Sum, values: Float64Array, more: ArrayLike<number>, at = 0): void {
  const isLatest = family.kind === 'latest'
  for (let index = 0; index < values.length; index++) {
    const value = more[at + index]!
    if (!Number.isFinite(value)) continue
    if (isLatest) values[index] = Math.max(values[index]!, value)
    else values[index]! += value
  }
}

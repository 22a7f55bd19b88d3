// Numbers the changes of objects, and tells of each: what `event.from` hands out by.

/** What changed. */
export interface Changed {
  readonly className: string
  readonly reference: string
}

/** See the head of this file. */
export class Journal {
  /** The number before the first change of this run. */
  readonly start: bigint
  /** Told of each change, after it. */
  onChange: (changed: Changed) => void = () => {}
  #now: bigint

  /** @param start a number that is greater in each run than any of an earlier one, such as the time in ms */
  constructor(start: number) {
    this.start = BigInt(start)
    this.#now = this.start
  }

  /** The number of the last change. */
  get now(): bigint {
    return this.#now
  }

  /** Numbers a change, which is made by `change`. */
  record(changed: Changed, change: (number: bigint) => void): void {
    change(++this.#now)
    this.onChange(changed)
  }
}

// Clients that ask at a rate of their own, whether answers come or not: an open loop. What one waits for counts from the moment at which it
// should have asked, so that a gateway that stands still is seen in all who would have asked meanwhile.

import type { Checker, Signed } from './checker.ts'

/** More are not under way at once: who would ask then is counted as left out. */
const UNDER_WAY_MAX = 2000

export class Paced {
  /** Requests that were not made, since too many were under way. */
  leftOut = 0
  readonly #checker: Checker
  readonly #signed: Signed
  readonly #perSecond: number
  readonly #underWay = new Set<Promise<void>>()
  #waitedMs: number[] = []
  #count = 0
  #nextMs = performance.now()
  #timer: NodeJS.Timeout | undefined

  /** Asks from now on, at moments that chance has chosen. @param perSecond on average */
  constructor(checker: Checker, signed: Signed, perSecond: number) {
    this.#checker = checker
    this.#signed = signed
    this.#perSecond = perSecond
    this.#wait()
  }

  /** How long the 99th of 100 waited for the whole answer, of those that were answered since this was last asked, in milliseconds. */
  takeP99(): number {
    const sorted = this.#waitedMs.toSorted((one, other) => one - other)
    this.#waitedMs = []
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    await Promise.all(this.#underWay)
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#askDue(), Math.max(0, this.#nextMs - performance.now()))
  }

  #askDue(): void {
    for (; this.#nextMs <= performance.now(); this.#nextMs += (-Math.log(1 - Math.random()) / this.#perSecond) * 1000) {
      if (this.#underWay.size >= UNDER_WAY_MAX) this.leftOut++
      else {
        const asked = this.#ask(this.#nextMs).finally(() => this.#underWay.delete(asked))
        this.#underWay.add(asked)
      }
    }
    this.#wait()
  }

  async #ask(dueMs: number): Promise<void> {
    const outcome = await this.#checker.ask(this.#signed, this.#count++ % 3 === 0)
    this.#checker.tally[outcome]++
    this.#waitedMs.push(performance.now() - dueMs)
  }
}

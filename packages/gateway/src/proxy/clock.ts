// The data plane's coarse clock and its sweep: no connection has a timer of its own.

import { performance } from 'node:perf_hooks'

/** Coarse monotonic time. */
export interface Clock {
  /** Milliseconds, as of the last tick, or now where ticks are rare. */
  readonly nowMs: number
}

/** When something has to be looked at again: at each tick, now and then, or not at all. */
export type NextSweep = 'soon' | 'later' | 'never'

/** How often the clock ticks, in milliseconds: how late a timeout may be noticed. */
export interface Ticks {
  readonly soonMs: number
  readonly laterMs: number
}

/**
 * A clock that ticks while there is something to sweep, and calls `sweep` at each tick. An idle process hardly wakes up for it, and not at
 * all when it has no connections.
 */
export class SweepClock implements Clock {
  #ticks: Ticks
  readonly #sweep: () => NextSweep
  readonly #ticked: (lateMs: number) => void
  #tickedMs = 0
  #timer: NodeJS.Timeout | undefined
  #next: NextSweep = 'never'
  #isClosed = false

  /**
   * @param sweep looks at what may have timed out, and says when to look again
   * @param ticked told at each tick of a clock that ticks often how late it is: that is what the event loop did meanwhile
   */
  constructor(ticks: Ticks, sweep: () => NextSweep, ticked: (lateMs: number) => void = () => {}) {
    this.#ticks = ticks
    this.#sweep = sweep
    this.#ticked = ticked
  }

  get ticks(): Ticks {
    return this.#ticks
  }

  /** Ticks otherwise from now on. */
  setTicks(ticks: Ticks): void {
    this.#ticks = ticks
    if (!this.#isClosed) this.#arm(this.#next)
  }

  get nowMs(): number {
    return this.#next === 'soon' ? this.#tickedMs : performance.now()
  }

  /** There is something to sweep soon. */
  wake(): void {
    if (this.#next === 'soon' || this.#isClosed) return
    this.#tickedMs = performance.now()
    this.#arm('soon')
  }

  #tick(): void {
    const beforeMs = this.#tickedMs
    this.#tickedMs = performance.now()
    if (this.#next === 'soon') this.#ticked(Math.max(0, this.#tickedMs - beforeMs - this.ticks.soonMs))
    const next = this.#sweep()
    if (next !== this.#next && !this.#isClosed) this.#arm(next)
  }

  #arm(next: NextSweep): void {
    clearInterval(this.#timer)
    this.#next = next
    if (next === 'never') return
    const { soonMs, laterMs } = this.ticks
    this.#timer = setInterval(() => this.#tick(), next === 'soon' ? soonMs : laterMs).unref()
  }

  close(): void {
    this.#arm('never')
    this.#isClosed = true
  }
}

// The data plane's coarse clock and its sweep: no connection has a timer of its own.

/** Coarse monotonic time. */
export interface Clock {
  /** Milliseconds, as of the last tick. */
  readonly nowMs: number
}

/** A clock that ticks while there is something to sweep, and calls `sweep` at each tick. An idle process does not wake up for it. */
export class SweepClock implements Clock {
  readonly tickMs: number
  readonly #sweep: () => boolean
  #tickedMs = 0
  /** Null while it rests. */
  #timer: NodeJS.Timeout | null = null
  #isClosed = false

  /**
   * @param tickMs how late a timeout may be noticed
   * @param sweep looks at what may have timed out; says whether something is left to look at
   */
  constructor(tickMs: number, sweep: () => boolean) {
    this.tickMs = tickMs
    this.#sweep = sweep
  }

  get nowMs(): number {
    return this.#timer === null ? performance.now() : this.#tickedMs
  }

  /** There is something to sweep. */
  wake(): void {
    if (this.#timer !== null || this.#isClosed) return
    this.#tickedMs = performance.now()
    this.#timer = setInterval(() => this.#tick(), this.tickMs).unref()
  }

  #tick(): void {
    this.#tickedMs = performance.now()
    if (!this.#sweep()) this.#rest()
  }

  #rest(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  close(): void {
    this.#isClosed = true
    this.#rest()
  }
}

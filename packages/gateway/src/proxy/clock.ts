// The data plane's coarse clock and its sweep: no connection has a timer of its own.

/** Coarse monotonic time. */
export interface Clock {
  /** Milliseconds, as of the last tick. */
  readonly nowMs: number
}

/** A clock that ticks, and calls `sweep` at each tick. */
export class SweepClock implements Clock {
  nowMs: number = performance.now()
  readonly tickMs: number
  readonly #timer: NodeJS.Timeout

  /** @param tickMs how late a timeout may be noticed */
  constructor(tickMs: number, sweep: () => void) {
    this.tickMs = tickMs
    this.#timer = setInterval(() => {
      this.nowMs = performance.now()
      sweep()
    }, tickMs)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

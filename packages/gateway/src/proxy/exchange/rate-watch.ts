// Whether a peer keeps up with a least rate, while it is its turn.

/** Over how long a rate is measured, in milliseconds, so that a pause of a few seconds is none. */
const WINDOW_MS = 10_000

/** See the head of this file. */
export class RateWatch {
  #sinceMs = Number.NaN
  #moved = 0

  /** Whether something is being measured. */
  get isRunning(): boolean {
    return !Number.isNaN(this.#sinceMs)
  }

  /** It is not the peer's turn, or there is nothing to measure. */
  reset(): void {
    this.#sinceMs = Number.NaN
  }

  /**
   * @param moved how many bytes the peer has sent or taken in all
   * @param minRate bytes a second; 0: any
   * @returns whether it was slower than that since the last window
   */
  isTooSlow(nowMs: number, moved: number, minRate: number): boolean {
    if (minRate === 0) return false
    const elapsedMs = nowMs - this.#sinceMs
    if (elapsedMs < WINDOW_MS) return false
    const isSlow = (moved - this.#moved) * 1000 < minRate * elapsedMs
    this.#sinceMs = nowMs
    this.#moved = moved
    return isSlow
  }
}

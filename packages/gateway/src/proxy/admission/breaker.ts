// The circuit breaker of one service: whether it is asked at all. Values in, a state out; the clock is the caller's.
//
//   from        to          by
//   CLOSED      OPEN        failed       so many in a row, or so many in a window and half of all that ended in it
//   OPEN        HALF_OPEN   admits       the pause is over: one request tries, and nobody else
//   HALF_OPEN   CLOSED      answered     it had an answer
//   HALF_OPEN   OPEN        failed       it had none
//   HALF_OPEN   OPEN        gaveUp       nothing is known of it: the next may try at once
//   any         CLOSED      (forgotten)  whoever has it drops it

/** In which failures are compared with answers, in milliseconds. */
const WINDOW_MS = 10_000
/** How far apart two failures in a row can be. */
const RUN_MS = 900_000

const STATE = { CLOSED: 0, OPEN: 1, HALF_OPEN: 2 } as const
type State = (typeof STATE)[keyof typeof STATE]

/** See the head of this file. */
export class Breaker {
  #state: State = STATE.CLOSED
  /** Failures in a row. */
  #run = 0
  /** Of the window that began at `#windowMs`. */
  #failures = 0
  #answers = 0
  #windowMs = 0
  /** When it failed last. */
  #failedMs = 0
  /** When one may try. */
  #tryMs = 0

  get isClosed(): boolean {
    return this.#state === STATE.CLOSED
  }

  /** Whether it knows of nothing that matters. */
  isForgettable(nowMs: number): boolean {
    return this.isClosed && nowMs - this.#failedMs > (this.#run === 0 ? WINDOW_MS : RUN_MS)
  }

  /** In how many milliseconds one may try; 0 when it may now. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#tryMs - nowMs)
  }

  /** Whether one that is open lets a request try the service, which has to end by one of the below. */
  admits(nowMs: number): boolean {
    if (this.#state !== STATE.OPEN || nowMs < this.#tryMs) return false
    this.#state = STATE.HALF_OPEN
    return true
  }

  /** A request had an answer. @returns whether that closes it */
  answered(isTry: boolean): boolean {
    this.#run = 0
    this.#answers++
    if (!isTry || this.#state !== STATE.HALF_OPEN) return false
    this.#state = STATE.CLOSED
    return true
  }

  /** One had none. @param failuresMax after how many it opens. @returns whether it opens */
  failed(isTry: boolean, failuresMax: number, pauseMs: number, nowMs: number): boolean {
    // What was under way when it opened says nothing new.
    if (this.#state === STATE.OPEN || (this.#state === STATE.HALF_OPEN && !isTry)) return false
    if (nowMs - this.#failedMs > RUN_MS) this.#run = 0
    this.#failedMs = nowMs
    if (nowMs - this.#windowMs > WINDOW_MS) {
      this.#windowMs = nowMs
      this.#failures = 0
      this.#answers = 0
    }
    this.#run++
    this.#failures++
    const areHalf = this.#failures >= failuresMax && this.#failures >= this.#answers
    if (!isTry && this.#run < failuresMax && !areHalf) return false
    this.#state = STATE.OPEN
    this.#tryMs = nowMs + pauseMs
    this.#run = 0
    this.#windowMs = Number.NEGATIVE_INFINITY
    return true
  }

  /** The request that tried it has ended, and says nothing of the service. */
  gaveUp(): void {
    if (this.#state === STATE.HALF_OPEN) this.#state = STATE.OPEN
  }
}

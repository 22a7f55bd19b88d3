// The circuit breaker of one service: whether it is asked at all. Values in, a state out; the clock is the caller's.
//
//   from        to          by
//   CLOSED      OPEN        failed       so many in a row, or so many in a window and half of all that ended in it
//   OPEN        HALF_OPEN   admits       the pause is over: one request tries, and nobody else
//   HALF_OPEN   HALF_OPEN   admits       that has taken as long as a pause: another one tries as well
//   HALF_OPEN   CLOSED      answered     it had an answer
//   HALF_OPEN   OPEN        failed       it had none
//   HALF_OPEN   OPEN        gaveUp       nothing is known of it: the next may try at once
//   any         CLOSED      (forgotten)  whoever has it drops it
//
// One user alone does not close a service to others: where others have asked it in the window, failures of one user open nothing; and
// whose try failed tries again only when nobody else has been turned away meanwhile, or did not come back.

/** In which failures are compared with answers, in milliseconds. */
const WINDOW_MS = 10_000
/** How far apart two failures in a row can be. */
const RUN_MS = 900_000

const STATE = { CLOSED: 0, OPEN: 1, HALF_OPEN: 2 } as const
type State = (typeof STATE)[keyof typeof STATE]

/** Whether users are several, of which the first is kept. */
class Users {
  #first: string | null = null
  areMany = false

  add(user: string): void {
    this.#first ??= user
    this.areMany ||= user !== this.#first
  }
}

/** See the head of this file. */
export class Breaker {
  #state: State = STATE.CLOSED
  /** Failures in a row. */
  #run = 0
  /** Of the window that began at `#windowMs`. */
  #failures = 0
  #answers = 0
  #windowMs = 0
  /** Whose requests failed, and who asked at all, in that window or in the run that lasts longer. */
  #failing = new Users()
  #asking = new Users()
  /** When it failed last. */
  #failedMs = 0
  /** When one may try. */
  #tryMs = 0
  /** Who tried last, and whether somebody else has been turned away since. */
  #tryUser: string | null = null
  #isOthersTurn = false

  get isClosed(): boolean {
    return this.#state === STATE.CLOSED
  }

  /** Whether it knows of nothing that matters. */
  isForgettable(nowMs: number): boolean {
    return this.isClosed && nowMs - this.#failedMs > (this.#run === 0 ? WINDOW_MS : RUN_MS)
  }

  /** In how many milliseconds one may try; 0 when it may now. */
  waitMs(nowMs: number): number {
    // A sum of fractions less one of them is a little more than the other.
    return Math.max(0, Math.round(this.#tryMs - nowMs))
  }

  /** Whether one that is open lets a request of `user` try the service, which has to end by one of the below. */
  admits(user: string, pauseMs: number, nowMs: number): boolean {
    if (this.isClosed) return false
    const isOther = user !== this.#tryUser
    if (nowMs < this.#tryMs) {
      if (isOther) this.#isOthersTurn = true
      return false
    }
    if (!isOther && this.#isOthersTurn && nowMs < this.#tryMs + pauseMs) return false
    this.#state = STATE.HALF_OPEN
    this.#tryMs = nowMs + pauseMs
    this.#tryUser = user
    this.#isOthersTurn = false
    return true
  }

  /** A request of `user` had an answer. @returns whether that closes it */
  answered(isTry: boolean, user: string): boolean {
    this.#run = 0
    this.#answers++
    this.#asking.add(user)
    if (!isTry || this.#state !== STATE.HALF_OPEN) return false
    this.#state = STATE.CLOSED
    this.#tryUser = null
    return true
  }

  /** One had none. @param failuresMax after how many it opens. @returns whether it opens */
  failed(isTry: boolean, user: string, failuresMax: number, pauseMs: number, nowMs: number): boolean {
    // What was under way when it opened says nothing new.
    if (this.#state === STATE.OPEN || (this.#state === STATE.HALF_OPEN && !isTry)) return false
    if (nowMs - this.#failedMs > RUN_MS) this.#run = 0
    this.#failedMs = nowMs
    if (nowMs - this.#windowMs > WINDOW_MS) this.#begin(nowMs)
    this.#failing.add(user)
    this.#asking.add(user)
    this.#run++
    this.#failures++
    if (!isTry && !this.#hasFailed(failuresMax)) return false
    this.#state = STATE.OPEN
    this.#tryMs = nowMs + pauseMs
    this.#run = 0
    this.#windowMs = Number.NEGATIVE_INFINITY
    return true
  }

  #begin(nowMs: number): void {
    this.#windowMs = nowMs
    this.#failures = 0
    this.#answers = 0
    this.#failing = new Users()
    this.#asking = new Users()
  }

  #hasFailed(failuresMax: number): boolean {
    if (this.#asking.areMany && !this.#failing.areMany) return false
    return this.#run >= failuresMax || (this.#failures >= failuresMax && this.#failures >= this.#answers)
  }

  /** The request that tried it has ended, and says nothing of the service. */
  gaveUp(): void {
    if (this.#state !== STATE.HALF_OPEN) return
    this.#state = STATE.OPEN
    this.#tryMs = 0
  }
}

// Lets a few through at once; the others wait in order, and not for long.

import { AuthorityUnavailableError } from '../authority.ts'

/** See the head of this file. */
export class Gate {
  readonly #runningMax: number
  readonly #waitingMax: number
  readonly #waitMsMax: number
  #running = 0
  /** Who waits, in order. */
  readonly #waiting = new Set<() => void>()

  constructor(runningMax: number, waitingMax: number, waitMsMax: number) {
    this.#runningMax = runningMax
    this.#waitingMax = waitingMax
    this.#waitMsMax = waitMsMax
  }

  /** Runs `job` when it is its turn. @throws {AuthorityUnavailableError} when that would be too late */
  async run<T>(job: () => Promise<T>): Promise<T> {
    if (this.#running < this.#runningMax) this.#running += 1
    else await this.#turn()
    try {
      return await job()
    } finally {
      this.#pass()
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.size >= this.#waitingMax) {
      return Promise.reject(
        new AuthorityUnavailableError(`ask xapi: ${this.#waitingMax} questions are waiting already`),
      )
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#waiting.delete(go)
      reject(new AuthorityUnavailableError(`ask xapi: a question has waited for ${this.#waitMsMax} ms`))
    }, this.#waitMsMax)
    const go = (): void => {
      clearTimeout(timer)
      resolve()
    }
    this.#waiting.add(go)
    return promise
  }

  /** Hands the place to who waits longest, or frees it. */
  #pass(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next)
      next()
      return
    }
    this.#running -= 1
  }
}

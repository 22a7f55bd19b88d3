// Bounds password hashing: each hash takes 19 MiB and some 30 ms of a thread that files and name look-ups share.

import { AccountError } from './errors.ts'

/** Hashes at once. libuv has four threads; two stay free for everything else. */
const RUNNING_MAX = 2

/** Hashes that wait: about four seconds' worth. */
const WAITING_MAX = 256

/** Runs jobs in order, a few at a time. */
export class HashQueue {
  #running = 0
  readonly #waiting: (() => void)[] = []

  /**
   * Runs `job` when it is its turn, and answers what it answers.
   *
   * @throws {AccountError} `BUSY` when the queue is full.
   */
  async run<T>(job: () => Promise<T>): Promise<T> {
    if (this.#running < RUNNING_MAX) this.#running += 1
    else await this.#turn()
    try {
      return await job()
    } finally {
      this.#pass()
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= WAITING_MAX) {
      const text = `check password: ${WAITING_MAX} checks are waiting already; try again in a second`
      return Promise.reject(new AccountError('BUSY', text))
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  /** Hands the place to the next job, or frees it. */
  #pass(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running -= 1
    else next()
  }
}

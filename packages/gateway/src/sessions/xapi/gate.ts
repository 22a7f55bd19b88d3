// Lets a few through at once; the others wait, not for long, and take turns by the addresses of their clients.

import { addressKey } from '../address-key.ts'
import { AuthorityUnavailableError } from '../authority.ts'
import { Shares } from '../shares.ts'

/** See the head of this file. */
export class Gate {
  readonly #runningMax: number
  readonly #waitMsMax: number
  readonly #shares: Shares
  #running = 0
  /** Who waits, in order, by address; the address whose turn is next comes first. */
  readonly #waiting = new Map<string, Set<() => void>>()

  constructor(runningMax: number, waitingMax: number, waitMsMax: number) {
    this.#runningMax = runningMax
    this.#shares = new Shares(waitingMax)
    this.#waitMsMax = waitMsMax
  }

  /**
   * Runs `job` when it is its turn.
   * @param clientAddress whose job it is
   * @throws {AuthorityUnavailableError} when that would be too late
   */
  async run<T>(clientAddress: string, job: () => Promise<T>): Promise<T> {
    if (this.#running < this.#runningMax) this.#running += 1
    else await this.#turn(clientAddress)
    try {
      return await job()
    } finally {
      this.#pass()
    }
  }

  async #turn(clientAddress: string): Promise<void> {
    if (!this.#shares.take(clientAddress)) {
      throw new AuthorityUnavailableError('ask xapi: too many questions are waiting already')
    }
    const key = addressKey(clientAddress) ?? ''
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const same = this.#waiting.get(key) ?? new Set()
    this.#waiting.set(key, same.add(resolve))
    const timer = setTimeout(() => {
      same.delete(resolve)
      if (same.size === 0 && this.#waiting.get(key) === same) this.#waiting.delete(key)
      reject(new AuthorityUnavailableError(`ask xapi: a question has waited for ${this.#waitMsMax} ms`))
    }, this.#waitMsMax)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      this.#shares.give(clientAddress)
    }
  }

  /** Hands the place to who waits longest at the address whose turn it is, or frees it. */
  #pass(): void {
    for (const [key, same] of this.#waiting) {
      this.#waiting.delete(key)
      for (const next of same) {
        same.delete(next)
        if (same.size > 0) this.#waiting.set(key, same)
        next()
        return
      }
    }
    this.#running -= 1
  }
}

// Clients that ask while a daemon is stopped and started.

import { exchange } from '../harness/raw.ts'
import { until } from '../harness/deadline.ts'

const CLIENTS = 4

/** Asks without a pause until it is stopped, each time on a connection of its own, and notes what became of it. */
export class Load {
  answered = 0
  /** Connections that were not taken: refused, or reset before their request came to the service. */
  refused = 0
  /** What should not be: other answers, and requests that the service got but the client has no answer to. */
  readonly lost: string[] = []
  #isOn = true
  readonly #done: Promise<unknown>

  /**
   * @param request the request whose target ends in this number
   * @param hasReached whether the service got the request with this number
   */
  constructor(url: string, request: (number: number) => string, hasReached: (number: number) => boolean) {
    let count = 0
    const client = async (): Promise<void> => {
      while (this.#isOn) {
        const number = (count += 1)
        await this.#ask(url, request(number), () => hasReached(number))
      }
    }
    this.#done = Promise.all(Array.from({ length: CLIENTS }, () => client()))
  }

  async #ask(url: string, request: string, hasReached: () => boolean): Promise<void> {
    try {
      const { status, text } = await exchange(url, request)
      if (status === 200) this.answered += 1
      else this.lost.push(`${status} ${text}`)
    } catch (error) {
      if (hasReached()) this.lost.push(`reached the service, and got no answer: ${String(error)}`)
      else this.refused += 1
    }
  }

  /** Waits for `count` more answers. */
  async more(count: number): Promise<void> {
    const least = this.answered + count
    await until(() => this.answered >= least, `${count} more answers; ${this.lost.join('; ')}`)
  }

  async stop(): Promise<void> {
    this.#isOn = false
    await this.#done
  }
}

// What the primary asks workers, and how it waits for what they say: those that are gone, or do not answer, are left out.

import type { EndedRequest } from '../../proxy/recent.ts'
import type { ConnectionRecord } from '../../proxy/records.ts'
import type { Session } from '../../model/session.ts'

/** What is asked. */
export interface Question<Kind extends keyof Told = keyof Told> {
  readonly kind: Kind
  /** Of the request, of the connection or channel that is to be ended, or the name of the service; empty for what takes none. */
  readonly id: string
}

/** A session that a worker knows. */
export interface KnownSession {
  readonly session: Session
  /** MD5 of its id, by which xapi's logs name it. */
  readonly trackId: string
  /** When it was used last, in milliseconds since the epoch. */
  readonly usedMs: number
}

/** What a worker says, by kind of the question. */
export interface Told {
  readonly connections: readonly ConnectionRecord[]
  readonly refusals: readonly EndedRequest[]
  readonly sessions: readonly KnownSession[]
  /** Null when it does not know the request. */
  readonly request: EndedRequest | null
  /** Ends a connection or a channel. Whether there was one. */
  readonly end: boolean
  /** Closes the breaker of a service. Whether it was open. */
  readonly 'close-breaker': boolean
}

/** How long a worker may take. */
const ANSWER_MS = 2000

/** Answers that are awaited of one worker. */
export class Answers {
  readonly #waiting = new Map<number, (told: unknown) => void>()
  #asked = 0

  /** Asks by `ask`. Resolves with what is told, or with undefined when nothing is. */
  async of<Kind extends keyof Told>(
    _asked: Question<Kind>,
    ask: (question: number) => void,
  ): Promise<Told[Kind] | undefined> {
    const question = this.#asked++
    const { promise, resolve } = Promise.withResolvers<unknown>()
    this.#waiting.set(question, resolve)
    const timer = setTimeout(resolve, ANSWER_MS, undefined)
    ask(question)
    try {
      return (await promise) as Told[Kind] | undefined
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(question)
    }
  }

  told(question: number, told: unknown): void {
    this.#waiting.get(question)?.(told)
  }

  /** Nobody answers any more. */
  end(): void {
    for (const resolve of this.#waiting.values()) resolve(undefined)
  }
}

// Between the authority and the workers: questions one way, endings the other, and neither overtakes the other.

import {
  AuthorityUnavailableError,
  type EndedListener,
  type ForgottenListener,
  type SessionAuthority,
} from '../sessions/authority.ts'
import type { Session } from '../model/session.ts'

/** Answers workers' questions about sessions. */
export class SessionBroker {
  readonly #authority: SessionAuthority
  readonly #unavailable: (error: AuthorityUnavailableError) => void
  /** For each question under way: the sessions that ended since it was asked. */
  readonly #endedSince = new Set<Set<string>>()

  /**
   * @param broadcast tells every worker that sessions ended; resolves when each has confirmed
   * @param forget tells every worker to ask about sessions again
   * @param unavailable told why nobody can tell, each time
   */
  constructor(
    authority: SessionAuthority,
    broadcast: EndedListener,
    forget: ForgottenListener,
    unavailable: (error: AuthorityUnavailableError) => void,
  ) {
    this.#authority = authority
    this.#unavailable = unavailable
    authority.onEnded((uuids) => {
      this.note(uuids)
      return broadcast(uuids)
    })
    authority.onForgotten(forget)
  }

  /** Sessions have ended, as somebody else has heard: no question that is under way is answered with one of them. */
  note(uuids: readonly string[]): void {
    for (const ended of this.#endedSince) for (const uuid of uuids) ended.add(uuid)
  }

  /** For how long the authority may not have heard of endings, in milliseconds. */
  get stalenessMs(): number {
    return this.#authority.stalenessMs
  }

  /** Takes activity of sessions. */
  touch(uuids: readonly string[]): void {
    this.#authority.touch(uuids)
  }

  /** Takes sessions that something lives under. */
  held(uuids: readonly string[]): void {
    this.#authority.held(uuids)
  }

  /** The session with this id; null when there is none, `unavailable` when nobody can tell. */
  async find(id: string, clientAddress: string): Promise<Session | null | 'unavailable'> {
    const ended = new Set<string>()
    this.#endedSince.add(ended)
    try {
      const session = await this.#authority.find(id, clientAddress)
      // The authority may have found it just before it ended, and the news of that may be out already.
      return session === undefined || ended.has(session.uuid) ? null : session
    } catch (error) {
      if (!(error instanceof AuthorityUnavailableError)) throw error
      this.#unavailable(error)
      return 'unavailable'
    } finally {
      this.#endedSince.delete(ended)
    }
  }
}

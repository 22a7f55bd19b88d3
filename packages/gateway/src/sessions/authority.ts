// What judges sessions. One authority is in force, in the primary process; workers keep what it said in a table.

import type { Session } from '../model/session.ts'

/**
 * Judge of session ids.
 *
 * - `find` is asked once for each id that a worker has not seen, and counts as activity of the session. It answers
 *   `undefined` for an id that names no live session, and rejects with `AuthorityUnavailableError` when it cannot tell.
 * - What `find` answered stays true until the session's uuid is given to a listener: `onEnded` when the session is over,
 *   `onForgotten` when the authority stops vouching for it. How late an ending is told is each authority's own promise.
 * - `touch` reports activity; it may be late by a few seconds and is never awaited by a request.
 * - `held` reports sessions that something lives under: channels, tunnels, transfers. It is said again and again, and is no
 *   activity. Who is not told of endings asks about them as about those in use, and has told of what it does not know.
 * - `start` begins expiry and background work; `close` ends both, after which every method rejects or does nothing.
 */
export interface SessionAuthority {
  start(hasPredecessor?: boolean): void
  /** @param clientAddress who asks, so that one client's guesses do not take the turns of others; empty when nobody can tell */
  find(id: string, clientAddress?: string): Promise<Session | undefined>
  touch(uuids: readonly string[]): void
  held(uuids: readonly string[]): void
  /** The one listener for endings. An ending is complete (a logout answered) when the listener's promise resolves. */
  onEnded(listener: EndedListener): void
  /** The one listener for sessions that may or may not be over: who has them has to ask again before admitting them. */
  onForgotten(listener: ForgottenListener): void
  /**
   * For how long, in milliseconds, endings may not have been heard of: 0 while the authority is sure to hear of all.
   * Workers trust what they know until this is more than `stale-grace`.
   */
  readonly stalenessMs: number
  close(): Promise<void>
}

/** Told which sessions ended, by uuid; resolves when no worker admits them any more. */
export type EndedListener = (uuids: readonly string[]) => Promise<void>

/** Why sessions are to be asked about again: nobody used them, and what lives under them goes on; or nobody can tell, and it ends. */
export type Forgetting = 'unused' | 'doubtful'

/** Told which sessions to ask about again before admitting them, by uuid. */
export type ForgottenListener = (uuids: readonly string[], why: Forgetting) => void

/** The authority cannot tell whether a session is valid: the request gets 503, never admission. */
export class AuthorityUnavailableError extends Error {
  override readonly name = 'AuthorityUnavailableError'
  /** What to tell the client, when there is more to say than that nobody can tell. */
  readonly clientText: string | null

  constructor(message: string, options: ErrorOptions & { readonly clientText?: string | null } = {}) {
    super(message, options)
    this.clientText = options.clientText ?? null
  }
}

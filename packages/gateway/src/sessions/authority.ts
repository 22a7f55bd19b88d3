// What judges sessions. One authority is in force, in the primary process; workers keep what it said in a table.

import type { Session } from './session.ts'

/**
 * Judge of session ids.
 *
 * - `find` is asked once for each id that a worker has not seen, and counts as activity of the session. It answers
 *   `undefined` for an id that names no live session, and rejects with `AuthorityUnavailableError` when it cannot tell.
 * - What `find` answered stays true until the session's uuid is given to the `onEnded` listener.
 * - `touch` reports activity; it may be late by a few seconds and is never awaited by a request.
 * - `start` begins expiry and background work; `close` ends both, after which every method rejects or does nothing.
 */
export interface SessionAuthority {
  start(): void
  find(id: string): Promise<Session | undefined>
  touch(uuids: readonly string[]): void
  /** The one listener for endings. An ending is complete (a logout answered) when the listener's promise resolves. */
  onEnded(listener: EndedListener): void
  close(): void
}

/** Told which sessions ended, by uuid; resolves when no worker admits them any more. */
export type EndedListener = (uuids: readonly string[]) => Promise<void>

/** The authority cannot tell whether a session is valid: the request gets 503, never admission. */
export class AuthorityUnavailableError extends Error {
  override readonly name = 'AuthorityUnavailableError'
}

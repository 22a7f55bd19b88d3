// What the XenAPI needs of a session authority, beyond judging session ids. The embedded authority is one.

import type { SessionAuthority } from '../sessions/authority.ts'
import type { Credentials, SignedIn } from '../sessions/embedded/authority.ts'
import type { SessionRecord } from '../sessions/embedded/session-rows.ts'

/**
 * An authority that has users of its own and can sign them in.
 *
 * Every method rejects with `AuthorityUnavailableError` when it cannot tell, and those that check a password with
 * `AccountError`. What ends sessions resolves when no worker admits them any more.
 */
export interface SignInAuthority extends Pick<SessionAuthority, 'find'> {
  login(credentials: Credentials): Promise<SignedIn>
  /** Ends a session; answers whether there was one. */
  logout(id: string): Promise<boolean>
  /** Ends the sessions of a subject but one; answers how many. */
  logoutSubject(identifier: string, exceptUuid: string): Promise<number>
  /** The record of a live session, without touching it. */
  record(id: string): Promise<SessionRecord | undefined>
  /** Subjects that have sessions, each once. */
  subjectIdentifiers(): Promise<string[]>
  changePassword(user: string, oldPassword: string, newPassword: string, clientAddress: string): Promise<void>
  /** Calls `ended` once if a session ends; answers what stops that. */
  watch(uuid: string, ended: () => void): () => void
}

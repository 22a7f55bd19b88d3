// What an authority that has users of its own does beyond judging session ids: the XenAPI's methods call it.

import type { SessionAuthority } from '../authority.ts'
import type { Session } from '../../model/session.ts'
import { AccountError } from './errors.ts'
import type { HeldUp } from './throttle.ts'

/** Rules that the operator sets. */
export interface SessionRules {
  /** A session unused for this long ends. */
  readonly idleTimeoutMs: number
  /** Sessions of one user at once; past it the least recently active end. */
  readonly maxPerUser: number
  /**
   * Sessions of one originator at once, of all users; the empty originator counts as one. Past it end those of the user who
   * signs in, and if there are none the user's who has most there; never a local superuser's for somebody else.
   */
  readonly maxPerOriginator: number
}

/** What a client signs in with. */
export interface Credentials {
  readonly user: string
  readonly password: string
  /** 0 to 255 characters, no control characters. */
  readonly originator: string
  /** The client's IP address; empty for a local socket. */
  readonly clientAddress: string
}

/** A new session: the id goes to the client and nowhere else. */
export interface SignedIn {
  readonly id: string
  readonly session: Session
}

/** A session with what its XenAPI record and `xengate sessions` show beside it. It holds no session id. */
export interface SessionRecord {
  readonly session: Session
  /** The user's uuid: `auth_user_sid` and the subject identifier of the XenAPI. */
  readonly userUuid: string
  /** Address that the client signed in from; empty for a local socket. */
  readonly clientAddress: string
  /** When the user signed in, in ms since 1970. */
  readonly createdMs: number
  /** When the session was last used, in ms since 1970. */
  readonly lastActiveMs: number
}

/**
 * An authority that has users of its own and can sign them in.
 *
 * Every method rejects with `AuthorityUnavailableError` when it cannot tell, and those that check a password with
 * `AccountError`. What ends sessions resolves when no worker of this gateway admits them any more.
 */
export interface SignInAuthority extends Pick<SessionAuthority, 'find'> {
  /**
   * Signs a user in.
   *
   * Ends the least recently active sessions beyond the limits; the listener has been told, not waited for.
   *
   * @throws {AccountError} `SIGN_IN_REFUSED` (with a text for the user), `ORIGINATOR_INVALID`, `BUSY`.
   */
  login(credentials: Credentials): Promise<SignedIn>
  /** Ends a session; answers whether there was one. */
  logout(id: string): Promise<boolean>
  /** Ends the sessions of a subject but one, and never a local superuser's, as in xapi; answers how many. */
  logoutSubject(identifier: string, exceptUuid: string): Promise<number>
  /** The record of a live session, without touching it. */
  record(id: string): Promise<SessionRecord | undefined>
  /** Sessions of every gateway that shares them: those used last. @param max how many; default: all */
  records(max?: number): Promise<SessionRecord[]>
  /** The record of the session with this uuid. */
  recordOf(uuid: string): Promise<SessionRecord | undefined>
  /** How many there are. */
  count(): Promise<number>
  /** Ends sessions, whoever's; answers how many of these there were. */
  endSessions(uuids: readonly string[]): Promise<number>
  /** Identifiers of the subjects that have sessions, each once; a local superuser is no subject. */
  subjectIdentifiers(): Promise<string[]>
  /**
   * Gives a user another password, if the old one is right. Guessing is throttled like signing in.
   *
   * @throws {AccountError} `SIGN_IN_REFUSED`, `PASSWORD_INVALID`, `USER_UNKNOWN`, `BUSY`.
   */
  changePassword(user: string, oldPassword: string, newPassword: string, clientAddress: string): Promise<void>
  /** Who cannot sign in now, or only by turns, because of wrong passwords; and has it forgotten. */
  heldUp(): HeldUp[]
  clearHeldUp(whose: { readonly name?: string; readonly address?: string }): void
  /** Calls `ended` once if a session ends; answers what stops that, which the caller must call. */
  watch(uuid: string, ended: () => void): () => void
}

const ORIGINATOR_CHARACTERS_MAX = 255

/** @throws {AccountError} `ORIGINATOR_INVALID` for an originator that could not be passed on to a service */
export function checkOriginator(originator: string): void {
  if (originator.length <= ORIGINATOR_CHARACTERS_MAX && originator.isWellFormed() && !/\p{Cc}/u.test(originator)) return
  const text = `sign in: an originator has at most ${ORIGINATOR_CHARACTERS_MAX} characters and no control characters`
  throw new AccountError('ORIGINATOR_INVALID', text)
}

// The embedded session authority: users and sessions in one SQLite file, and no copy of them in memory.
//
// A session ends by its row being deleted, whoever deletes it and why: logout, idleness, a limit, a removed user, a
// changed role, here or in another process. A trigger notes its uuid in `endings`; the authority takes the notes with
// each deletion of its own, and when it sees that another process has written, and tells the one listener.

import { randomUUID } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

import { AccountError } from '../accounts/errors.ts'
import { PasswordGate, wrongCredentials } from '../accounts/password-gate.ts'
import {
  checkOriginator,
  type Credentials,
  type SessionRecord,
  type SessionRules,
  type SignedIn,
  type SignInAuthority,
} from '../accounts/sign-in.ts'
import { isLocalSuperuser, type UserRecord } from '../accounts/users.ts'
import { Watchers } from '../accounts/watchers.ts'
import { AuthorityUnavailableError, type EndedListener, type SessionAuthority } from '../authority.ts'
import type { Session } from '../session.ts'
import { ActivityWriter } from './activity.ts'
import { integerOf, transaction } from './database.ts'
import { SessionRows } from './session-rows.ts'
import { UserStore } from './users.ts'

/** How often other processes' writes are looked for; one look takes a few microseconds. */
const WATCH_INTERVAL_MS = 100

const SWEEP_INTERVAL_MS_MIN = 100
const SWEEP_INTERVAL_MS_MAX = 30_000

/** What an `EmbeddedAuthority` is built from. */
export interface EmbeddedAuthorityOptions {
  /** From `openDatabase`; stays the caller's, who closes it after the authority. */
  readonly db: DatabaseSync
  readonly settings: SessionRules
  /** Wall clock, ms since 1970: what it gave is stored and compared after a restart. */
  readonly clock: () => number
  /** Given failures of background work. Default: a warning of the process. */
  readonly report?: (error: unknown) => void
}

/** Sessions in SQLite. See `SessionAuthority` and `SignInAuthority` for what is not described here. */
export class EmbeddedAuthority implements SessionAuthority, SignInAuthority {
  /** Every ending is this process's own, or seen within `WATCH_INTERVAL_MS`. */
  readonly deafMs = 0
  readonly users: UserStore
  readonly #db: DatabaseSync
  readonly #rows: SessionRows
  readonly #activity: ActivityWriter
  readonly #passwords: PasswordGate
  readonly #clock: () => number
  readonly #report: (error: unknown) => void
  readonly #watchers = new Watchers()
  #settings: SessionRules
  #listener: EndedListener = () => Promise.resolve()
  #timers: NodeJS.Timeout[] = []
  #started = false
  #closed = false
  /** SQLite's counter of other connections' commits, as last seen. */
  #dataVersion = 0

  constructor({ db, settings, clock, report = warn }: EmbeddedAuthorityOptions) {
    this.users = new UserStore(db)
    this.#db = db
    this.#rows = new SessionRows(db)
    this.#activity = new ActivityWriter(db, this.#rows)
    this.#passwords = new PasswordGate(this.users, clock)
    this.#clock = clock
    this.#report = report
    this.#settings = settings
  }

  /** Begins expiry, and watching for what other processes do. Endings from before are nobody's: no worker knew them. */
  start(): void {
    if (this.#started || this.#closed) return
    this.#started = true
    this.#dataVersion = this.#readDataVersion()
    this.#rows.takeEndings()
    this.#arm()
  }

  /** Replaces the rules, from now on: lower limits apply at the next sign-in, a shorter idle time at the next sweep. */
  configure(settings: SessionRules): void {
    this.#settings = settings
    if (this.#started && !this.#closed) this.#arm()
  }

  onEnded(listener: EndedListener): void {
    this.#listener = listener
  }

  /** What it says holds until it ends: nothing is ever forgotten. */
  onForgotten(): void {}

  close(): Promise<void> {
    this.#closed = true
    this.#disarm()
    this.#watchers.clear()
    return Promise.resolve()
  }

  async find(id: string): Promise<Session | undefined> {
    return this.#ask(() => {
      const found = this.#live(id)
      if (found !== undefined) this.touch([found.session.uuid])
      return found?.session
    })
  }

  /**
   * The record of a live session. Unlike `find`, it is no activity of the session.
   *
   * @throws {AuthorityUnavailableError}
   */
  async record(id: string): Promise<SessionRecord | undefined> {
    return this.#ask(() => this.#live(id))
  }

  /** Records of all sessions, oldest first. @throws {AuthorityUnavailableError} */
  async records(): Promise<SessionRecord[]> {
    return this.#ask(() => this.#rows.all())
  }

  touch(uuids: readonly string[]): void {
    if (this.#closed) return
    this.#activity.note(uuids)
    this.#writeActivity()
  }

  /** Endings are told of every session, held or not. */
  held(): void {}

  /**
   * Signs a user in.
   *
   * Ends the least recently active sessions beyond the limits; the listener has been told, not waited for.
   *
   * @throws {AccountError} `SIGN_IN_REFUSED` (with a text for the user), `ORIGINATOR_INVALID`, `BUSY`.
   * @throws {AuthorityUnavailableError}
   */
  async login({ user, password, originator, clientAddress }: Credentials): Promise<SignedIn> {
    checkOriginator(originator)
    const verified = await this.#check(user, password, clientAddress)
    const [signedIn, uuids] = this.#end(() => this.#open(verified, originator, clientAddress))
    this.#tell(uuids).catch(this.#report)
    return signedIn
  }

  /**
   * Ends the session with this id; resolves when the listener's promise has. Answers whether there was one.
   *
   * @throws {AuthorityUnavailableError} @throws what the listener rejects with: the session is gone here all the same.
   */
  async logout(id: string): Promise<boolean> {
    const [ended, uuids] = this.#end(() => this.#rows.deleteById(id))
    await this.#tell(uuids)
    return ended
  }

  /**
   * Ends the sessions of one subject but the one with `exceptUuid`, and never a local superuser's, as in xapi.
   * Resolves when the listener's promise has. Answers how many there were.
   */
  async logoutSubject(identifier: string, exceptUuid: string): Promise<number> {
    const [ended, uuids] = this.#end(() => {
      const user = this.users.byUuid(identifier)
      return user === undefined || isLocalSuperuser(user) ? 0 : this.#rows.deleteByUser(identifier, exceptUuid)
    })
    await this.#tell(uuids)
    return ended
  }

  /** Identifiers of the subjects that have sessions, each once; a local superuser is no subject. */
  async subjectIdentifiers(): Promise<string[]> {
    const records = await this.records()
    const subjects = records.filter(({ session }) => !session.isLocalSuperuser)
    return [...new Set(subjects.map(({ userUuid }) => userUuid))]
  }

  /**
   * Gives a user another password, if the old one is right. Guessing is throttled like signing in.
   *
   * @throws {AccountError} `SIGN_IN_REFUSED`, `PASSWORD_INVALID`, `USER_UNKNOWN`, `BUSY`.
   */
  async changePassword(user: string, oldPassword: string, newPassword: string, clientAddress: string): Promise<void> {
    const { name } = await this.#check(user, oldPassword, clientAddress)
    await this.users.setPassword(name, newPassword)
  }

  watch(uuid: string, ended: () => void): () => void {
    return this.#watchers.watch(uuid, ended)
  }

  /** Ends what has been idle for too long. A timer calls it; nothing is lost when it is called more often. */
  sweep(): void {
    if (this.#closed) return
    try {
      this.#writeActivity()
      const [, uuids] = this.#end(() => {
        this.#rows.deleteIdle(this.#clock() - this.#settings.idleTimeoutMs)
      })
      this.#tell(uuids).catch(this.#report)
    } catch (error) {
      this.#report(error)
    }
  }

  #arm(): void {
    this.#disarm()
    const sweepMs = Math.min(SWEEP_INTERVAL_MS_MAX, Math.max(SWEEP_INTERVAL_MS_MIN, this.#settings.idleTimeoutMs / 4))
    const sweeping = setInterval(() => {
      this.sweep()
    }, sweepMs)
    const watching = setInterval(() => {
      this.#lookAtOthers()
    }, WATCH_INTERVAL_MS)
    this.#timers = [sweeping.unref(), watching.unref()]
  }

  #disarm(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#timers = []
  }

  /** Finds what other processes have ended. The counter is read before the look, so that nothing falls in between. */
  #lookAtOthers(): void {
    try {
      this.#writeActivity()
      const dataVersion = this.#readDataVersion()
      if (dataVersion === this.#dataVersion) return
      // A look that fails leaves the counter alone, so that the next look is not skipped.
      const uuids = this.#rows.takeEndings()
      this.#dataVersion = dataVersion
      this.#tell(uuids).catch(this.#report)
    } catch (error) {
      this.#report(error)
    }
  }

  #readDataVersion(): number {
    return integerOf(this.#db.prepare('PRAGMA data_version').get() ?? {}, 'data_version')
  }

  #live(id: string): SessionRecord | undefined {
    const record = this.#rows.byId(id)
    if (record === undefined) return undefined
    return this.#clock() - record.lastActiveMs < this.#settings.idleTimeoutMs ? record : undefined
  }

  /** Runs what reads or writes the database, for callers who must tell "no" from "cannot tell". */
  #ask<T>(question: () => T): T {
    if (this.#closed) throw new AuthorityUnavailableError('ask the embedded authority: it is closed')
    try {
      return question()
    } catch (error) {
      if (error instanceof AccountError) throw error
      throw new AuthorityUnavailableError('ask the embedded authority: the database failed', { cause: error })
    }
  }

  /** Runs what deletes sessions, and takes their notes in the same transaction: none is deleted and not told. */
  #end<T>(deletion: () => T): [T, string[]] {
    return this.#ask(() => transaction(this.#db, () => [deletion(), this.#rows.takeEndings()]))
  }

  async #check(user: string, password: string, clientAddress: string): Promise<UserRecord> {
    if (this.#closed) throw new AuthorityUnavailableError('sign in: the embedded authority is closed')
    return this.#passwords.check(user, password, clientAddress)
  }

  /** Runs within a transaction. */
  #open(verified: UserRecord, originator: string, clientAddress: string): SignedIn {
    // Checking the password took a while: the user may be gone, or have another role, by now.
    if (this.users.byUuid(verified.uuid) === undefined) throw wrongCredentials()
    this.#rows.deleteBeyondUser(verified.uuid, this.#settings.maxPerUser - 1)
    this.#rows.deleteBeyondOriginator(originator, this.#settings.maxPerOriginator - 1)
    const id = `OpaqueRef:${randomUUID()}`
    const nowMs = this.#clock()
    this.#rows.insert({ id, uuid: randomUUID(), userUuid: verified.uuid, originator, clientAddress, nowMs })
    const record = this.#rows.byId(id)
    if (record === undefined) throw new TypeError('sign in: the new session is not there')
    return { id, session: record.session }
  }

  #writeActivity(): void {
    const nowMs = this.#clock()
    try {
      this.#activity.write(nowMs, nowMs - this.#settings.idleTimeoutMs)
    } catch (error) {
      this.#report(error)
    }
  }

  /** Tells those who watch, and the listener; resolves when everybody knows. */
  #tell(uuids: readonly string[]): Promise<void> {
    if (uuids.length === 0) return Promise.resolve()
    this.#activity.forget(uuids)
    this.#watchers.tell(uuids)
    return this.#listener(uuids)
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}

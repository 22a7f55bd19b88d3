// The embedded session authority: users and sessions in one SQLite file, and no copy of them in memory.
//
// A session ends by its row being deleted, whoever deletes it and why: logout, idleness, a limit, a removed user, a
// changed role, here or in another process. A trigger notes its uuid in `endings`; the authority takes the notes with
// each deletion of its own, and when it sees that another process has written, and tells the one listener.
//
// A logout holds even when it cannot be written, because the disk is full or another process writes: it is kept in memory,
// told as any other, and written when that is possible. Nothing here waits for another process but with a timer.

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
import type { HeldUp } from '../accounts/throttle.ts'
import { isLocalSuperuser, type UserRecord } from '../accounts/users.ts'
import { Watchers } from '../accounts/watchers.ts'
import { AuthorityUnavailableError, type EndedListener, type SessionAuthority } from '../authority.ts'
import type { LimitName } from '../../model/limit-names.ts'
import type { Session } from '../../model/session.ts'
import { ActivityWriter } from './activity.ts'
import { DatabaseError, integerOf, isBusy, transaction, troubleOf, whenFree } from './database.ts'
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
  /** A clock that does not go back, in ms: by it wrong passwords are waited for. */
  readonly uptime?: () => number
  /** Given failures of background work. Default: a warning of the process. */
  readonly report?: (error: unknown) => void
  /** Told of limits that are hit. */
  readonly limited?: (limit: LimitName) => void
}

/** Sessions in SQLite. See `SessionAuthority` and `SignInAuthority` for what is not described here. */
export class EmbeddedAuthority implements SessionAuthority, SignInAuthority {
  /** Every ending is this process's own, or seen within `WATCH_INTERVAL_MS`. */
  readonly stalenessMs = 0
  readonly users: UserStore
  readonly #db: DatabaseSync
  readonly #rows: SessionRows
  readonly #activity: ActivityWriter
  readonly #passwords: PasswordGate
  readonly #clock: () => number
  readonly #report: (error: unknown) => void
  readonly #limited: (limit: LimitName) => void
  readonly #watchers = new Watchers()
  #settings: SessionRules
  #listener: EndedListener = () => Promise.resolve()
  #timers: NodeJS.Timeout[] = []
  #started = false
  #closed = false
  /** Uuids of sessions that have ended, which could not be written yet. */
  readonly #unwritten = new Set<string>()
  /** SQLite's counter of other connections' commits, as last seen. */
  #dataVersion = 0

  constructor({
    db,
    settings,
    clock,
    uptime = () => performance.now(),
    report = warn,
    limited = () => {},
  }: EmbeddedAuthorityOptions) {
    this.users = new UserStore(db)
    this.#db = db
    this.#rows = new SessionRows(db)
    this.#activity = new ActivityWriter(db, this.#rows)
    this.#passwords = new PasswordGate(this.users, uptime, limited)
    this.#clock = clock
    this.#report = report
    this.#limited = limited
    this.#settings = settings
    db.exec('PRAGMA busy_timeout = 0')
  }

  /** Begins expiry, and watching for what other processes do. Endings from before are nobody's: no worker knew them. @param hasPredecessor but those of a process whose place this one takes */
  start(hasPredecessor = false): void {
    if (this.#started || this.#closed) return
    this.#started = true
    this.#dataVersion = this.#readDataVersion()
    const uuids = this.#rows.takeEndings()
    if (hasPredecessor) this.#tell(uuids).catch(this.#report)
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

  /** Records of the sessions used last, oldest first. @throws {AuthorityUnavailableError} */
  async records(max?: number): Promise<SessionRecord[]> {
    return this.#ask(() => this.#rows.latest(max).filter(({ session }) => !this.#unwritten.has(session.uuid)))
  }

  async recordOf(uuid: string): Promise<SessionRecord | undefined> {
    return this.#ask(() => (this.#unwritten.has(uuid) ? undefined : this.#rows.byUuid(uuid)))
  }

  async count(): Promise<number> {
    return this.#ask(() => this.#rows.count())
  }

  /** Ends sessions, whoever's; resolves when the listener's promise has. Answers how many of these there were. */
  async endSessions(uuids: readonly string[]): Promise<number> {
    return this.#end(() => uuids.filter((uuid) => this.#rows.byUuid(uuid) !== undefined))
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
    const [signedIn, uuids] = await this.#ask(() => {
      // What waits to be written goes first: where there is room for a session, there is for that.
      this.#writeEndings()
      return this.#ending(() => this.#open(verified, originator, clientAddress))
    })
    this.#tell(uuids).catch(this.#report)
    return signedIn
  }

  /**
   * Ends the session with this id; resolves when the listener's promise has. Answers whether there was one.
   *
   * @throws {AuthorityUnavailableError} also when it could not be written: the session has ended all the same, but for a
   *   restart before it is. @throws what the listener rejects with: the session is gone here all the same.
   */
  async logout(id: string): Promise<boolean> {
    const ended = await this.#end(() => {
      const record = this.#live(id)
      return record === undefined ? [] : [record.session.uuid]
    })
    return ended === 1
  }

  /**
   * Ends the sessions of one subject but the one with `exceptUuid`, and never a local superuser's, as in xapi.
   * Resolves when the listener's promise has. Answers how many there were.
   */
  async logoutSubject(identifier: string, exceptUuid: string): Promise<number> {
    return this.#end(() => {
      const user = this.users.byUuid(identifier)
      return user === undefined || isLocalSuperuser(user) ? [] : this.#rows.uuidsOfUser(identifier, exceptUuid)
    })
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
    try {
      await this.users.setPassword(name, newPassword)
    } catch (error) {
      throw this.#explained(error)
    }
  }

  heldUp(): HeldUp[] {
    return this.#passwords.heldUp()
  }

  clearHeldUp(whose: { readonly name?: string; readonly address?: string }): void {
    this.#passwords.clearHeldUp(whose)
  }

  watch(uuid: string, ended: () => void): () => void {
    return this.#watchers.watch(uuid, ended)
  }

  /** Ends what has been idle for too long. A timer calls it; nothing is lost when it is called more often. */
  sweep(): void {
    if (this.#closed) return
    try {
      this.#writeActivity()
      const [, uuids] = this.#ending(() => {
        this.#rows.deleteIdle(this.#clock() - this.#settings.idleTimeoutMs)
      })
      this.#tell(uuids).catch(this.#report)
    } catch (error) {
      this.#reportUnlessBusy(error)
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

  /** Writes what waits, and finds what other processes have ended, whether that can be written or not. */
  #lookAtOthers(): void {
    this.#writeActivity()
    try {
      this.#writeEndings()
    } catch (error) {
      this.#reportUnlessBusy(error)
    }
    this.#takeOthers()
  }

  /** The counter is read before the look, so that nothing falls in between. */
  #takeOthers(): void {
    try {
      const dataVersion = this.#readDataVersion()
      if (dataVersion === this.#dataVersion) return
      // A look that fails leaves the counter alone, so that the next look is not skipped.
      const uuids = this.#rows.takeEndings()
      this.#dataVersion = dataVersion
      this.#tell(uuids).catch(this.#report)
    } catch (error) {
      this.#reportUnlessBusy(error)
    }
  }

  #readDataVersion(): number {
    return integerOf(this.#db.prepare('PRAGMA data_version').get() ?? {}, 'data_version')
  }

  #live(id: string): SessionRecord | undefined {
    const record = this.#rows.byId(id)
    if (record === undefined || this.#unwritten.has(record.session.uuid)) return undefined
    return this.#clock() - record.lastActiveMs < this.#settings.idleTimeoutMs ? record : undefined
  }

  /** Runs what reads or writes the database, at once or when it is free, for callers who must tell "no" from "cannot tell". */
  async #ask<T>(question: () => T): Promise<T> {
    try {
      return await whenFree(() => this.#whileOpen(question))
    } catch (error) {
      throw this.#explained(error)
    }
  }

  #whileOpen<T>(body: () => T): T {
    if (this.#closed) throw new AuthorityUnavailableError('ask the embedded authority: it is closed')
    return body()
  }

  #explained(error: unknown): unknown {
    if (error instanceof AccountError || error instanceof AuthorityUnavailableError) return error
    const trouble = error instanceof DatabaseError ? error : troubleOf('ask the embedded authority', error)
    if (trouble !== undefined) this.#report(trouble)
    const text = trouble?.message ?? 'ask the embedded authority: the database failed'
    return new AuthorityUnavailableError(text, { cause: error, clientText: clientTextOf(trouble) })
  }

  /** Runs what deletes sessions, and takes their notes in the same transaction: none is deleted and not told. */
  #ending<T>(deletion: () => T): [T, string[]] {
    return transaction(this.#db, () => [deletion(), this.#rows.takeEndings()])
  }

  /**
   * Ends the sessions that `select` finds, whether that can be written or not. Answers how many there were.
   *
   * @throws {AuthorityUnavailableError} when it could not be written for a while
   */
  async #end(select: () => string[]): Promise<number> {
    let selected: string[]
    try {
      selected = this.#whileOpen(select).filter((uuid) => !this.#unwritten.has(uuid))
    } catch (error) {
      throw this.#explained(error)
    }
    if (selected.length === 0) return 0
    for (const uuid of selected) this.#unwritten.add(uuid)
    try {
      this.#writeEndings()
    } catch {
      // They have ended all the same; whether they can be written a moment later is seen below.
    }
    await this.#tell(selected)
    try {
      await whenFree(() => {
        if (selected.some((uuid) => this.#unwritten.has(uuid))) this.#whileOpen(() => this.#writeEndings())
      })
    } catch (error) {
      throw this.#endedUnwritten(error)
    }
    return selected.length
  }

  /** Writes the endings that are not written yet. @throws what SQLite throws; they are then kept */
  #writeEndings(): void {
    if (this.#unwritten.size === 0) return
    const [, uuids] = this.#ending(() => this.#rows.delete([...this.#unwritten]))
    const others = uuids.filter((uuid) => !this.#unwritten.has(uuid))
    this.#unwritten.clear()
    this.#tell(others).catch(this.#report)
  }

  #endedUnwritten(error: unknown): AuthorityUnavailableError {
    const trouble = troubleOf('write the end of a session', error)
    this.#report(trouble ?? error)
    const why = trouble?.code === 'DATABASE_FULL' ? 'the disk is full' : 'the database cannot be written now'
    const clientText = `The session has ended, but ${why}: the gateway writes it when it can, and until then a restart would bring the session back`
    return new AuthorityUnavailableError(`end a session: ${why}`, { cause: error, clientText })
  }

  #reportUnlessBusy(error: unknown): void {
    // What another process holds up is done at the next turn.
    if (!isBusy(error)) this.#report(error)
  }

  async #check(user: string, password: string, clientAddress: string): Promise<UserRecord> {
    if (this.#closed) throw new AuthorityUnavailableError('sign in: the embedded authority is closed')
    return this.#passwords.check(user, password, clientAddress)
  }

  /** Runs within a transaction. */
  #open(verified: UserRecord, originator: string, clientAddress: string): SignedIn {
    // Checking the password took a while: the user may be gone, or have another role, by now.
    if (this.users.byUuid(verified.uuid) === undefined) throw wrongCredentials()
    const beyondUser = this.#rows.deleteBeyondUser(verified.uuid, this.#settings.maxPerUser - 1)
    const keep = this.#settings.maxPerOriginator - 1
    const beyondOriginator = this.#rows.deleteBeyondOriginator(originator, verified.uuid, keep)
    if (beyondUser + beyondOriginator > 0) this.#limited('sessions')
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

function clientTextOf(trouble: DatabaseError | undefined): string | null {
  switch (trouble?.code) {
    case 'DATABASE_FULL':
      return 'The disk of the gateway is full: nobody can sign in or change a password until there is room'
    case 'DATABASE_BUSY':
      return 'Another program is using the database of the gateway; try again in a second'
    default:
      return null
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}

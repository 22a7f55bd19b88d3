// The authority valkey: users and sessions of a pool in Valkey, for every gateway of it.
//
// The server remembers which sessions this gateway has read and tells when one is gone (client tracking), within a round
// trip, whoever ended it. What it tells is a reason to look: it may also have run out of room to remember. When the
// connection was lost news may have been missed: every session that workers may know is looked at again before the
// connection counts as current (`ValkeyLink.stalenessMs`), and those that are over end here too. Until then workers trust
// what they know for `stale-grace`, and nobody else is admitted.
//
// Activity is written once in a while for each session, all that is due in one command; a session ends that much later
// than the idle timeout says, never earlier.

import { randomUUID } from 'node:crypto'
import { ValkeyUnavailableError } from '../../valkey/connect.ts'
import type { ValkeyConsumer, ValkeyLink } from '../../valkey/link.ts'
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
import { isLocalSuperuser, Users } from '../accounts/users.ts'
import { Watchers } from '../accounts/watchers.ts'
import {
  AuthorityUnavailableError,
  type EndedListener,
  type ForgottenListener,
  type SessionAuthority,
} from '../authority.ts'
import { BoundedMap } from '../../bounded-map.ts'
import type { LimitName } from '../../model/limit-names.ts'
import type { Session } from '../../model/session.ts'
import { isRole } from '../../model/role.ts'
import { uuidOf } from '../../uuid.ts'
import { SessionRows } from './session-rows.ts'
import { ValkeyUserRows } from './users.ts'

/** Sessions that workers may know; past it the one that was found first is forgotten. */
const KNOWN_MAX = 1_000_000
/** Activity of one session is written at most once in this time, and at most in this part of the idle timeout. */
const WRITE_INTERVAL_MS = 60_000
const WRITE_PARTS = 4
const SWEEP_INTERVAL_MS_MAX = 30_000
const TICK_MS = 250

/** What a `ValkeyAuthority` is built from. */
export interface ValkeyAuthorityOptions {
  readonly link: ValkeyLink
  /** Name of the pool: what has the same one shares users and sessions. */
  readonly pool: string
  readonly settings: SessionRules
  /** Given failures of background work. */
  readonly report: (error: unknown) => void
  /** Told of limits that are hit. */
  readonly limited?: (limit: LimitName) => void
}

/** See the head of this file, `SessionAuthority` and `SignInAuthority`. */
export class ValkeyAuthority implements SessionAuthority, SignInAuthority, ValkeyConsumer {
  readonly channels: readonly string[] = []
  readonly users: Users
  readonly #link: ValkeyLink
  readonly #rows: SessionRows
  readonly #passwords: PasswordGate
  readonly #report: (error: unknown) => void
  readonly #limited: (limit: LimitName) => void
  readonly #watchers = new Watchers()
  /** Uuids of sessions that workers may know, and until when their activity is written already. */
  readonly #known = new BoundedMap<string, number>(KNOWN_MAX, (uuid) => this.#forgotten([uuid], 'doubtful'))
  /** Sessions whose activity is to be written. */
  readonly #active = new Set<string>()
  /** Endings that workers have not confirmed yet, by uuid. */
  readonly #endings = new Map<string, Promise<void>>()
  /** For each look-up under way: the sessions of which the server told since. */
  readonly #toldSince = new Set<Set<string>>()
  #settings: SessionRules
  #ended: EndedListener = () => Promise.resolve()
  #forgotten: ForgottenListener = () => {}
  #timer: NodeJS.Timeout | undefined
  #sweepAtMs = 0
  #isClosed = false

  constructor({ link, pool, settings, report, limited = () => {} }: ValkeyAuthorityOptions) {
    this.users = new Users(new ValkeyUserRows(link, pool))
    this.#link = link
    this.#rows = new SessionRows(link, pool)
    this.#passwords = new PasswordGate(this.users, () => performance.now(), limited)
    this.#settings = settings
    this.#report = report
    this.#limited = limited
    link.add(this)
  }

  get stalenessMs(): number {
    return this.#link.stalenessMs
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#tick(), Math.min(TICK_MS, this.#writeIntervalMs)).unref()
  }

  /** Replaces the rules, from now on. */
  configure(settings: SessionRules): void {
    this.#settings = settings
  }

  onEnded(listener: EndedListener): void {
    this.#ended = listener
  }

  onForgotten(listener: ForgottenListener): void {
    this.#forgotten = listener
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    if (!this.#isClosed) await this.#write().catch(() => {}) // what is not written is late by a minute
    this.#isClosed = true
    this.#watchers.clear()
  }

  async find(id: string): Promise<Session | undefined> {
    return this.#ask(async () => {
      const toldSince = new Set<string>()
      this.#toldSince.add(toldSince)
      try {
        const record = await this.#live(id)
        if (record === undefined) return undefined
        const { session } = record
        this.#learn(session.uuid)
        // It may have been told of before it was known, and nobody has looked.
        if (toldSince.has(session.uuid) && (await this.#look([session.uuid])).length > 0) return undefined
        this.touch([session.uuid])
        return session
      } finally {
        this.#toldSince.delete(toldSince)
      }
    })
  }

  async record(id: string): Promise<SessionRecord | undefined> {
    return this.#ask(() => this.#live(id))
  }

  touch(uuids: readonly string[]): void {
    const nowMs = performance.now()
    for (const uuid of uuids) {
      const writtenUntilMs = this.#known.get(uuid)
      if (writtenUntilMs === undefined || nowMs < writtenUntilMs) continue
      this.#known.set(uuid, nowMs + this.#writeIntervalMs)
      this.#active.add(uuid)
    }
  }

  /** Endings are told of every session, held or not. */
  held(): void {}

  async login({ user, password, originator, clientAddress }: Credentials): Promise<SignedIn> {
    checkOriginator(originator)
    if (this.#isClosed) throw new AuthorityUnavailableError('sign in: the authority is closed')
    const verified = await this.#passwords.check(user, password, clientAddress)
    const id = `OpaqueRef:${randomUUID()}`
    return this.#ask(async () => {
      const opened = await this.#rows.open(id, verified, { originator, clientAddress }, this.#settings)
      // Checking the password took a while: the user may be gone by now.
      if (opened === undefined || !isRole(opened.role)) throw wrongCredentials()
      if (opened.ended.length > 0) this.#limited('sessions')
      this.#end(opened.ended).catch(this.#report)
      const record = await this.#rows.byId(id)
      if (record === undefined) throw wrongCredentials()
      this.#learn(record.session.uuid)
      return { id, session: record.session }
    })
  }

  async logout(id: string): Promise<boolean> {
    return this.#ask(async () => {
      const isEnded = await this.#rows.end(id)
      if (isEnded) await this.#end([uuidOf(id)])
      return isEnded
    })
  }

  async logoutSubject(identifier: string, exceptUuid: string): Promise<number> {
    return this.#ask(async () => {
      const ended = await this.#rows.endOfSubject(identifier, exceptUuid)
      await this.#end(ended)
      return ended.length
    })
  }

  async records(max?: number): Promise<SessionRecord[]> {
    return this.#ask(() => this.#rows.latest(max))
  }

  async recordOf(uuid: string): Promise<SessionRecord | undefined> {
    return this.#ask(() => this.#rows.byUuid(uuid))
  }

  async count(): Promise<number> {
    return this.#ask(() => this.#rows.count())
  }

  async endSessions(uuids: readonly string[]): Promise<number> {
    return this.#ask(async () => {
      const ended = await this.#rows.endAll(uuids)
      await this.#end(uuids)
      return ended
    })
  }

  async subjectIdentifiers(): Promise<string[]> {
    return this.#ask(async () => {
      const subjects = (await this.users.list()).filter((user) => !isLocalSuperuser(user))
      const counts = await Promise.all(subjects.map(({ uuid }) => this.#rows.countOfUser(uuid)))
      return subjects.filter((_, index) => counts[index] !== 0).map(({ uuid }) => uuid)
    })
  }

  async changePassword(user: string, oldPassword: string, newPassword: string, clientAddress: string): Promise<void> {
    const { name } = await this.#passwords.check(user, oldPassword, clientAddress)
    await this.#ask(() => this.users.setPassword(name, newPassword))
  }

  heldUp(): HeldUp[] {
    return this.#passwords.heldUp()
  }

  clearHeldUp(whose: { readonly name?: string; readonly address?: string }): void {
    this.#passwords.clearHeldUp(whose)
  }

  watch(uuid: string, ended: () => void): () => void {
    // The server tells of sessions that were read here only; who watches one has been found here.
    return this.#watchers.watch(uuid, ended)
  }

  /** News may have been missed: what workers know is looked at, before they are told that it holds. */
  async connected(): Promise<void> {
    await this.#look([...this.#known.keys()])
  }

  invalidated(keys: readonly string[] | null): void {
    const uuids = keys?.map((key) => this.#rows.uuidOfKey(key)).filter((uuid) => uuid !== undefined)
    for (const told of this.#toldSince) for (const uuid of uuids ?? this.#known.keys()) told.add(uuid)
    const known = uuids === undefined ? [...this.#known.keys()] : uuids.filter((uuid) => this.#known.has(uuid))
    if (known.length > 0) this.#look(known).catch(() => this.#doubt(known))
  }

  published(): void {}

  get #writeIntervalMs(): number {
    return Math.min(WRITE_INTERVAL_MS, this.#settings.idleTimeoutMs / WRITE_PARTS)
  }

  /** Looks which of these sessions are over, and ends them here. Answers which. */
  async #look(uuids: readonly string[]): Promise<string[]> {
    const over = await this.#rows.overOf(uuids)
    this.#end(over).catch(this.#report)
    return over
  }

  /** Something happened to these sessions and nobody can tell what: they are to be asked for again. */
  #doubt(uuids: readonly string[]): void {
    this.#forgotten(
      uuids.filter((uuid) => this.#known.delete(uuid)),
      'doubtful',
    )
  }

  async #live(id: string): Promise<SessionRecord | undefined> {
    const record = await this.#rows.byId(id)
    if (record === undefined) return undefined
    const idleMs = this.#link.serverNowMs - record.lastActiveMs
    return idleMs < this.#settings.idleTimeoutMs + this.#writeIntervalMs ? record : undefined
  }

  #learn(uuid: string): void {
    if (!this.#known.has(uuid)) this.#known.set(uuid, 0)
  }

  /**
   * Tells those who watch, and the workers, once: an ending may be known from the server and from who asked for it.
   * Resolves when everybody here knows.
   */
  async #end(uuids: readonly string[]): Promise<void> {
    if (uuids.length === 0) return
    for (const uuid of uuids) this.#active.delete(uuid)
    this.#watchers.tell(uuids)
    const underway = uuids.flatMap((uuid) => this.#endings.get(uuid) ?? [])
    const untold = uuids.filter((uuid) => this.#known.delete(uuid))
    await Promise.all(untold.length === 0 ? underway : [...underway, this.#tell(untold)])
  }

  #tell(uuids: readonly string[]): Promise<void> {
    const told = this.#ended(uuids).finally(() => {
      for (const uuid of uuids) this.#endings.delete(uuid)
    })
    for (const uuid of uuids) this.#endings.set(uuid, told)
    return told
  }

  #tick(): void {
    this.#work().catch((error: unknown) => {
      // Without a connection there is nothing to be done, and the link says so.
      if (!(error instanceof ValkeyUnavailableError)) this.#report(error)
    })
  }

  async #work(): Promise<void> {
    await this.#write()
    const nowMs = performance.now()
    if (nowMs < this.#sweepAtMs) return
    const { idleTimeoutMs } = this.#settings
    // Gateways that were started together do not sweep together.
    const pauseMs = Math.min(SWEEP_INTERVAL_MS_MAX, idleTimeoutMs / WRITE_PARTS)
    this.#sweepAtMs = nowMs + pauseMs * (0.5 + Math.random() / 2)
    this.#end(await this.#rows.sweep(idleTimeoutMs + this.#writeIntervalMs)).catch(this.#report)
  }

  async #write(): Promise<void> {
    if (this.#active.size === 0) return
    const uuids = [...this.#active]
    await this.#rows.touch(uuids, this.#writeIntervalMs / 2)
    for (const uuid of uuids) this.#active.delete(uuid)
  }

  /** Runs what needs Valkey, for callers who must tell "no" from "cannot tell". */
  async #ask<T>(question: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new AuthorityUnavailableError('ask Valkey: the authority is closed')
    try {
      return await question()
    } catch (error) {
      if (error instanceof AccountError) throw error
      throw new AuthorityUnavailableError('ask Valkey about a session', { cause: error })
    }
  }
}

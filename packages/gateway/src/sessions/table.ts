// A worker's table of the sessions it has seen. Admission is one look-up here; a miss asks the primary, once for each id.

import { hash } from 'node:crypto'
import { identityFields } from '@xengate/channel/contract'
import { BoundedMap } from '../bounded-map.ts'
import type { Role } from '../model/role.ts'
import type { Session } from '../model/session.ts'
import { IdTable } from './id-table.ts'
import { Shares } from './shares.ts'

/** Most sessions kept; past it one is forgotten, and asked for again when it is used. */
const ENTRIES_MAX = 1_000_000
/** Most texts that sessions share; past it some are there twice. */
const SHARED_LINES_MAX = 10_000
/** Most ids asked for at one time, shared among clients; past it a request gets 503. */
const QUESTIONS_MAX = 1000

/**
 * Sessions whose activity is looked at, and told, at one time, unless so few would be too late for some. To write one of a million takes the
 * primary 18 µs.
 */
const TOLD_MAX = 500
/** How far apart two such times may be, in milliseconds, and as much again for what comes between. */
const TELL_MS_MAX = 2000

/**
 * A session in the table. Of a million that are used by chance hardly anything is in the processor's caches, so that each object that a
 * request looks at is waited for: what it needs is here, in as few as can be (decision 102).
 */
export interface SessionEntry {
  readonly session: Session
  /** The session id, which is a secret. */
  readonly id: string
  /** The session's, an array that is shared by all with the same roles. */
  readonly roles: readonly Role[]
  /** The field lines that tell a service who the caller is, each with its CRLF; one text for all sessions that have the same. */
  readonly identityLines: string
  /** When it was used last, and when its activity was told last, on the clock given to `touch`; in whole milliseconds, which are no objects. */
  usedMs: number
  reportedMs: number
  /** Whether it is among those whose activity is to be told. */
  isNoted: boolean
  /** Requests that are with services now. */
  underWay: number
  /** Unless it is `live`, nothing more may begin under it: it has ended, or nobody would tell of its end. */
  state: 'live' | 'forgotten' | 'ended'
  /** MD5 of the session id in hexadecimal digits, by which xapi's logs name a session. */
  readonly trackId: string
  /** What the access log says of it; null before its first line. */
  logged: string | null
}

/** What became of a question: the session, or that there is none, that nobody can tell, or that too many questions are open. */
export type Answer = SessionEntry | 'nobody' | 'unavailable' | 'busy'

interface Question {
  /** Of who asked first. */
  readonly clientAddress: string
  readonly waiters: ((answer: Answer) => void)[]
}

/** Asks the primary about `id`; the primary's answer is given to `SessionTable.answered`. */
export type Ask = (id: string, clientAddress: string) => void

/** In milliseconds. */
export interface SessionTimes {
  /** After so long without use here the primary is asked again. */
  readonly idleTimeoutMs: number
  /** How often activity of one session is told. */
  readonly tellIntervalMs: number
  /** By when it has to be told, and in which time all of them are, however many. */
  readonly silenceMs: number
}

/** The sessions of one worker. */
export class SessionTable {
  readonly #entries = new IdTable<SessionEntry>(ENTRIES_MAX, (entry) => this.#forget(entry))
  readonly #idsByUuid = new Map<string, string>()
  readonly #roles = new Map<string, readonly Role[]>()
  readonly #identityLines = new BoundedMap<string, string>(SHARED_LINES_MAX)
  readonly #questions = new Map<string, Question>()
  readonly #shares = new Shares(QUESTIONS_MAX)
  /** Those whose activity is to be told, in turn: the rest of `#noted` from `#nextNoted` on, and after them `#notedLater`. */
  #noted: SessionEntry[] = []
  #nextNoted = 0
  #notedLater: SessionEntry[] = []
  #isTrusted = true
  readonly #ask: Ask
  readonly #onEnded: (uuids: readonly string[]) => void
  readonly #onNoted: () => void
  #times: SessionTimes

  /**
   * @param ask sends a question to the primary
   * @param onEnded told of sessions that have ended, whether the table has them or not
   * @param onNoted called when there is activity to tell of: see `takeTouched`
   */
  constructor(ask: Ask, onEnded: (uuids: readonly string[]) => void, onNoted: () => void, times: SessionTimes) {
    this.#ask = ask
    this.#onEnded = onEnded
    this.#onNoted = onNoted
    this.#times = times
  }

  setTimes(times: SessionTimes): void {
    this.#times = times
  }

  /** Whether what the table says still holds; not when the primary has been silent for too long, and endings with it. */
  get isTrusted(): boolean {
    return this.#isTrusted
  }

  set isTrusted(isTrusted: boolean) {
    this.#isTrusted = isTrusted
  }

  /** All that the table has. */
  get all(): readonly SessionEntry[] {
    return this.#entries.all()
  }

  /** The live session with this id, if the table has it and it was used within the idle timeout. */
  find(id: string, nowMs: number): SessionEntry | undefined {
    const entry = this.#entries.find(id)
    if (entry === undefined || nowMs - entry.usedMs < this.#times.idleTimeoutMs) return entry
    // It may have been used elsewhere: the primary knows.
    this.#forget(entry)
    return undefined
  }

  /** Nobody finds the entry any more, so that nobody would mark it either. */
  #forget(entry: SessionEntry): void {
    entry.state = 'forgotten'
    this.#drop(entry)
  }

  #drop({ id, session }: SessionEntry): void {
    this.#entries.remove(id)
    this.#idsByUuid.delete(session.uuid)
  }

  /**
   * Asks about an id that `find` does not know. `then` is called once, later, or now with `busy`.
   * @param clientAddress who asks; empty when nobody can tell
   */
  question(id: string, clientAddress: string, then: (answer: Answer) => void): void {
    const question = this.#questions.get(id)
    if (question !== undefined) {
      question.waiters.push(then)
    } else if (!this.#shares.take(clientAddress)) {
      then('busy')
    } else {
      this.#questions.set(id, { clientAddress, waiters: [then] })
      this.#ask(id, clientAddress)
    }
  }

  /** Takes the primary's answer about `id`: a session, null for none, or `unavailable`. */
  answered(id: string, found: Session | null | 'unavailable', nowMs: number): void {
    const answer = this.#answer(id, found, nowMs)
    const question = this.#questions.get(id)
    if (question === undefined) return
    this.#questions.delete(id)
    this.#shares.give(question.clientAddress)
    for (const then of question.waiters) then(answer)
  }

  #answer(id: string, found: Session | null | 'unavailable', nowMs: number): Answer {
    if (found === null) return 'nobody'
    if (found === 'unavailable') return 'unavailable'
    const entry: SessionEntry = {
      session: found,
      id,
      roles: this.#sharedRoles(found.roles),
      identityLines: this.#sharedLines(identityLines(found)),
      usedMs: Math.floor(nowMs),
      reportedMs: Math.floor(nowMs),
      isNoted: false,
      underWay: 0,
      state: 'live',
      trackId: hash('md5', id),
      logged: null,
    }
    this.#entries.add(entry)
    this.#idsByUuid.set(found.uuid, id)
    return entry
  }

  #sharedRoles(roles: readonly Role[]): readonly Role[] {
    const key = roles.join()
    const shared = this.#roles.get(key)
    if (shared !== undefined) return shared
    this.#roles.set(key, roles)
    return roles
  }

  #sharedLines(lines: string): string {
    const shared = this.#identityLines.get(lines)
    if (shared !== undefined) return shared
    this.#identityLines.set(lines, lines)
    return lines
  }

  /** Takes the news that sessions ended: from here on no request of theirs is admitted. */
  ended(uuids: readonly string[]): void {
    for (const uuid of uuids) {
      const entry = this.#byUuid(uuid)
      if (entry !== undefined) {
        this.#forget(entry)
        entry.state = 'ended'
      }
    }
    this.#onEnded(uuids)
  }

  /**
   * Takes the news that sessions are to be asked for again when they are used: nobody vouches for them any more, or, when
   * `isUnused`, it is only that nobody used them, and what is held under them is asked about.
   */
  forget(uuids: readonly string[], isUnused: boolean): void {
    for (const uuid of uuids) {
      const entry = this.#byUuid(uuid)
      if (entry === undefined) continue
      if (isUnused) this.#drop(entry)
      else this.#forget(entry)
    }
  }

  #byUuid(uuid: string): SessionEntry | undefined {
    const id = this.#idsByUuid.get(uuid)
    return id === undefined ? undefined : this.#entries.find(id)
  }

  /** Notes activity of a session. @param nowMs on a clock that does not go back */
  touch(entry: SessionEntry, nowMs: number): void {
    entry.usedMs = Math.floor(nowMs)
    if (entry.isNoted) return
    entry.isNoted = true
    this.#notedLater.push(entry)
    if (this.#notedCount() === 1) this.#onNoted()
  }

  #notedCount(): number {
    return this.#noted.length - this.#nextNoted + this.#notedLater.length
  }

  /** The next in turn; of a million others none is moved for it. */
  #takeNoted(): SessionEntry | undefined {
    if (this.#noted.length === 0) {
      this.#noted = this.#notedLater
      this.#notedLater = []
    }
    const entry = this.#noted[this.#nextNoted++]
    if (this.#nextNoted >= this.#noted.length) {
      this.#noted = []
      this.#nextNoted = 0
    }
    return entry
  }

  /** Whether there is activity to tell of, now or later. */
  get hasNoted(): boolean {
    return this.#notedCount() > 0
  }

  /**
   * The uuids of sessions whose activity is to be told now. Of a session that was told of within the interval it is kept for
   * later: with many sessions active, telling of each once a second cost the primary more than serving them. Of very many it is a
   * part that is told now, in turn, so that each is in time.
   */
  takeTouched(nowMs: number): readonly string[] {
    const notedCount = this.#notedCount()
    const inTimeCount = Math.ceil((notedCount * TELL_MS_MAX) / this.#times.silenceMs)
    const due: string[] = []
    for (let left = Math.min(notedCount, Math.max(TOLD_MAX, inTimeCount)); left > 0; left--) {
      const entry = this.#takeNoted()
      if (entry === undefined) break
      if (nowMs - entry.reportedMs < this.#times.tellIntervalMs) {
        this.#notedLater.push(entry)
        continue
      }
      entry.isNoted = false
      entry.reportedMs = Math.floor(nowMs)
      due.push(entry.session.uuid)
    }
    return due
  }
}

/** `X-Xen-Session-*` lines (interface: "To the service"). */
function identityLines(session: Session): string {
  const fields = identityFields(session)
  return fields.map((text, index) => (index % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('')
}

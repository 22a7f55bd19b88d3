// The authority xapi: sessions are those of the host's own xapi, which tells nobody when one ends. So it is asked.
//
// What is promised: while xapi answers, no request is admitted on an answer that is older than `recheck`. A session in use
// is asked about again in time, and its end is told; one that nobody used since the last answer is forgotten, so that its
// next request asks. When xapi does not answer, an answer serves for `stale-grace` longer, and is forgotten then.
//
//   find ──▶ known, asked about less than `recheck` ago ─── yes ──▶ its session
//              └ no ──▶ a question, shared by all who ask it: pool.get_all(client's), which also keeps the session alive;
//                       session.get_record(own, client's); the subject's roles
//
//   age of an answer   ¾ recheck             recheck                    recheck + stale-grace
//   used since         asked about again     (no answer yet: grace)     forgotten
//   not used since                           forgotten

import type { XapiClient } from '../../xapi/client.ts'
import { XapiFailure } from '../../xapi/errors.ts'
import {
  AuthorityUnavailableError,
  type EndedListener,
  type ForgottenListener,
  type SessionAuthority,
} from '../authority.ts'
import type { Session } from '../session.ts'
import { Gate } from './gate.ts'
import { XapiIdentities } from './identity.ts'

/** Sessions known at once; past it the one asked about longest ago is forgotten. */
const KNOWN_MAX = 100_000
/**
 * Questions at once about sessions that are not known: guesses must not take the time of questions about those that are,
 * so that half of the connections to xapi are left to these. Others wait, for less time than their requests would.
 */
const UNKNOWN_MAX = 8
const UNKNOWN_WAITING_MAX = 1000
const UNKNOWN_WAIT_MS = 2000
/** What xapi could have given as a session: anything else is not worth a call. */
const SESSION_ID = /^[\x21-\x7e]{1,128}$/

/** How long answers are trusted. */
export interface XapiTrust {
  readonly recheckMs: number
  readonly staleGraceMs: number
}

/** What a `XapiAuthority` is built from. */
export interface XapiAuthorityOptions {
  /** The authority's own: it is closed with it. */
  readonly client: XapiClient
  readonly trust: XapiTrust
  /** A clock that does not go back, in milliseconds. */
  readonly nowMs: () => number
  /** Given failures of background work. */
  readonly report: (error: unknown) => void
}

interface Known {
  readonly id: string
  readonly session: Session
  /** When the question was asked that this session is the answer to. */
  readonly askedMs: number
  usedMs: number
  /** When it may be asked about again, after a question that was not answered. */
  retryMs: number
}

/** See the head of this file, and `SessionAuthority`. */
export class XapiAuthority implements SessionAuthority {
  /** What is not known to hold is forgotten one session at a time. */
  readonly deafMs = 0
  readonly #client: XapiClient
  readonly #identities: XapiIdentities
  readonly #nowMs: () => number
  readonly #report: (error: unknown) => void
  /** By id; in the order in which they were asked about. */
  readonly #known = new Map<string, Known>()
  readonly #idsByUuid = new Map<string, string>()
  /** Ids, by uuid, of sessions that were forgotten: connections that were begun with them may still be at work. */
  readonly #forgottenIds = new Map<string, string>()
  readonly #questions = new Map<string, Promise<Session | undefined>>()
  readonly #unknown = new Gate(UNKNOWN_MAX, UNKNOWN_WAITING_MAX, UNKNOWN_WAIT_MS)
  #trust: XapiTrust
  #ended: EndedListener = () => Promise.resolve()
  #forgotten: ForgottenListener = () => {}
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  constructor({ client, trust, nowMs, report }: XapiAuthorityOptions) {
    this.#client = client
    this.#identities = new XapiIdentities(client, nowMs, trust.recheckMs)
    this.#trust = trust
    this.#nowMs = nowMs
    this.#report = report
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#look(), Math.max(5, this.#trust.recheckMs / 8)).unref()
  }

  /** Replaces the grace, from now on. */
  configure({ staleGraceMs }: Pick<XapiTrust, 'staleGraceMs'>): void {
    this.#trust = { ...this.#trust, staleGraceMs }
  }

  onEnded(listener: EndedListener): void {
    this.#ended = listener
  }

  onForgotten(listener: ForgottenListener): void {
    this.#forgotten = listener
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    this.#known.clear()
    this.#idsByUuid.clear()
    this.#forgottenIds.clear()
    await this.#client.close()
  }

  async find(id: string): Promise<Session | undefined> {
    if (this.#isClosed) throw new AuthorityUnavailableError('ask xapi: the authority is closed')
    if (!SESSION_ID.test(id)) return undefined
    if (this.#ageOf(id) < this.#trust.recheckMs) return this.#use(id)
    try {
      return await this.#ask(id)
    } catch (error) {
      if (this.#ageOf(id) < this.#trust.recheckMs + this.#trust.staleGraceMs) return this.#use(id)
      throw error
    }
  }

  touch(uuids: readonly string[]): void {
    if (this.#isClosed) return
    for (const uuid of uuids) {
      const forgottenId = this.#forgottenIds.get(uuid)
      if (forgottenId === undefined) this.#use(this.#idsByUuid.get(uuid) ?? '')
      else this.#askForRest(uuid, forgottenId)
    }
  }

  /** A connection that outlived the trust in its session (a WebSocket, a long transfer) is at work: is it still allowed to? */
  #askForRest(uuid: string, id: string): void {
    this.#ask(id).then(
      (session) => {
        if (session === undefined && this.#forgottenIds.delete(uuid)) this.#ended([uuid]).catch(this.#report)
      },
      () => {}, // asked again when it is touched again
    )
  }

  #ageOf(id: string): number {
    const known = this.#known.get(id)
    return known === undefined ? Number.POSITIVE_INFINITY : this.#nowMs() - known.askedMs
  }

  #use(id: string): Session | undefined {
    const known = this.#known.get(id)
    if (known !== undefined) known.usedMs = this.#nowMs()
    return known?.session
  }

  /** Asks xapi about `id`, once for all who want to know. @throws {AuthorityUnavailableError} */
  #ask(id: string): Promise<Session | undefined> {
    const underway = this.#questions.get(id)
    if (underway !== undefined) return underway
    const ask = (): Promise<Session | undefined> => this.#question(id)
    const question = (this.#known.has(id) ? ask() : this.#unknown.run(ask)).finally(() => this.#questions.delete(id))
    this.#questions.set(id, question)
    return question
  }

  async #question(id: string): Promise<Session | undefined> {
    const askedMs = this.#nowMs()
    let session: Session | undefined
    try {
      await this.#client.call('pool.get_all', [id])
      session = await this.#identities.sessionOf(id)
    } catch (error) {
      if (!namesNoSession(error, id)) {
        // That it cannot be reached, the client says; that it refuses is for the operator to see to.
        if (error instanceof XapiFailure) this.#report(error)
        throw new AuthorityUnavailableError('ask xapi about a session', { cause: error })
      }
    }
    if (this.#isClosed) throw new AuthorityUnavailableError('ask xapi: the authority is closed')
    if (session === undefined) this.#end(id)
    else this.#learn(id, session, askedMs)
    return session
  }

  #learn(id: string, session: Session, askedMs: number): void {
    const before = this.#known.get(id)
    // To the end: the order of the map is the order of the questions.
    this.#known.delete(id)
    this.#known.set(id, { id, session, askedMs, usedMs: before?.usedMs ?? askedMs, retryMs: 0 })
    this.#idsByUuid.set(session.uuid, id)
    this.#forgottenIds.delete(session.uuid)
    // Workers have it with other roles: they have to ask.
    if (before !== undefined && !isSame(before.session, session)) this.#forgotten([before.session.uuid])
    if (this.#known.size > KNOWN_MAX) this.#forgetFirst()
  }

  #forgetFirst(): void {
    for (const known of this.#known.values()) {
      this.#forget(known)
      this.#forgotten([known.session.uuid])
      return
    }
  }

  #forget(known: Known): void {
    this.#drop(known)
    this.#forgottenIds.set(known.session.uuid, known.id)
    if (this.#forgottenIds.size <= KNOWN_MAX) return
    for (const uuid of this.#forgottenIds.keys()) {
      this.#forgottenIds.delete(uuid)
      return
    }
  }

  #drop({ id, session }: Known): void {
    this.#known.delete(id)
    this.#idsByUuid.delete(session.uuid)
  }

  #end(id: string): void {
    const known = this.#known.get(id)
    if (known === undefined) return
    this.#drop(known)
    this.#ended([known.session.uuid]).catch(this.#report)
  }

  /** Asks again about what is used and forgets what is not, or cannot be told; the oldest answers come first. */
  #look(): void {
    const nowMs = this.#nowMs()
    const { recheckMs, staleGraceMs } = this.#trust
    const uuids: string[] = []
    for (const known of this.#known.values()) {
      const ageMs = nowMs - known.askedMs
      if (ageMs < recheckMs * 0.75) break
      const isUsed = known.usedMs > known.askedMs
      if (ageMs >= (isUsed ? recheckMs + staleGraceMs : recheckMs)) {
        this.#forget(known)
        uuids.push(known.session.uuid)
      } else if (isUsed && nowMs >= known.retryMs) {
        this.#askAgain(known, nowMs)
      }
    }
    if (uuids.length > 0) this.#forgotten(uuids)
  }

  #askAgain(known: Known, nowMs: number): void {
    if (this.#questions.has(known.id)) return
    this.#ask(known.id).catch(() => {
      known.retryMs = nowMs + this.#trust.recheckMs / 2
    })
  }
}

/** Whether `error` says that `id` is no session, as opposed to the own session or anything else. */
function namesNoSession(error: unknown, id: string): boolean {
  if (!(error instanceof XapiFailure)) return false
  if (error.code === 'SESSION_INVALID') return error.params[0] === id
  return error.code === 'HANDLE_INVALID' && error.params[0]?.toLowerCase() === 'session' && error.params[1] === id
}

function isSame(a: Session, b: Session): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

// The authority xapi: sessions are those of the host's own xapi, which tells nobody when one ends. So it is asked.
//
// What is promised: while xapi answers, no request is admitted on an answer that is older than `recheck`. A session that is
// used, or under which something lives (held), is asked about again in time, and its end is told; one that nobody used since
// the last answer is to be asked about by its next request. When xapi does not answer, an answer serves until it is
// `stale-grace` old (but for `recheck` in any case): then nobody vouches for the session, and what lives under it ends.
//
//   find ──▶ known, asked about less than `recheck` ago ─── yes ──▶ its session
//              └ no ──▶ a question, shared by all who ask it
//
//   age of an answer         0.95 recheck          recheck                    stale-grace
//   used or held since       asked about again     (no answer yet: grace)     doubtful
//   neither                                        workers have to ask        not known any more
//
// A question is one call: session.get_record(own, client's). A session's first, and in use one every 30 s, is
// pool.get_all(client's) instead, or before it, which keeps the session alive. The roles of a subject are asked for once in
// `recheck` for all of its sessions.

import type { XapiClient } from '../../xapi/client.ts'
import { XapiFailure } from '../../xapi/errors.ts'
import {
  AuthorityUnavailableError,
  type EndedListener,
  type ForgottenListener,
  type SessionAuthority,
} from '../authority.ts'
import { BoundedMap } from '../../bounded-map.ts'
import type { Session } from '../../model/session.ts'
import { Gate } from './gate.ts'
import { XapiIdentities } from './identity.ts'

/** Sessions known at once; past it the one answered about longest ago is forgotten. */
const KNOWN_MAX = 100_000
/**
 * Questions at once about sessions that are not known: guesses must not take the time of questions about those that are,
 * so that half of the connections to xapi are left to these. Others wait, for less time than their requests would.
 */
const UNKNOWN_MAX = 8
const UNKNOWN_WAITING_MAX = 1000
const UNKNOWN_WAIT_MS = 2000
/** What xapi gives as a session: anything else is not worth a call. */
const SESSION_ID = /^OpaqueRef:[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i
/** A session in use is touched at xapi once in this time, as xapi's own clients do; it ends a day after the last touch. */
const TOUCH_MS = 30_000
/** At which part of `recheck` it is asked again, so that the answer is there in time; and how often it is looked at what is due. */
const ASK_AGAIN_AT = 0.95
const LOOKS = 40
/** A short `stale-grace` has it asked earlier: xapi gets some time to answer before nobody vouches for the session. */
const ASK_BEFORE_GRACE = 0.6

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
  /** When it was last touched at xapi. */
  readonly touchedMs: number
  usedMs: number
  /** When something was last said to live under it. */
  heldMs: number
  /** Whether workers have it, as far as is known here. */
  isOut: boolean
  /** When it may be asked about again, after a question that was not answered. */
  retryMs: number
}

/** See the head of this file, and `SessionAuthority`. */
export class XapiAuthority implements SessionAuthority {
  /** What is not known to hold is forgotten one session at a time. */
  readonly stalenessMs = 0
  readonly #client: XapiClient
  readonly #identities: XapiIdentities
  readonly #nowMs: () => number
  readonly #report: (error: unknown) => void
  /** By id; in the order of the answers, of which one may have been asked for before others. */
  readonly #known = new BoundedMap<string, Known>(KNOWN_MAX, (_id, known) => {
    this.#forget(known)
    this.#forgotten([known.session.uuid], 'unused')
  })
  readonly #idsByUuid = new Map<string, string>()
  /** Ids, by uuid, of sessions that were forgotten: connections that were begun with them may still be at work. */
  readonly #forgottenIds = new BoundedMap<string, string>(KNOWN_MAX)
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

  /** Nothing runs until a session is known. */
  start(): void {}

  #arm(): void {
    this.#timer ??= setInterval(() => this.#look(), Math.max(5, this.#trust.recheckMs / LOOKS)).unref()
  }

  #disarm(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
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
    this.#disarm()
    this.#known.clear()
    this.#idsByUuid.clear()
    this.#forgottenIds.clear()
    await this.#client.close()
  }

  async find(id: string, clientAddress = ''): Promise<Session | undefined> {
    if (this.#isClosed) throw new AuthorityUnavailableError('ask xapi: the authority is closed')
    if (!SESSION_ID.test(id)) return undefined
    const ageMs = this.#ageOf(id)
    const known = this.#use(id)
    if (ageMs < this.#trust.recheckMs) return known
    try {
      await this.#ask(id, known === undefined ? clientAddress : null)
    } catch (error) {
      if (this.#ageOf(id) >= this.#graceMs) throw error
    }
    return this.#giveOut(id)?.session
  }

  touch(uuids: readonly string[]): void {
    if (this.#isClosed) return
    for (const uuid of uuids) {
      const forgottenId = this.#forgottenIds.get(uuid)
      if (forgottenId === undefined) this.#use(this.#idsByUuid.get(uuid) ?? '')
      else this.#askForRest(uuid, forgottenId)
    }
  }

  held(uuids: readonly string[]): void {
    if (this.#isClosed) return
    const nowMs = this.#nowMs()
    const over: string[] = []
    for (const uuid of uuids) {
      const known = this.#known.get(this.#idsByUuid.get(uuid) ?? '')
      const forgottenId = this.#forgottenIds.get(uuid)
      if (known !== undefined) known.heldMs = nowMs
      else if (forgottenId !== undefined) this.#askForRest(uuid, forgottenId)
      else over.push(uuid)
    }
    // What began under an answer that was on its way when its session ended.
    if (over.length > 0) this.#ended(over).catch(this.#report)
  }

  /** Something that outlived the trust in its session (a WebSocket, a long transfer) is there: is it still allowed to be? */
  #askForRest(uuid: string, id: string): void {
    this.#ask(id, null).then(
      (session) => {
        if (session === undefined && this.#forgottenIds.delete(uuid)) this.#ended([uuid]).catch(this.#report)
      },
      () => {
        // Nobody has been able to tell for longer than the grace already.
        if (this.#forgottenIds.has(uuid)) this.#forgotten([uuid], 'doubtful')
      },
    )
  }

  /** How long an answer serves when there is no other. */
  get #graceMs(): number {
    return Math.max(this.#trust.recheckMs, this.#trust.staleGraceMs)
  }

  #ageOf(id: string): number {
    const known = this.#known.get(id)
    return known === undefined ? Number.POSITIVE_INFINITY : this.#nowMs() - known.askedMs
  }

  #use(id: string): Session | undefined {
    const known = this.#giveOut(id)
    if (known !== undefined) known.usedMs = this.#nowMs()
    return known?.session
  }

  /** A worker has the session from here on. */
  #giveOut(id: string): Known | undefined {
    const known = this.#known.get(id)
    if (known !== undefined) known.isOut = true
    return known
  }

  /**
   * Asks xapi about `id`, once for all who want to know.
   * @param guessedBy address of the client whose guess it may be; null when the session has been known
   * @throws {AuthorityUnavailableError}
   */
  #ask(id: string, guessedBy: string | null): Promise<Session | undefined> {
    const underway = this.#questions.get(id)
    if (underway !== undefined) return underway
    const ask = (): Promise<Session | undefined> => this.#question(id)
    const asked = guessedBy === null ? ask() : this.#unknown.run(guessedBy, ask)
    const question = asked.finally(() => this.#questions.delete(id))
    this.#questions.set(id, question)
    return question
  }

  async #question(id: string): Promise<Session | undefined> {
    const askedMs = this.#nowMs()
    const before = this.#known.get(id)
    const touches = before === undefined || (askedMs - before.touchedMs >= TOUCH_MS && before.usedMs > before.askedMs)
    let session: Session | undefined
    try {
      if (touches) await this.#client.call('pool.get_all', [id])
      const isEnough = touches && before !== undefined
      session = await (isEnough ? this.#identities.renewed(before.session) : this.#identities.sessionOf(id))
    } catch (error) {
      if (!namesNoSession(error, id)) {
        // That it cannot be reached, the client says; that it refuses is for the operator to see to.
        if (error instanceof XapiFailure) this.#report(error)
        throw new AuthorityUnavailableError('ask xapi about a session', { cause: error })
      }
    }
    if (this.#isClosed) throw new AuthorityUnavailableError('ask xapi: the authority is closed')
    if (session === undefined) this.#end(id)
    else this.#learn(id, session, askedMs, touches)
    return session
  }

  #learn(id: string, session: Session, askedMs: number, isTouched: boolean): void {
    const before = this.#known.get(id)
    // To the end: the order of the map is the order of the answers.
    this.#known.setLast(id, {
      id,
      session,
      askedMs,
      touchedMs: isTouched ? askedMs : (before?.touchedMs ?? askedMs),
      usedMs: before?.usedMs ?? askedMs,
      heldMs: before?.heldMs ?? askedMs,
      isOut: before?.isOut ?? false,
      retryMs: 0,
    })
    this.#arm()
    this.#idsByUuid.set(session.uuid, id)
    this.#forgottenIds.delete(session.uuid)
    // Workers have it with other roles: they have to ask, and what was begun with those roles ends.
    if (before !== undefined && !isSame(before.session, session)) this.#forgotten([before.session.uuid], 'doubtful')
  }

  #forget(known: Known): void {
    this.#drop(known)
    this.#forgottenIds.set(known.session.uuid, known.id)
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

  /**
   * Asks again about what is used or held, and tells of what is not, or cannot be told. All are looked at: in the order of the answers
   * one that came slowly is older than those before it.
   */
  #look(): void {
    const nowMs = this.#nowMs()
    const { recheckMs } = this.#trust
    const askAgainMs = Math.min(recheckMs * ASK_AGAIN_AT, this.#graceMs * ASK_BEFORE_GRACE)
    const doubtful: string[] = []
    const unused: string[] = []
    for (const known of this.#known.values()) {
      const ageMs = nowMs - known.askedMs
      if (ageMs < askAgainMs) continue
      const { uuid } = known.session
      const isNeeded = known.usedMs > known.askedMs || known.heldMs > known.askedMs
      if (ageMs >= this.#graceMs) {
        this.#forget(known)
        if (isNeeded) doubtful.push(uuid)
        else if (known.isOut) unused.push(uuid)
      } else if (isNeeded) {
        if (nowMs >= known.retryMs) this.#askAgain(known, nowMs)
      } else if (ageMs >= recheckMs && known.isOut) {
        known.isOut = false
        unused.push(uuid)
      }
    }
    if (unused.length > 0) this.#forgotten(unused, 'unused')
    if (doubtful.length > 0) this.#forgotten(doubtful, 'doubtful')
    if (this.#known.size === 0) this.#disarm()
  }

  #askAgain(known: Known, nowMs: number): void {
    if (this.#questions.has(known.id)) return
    this.#ask(known.id, null).catch(() => {
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

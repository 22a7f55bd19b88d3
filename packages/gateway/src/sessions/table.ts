// A worker's table of the sessions it has seen. Admission is one look-up here; a miss asks the primary, once for each id.

import type { Session } from './session.ts'

/** Most sessions kept; past it the one that came first is forgotten, and asked for again when it is used. */
const ENTRIES_MAX = 1_000_000
/** Most ids asked for at one time; past it a request gets 503. */
const QUESTIONS_MAX = 1000

/** A session in the table. */
export interface SessionEntry {
  readonly session: Session
  /** The field lines that tell a service who the caller is, each with its CRLF. */
  readonly identityLines: string
  /** When its activity was noted last, on the clock given to `touch`, in milliseconds. */
  touchedMs: number
}

/** What became of a question: the session, `nobody` (no such session), `unavailable` (nobody can tell), `busy` (too many questions). */
export type Answer =
  | { readonly kind: 'session'; readonly entry: SessionEntry }
  | { readonly kind: 'nobody' }
  | { readonly kind: 'unavailable' }
  | { readonly kind: 'busy' }

/** Asks the primary about `id`; the primary's answer is given to `SessionTable.answered`. */
export type Ask = (id: string) => void

/** The sessions of one worker. */
export class SessionTable {
  readonly #entries = new Map<string, SessionEntry>()
  readonly #idsByUuid = new Map<string, string>()
  readonly #waiters = new Map<string, ((answer: Answer) => void)[]>()
  #touched: string[] = []
  readonly #ask: Ask
  readonly #onEnded: (uuid: string) => void
  readonly #touchIntervalMs: number

  /**
   * @param ask sends a question to the primary
   * @param onEnded told of each session of the table that has ended
   * @param touchIntervalMs how often activity of one session is noted
   */
  constructor(ask: Ask, onEnded: (uuid: string) => void, touchIntervalMs: number) {
    this.#ask = ask
    this.#onEnded = onEnded
    this.#touchIntervalMs = touchIntervalMs
  }

  /** The live session with this id, if the table has it. */
  find(id: string): SessionEntry | undefined {
    return this.#entries.get(id)
  }

  /** Asks about an id that `find` does not know. `then` is called once, later, or now with `busy`. */
  question(id: string, then: (answer: Answer) => void): void {
    const waiters = this.#waiters.get(id)
    if (waiters !== undefined) {
      waiters.push(then)
    } else if (this.#waiters.size >= QUESTIONS_MAX) {
      then({ kind: 'busy' })
    } else {
      this.#waiters.set(id, [then])
      this.#ask(id)
    }
  }

  /** Takes the primary's answer about `id`: a session, null for none, or `unavailable`. */
  answered(id: string, found: Session | null | 'unavailable'): void {
    const answer = this.#answer(id, found)
    const waiters = this.#waiters.get(id) ?? []
    this.#waiters.delete(id)
    for (const then of waiters) then(answer)
  }

  #answer(id: string, found: Session | null | 'unavailable'): Answer {
    if (found === null) return { kind: 'nobody' }
    if (found === 'unavailable') return { kind: 'unavailable' }
    const entry = { session: found, identityLines: identityLines(found), touchedMs: Number.NEGATIVE_INFINITY }
    this.#entries.set(id, entry)
    this.#idsByUuid.set(found.uuid, id)
    if (this.#entries.size > ENTRIES_MAX) this.#forgetFirst()
    return { kind: 'session', entry }
  }

  #forgetFirst(): void {
    for (const [id, entry] of this.#entries) {
      this.#entries.delete(id)
      this.#idsByUuid.delete(entry.session.uuid)
      return
    }
  }

  /** Takes the news that sessions ended: from here on no request of theirs is admitted. */
  ended(uuids: readonly string[]): void {
    for (const uuid of uuids) {
      const id = this.#idsByUuid.get(uuid)
      if (id === undefined) continue
      this.#idsByUuid.delete(uuid)
      this.#entries.delete(id)
      this.#onEnded(uuid)
    }
  }

  /**
   * Notes activity of a session, at most once in the interval given to the constructor: with many sessions active, telling
   * of each once a second cost the primary more than serving them.
   * @param nowMs on a clock that does not go back
   */
  touch(entry: SessionEntry, nowMs: number): void {
    if (nowMs - entry.touchedMs < this.#touchIntervalMs) return
    entry.touchedMs = nowMs
    this.#touched.push(entry.session.uuid)
  }

  /** The uuids of sessions whose activity was noted since the last call. */
  takeTouched(): readonly string[] {
    const touched = this.#touched
    this.#touched = []
    return touched
  }
}

/** `X-Xen-Session-*` lines (interface: "To the service"). */
function identityLines(session: Session): string {
  return (
    `X-Xen-Session-User: ${fieldText(session.user)}\r\n` +
    `X-Xen-Session-Subject: ${fieldText(session.subject)}\r\n` +
    `X-Xen-Session-Roles: ${session.roles.join(', ')}\r\n` +
    `X-Xen-Session-Originator: ${fieldText(session.originator)}\r\n`
  )
}

/** Text as a field value: `%` and all but visible ASCII and inner spaces as percent-encoded UTF-8, so that no name can forge a field. */
function fieldText(text: string): string {
  return text.toWellFormed().replace(/[^!-$&-~ ]|^ | $/gu, (character) => encodeURIComponent(character))
}

// Events of an API whose objects do not change while the gateway runs: what `event.from` and `event.next` wait for is
// their time-out, the end of the session, the client's going away, or the gateway's stopping.
//
// A token is a generation, drawn when the server starts. A token of another generation (an older run, or `event.inject`)
// gets all objects at once; the current one waits.

import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import { sessionInvalid, sessionNotRegistered, tokenParseFailure } from './errors.ts'
import type { SessionCall } from './method.ts'
import type { XenApiObject } from './records.ts'
import type { RpcValue } from './values.ts'

/** A client that asks for more waits anew; well below the gateway's response time-out. */
const WAIT_SECONDS_MAX = 60

/** `event.next` has no time-out parameter. */
const NEXT_SECONDS = 30

/** Waiting calls of one session; past it the oldest is answered. */
const WAITING_MAX = 16

/** Where waiting calls wait. */
export class EventSource {
  readonly #authority: SignInAuthority
  readonly #objects: () => XenApiObject[]
  readonly #generation: bigint
  /** Waiting calls' finishers by session uuid, oldest first. */
  readonly #waiting = new Map<string, Set<() => void>>()
  /** Sessions (uuids) that called `event.register`, with what stops watching for their end. */
  readonly #registered = new Map<string, () => void>()
  #stopped = false

  /** @param generation a number that is another one in each run, such as the time in ms. */
  constructor(authority: SignInAuthority, objects: () => XenApiObject[], generation: number) {
    this.#authority = authority
    this.#objects = objects
    this.#generation = BigInt(generation)
  }

  /** Generation of now; the API's integer. */
  get currentId(): string {
    return String(this.#generation)
  }

  /** Answers every waiting call, and later ones at once. */
  stop(): void {
    this.#stopped = true
    for (const finishers of this.#waiting.values()) for (const finish of finishers) finish()
  }

  /**
   * Events of `classes` since `token`; waits for them for up to `seconds`.
   *
   * @param classes `*`, class names, or `class/reference`; compared without case, as in xapi.
   * @throws {XenApiError} `EVENT_FROM_TOKEN_PARSE_FAILURE`, or `SESSION_INVALID` when the session ends meanwhile.
   */
  async from(call: SessionCall, classes: readonly string[], token: string, seconds: number): Promise<RpcValue> {
    const since = parseToken(token)
    const objects = since === this.#generation ? [] : this.#objects().filter((object) => matches(object, classes))
    if (objects.length === 0) await this.#wait(call, seconds)
    return {
      token: formatToken(this.#generation),
      events: objects.map((object) => this.#event(object, since === 0n ? 'add' : 'mod')),
      valid_ref_counts: { pool: 1, host: 1 },
    }
  }

  /** A token that makes `event.from` give the objects again. Clients take it before they read everything. */
  inject(): string {
    return formatToken(this.#generation - 1n)
  }

  /** Allows `event.next` to the session, until it ends. */
  register({ session: { uuid } }: SessionCall): void {
    if (this.#registered.has(uuid)) return
    const ended = (): void => {
      this.#registered.delete(uuid)
    }
    this.#registered.set(uuid, this.#authority.watch(uuid, ended))
  }

  unregister({ session: { uuid } }: SessionCall): void {
    this.#registered.get(uuid)?.()
    this.#registered.delete(uuid)
  }

  /** Waits; there is never an event. @throws {XenApiError} `SESSION_NOT_REGISTERED`, `SESSION_INVALID`. */
  async next(call: SessionCall): Promise<RpcValue> {
    if (!this.#registered.has(call.session.uuid)) throw sessionNotRegistered(call.sessionId)
    await this.#wait(call, NEXT_SECONDS)
    return []
  }

  #event({ className, reference, record }: XenApiObject, operation: string): RpcValue {
    return { id: this.currentId, timestamp: '0.0', class: className, operation, ref: reference, snapshot: record }
  }

  /** Clean-up is in one place, `finish`, whichever of the reasons comes first. */
  async #wait({ session: { uuid }, sessionId, gone }: SessionCall, seconds: number): Promise<void> {
    if (this.#stopped || gone.aborted || seconds <= 0) return
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const finish = (): void => {
      resolve(true)
    }
    const stopWatching = this.#authority.watch(uuid, () => {
      resolve(false)
    })
    const timer = setTimeout(finish, Math.min(seconds, WAIT_SECONDS_MAX) * 1_000)
    gone.addEventListener('abort', finish)
    this.#enlist(uuid, finish)
    try {
      if (!(await promise)) throw sessionInvalid(sessionId)
    } finally {
      clearTimeout(timer)
      gone.removeEventListener('abort', finish)
      stopWatching()
      this.#delist(uuid, finish)
    }
  }

  #enlist(uuid: string, finish: () => void): void {
    const finishers = this.#waiting.get(uuid) ?? new Set()
    this.#waiting.set(uuid, finishers.add(finish))
    const [oldest] = finishers
    if (finishers.size <= WAITING_MAX || oldest === undefined) return
    finishers.delete(oldest)
    oldest()
  }

  #delist(uuid: string, finish: () => void): void {
    const finishers = this.#waiting.get(uuid)
    finishers?.delete(finish)
    if (finishers?.size === 0) this.#waiting.delete(uuid)
  }
}

function matches({ className, reference }: XenApiObject, classes: readonly string[]): boolean {
  return classes.some((wanted) => {
    const slash = wanted.indexOf('/')
    if (slash === -1) return wanted === '*' || wanted.toLowerCase() === className
    return wanted.slice(0, slash).toLowerCase() === className && wanted.slice(slash + 1) === reference
  })
}

/** xapi's form: generations of objects and of messages. The empty token is the beginning. */
function formatToken(generation: bigint): string {
  return `${String(generation).padStart(20, '0')},${'0'.repeat(20)}`
}

function parseToken(token: string): bigint {
  if (token === '') return 0n
  const generation = /^(\d{1,20}),\d{1,20}$/.exec(token)?.[1]
  if (generation === undefined) throw tokenParseFailure(token.slice(0, 100))
  return BigInt(generation)
}

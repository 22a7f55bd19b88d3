// Events: what changed since a client looked last. What calls wait for is a change, their time-out, the end of the session, the
// client's going away, or the gateway's stopping.
//
// A token is a number of the journal's. One of an earlier run, and that of `event.inject`, is before every change of this
// run: for it all objects are told of at once.

import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import type { Session } from '../model/session.ts'
import { sessionInvalid, sessionNotRegistered, tokenParseFailure } from './errors.ts'
import type { Changed, Journal } from './journal.ts'
import type { XenApiObject } from './records.ts'
import { taskRecord } from './task-record.ts'
import type { Tasks } from './tasks.ts'
import type { RpcValue } from './values.ts'

/** A client that asks for more waits anew; well below the gateway's response time-out. */
const WAIT_SECONDS_MAX = 60

/** `event.next` has no time-out parameter. */
const NEXT_SECONDS = 30

/** Waiting calls of one session; past it the oldest is answered. */
const WAITING_MAX = 16

/** Pool and host are there since before any run: to a client that knows a token they are changed, and not new. */
const BEFORE_ANY_RUN = 1n

/** Who calls, and may have to wait. */
export interface Waiter {
  readonly session: Session
  /** The secret; it goes into answers to its owner only. */
  readonly sessionId: string
  /** Aborted when nobody waits for the answer any more. */
  readonly gone: AbortSignal
}

/** A call that waits. */
interface Waiting {
  readonly session: Session
  readonly classes: readonly string[]
  readonly finish: () => void
}

/** What a session registered for, and what `event.next` has told it. */
interface Registered {
  readonly classes: Set<string>
  told: bigint
  readonly stopWatching: () => void
}

/** What the events are of. */
export interface EventContext {
  readonly authority: Pick<SignInAuthority, 'watch'>
  readonly journal: Journal
  readonly tasks: Tasks
  /** Pool and host, as of now. */
  readonly objects: () => readonly XenApiObject[]
  readonly hostReference: string
}

/** Where waiting calls wait. */
export class EventSource {
  readonly #context: EventContext
  /** Waiting calls by session uuid, oldest first. */
  readonly #waiting = new Map<string, Set<Waiting>>()
  readonly #registered = new Map<string, Registered>()
  /** Records of pool and host by reference, as last seen, and the numbers of their changes. */
  readonly #seen = new Map<string, { readonly text: string; readonly changed: bigint }>()
  #stopped = false

  constructor(context: EventContext) {
    this.#context = context
    context.journal.onChange = (changed) => this.#wake(changed)
    this.#look()
  }

  /** Number of the last change; the API's integer. */
  get currentId(): string {
    return String(this.#context.journal.now)
  }

  /** Answers every waiting call, and later ones at once. */
  stop(): void {
    this.#stopped = true
    for (const calls of this.#waiting.values()) for (const { finish } of calls) finish()
  }

  /**
   * Events of `classes` since `token`; waits for them for up to `seconds`.
   *
   * @param classes `*`, class names, or `class/reference`; compared without case, as in xapi.
   * @throws {XenApiError} `EVENT_FROM_TOKEN_PARSE_FAILURE`, or `SESSION_INVALID` when the session ends meanwhile.
   */
  async from(call: Waiter, classes: readonly string[], token: string, seconds: number): Promise<RpcValue> {
    const { journal, tasks } = this.#context
    const told = parseToken(token)
    // A clock that was set back between two runs.
    const since = told > journal.now ? journal.start - 1n : told
    let events = this.#since(call.session, classes, since)
    if (events.length === 0) {
      await this.#wait(call, classes, seconds)
      events = this.#since(call.session, classes, since)
    }
    return {
      token: formatToken(journal.now),
      events,
      valid_ref_counts: { pool: 1, host: 1, task: tasks.of(call.session).length },
    }
  }

  /** A token that makes `event.from` give the objects again. Clients take it before they read everything. */
  inject(): string {
    return formatToken(this.#context.journal.start - 1n)
  }

  /** Allows `event.next` to the session, until it ends. */
  register({ session: { uuid } }: Waiter, classes: readonly string[]): void {
    const registered = this.#registered.get(uuid) ?? this.#register(uuid)
    for (const name of classes.slice(0, WAITING_MAX)) registered.classes.add(name.slice(0, 100))
  }

  #register(uuid: string): Registered {
    const { authority, journal } = this.#context
    const stopWatching = authority.watch(uuid, () => this.#registered.delete(uuid))
    const registered: Registered = { classes: new Set(), told: journal.now, stopWatching }
    this.#registered.set(uuid, registered)
    return registered
  }

  unregister({ session: { uuid } }: Waiter, classes: readonly string[]): void {
    const registered = this.#registered.get(uuid)
    for (const name of classes) registered?.classes.delete(name)
    if (registered === undefined || registered.classes.size > 0) return
    registered.stopWatching()
    this.#registered.delete(uuid)
  }

  /** Waits for what changed since the last call. @throws {XenApiError} `SESSION_NOT_REGISTERED`, `SESSION_INVALID`. */
  async next(call: Waiter): Promise<RpcValue> {
    const registered = this.#registered.get(call.session.uuid)
    if (registered === undefined) throw sessionNotRegistered(call.sessionId)
    const classes = [...registered.classes]
    let events = this.#since(call.session, classes, registered.told)
    if (events.length === 0) {
      await this.#wait(call, classes, NEXT_SECONDS)
      events = this.#since(call.session, classes, registered.told)
    }
    registered.told = this.#context.journal.now
    return events
  }

  /** What a session may see of the changes of `classes` after the number `since`, in no order but by reference. */
  #since(session: Session, classes: readonly string[], since: bigint): RpcValue[] {
    this.#look()
    const events: RpcValue[] = []
    for (const { className, reference, record } of this.#context.objects()) {
      const changed = this.#seen.get(reference)?.changed ?? since
      if (changed <= since || !matches(className, reference, classes)) continue
      events.push(event(className, reference, changed, since < BEFORE_ANY_RUN ? 'add' : 'mod', record))
    }
    const { tasks, hostReference } = this.#context
    for (const task of tasks.of(session)) {
      const { reference, changed, created } = task
      if (changed <= since || !matches('task', reference, classes)) continue
      const record = taskRecord(task, hostReference)
      events.push(event('task', reference, changed, created > since ? 'add' : 'mod', record))
    }
    for (const { reference, created, gone } of tasks.goneOf(session)) {
      if (gone <= since || created > since || !matches('task', reference, classes)) continue
      events.push(event('task', reference, gone, 'del', null))
    }
    return events
  }

  /** Pool and host change with a reload only, which nobody tells of here. */
  #look(): void {
    const { objects, journal } = this.#context
    for (const { reference, className, record } of objects()) {
      const text = JSON.stringify(record)
      const seen = this.#seen.get(reference)
      if (seen?.text === text) continue
      if (seen === undefined) this.#seen.set(reference, { text, changed: journal.start })
      else journal.record({ className, reference }, (changed) => this.#seen.set(reference, { text, changed }))
    }
  }

  #wake({ className, reference }: Changed): void {
    const { tasks } = this.#context
    for (const calls of this.#waiting.values()) {
      for (const { session, classes, finish } of calls) {
        if (!matches(className, reference, classes)) continue
        if (className !== 'task' || tasks.isFor(session, reference)) finish()
      }
    }
  }

  /** Clean-up is in one place, whichever of the reasons comes first. */
  async #wait({ session, sessionId, gone }: Waiter, classes: readonly string[], seconds: number): Promise<void> {
    if (this.#stopped || gone.aborted || seconds <= 0) return
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const finish = (): void => {
      resolve(true)
    }
    const stopWatching = this.#context.authority.watch(session.uuid, () => {
      resolve(false)
    })
    const timer = setTimeout(finish, Math.min(seconds, WAIT_SECONDS_MAX) * 1_000)
    gone.addEventListener('abort', finish)
    const waiting: Waiting = { session, classes, finish }
    this.#enlist(waiting)
    try {
      if (!(await promise)) throw sessionInvalid(sessionId)
    } finally {
      clearTimeout(timer)
      gone.removeEventListener('abort', finish)
      stopWatching()
      this.#delist(waiting)
    }
  }

  #enlist(waiting: Waiting): void {
    const { uuid } = waiting.session
    const calls = this.#waiting.get(uuid) ?? new Set()
    this.#waiting.set(uuid, calls.add(waiting))
    const [oldest] = calls
    if (calls.size <= WAITING_MAX || oldest === undefined) return
    calls.delete(oldest)
    oldest.finish()
  }

  #delist(waiting: Waiting): void {
    const { uuid } = waiting.session
    const calls = this.#waiting.get(uuid)
    calls?.delete(waiting)
    if (calls?.size === 0) this.#waiting.delete(uuid)
  }
}

function event(
  className: string,
  reference: string,
  number: bigint,
  operation: 'add' | 'mod' | 'del',
  record: XenApiObject['record'] | null,
): RpcValue {
  const told = { id: String(number), timestamp: '0.0', class: className, operation, ref: reference }
  return record === null ? told : { ...told, snapshot: record }
}

function matches(className: string, reference: string, classes: readonly string[]): boolean {
  return classes.some((wanted) => {
    const slash = wanted.indexOf('/')
    if (slash === -1) return wanted === '*' || wanted.toLowerCase() === className
    return wanted.slice(0, slash).toLowerCase() === className && wanted.slice(slash + 1) === reference
  })
}

/** xapi's form: numbers of changes to objects and to messages. The empty token is the beginning. */
function formatToken(number: bigint): string {
  return `${String(number).padStart(20, '0')},${'0'.repeat(20)}`
}

function parseToken(token: string): bigint {
  if (token === '') return 0n
  const number = /^(\d{1,20}),\d{1,20}$/.exec(token)?.[1]
  if (number === undefined) throw tokenParseFailure(token.slice(0, 100))
  return BigInt(number)
}

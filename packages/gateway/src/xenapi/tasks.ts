// Tasks: what clients make to follow a transfer, services report progress on, and the gateway ends when the request that names
// them is over. They are kept in memory, and go with the session that made them.
//
//   pending   → success, failure   the request with the task's reference in its query has ended, or somebody says so
//   pending   → cancelled          task.cancel
//   any       → gone               task.destroy, the end of the session, no room, or half a day pending without a change
//
// What all of them take in an answer is bounded. Where there is no room, it is made by the user who asks for it, if this one has
// more than their share, or else by the user who has most: nobody keeps others from making tasks.

import { randomUUID } from 'node:crypto'

import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import type { Session } from '../model/session.ts'
import { roleIncludes } from '../model/role.ts'
import { handleInvalid, operationNotAllowed, tooBusy } from './errors.ts'
import type { Journal } from './journal.ts'
import { escapeXml } from './xml.ts'

/** Tasks of one session. Past it the oldest that has ended goes; while none has, none is made. */
const SESSION_TASKS_MAX = 64
/** What all tasks may take in an answer, which is written on the primary's thread: some 200 tasks, in a few milliseconds. */
const BYTES_MAX = 524_288
/** What a record takes without its texts, and each text beside its characters. */
const RECORD_BYTES = 2048
const TEXT_BYTES = 48
/** How many tasks that are gone are told of as `del`; by `valid_ref_counts` clients see that they missed one. */
const GONE_MAX = 300
/** How long a pending task stays without a change: nobody is at work on it any more. */
const PENDING_MS_MAX = 12 * 3_600_000

/** Characters of each field. */
export const FIELD_CHARACTERS_MAX = 256

/** What becomes of a task. */
export type TaskStatus = 'pending' | 'success' | 'failure' | 'cancelled'

/** A task. Fields that are not readonly are changed by `Tasks.change` only. */
export interface Task {
  readonly reference: string
  readonly uuid: string
  readonly sessionUuid: string
  readonly user: string
  readonly label: string
  readonly description: string
  readonly createdMs: number
  /** By the journal. */
  created: bigint
  changed: bigint
  changedMs: number
  /** What it takes in an answer, at most. */
  bytes: number
  status: TaskStatus
  /** 0 while it has not ended. */
  finishedMs: number
  /** 0 to 1. */
  progress: number
  /** An XML-RPC value, or nothing. */
  result: string
  /** A code and its parameters. */
  errorInfo: readonly string[]
  otherConfig: Readonly<Record<string, string>>
}

/** A task that is gone. */
export interface GoneTask {
  readonly reference: string
  readonly user: string
  readonly created: bigint
  readonly gone: bigint
}

/** Tasks of one session. */
interface Owned {
  readonly tasks: Set<Task>
  readonly stopWatching: () => void
}

/** Whether a session may see and change a task: its user's own, and everybody's from pool-operator on. */
export function mayUse(session: Session, { user }: Pick<Task, 'user'>): boolean {
  return session.user === user || session.roles.some((held) => roleIncludes(held, 'pool-operator'))
}

/** See the head of this file. */
export class Tasks {
  readonly #authority: Pick<SignInAuthority, 'watch'>
  readonly #journal: Journal
  readonly #clock: () => number
  /** In the order in which they were made. */
  readonly #tasks = new Map<string, Task>()
  /** What the tasks of each user take, of those who have any; and all tasks. */
  readonly #bytesByUser = new Map<string, number>()
  #bytes = 0
  readonly #owned = new Map<string, Owned>()
  /** Oldest first. */
  readonly #gone: GoneTask[] = []

  constructor(authority: Pick<SignInAuthority, 'watch'>, journal: Journal, clock: () => number) {
    this.#authority = authority
    this.#journal = journal
    this.#clock = clock
  }

  /** @throws {XenApiError} `TOO_BUSY` when the session has too many that are pending. */
  create(session: Session, label: string, description: string): Task {
    this.#expire()
    const owned = this.#owned.get(session.uuid)?.tasks ?? new Set()
    if (owned.size >= SESSION_TASKS_MAX) this.#destroyEnded(owned)
    const reference = `OpaqueRef:${randomUUID()}`
    const createdMs = this.#clock()
    const task: Task = {
      reference,
      uuid: randomUUID(),
      sessionUuid: session.uuid,
      user: session.user,
      label,
      description,
      createdMs,
      created: 0n,
      changed: 0n,
      changedMs: createdMs,
      bytes: 0,
      status: 'pending',
      finishedMs: 0,
      progress: 0,
      result: '',
      errorInfo: [],
      otherConfig: {},
    }
    this.#makeRoom(task, bytesOf(task))
    this.#journal.record({ className: 'task', reference }, (number) => {
      task.created = number
      task.changed = number
      this.#tasks.set(reference, task)
      this.#count(task, bytesOf(task))
      this.#own(task)
    })
    return task
  }

  /** @throws {XenApiError} `HANDLE_INVALID` for a task that is not there, or not for this session. */
  get(session: Session, reference: string): Task {
    const task = this.#tasks.get(reference)
    if (task === undefined || !mayUse(session, task)) throw handleInvalid('task', reference)
    return task
  }

  /** Those that a session may see. */
  of(session: Session): Task[] {
    return [...this.#tasks.values()].filter((task) => mayUse(session, task))
  }

  /** References of those that a session has made. */
  madeBy(sessionUuid: string): string[] {
    return [...(this.#owned.get(sessionUuid)?.tasks ?? [])].map(({ reference }) => reference)
  }

  /** Those that a session might have seen before they went. */
  goneOf(session: Session): GoneTask[] {
    return this.#gone.filter((task) => mayUse(session, task))
  }

  /** Whether a session may see what has, or had, this reference. */
  isFor(session: Session, reference: string): boolean {
    const task = this.#tasks.get(reference) ?? this.#gone.findLast((gone) => gone.reference === reference)
    return task !== undefined && mayUse(session, task)
  }

  /** Changes a task. @throws {XenApiError} `OPERATION_NOT_ALLOWED` when it has ended. */
  change(task: Task, change: Partial<Pick<Task, 'progress' | 'result' | 'errorInfo' | 'otherConfig'>>): void {
    if (task.status !== 'pending') throw operationNotAllowed('The task has ended')
    this.#change(task, change)
  }

  /** Ends a task. @throws {XenApiError} `OPERATION_NOT_ALLOWED` when it has ended. */
  end(task: Task, status: Exclude<TaskStatus, 'pending'>): void {
    if (task.status !== 'pending') throw operationNotAllowed('The task has ended')
    const progress = status === 'success' ? 1 : task.progress
    this.#change(task, { status, progress, finishedMs: this.#clock() })
  }

  /**
   * The request that named a task is over.
   * @param failure what failed; null when nothing did
   */
  requestEnded(session: Session, reference: string, failure: readonly string[] | null): void {
    const task = this.#tasks.get(reference)
    // The service may have ended it, and the client may have named one that is not its own.
    if (task === undefined || !mayUse(session, task) || task.status !== 'pending') return
    if (failure !== null) task.errorInfo = failure
    this.end(task, failure === null ? 'success' : 'failure')
  }

  destroy(task: Task): void {
    const { reference, user, created, sessionUuid } = task
    this.#tasks.delete(reference)
    this.#count(task, 0)
    const owned = this.#owned.get(sessionUuid)
    owned?.tasks.delete(task)
    if (owned?.tasks.size === 0) {
      owned.stopWatching()
      this.#owned.delete(sessionUuid)
    }
    this.#journal.record({ className: 'task', reference }, (gone) => {
      this.#gone.push({ reference, user, created, gone })
      if (this.#gone.length > GONE_MAX) this.#gone.shift()
    })
  }

  #change(task: Task, change: Partial<Task>): void {
    const bytes = bytesOf({ ...task, ...change })
    this.#makeRoom(task, bytes)
    this.#journal.record({ className: 'task', reference: task.reference }, (changed) => {
      Object.assign(task, change, { changed, changedMs: this.#clock() })
      this.#count(task, bytes)
    })
  }

  /** The task takes so much from now on. */
  #count(task: Task, bytes: number): void {
    const ofUser = (this.#bytesByUser.get(task.user) ?? 0) + bytes - task.bytes
    if (ofUser === 0) this.#bytesByUser.delete(task.user)
    else this.#bytesByUser.set(task.user, ofUser)
    this.#bytes += bytes - task.bytes
    task.bytes = bytes
  }

  #own(task: Task): void {
    const owned = this.#owned.get(task.sessionUuid)
    if (owned !== undefined) {
      owned.tasks.add(task)
      return
    }
    const tasks = new Set([task])
    const stopWatching = this.#authority.watch(task.sessionUuid, () => {
      for (const one of tasks) this.destroy(one)
    })
    this.#owned.set(task.sessionUuid, { tasks, stopWatching })
  }

  #expire(): void {
    const oldestMs = this.#clock() - PENDING_MS_MAX
    for (const task of this.#tasks.values()) {
      if (task.status === 'pending' && task.changedMs < oldestMs) this.destroy(task)
    }
  }

  #destroyEnded(tasks: Iterable<Task>): void {
    for (const task of tasks) {
      if (task.status === 'pending') continue
      this.destroy(task)
      return
    }
    throw tooBusy()
  }

  /** Destroys other tasks until `task` can take so much: a user's oldest, first of those that have ended. */
  #makeRoom(task: Task, bytes: number): void {
    while (this.#bytes + bytes - task.bytes > BYTES_MAX) {
      const user = this.#whoMakesRoom(task, bytes)
      const theirs = [...this.#tasks.values()].filter((one) => one.user === user && one !== task)
      const oldest = theirs.find(({ status }) => status !== 'pending') ?? theirs[0]
      if (oldest === undefined) throw tooBusy()
      this.destroy(oldest)
    }
  }

  /** @param bytes what `task` is to take */
  #whoMakesRoom(task: Task, bytes: number): string {
    const { user } = task
    // The task itself stays.
    const others = new Map(this.#bytesByUser).set(user, (this.#bytesByUser.get(user) ?? 0) - task.bytes)
    const own = others.get(user) ?? 0
    if (own > 0 && own + bytes > BYTES_MAX / others.size) return user
    const [[most]] = [...others].toSorted((a, b) => b[1] - a[1]) as [[string, number]]
    return most
  }
}

/** What a task's record takes in an answer, in either format, at most. */
function bytesOf({ label, description, result, errorInfo, otherConfig }: Task): number {
  const texts = [label, description, result, ...errorInfo, ...Object.entries(otherConfig).flat()]
  return texts.reduce((bytes, text) => bytes + TEXT_BYTES + writtenBytes(text), RECORD_BYTES)
}

function writtenBytes(text: string): number {
  return Math.max(Buffer.byteLength(escapeXml(text)), Buffer.byteLength(JSON.stringify(text)))
}

// Channels and tunnels on their way between processes: those that came and wait for their session to be known here, and those that were given,
// of which this process keeps the client's descriptor for a while.
//
// A session may end while something that lives under it is on its way. Whoever gave it has heard of the end, or whoever takes it does: both cut
// the connection for all who have it, so that no end of a session is confirmed while it lives on.

import { closeDescriptor, cutConnection, duplicateDescriptor } from '@xengate/channel'
import type { Answer, SessionEntry, SessionTable } from '../sessions/table.ts'
import type { GivenConnection } from './client/connection.ts'
import type { Clock } from './clock.ts'
import type { Moved } from './exchange/moved.ts'

/** How long what was given is held for the end of its session: by then somebody has taken it. */
const GIVEN_MS = 5000
/** When nobody can tell whether a session is live it is asked again so much later. */
const AGAIN_MS = 200

/** A connection that came with something under way. */
export type MovedConnection = GivenConnection & { readonly underWay: NonNullable<GivenConnection['underWay']> }

interface Waiting {
  readonly moved: MovedConnection
  isOver: boolean
}

/** What it is made from. */
export interface MovingOptions {
  readonly sessions: SessionTable
  readonly clock: Clock
  /** Goes on with it. @param entry its session's; null where it has none */
  readonly goOn: (moved: MovedConnection, entry: SessionEntry | null) => void
  /** Told that one of those that waited is gone, or goes on. */
  readonly left: () => void
}

/** See the head of this file. */
export class Moving {
  readonly #options: MovingOptions
  readonly #waiting = new Set<Waiting>()
  /** By descriptor, the session of what was given. */
  readonly #given = new Map<number, string>()

  constructor(options: MovingOptions) {
    this.#options = options
  }

  /** How many wait for their session to be known. */
  get size(): number {
    return this.#waiting.size
  }

  /** Takes what came. Its descriptors are this one's. */
  take(moved: MovedConnection): void {
    const waiting = { moved, isOver: false }
    this.#waiting.add(waiting)
    this.#find(waiting)
  }

  #find(waiting: Waiting): void {
    if (waiting.isOver) return
    const { session } = waiting.moved.underWay.moved
    const { sessions, clock } = this.#options
    if (session === null) this.#goOn(waiting, null)
    else {
      const known = sessions.isTrusted ? sessions.find(session.id, clock.nowMs) : undefined
      if (known === undefined) sessions.question(session.id, '', (answer) => this.#answered(waiting, answer))
      else this.#goOn(waiting, known)
    }
  }

  #answered(waiting: Waiting, answer: Answer): void {
    if (waiting.isOver) return
    if (answer === 'nobody') this.#cut(waiting)
    else if (typeof answer === 'string' || !this.#options.sessions.isTrusted)
      setTimeout(() => this.#find(waiting), AGAIN_MS).unref()
    else this.#goOn(waiting, answer)
  }

  #goOn(waiting: Waiting, entry: SessionEntry | null): void {
    this.#options.goOn(waiting.moved, entry)
    this.#over(waiting)
  }

  #cut(waiting: Waiting): void {
    closeMoved(waiting.moved)
    this.#over(waiting)
  }

  #over(waiting: Waiting): void {
    waiting.isOver = true
    this.#waiting.delete(waiting)
    this.#options.left()
  }

  /** Another process has been given this; its descriptors are still open here. */
  gave({ fd, underWay }: GivenConnection): void {
    const uuid = underWay?.moved.session?.uuid
    const copy = uuid === undefined ? -1 : duplicateDescriptor(fd)
    if (uuid === undefined || copy === -1) return
    this.#given.set(copy, uuid)
    setTimeout(() => this.#forget(copy), GIVEN_MS).unref()
  }

  #forget(copy: number): void {
    if (this.#given.delete(copy)) closeDescriptor(copy)
  }

  /** Sessions have ended. */
  sessionsEnded(uuids: readonly string[]): void {
    const ended = new Set(uuids)
    for (const waiting of this.#waiting) if (ended.has(sessionOf(waiting.moved.underWay.moved))) this.#cut(waiting)
    for (const [copy, uuid] of this.#given) {
      if (!ended.has(uuid)) continue
      cutConnection(copy)
      this.#forget(copy)
    }
  }

  /** Endings of sessions may not be heard of, or the gateway ends: what waits ends. */
  endWaiting(): void {
    for (const waiting of this.#waiting) this.#cut(waiting)
  }
}

/** Ends what came and cannot go on, for the client and the service. */
export function closeMoved({ fd, underWay }: MovedConnection): void {
  cutConnection(fd)
  closeDescriptor(fd)
  closeDescriptor(underWay.serviceFd)
}

function sessionOf({ session }: Moved): string {
  return session === null ? '' : session.uuid
}

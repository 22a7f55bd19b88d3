// Connections to services: the idle ones of each, taken last-in first-out, and the making of new ones.
//
// Whether a service runs is what connecting to its socket says, at the time of the request: no table of services can be
// stale, and a socket file with nobody behind it is the same as none.

import { statSync } from 'node:fs'
import type { LogEvent } from '../logging/event.ts'
import type { Clock } from './clock.ts'
import { ServiceConnection, type Where } from './service-connection.ts'

/** Idle connections kept for each service. */
const IDLE_MAX = 256
/** How long one is kept: less than the 5 s after which services on node:http close, so that they do not close first. */
const IDLE_TIMEOUT_MS = 4000
/** Pauses between tries while a service's queue of connections is full. */
const RETRY_FIRST_MS = 1
const RETRY_LAST_MS = 50

/** Why there is no connection. */
export type ConnectFailure = 'unreachable' | 'too-slow' | 'no-descriptors'

/** How it shows that a service does not run: no socket, one that nobody listens on, or a file that is none. */
export type Absence = 'absent' | 'stale' | 'no-socket'

/** What became of `connect`. */
export type Connected =
  | { readonly kind: 'connected'; readonly connection: ServiceConnection }
  | { readonly kind: ConnectFailure }
  | { readonly kind: 'not-running'; readonly why: Absence }

/** Codes by which connecting says that nobody listens at a path. */
const NOBODY_THERE: ReadonlySet<string> = new Set([
  'ENOENT',
  'ECONNREFUSED',
  'ENOTDIR',
  'ENOTSOCK',
  'ENAMETOOLONG',
  'EINVAL',
  'ELOOP',
  'EPROTOTYPE',
])

/** Codes by which connecting says that this process, or the system, may open nothing more. */
const NO_DESCRIPTORS = new Set(['EMFILE', 'ENFILE'])

/** Connections of one worker to everything it relays to. */
export class ServicePool {
  readonly #idle = new Map<string, ServiceConnection[]>()
  readonly #open = new Set<ServiceConnection>()
  readonly #placesOf: (name: string) => readonly Where[]
  readonly #connectTimeoutMs: number
  readonly #clock: Clock

  readonly #problem: (event: string, code: string) => void
  readonly #debug: ((event: LogEvent) => void) | null

  /**
   * @param placesOf where a service can be, in the order to try
   * @param problem told of what is wrong with this process
   * @param debug told of each connection; null when nobody wants to hear of them
   */
  constructor(
    placesOf: (name: string) => readonly Where[],
    connectTimeoutMs: number,
    clock: Clock,
    problem: (event: string, code: string) => void,
    debug: ((event: LogEvent) => void) | null,
  ) {
    this.#problem = problem
    this.#debug = debug
    this.#placesOf = placesOf
    this.#connectTimeoutMs = connectTimeoutMs
    this.#clock = clock
  }

  /** The idle connection to `name` that was used last, if there is one. */
  takeIdle(name: string): ServiceConnection | undefined {
    const idle = this.#idle.get(name)
    if (idle === undefined) return undefined
    for (let connection = idle.pop(); connection !== undefined; connection = idle.pop()) {
      if (connection.isUsable) return connection
    }
    return undefined
  }

  /** Makes a connection to `name`. `then` is called once. */
  connect(name: string, then: (connected: Connected) => void): void {
    this.#tryPlace(this.#placesOf(name), 0, RETRY_FIRST_MS, this.#clock.nowMs + this.#connectTimeoutMs, then)
  }

  #tryPlace(
    places: readonly Where[],
    index: number,
    pauseMs: number,
    deadlineMs: number,
    then: (connected: Connected) => void,
  ): void {
    const place = places[index]
    if (place === undefined) {
      then({ kind: 'not-running', why: absenceAt(places) })
      return
    }
    const connection = new ServiceConnection(place, this.#connectTimeoutMs, (error) => {
      this.#debug?.({ event: 'service-connect', ...placeForLog(place), code: error?.code ?? null })
      if (error === undefined) {
        this.#open.add(connection)
        connection.onClosed(() => this.#open.delete(connection))
        then({ kind: 'connected', connection })
      } else if (NOBODY_THERE.has(error.code ?? '')) {
        this.#tryPlace(places, index + 1, pauseMs, deadlineMs, then)
      } else if (NO_DESCRIPTORS.has(error.code ?? '')) {
        this.#problem('descriptors-used-up', error.code ?? '')
        then({ kind: 'no-descriptors' })
      } else if (error.code !== 'EAGAIN') {
        then({ kind: 'unreachable' })
      } else if (this.#clock.nowMs >= deadlineMs) {
        then({ kind: 'too-slow' })
      } else {
        // EAGAIN: the service runs, and its queue of connections is full.
        const nextPauseMs = Math.min(pauseMs * 2, RETRY_LAST_MS)
        setTimeout(() => this.#tryPlace(places, index, nextPauseMs, deadlineMs, then), pauseMs)
      }
    })
  }

  /** Takes back a connection whose exchange is complete. */
  keep(name: string, connection: ServiceConnection): void {
    connection.release()
    this.giveBack(name, connection)
  }

  /** Takes back a connection that nothing was sent on since it was taken or made. */
  giveBack(name: string, connection: ServiceConnection): void {
    let idle = this.#idle.get(name)
    if (idle === undefined) {
      idle = []
      this.#idle.set(name, idle)
    }
    if (idle.length >= IDLE_MAX || !connection.isUsable) {
      connection.destroy()
      return
    }
    connection.idleSinceMs = this.#clock.nowMs
    connection.wasIdle = true
    idle.push(connection)
  }

  /** Closes connections that have been idle for too long; called now and then. */
  sweep(): void {
    const oldestMs = this.#clock.nowMs - IDLE_TIMEOUT_MS
    for (const [name, idle] of this.#idle) {
      const kept = idle.filter((connection) => {
        if (connection.isUsable && connection.idleSinceMs > oldestMs) return true
        connection.destroy()
        return false
      })
      if (kept.length === 0) this.#idle.delete(name)
      else if (kept.length < idle.length) this.#idle.set(name, kept)
    }
  }

  /** Closes everything. */
  destroy(): void {
    for (const connection of this.#open) connection.destroy()
    this.#idle.clear()
  }
}

function placeForLog(place: Where): Readonly<Record<string, unknown>> {
  return 'path' in place ? { path: place.path } : { host: place.host, port: place.port }
}

/** What stands where nobody listens: the first that is something. Connecting says the same of a stale socket and of a file. */
function absenceAt(places: readonly Where[]): Absence {
  for (const place of places) {
    if (!('path' in place)) continue
    try {
      return statSync(place.path).isSocket() ? 'stale' : 'no-socket'
    } catch {
      // Nothing is there, or a link that leads nowhere.
    }
  }
  return 'absent'
}

/** Where the socket of the service `name` can be, given the configured directories. */
export function socketPaths(directories: readonly string[], name: string): readonly string[] {
  // A name has no `/`, and a directory's path is normal: as `join` would, without taking them apart.
  return directories.map((directory) => `${directory}/${name}`)
}

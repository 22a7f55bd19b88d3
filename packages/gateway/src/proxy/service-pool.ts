// Connections to services: the idle ones of each, taken last-in first-out, and the making of new ones.
//
// Whether a service runs is what connecting to its socket says, at the time of the request: no table of services can be
// stale, and a socket file with nobody behind it is the same as none.

import { statSync } from 'node:fs'
import { connectSocket, READS_BODIES_MODE } from '@xengate/channel'
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
export type ConnectFailure = 'not-running' | 'unreachable' | 'too-slow' | 'no-descriptors'

/** How it shows that a service does not run: no socket, one that nobody listens on, or a file that is none. */
export type Absence = 'absent' | 'stale' | 'no-socket'

/** What became of `connect`. */
export type Connected =
  | { readonly kind: 'connected'; readonly connection: ServiceConnection }
  | { readonly kind: ConnectFailure }

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

/** The code by which connecting says that a service runs, and does not keep up with its connections. */
const QUEUE_FULL = 'EAGAIN'
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

  /** The idle connection to `name` that was used last, or a new one; null when that takes time: see `connect`. */
  take(name: string): Connected | null {
    const connection = this.#takeIdle(name)
    return connection === undefined ? this.#connectNow(name) : { kind: 'connected', connection }
  }

  /** What stands where nobody listens: the first that is something. Connecting says the same of a stale socket and of a file. */
  absenceOf(name: string): Absence {
    for (const place of this.#placesOf(name)) {
      if (!('path' in place)) continue
      try {
        return statSync(place.path).isSocket() ? 'stale' : 'no-socket'
      } catch {
        // Nothing is there, or a link that leads nowhere.
      }
    }
    return 'absent'
  }

  #takeIdle(name: string): ServiceConnection | undefined {
    const idle = this.#idle.get(name)
    if (idle === undefined) return undefined
    for (let connection = idle.pop(); connection !== undefined; connection = idle.pop()) {
      if (connection.isUsable) return connection
    }
    return undefined
  }

  #connectNow(name: string): Connected | null {
    for (const place of this.#placesOf(name)) {
      if ('port' in place) return null
      const marked = markedFile(place.path)
      const made = connectSocket(place.path)
      this.#debug?.({ event: 'service-connect', path: place.path, code: made.kind === 'connected' ? null : made.code })
      if (made.kind === 'connected') {
        // The same file before and after: a service that was exchanged in between is not judged by the other's mark.
        const readsBodies = marked !== null && markedFile(place.path) === marked
        return this.#connected(ServiceConnection.ofUnixSocket(made.fd, readsBodies))
      }
      if (NOBODY_THERE.has(made.code)) continue
      return made.code === QUEUE_FULL ? null : this.#failed(made.code)
    }
    return { kind: 'not-running' }
  }

  #connected(connection: ServiceConnection): Connected {
    this.#open.add(connection)
    connection.onClosed(() => this.#open.delete(connection))
    return { kind: 'connected', connection }
  }

  #failed(code: string): Connected {
    if (!NO_DESCRIPTORS.has(code)) return { kind: 'unreachable' }
    this.#problem('descriptors-used-up', code)
    return { kind: 'no-descriptors' }
  }

  /** Makes a connection to `name`, for as long as it takes, up to the connect timeout. `then` is called once, now or later. */
  connect(name: string, then: (connected: Connected) => void): void {
    this.#try(name, RETRY_FIRST_MS, this.#clock.nowMs + this.#connectTimeoutMs, then)
  }

  #try(name: string, pauseMs: number, deadlineMs: number, then: (connected: Connected) => void): void {
    const [place] = this.#placesOf(name)
    if (place !== undefined && 'port' in place) {
      ServiceConnection.toPort(place, this.#connectTimeoutMs, (connection, error) => {
        this.#debug?.({ event: 'service-connect', host: place.host, port: place.port, code: error?.code ?? null })
        if (error === undefined) then(this.#connected(connection))
        else if (NOBODY_THERE.has(error.code ?? '')) then({ kind: 'not-running' })
        else then(this.#failed(error.code ?? ''))
      })
      return
    }
    const connected = this.#connectNow(name)
    if (connected !== null) then(connected)
    else if (this.#clock.nowMs >= deadlineMs) then({ kind: 'too-slow' })
    // The service runs, and its queue of connections is full.
    else setTimeout(() => this.#try(name, Math.min(pauseMs * 2, RETRY_LAST_MS), deadlineMs, then), pauseMs)
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

  /** Whether there are connections that will have been idle for too long. */
  get hasIdle(): boolean {
    return this.#idle.size > 0
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

/** Where the socket of the service `name` can be, given the configured directories. */
export function socketPaths(directories: readonly string[], name: string): readonly string[] {
  // A name has no `/`, and a directory's path is normal: as `join` would, without taking them apart.
  return directories.map((directory) => `${directory}/${name}`)
}

/** Inode of the socket at `path`, if its mode says that the service reads every body; null otherwise. */
function markedFile(path: string): number | null {
  const file = statSync(path, { throwIfNoEntry: false })
  return file !== undefined && (file.mode & READS_BODIES_MODE) !== 0 ? file.ino : null
}

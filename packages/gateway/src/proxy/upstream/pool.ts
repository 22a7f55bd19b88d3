// Connections to services: the idle ones of each, taken last-in first-out, and the making of new ones.
//
// Whether a service runs is what connecting to its socket says, at the time of the request: no table of services can be
// stale, and a socket file with nobody behind it is the same as none.

import { statSync } from 'node:fs'
import { connectSocket, READS_BODIES_MODE } from '@xengate/channel'
import type { LogEvent } from '../../logging/event.ts'
import type { Counters, ServiceCounters } from '../../metrics/counters.ts'
import type { LimitHits } from '../../metrics/limit-hits.ts'
import { NetWire } from '../../transport/net/wire.ts'
import { NO_DESCRIPTORS, type Transport, type Wire } from '../../transport/transport.ts'
import type { Clock } from '../clock.ts'
import { ServiceConnection } from './connection.ts'
import type { Target, Where } from './target.ts'

/** Idle connections kept for each service. */
const IDLE_MAX = 256
/** How long one is kept: less than the 5 s after which services on node:http close, so that they do not close first. */
const IDLE_TIMEOUT_MS = 4000
/** The same while there is too little of something. */
const IDLE_SHORT_MS = 400
/** Pauses between tries while a service's queue of connections is full. */
const RETRY_FIRST_MS = 1
const RETRY_LAST_MS = 50

/** Why there is no connection. */
export type ConnectFailure = 'not-running' | 'unreachable' | 'too-slow' | 'no-descriptors'

/** How it shows that a service does not run: no socket, one that nobody listens on, or a file that is none. */
export type Absence = 'absent' | 'stale' | 'no-socket'

/** What became of `connect`: a connection, which is the caller's, or why there is none. */
export type Connected = ServiceConnection | ConnectFailure

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

/** What a pool takes while it runs. */
export interface PoolSettings {
  readonly connectTimeoutMs: number
  /** Told of each connection; null when nobody wants to hear of them. */
  readonly debug: ((event: LogEvent) => void) | null
}

/** What a pool is made from. */
export interface PoolOptions extends PoolSettings {
  readonly transport: Transport
  readonly clock: Clock
  readonly counters: Counters
  readonly limits: LimitHits
  /** Told of what is wrong with this process. */
  readonly problem: (event: string, code: string) => void
}

/** How often a quiet TCP connection is probed. */
const KEEP_ALIVE_MS = 60_000

/** Connections of one worker to everything it relays to. */
export class ServicePool {
  readonly #idle = new Map<string, ServiceConnection[]>()
  readonly #open = new Set<ServiceConnection>()
  /** Sockets that had no mark when a connection was made: they are not looked at again until the next sweep. */
  readonly #unmarked = new Set<string>()
  #options: PoolOptions
  readonly #clock: Clock

  constructor(options: PoolOptions) {
    this.#options = options
    this.#clock = options.clock
  }

  configure(settings: PoolSettings): void {
    this.#options = { ...this.#options, ...settings }
  }

  /**
   * The idle connection to `target` that was used last, or a new one; null when that takes time: see `connect`. An idle one on which
   * something comes before it is written to closes without that.
   * @param canRetry whether what is sent can be sent again on another connection: then it is looked at only when it is written to
   */
  take(target: Target, canRetry: boolean): Connected | null {
    return this.#takeIdle(target.key, canRetry) ?? this.#connectNow(target)
  }

  /** What stands where nobody listens: the first that is something. Connecting says the same of a stale socket and of a file. */
  absenceOf({ places }: Target): Absence {
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

  #takeIdle(key: string, canRetry: boolean): ServiceConnection | undefined {
    const idle = this.#idle.get(key)
    if (idle === undefined) return undefined
    for (let connection = idle.pop(); connection !== undefined; connection = idle.pop()) {
      if (!connection.isUsable) continue
      // What came while this process was busy has not been told yet, and may not be taken for the answer to what comes next.
      connection.isKept = false
      if (canRetry) connection.wire.expectNothing()
      if (canRetry || connection.wire.isQuiet()) {
        connection.counters.reused()
        return connection
      }
      connection.destroy()
    }
    return undefined
  }

  #connectNow(target: Target): Connected | null {
    for (const place of target.places) {
      if ('port' in place) return null
      const marked = this.#unmarked.has(place.path) ? null : markedFile(place.path)
      const made = connectSocket(place.path)
      this.#options.debug?.({
        event: 'service-connect',
        path: place.path,
        code: made.kind === 'connected' ? null : made.code,
      })
      if (made.kind === 'connected') {
        // The same file before and after: a service that was exchanged in between is not judged by the other's mark.
        const readsBodies = marked !== null && markedFile(place.path) === marked
        if (!readsBodies) this.#unmarked.add(place.path)
        return this.#connected(target, this.#options.transport.adopt(made.fd, true), readsBodies)
      }
      if (NOBODY_THERE.has(made.code)) continue
      return made.code === QUEUE_FULL ? null : this.#failed(target, made.code)
    }
    return this.#failed(target, null)
  }

  #connected({ name, isService }: Target, wire: Wire, readsBodies: boolean): ServiceConnection {
    const counters = this.#options.counters.service(isService ? name : `_${name}`)
    const connection = new ServiceConnection(wire, readsBodies, counters, this.#closed)
    this.#open.add(connection)
    return connection
  }

  /** A connection of another process, with something under way. @param name of its counters */
  adopt(wire: Wire, name: string): ServiceConnection {
    const connection = new ServiceConnection(wire, false, this.#options.counters.service(name), this.#closed)
    this.#open.add(connection)
    return connection
  }

  readonly #closed = (connection: ServiceConnection): void => {
    this.#open.delete(connection)
  }

  /** @param code the system's; null when nobody listens */
  #failed(target: Target, code: string | null): ConnectFailure {
    if (code !== null && NO_DESCRIPTORS.has(code)) {
      this.#options.problem('descriptors-used-up', code)
      this.#options.limits.hit('descriptors')
      return this.#countFailure(target, 'no-descriptors')
    }
    return this.#countFailure(target, code === null ? 'not-running' : 'unreachable')
  }

  #countFailure(target: Target, failure: ConnectFailure): ConnectFailure {
    this.#countersOf(target).connectFailed(failure)
    return failure
  }

  /** Anybody can name services that there are not: these get none of their own. */
  #countersOf({ name, isService }: Target): ServiceCounters {
    const { counters } = this.#options
    return isService ? counters.known(name) : counters.service(`_${name}`)
  }

  /** Makes a connection to `target`, for as long as it takes, up to the connect timeout. `then` is called once, now or later. */
  connect(target: Target, then: (connected: Connected) => void): void {
    const [place] = target.places
    const counters = this.#countersOf(target)
    counters.queued(1)
    const done = (connected: Connected): void => {
      counters.queued(-1)
      then(connected)
    }
    if (place !== undefined && 'port' in place) this.#connectPort(target, place, done)
    else this.#try(target, RETRY_FIRST_MS, this.#clock.nowMs + this.#options.connectTimeoutMs, done)
  }

  #connectPort(
    target: Target,
    { host, port, greeting }: Extract<Where, { port: number }>,
    then: (connected: Connected) => void,
  ): void {
    NetWire.connect(host, port, this.#options.connectTimeoutMs, (made) => {
      const code = typeof made === 'string' ? made : null
      this.#options.debug?.({ event: 'service-connect', host, port, code })
      if (typeof made !== 'string') {
        made.keepAlive(KEEP_ALIVE_MS)
        made.text(greeting)
        then(this.#connected(target, made, false))
      } else then(this.#failed(target, NOBODY_THERE.has(made) ? null : made))
    })
  }

  #try(target: Target, pauseMs: number, deadlineMs: number, then: (connected: Connected) => void): void {
    const connected = this.#connectNow(target)
    if (connected !== null) then(connected)
    else if (this.#clock.nowMs >= deadlineMs) then(this.#countFailure(target, 'too-slow'))
    // The service runs, and its queue of connections is full.
    else setTimeout(() => this.#try(target, Math.min(pauseMs * 2, RETRY_LAST_MS), deadlineMs, then), pauseMs)
  }

  /** Takes back a connection whose exchange is complete. */
  keep(target: Target, connection: ServiceConnection): void {
    connection.release()
    this.giveBack(target, connection)
  }

  /** Takes back a connection that nothing was sent on since it was taken or made. */
  giveBack({ key }: Target, connection: ServiceConnection): void {
    let idle = this.#idle.get(key)
    if (idle === undefined) {
      idle = []
      this.#idle.set(key, idle)
    }
    if (idle.length >= IDLE_MAX || !connection.isUsable) {
      connection.close(IDLE_TIMEOUT_MS)
      return
    }
    connection.idleSinceMs = this.#clock.nowMs
    connection.wasIdle = true
    connection.isKept = true
    idle.push(connection)
  }

  /** How many connections there are. */
  get size(): number {
    return this.#open.size
  }

  /** Whether there are connections that will have been idle for too long. */
  get hasIdle(): boolean {
    return this.#idle.size > 0
  }

  /** Closes connections that have been idle for too long; called now and then. @param isShort whether that is sooner than usual */
  sweep(isShort: boolean): void {
    this.#unmarked.clear()
    const oldestMs = this.#clock.nowMs - (isShort ? IDLE_SHORT_MS : IDLE_TIMEOUT_MS)
    for (const [key, idle] of this.#idle) {
      const kept = idle.filter((connection) => {
        if (connection.isUsable && connection.idleSinceMs > oldestMs) return true
        connection.close(IDLE_TIMEOUT_MS)
        return false
      })
      if (kept.length === 0) this.#idle.delete(key)
      else if (kept.length < idle.length) this.#idle.set(key, kept)
    }
  }

  /** Closes everything. */
  destroy(): void {
    for (const connection of this.#open) connection.destroy()
    this.#idle.clear()
  }
}

/** Inode of the socket at `path`, if its mode says that the service reads every body; null otherwise. */
function markedFile(path: string): number | null {
  const file = statSync(path, { throwIfNoEntry: false })
  return file !== undefined && (file.mode & READS_BODIES_MODE) !== 0 ? file.ino : null
}

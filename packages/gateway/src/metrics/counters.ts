// What one process counts, in memory that another may read: see series.ts. Whoever counts remembers where: a request costs additions to
// doubles, and neither a look-up by a new text nor an allocation.
//
// How many series there can be does not depend on clients: methods and codes are of a fixed set, and a service has series of its own only
// once its socket was there. What is beyond a bound is counted as `_other`.

import { BUCKETS, FAMILIES, type FamilyName, HISTOGRAM_VALUES, seriesKey } from './families.ts'
import { NOWHERE, SeriesMemory } from './series.ts'

/** Services that have series of their own in one process. */
const SERVICES_MAX = 1000
/** Hosts that requests are sent to, and reasons that others give: of each family. */
const VALUES_MAX = 500
/** Cells that are left for `_other` and for what is no service's. */
const RESERVED_CELLS = 8192
/** What is beyond a bound; a method that nobody knows is `_OTHER`, as OpenTelemetry has it. */
export const OTHER = '_other'
const METHOD_OTHER = '_OTHER'
/** What is no custom service: the gateway's own XenAPI, xapi behind the gateway, and what names nothing. */
export const XENAPI = '_xenapi'
export const XAPI = '_xapi'
export const NO_SERVICE = ''

const METHODS = ['GET', 'PUT', 'POST', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS', 'CONNECT', 'TRACE'] as const
const CODES = ['', '1xx', '2xx', '3xx', '4xx', '5xx'] as const

/** By which way a request was answered. */
export const WAY = { RELAY: 0, CHANNEL: 1, FRONT: 2, REDIRECT: 3, REFUSED: 4, OWN: 5 } as const
export type Way = (typeof WAY)[keyof typeof WAY]
const WAYS = ['relay', 'channel', 'front', 'redirect', 'refused', 'own'] as const

/** A connection to a service, as it is counted. */
export const SERVICE_CONNECTION = { ACTIVE: 0, IDLE: 1 } as const

/** A client's connection, as it is counted. */
export const CLIENT_STATES = ['active', 'idle', 'tunnel', 'channel', 'arriving', 'ending', 'waiting'] as const
export const CLIENT = { ACTIVE: 0, IDLE: 1, TUNNEL: 2, CHANNEL: 3, ARRIVING: 4, ENDING: 5, WAITING: 6 } as const
export type ClientState = (typeof CLIENT)[keyof typeof CLIENT]

/** Parts of a request's time that are the gateway's: see docs/operations.md. */
export const PHASES = ['read', 'admit', 'connect', 'relay'] as const

/** See the head of this file. */
export class Counters {
  readonly cells: Float64Array
  /** By phase. */
  readonly read: number
  readonly admit: number
  readonly connect: number
  readonly relay: number
  /** Where it is counted what is not a service's. */
  readonly none: ServiceCounters
  readonly other: ServiceCounters
  readonly #memory: SeriesMemory
  readonly #places = new Map<string, number>()
  readonly #valuesOf = new Map<FamilyName, number>()
  readonly #services = new Map<string, ServiceCounters>()
  /** By reason: one look-up by a text that is there already. */
  readonly #refused = new Map<string, number>()

  /** @param memory of zeros, which nobody else writes to */
  constructor(memory: ArrayBuffer) {
    this.#memory = new SeriesMemory(memory)
    this.cells = this.#memory.cells
    const [read = 0, admit = 0, connect = 0, relay = 0] = PHASES.map((phase) =>
      this.place('xengate_gateway_duration_seconds', phase),
    )
    this.read = read
    this.admit = admit
    this.connect = connect
    this.relay = relay
    this.none = new ServiceCounters(this, NO_SERVICE)
    this.other = new ServiceCounters(this, OTHER)
  }

  /** Counters in this process's own memory, which nobody else reads. */
  static private(cells: number = RESERVED_CELLS * 2): Counters {
    return new Counters(new ArrayBuffer(cells * Float64Array.BYTES_PER_ELEMENT))
  }

  /** What was counted, for who reads it in this process. */
  get memory(): ArrayBuffer {
    return this.cells.buffer as ArrayBuffer
  }

  /** The cell of a series, which is added when it is not there; to be remembered by whoever counts often. */
  place(family: FamilyName, ...values: readonly string[]): number {
    const key = seriesKey(family, values)
    const known = this.#places.get(key)
    if (known !== undefined) return known
    const count = FAMILIES[family].kind === 'histogram' ? HISTOGRAM_VALUES : 1
    const mayCrowd = isCrowd(family, values)
    const at = this.#memory.add(key, count, mayCrowd ? RESERVED_CELLS : 0)
    if (at === NOWHERE && mayCrowd) return this.place(family, OTHER, ...values.slice(1))
    // What is nobody's is asked for again and again where there is no room, and is not remembered.
    if (at !== NOWHERE) this.#places.set(key, at)
    return at
  }

  /** Counts one of a series whose last label can have many values: beyond the bound it is `_other`. */
  count(family: FamilyName, ...values: readonly string[]): void {
    this.add(family, 1, ...values)
  }

  /** The same with any number. */
  add(family: FamilyName, more: number, ...values: readonly string[]): void {
    this.cells[this.#bounded(family, values)]! += more
  }

  #bounded(family: FamilyName, values: readonly string[]): number {
    const key = seriesKey(family, values)
    const known = this.#places.get(key)
    if (known !== undefined) return known
    const count = this.#valuesOf.get(family) ?? 0
    if (count >= VALUES_MAX) return this.place(family, ...values.slice(0, -1), OTHER)
    this.#valuesOf.set(family, count + 1)
    return this.place(family, ...values)
  }

  /** Sets a value that is what it is now. */
  set(family: FamilyName, value: number, ...values: readonly string[]): void {
    this.cells[this.#bounded(family, values)] = value
  }

  /** Counts warnings or errors of the log. */
  logged(level: string, event: string, count: number): void {
    this.add('xengate_log_events_total', count, level, event)
    this.set('xengate_log_event_last_timestamp_seconds', Date.now() / 1000, event)
  }

  /** Takes a duration in milliseconds into the histogram at `at`. */
  observe(at: number, ms: number): void {
    const seconds = ms / 1000
    let bucket = 0
    while (bucket < BUCKETS.length && seconds > BUCKETS[bucket]!) bucket++
    this.cells[at + bucket]! += 1
    this.cells[at + HISTOGRAM_VALUES - 1]! += seconds
  }

  /** The gateway has refused a request, or a connection. */
  refused(reason: string): void {
    let at = this.#refused.get(reason)
    if (at === undefined) {
      at = this.place('xengate_refused_total', reason)
      this.#refused.set(reason, at)
    }
    this.cells[at]! += 1
  }

  /** The counters of a service that is there, or of what else `name` stands for. */
  service(name: string): ServiceCounters {
    const known = this.#services.get(name)
    if (known !== undefined) return known
    if (this.#services.size >= SERVICES_MAX) return this.other
    const counters = new ServiceCounters(this, name)
    this.#services.set(name, counters)
    return counters
  }

  /** Those of a service that was there once; of another name, those of `_other`. */
  known(name: string): ServiceCounters {
    return this.#services.get(name) ?? this.other
  }
}

/** Whether a series is one of those that there may be too many of. */
function isCrowd(family: FamilyName, values: readonly string[]): boolean {
  return FAMILIES[family].labels[0] === 'service' && values[0] !== OTHER && values[0] !== NO_SERVICE
}

/** What is counted of one service. */
export class ServiceCounters {
  readonly name: string
  readonly #counters: Counters
  readonly #cells: Float64Array
  /** By method, code and way; 0 where nothing was counted. */
  readonly #requests = new Int32Array((METHODS.length + 1) * CODES.length * WAYS.length)
  #relays: RelayPlaces | null = null

  constructor(counters: Counters, name: string) {
    this.#counters = counters
    this.#cells = counters.cells
    this.name = name
  }

  /** Places of what relayed requests and connections are counted with. */
  get #places(): RelayPlaces {
    this.#relays ??= placesOf(this.#counters, this.name)
    return this.#relays
  }

  /** A request, or a tunnel, is with the service now. */
  began(): void {
    this.#cells[this.#places.inFlight]! += 1
  }

  /**
   * It is over, with a response of the service.
   * @param ttfbMs from when it was let go to the service to the head of the response; null when there was none
   * @param totalMs null for what took as long as its peers wanted
   */
  ended(method: string, status: number, way: Way, ttfbMs: number | null, totalMs: number | null): void {
    const places = this.#places
    this.#cells[places.inFlight]! -= 1
    this.answered(method, status, way)
    if (ttfbMs !== null) this.#counters.observe(places.firstByte, ttfbMs)
    if (totalMs !== null) this.#counters.observe(places.duration, totalMs)
  }

  /** It is over, with a refusal: that is counted by `answered`. */
  gaveUp(): void {
    this.#cells[this.#places.inFlight]! -= 1
  }

  /** Bytes of bodies have passed. */
  passed(bytesIn: number, bytesOut: number): void {
    this.#cells[this.#places.bytesIn]! += bytesIn
    this.#cells[this.#places.bytesOut]! += bytesOut
  }

  /** A request is over, by whatever way. */
  answered(method: string, status: number, way: Way): void {
    const index = METHODS.indexOf(method as (typeof METHODS)[number])
    const code = status < 100 || status > 599 ? 0 : (status / 100) | 0
    this.#count(index === -1 ? METHODS.length : index, code, way)
  }

  #count(method: number, code: number, way: Way): void {
    const slot = (method * CODES.length + code) * WAYS.length + way
    let at = this.#requests[slot]!
    if (at === 0) {
      const names = [this.name, METHODS[method] ?? METHOD_OTHER, CODES[code] ?? '', WAYS[way]]
      at = this.#counters.place('xengate_requests_total', ...names)
      this.#requests[slot] = at
    }
    this.#cells[at]! += 1
  }

  /** A request ended otherwise than by its response. */
  cut(reason: string): void {
    this.#counters.count('xengate_requests_cut_total', this.name, reason)
  }

  /** The service has told of the use of a channel. */
  used(requests: number, bytesIn: number, bytesOut: number): void {
    const at = this.#counters.place('xengate_requests_total', this.name, '', '', WAYS[WAY.CHANNEL])
    this.#cells[at]! += requests
    this.passed(bytesIn, bytesOut)
  }

  /** A connection to the service is in one state, and not in the other any more; null where there is none. */
  connectionIs(now: 0 | 1 | null, before: 0 | 1 | null): void {
    const { active, idle } = this.#places
    if (before !== null) this.#cells[before === SERVICE_CONNECTION.ACTIVE ? active : idle]! -= 1
    if (now !== null) this.#cells[now === SERVICE_CONNECTION.ACTIVE ? active : idle]! += 1
  }

  /** A kept connection is used again. */
  reused(): void {
    this.#cells[this.#places.reused]! += 1
  }

  /** One more, or one fewer, waits for a connection. */
  queued(more: 1 | -1): void {
    this.#cells[this.#counters.place('xengate_queued', this.name)]! += more
  }

  /** A connection could not be had. */
  connectFailed(reason: string): void {
    this.#counters.count('xengate_service_connect_errors_total', this.name, reason)
  }

  /** The service has taken a client's connection; or given it up, with -1. @param isNew not one that goes on from another process */
  channels(more: 1 | -1, isNew: boolean): void {
    this.#cells[this.#counters.place('xengate_channels', this.name)]! += more
    if (isNew) this.#counters.count('xengate_channels_passed_total', this.name)
  }

  /** It did not take one that it was offered. */
  channelRefused(): void {
    this.#counters.count('xengate_channels_refused_total', this.name)
  }
}

interface RelayPlaces {
  readonly inFlight: number
  readonly duration: number
  readonly firstByte: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly active: number
  readonly idle: number
  readonly reused: number
}

function placesOf(counters: Counters, name: string): RelayPlaces {
  return {
    inFlight: counters.place('xengate_requests_in_flight', name),
    duration: counters.place('xengate_request_duration_seconds', name),
    firstByte: counters.place('xengate_time_to_first_byte_seconds', name),
    bytesIn: counters.place('xengate_request_bytes_total', name),
    bytesOut: counters.place('xengate_response_bytes_total', name),
    active: counters.place('xengate_service_connections', name, 'active'),
    idle: counters.place('xengate_service_connections', name, 'idle'),
    reused: counters.place('xengate_service_connections_reused_total', name),
  }
}

/** What is counted of the connections of one listener. */
export class ListenerCounters {
  readonly name: string
  readonly #counters: Counters
  readonly #cells: Float64Array
  /** By state. */
  readonly #states: readonly number[]
  /** By reason. */
  readonly #closed = new Map<string, number>()

  /** @param name the listener's address, as it is configured */
  constructor(counters: Counters, name: string) {
    this.name = name
    this.#counters = counters
    this.#cells = counters.cells
    this.#states = CLIENT_STATES.map((state) => counters.place('xengate_connections', name, state))
  }

  /** A connection is in one state, and not in the other any more; null where there is none. */
  connectionIs(now: ClientState | null, before: ClientState | null): void {
    if (now === before) return
    if (before !== null) this.#cells[this.#states[before]!]! -= 1
    if (now !== null) this.#cells[this.#states[now]!]! += 1
  }

  /** One has ended. */
  closed(reason: string): void {
    let at = this.#closed.get(reason)
    if (at === undefined) {
      at = this.#counters.place('xengate_connections_closed_total', this.name, reason)
      this.#closed.set(reason, at)
    }
    this.#cells[at]! += 1
  }
}

// What the daemon says of itself and of services, to whoever asks on the control socket: programs of the host, and through them xapi's
// clients and status reports.

import type { Config } from '../config/config.ts'
import { type AllCounts, type Counts, NO_COUNTS } from '../metrics/counts.ts'
import type { Series } from '../metrics/sums.ts'
import { OVERLOAD_KEYS, STAGE, STAGE_TEXTS } from '../model/overload.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { FoundService } from '../services/local-services.ts'
import { build, version } from '../version.ts'
import { privateBytes } from './memory.ts'
import type { ListenerCertificate } from './listeners-tls.ts'
import type { TransportSaid } from './messages.ts'
import type { Statistics } from './statistics.ts'
import type { WorkerOverload } from './worker-group.ts'

/** What a status is made from. */
export interface StatusSource {
  readonly config: Config
  readonly configPath: string | null
  readonly urls: readonly string[]
  /** Process ids of the workers that serve, and of all. */
  readonly readyPids: readonly number[]
  readonly workerPids: readonly number[]
  readonly workersWanted: number
  /** How they have their connections; null while none serves. */
  readonly transport: TransportSaid | null
  readonly certificates: readonly ListenerCertificate[]
  /** Whether authority and registry are heard, as far as anything was asked of them. */
  readonly isAuthorityHeard: boolean
  readonly isRegistryHeard: boolean
  readonly startedMs: number
  readonly overloads: readonly WorkerOverload[]
  /** Whether it was taken out of service: `xengate drain`. */
  readonly isOutOfService: boolean
  /** Of daemons whose place this one has taken, and that still finish what they have. */
  readonly earlierPids: readonly number[]
  readonly statistics: Statistics
}

/** Of what was counted; errors include the services' own. */
interface ShownCounts {
  readonly requests: number
  readonly refusals: number
  readonly errors: number
  /** Responses of services, and how long their heads took in all, in milliseconds, since the start. */
  readonly answers: number
  readonly latencyTotalMs: number
  /** The mean of that; null where there was none. */
  readonly latencyMs: number | null
}

/** Answers `GET /status`. */
export function statusOf(source: StatusSource): Readonly<Record<string, unknown>> {
  const { config, statistics } = source
  const since = new Date(source.startedMs).toISOString()
  return {
    version: version(),
    build: build(),
    node: process.version,
    since,
    config: source.configPath,
    listen: source.urls,
    certificates: source.certificates.map(shownCertificate),
    authority: { kind: config.sessions.authority, isHeard: source.isAuthorityHeard },
    registry: { kind: config.pool.registry, isHeard: source.isRegistryHeard },
    pid: process.pid,
    outOfService: source.isOutOfService,
    earlierPids: source.earlierPids,
    workers: { wanted: source.workersWanted, ready: source.readyPids.length, pids: source.workerPids },
    transport: source.transport,
    overload: shownOverload(source.overloads),
    connections: connectionsIn(statistics.series),
    ...shown(statistics.counts.all),
    memoryBytes: { primary: privateBytes(), workers: workersMemoryBytes(source.workerPids) },
    warnings: statistics.problems.map(({ event, count, lastMs }) => ({
      event,
      count,
      last: new Date(lastMs).toISOString(),
    })),
  }
}

/** A certificate as answers have it. */
export function shownCertificate({ listener, untilMs }: ListenerCertificate): Readonly<Record<string, unknown>> {
  return { listener, until: new Date(untilMs).toISOString() }
}

/** The highest stage of the workers, and each that is not at 0, with why. */
function shownOverload(overloads: readonly WorkerOverload[]): Readonly<Record<string, unknown>> {
  const workers = overloads.flatMap(({ pid, overload }) => {
    if (overload === null || overload.stage === STAGE.NORMAL) return []
    return [{ pid, ...overload, means: STAGE_TEXTS[overload.stage], key: OVERLOAD_KEYS[overload.resource] }]
  })
  const stage = workers.reduce((most, one) => Math.max(most, one.stage), 0)
  return { stage, means: STAGE_TEXTS[stage], workers }
}

/** Clients' connections by their states. */
function connectionsIn(series: readonly Series[]): Readonly<Record<string, number>> {
  const states: Record<string, number> = {}
  for (const { name, values, total } of series) {
    const [, state] = values
    if (name !== 'xengate_connections' || state === undefined) continue
    states[state] = (states[state] ?? 0) + total[0]!
  }
  return states
}

/** What a service has now, in all workers. */
export interface Busyness {
  /** Requests and tunnels. */
  inFlight: number
  /** Requests that wait for it. */
  queued: number
  /** Workers that do not ask it for a moment, since it has failed again and again. */
  breakerOpen: number
}

const IDLE: Busyness = { inFlight: 0, queued: 0, breakerOpen: 0 }

const BUSYNESS: Readonly<Partial<Record<Series['name'], keyof Busyness>>> = {
  xengate_requests_in_flight: 'inFlight',
  xengate_queued: 'queued',
  xengate_breaker_open: 'breakerOpen',
}

/** By service. */
export function busynessOf(series: readonly Series[]): ReadonlyMap<string, Busyness> {
  const all = new Map<string, Busyness>()
  for (const { name, values, total } of series) {
    const field = BUSYNESS[name]
    const [service] = values
    if (field === undefined || service === undefined) continue
    all.set(service, { ...(all.get(service) ?? IDLE), [field]: total[0] })
  }
  return all
}

/** Answers `GET /services`: those that have a socket here, and those that are expected to. */
export function servicesOf(
  found: readonly FoundService[],
  expected: readonly string[],
  counts: AllCounts['services'],
  busyness: ReadonlyMap<string, Busyness>,
): readonly unknown[] {
  const missing = expected
    .filter((name) => !found.some((service) => service.name === name))
    .map((name) => ({ name, path: null, accepts: false }))
  return [...found, ...missing]
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .map(({ name, path, accepts }) => ({
      name,
      socket: path,
      accepts,
      ...shown(counts.get(name) ?? NO_COUNTS),
      ...(busyness.get(name) ?? IDLE),
    }))
}

/** Services on other hosts of the pool, and where. */
export function elsewhere(places: ServiceChanges): readonly unknown[] {
  return places.filter(([, hosts]) => hosts.length > 0).map(([name, hosts]) => ({ name, hosts }))
}

/** What workers take of the host's memory, each alone, in bytes. */
export function workersMemoryBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + privateBytes(pid), 0)
}

function shown({ requests, refusals, errors, answers, latencyMs }: Counts): ShownCounts {
  const meanMs = answers === 0 ? null : Number((latencyMs / answers).toFixed(3))
  return { requests, refusals, errors, answers, latencyTotalMs: latencyMs, latencyMs: meanMs }
}

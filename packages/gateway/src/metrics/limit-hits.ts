// Limits that are hit: each time counts, and a line in the log says so once a minute for each of them, with the key to change.

import { BoundedMap } from '../bounded-map.ts'
import type { LogEvent } from '../logging/event.ts'
import { type LimitName, LIMITS } from '../model/limit-names.ts'
import type { Counters } from './counters.ts'

/** How often one limit is logged, in milliseconds. */
const SAY_MS = 60_000
/** Limits, of services too, that are told apart. */
const SAID_MAX = 1000

/** See the head of this file. */
export class LimitHits {
  readonly #counters: Counters
  readonly #warn: (event: LogEvent) => void
  readonly #clock: () => number
  /** When each was logged last, and how often it was hit since. */
  readonly #said = new BoundedMap<string, { readonly atMs: number; hits: number }>(SAID_MAX)

  /** @param clock one that does not go back, in milliseconds */
  constructor(counters: Counters, warn: (event: LogEvent) => void, clock: () => number = () => performance.now()) {
    this.#counters = counters
    this.#warn = warn
    this.#clock = clock
  }

  /**
   * A limit is hit.
   * @param service of which, where each service has its own: of those that the configuration names, or that are there
   * @param times how often
   */
  hit(limit: LimitName, service: string | null = null, times: number = 1): void {
    this.#counters.add('xengate_limit_hits_total', times, limit)
    const name = service === null ? limit : `${limit} ${service}`
    const said = this.#said.get(name)
    const nowMs = this.#clock()
    if (said !== undefined && nowMs - said.atMs < SAY_MS) {
      said.hits += times
      return
    }
    this.#said.setLast(name, { atMs: nowMs, hits: 0 })
    const hits = (said?.hits ?? 0) + times
    const key = service === null ? LIMITS[limit] : keyOf(limit, service)
    this.#warn({ event: 'limit-reached', limit, ...(service === null ? {} : { service }), hits, key })
  }
}

/** The key that holds for one service alone. */
function keyOf(limit: LimitName, service: string): string {
  return (LIMITS[limit] ?? '').replace('services.limits', `services.policy."${service}".limits`)
}

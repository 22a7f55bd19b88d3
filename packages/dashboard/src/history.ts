// What was counted, looked at again and again: rates are differences between two looks.

import type { Service, Status } from './api.ts'

/** Looks that are kept: five minutes of one each two seconds. */
const LOOKS_MAX = 150

/** Counts at one look. */
interface Counts {
  readonly requests: number
  readonly bad: number
  readonly answers: number
  readonly latencySumMs: number
}

/** Rates and latency, one value for each look after the first. */
export interface Series {
  /** Seconds since 1970. */
  readonly times: number[]
  readonly requests: number[]
  readonly errors: number[]
  /** Null while nothing was answered. */
  readonly latencyMs: (number | null)[]
}

function newSeries(): Series {
  return { times: [], requests: [], errors: [], latencyMs: [] }
}

/** Of all, and of each service by its name. */
export class History {
  readonly all: Series = newSeries()
  readonly #services = new Map<string, Series>()
  readonly #last = new Map<string, Counts>()
  #lastSeconds = 0

  of(service: string): Series {
    let series = this.#services.get(service)
    if (series === undefined) {
      series = newSeries()
      this.#services.set(service, series)
    }
    return series
  }

  /** Takes a look. @param seconds when, since 1970 */
  look(seconds: number, status: Status, services: readonly Service[]): void {
    const elapsed = seconds - this.#lastSeconds
    this.#lastSeconds = seconds
    this.#take('', this.all, seconds, elapsed, status)
    for (const service of services) {
      if (service.requests !== undefined) this.#take(service.name, this.of(service.name), seconds, elapsed, service)
    }
  }

  #take(key: string, series: Series, seconds: number, elapsed: number, counted: Service | Status): void {
    const { requests = 0, errors = 0, answers = 0, latencyTotalMs = 0 } = counted
    const now: Counts = { requests, bad: errors, answers, latencySumMs: latencyTotalMs }
    const before = this.#last.get(key)
    this.#last.set(key, now)
    // Fewer than before: the daemon has started anew.
    if (before === undefined || requests < before.requests) return
    const answered = answers - before.answers
    series.times.push(seconds)
    series.requests.push((requests - before.requests) / elapsed)
    series.errors.push((errors - before.bad) / elapsed)
    series.latencyMs.push(answered > 0 ? Math.max(0, (now.latencySumMs - before.latencySumMs) / answered) : null)
    for (const values of [series.times, series.requests, series.errors, series.latencyMs]) {
      if (values.length > LOOKS_MAX) values.shift()
    }
  }
}

// What an operator asks first, made of the series: requests, refusals, errors, and how soon services answer.

import { END_REASONS } from '../model/reasons.ts'
import { HISTOGRAM_VALUES } from './families.ts'
import type { Series } from './sums.ts'

/** Counts of one service, or of all requests. */
export interface Counts {
  /** Requests that are over, those on channels too. */
  readonly requests: number
  /** Of these, refused by the gateway with a status below 500, or sent to another host. */
  readonly refusals: number
  /** Of these, with a status of 500 or more, or with a response that broke off on the service's side. */
  readonly errors: number
  /** Responses of services, and how long their heads took in all, in milliseconds. */
  readonly answers: number
  readonly latencyMs: number
}

type Sums = { -readonly [Key in keyof Counts]: number }

export const NO_COUNTS: Counts = Object.freeze({ requests: 0, refusals: 0, errors: 0, answers: 0, latencyMs: 0 })

/** Counts of all requests, and by service; names that begin with `_` are what is none, or is not told apart. */
export interface AllCounts {
  readonly all: Counts
  readonly services: ReadonlyMap<string, Counts>
}

/** Counts from all series. */
export function countsOf(series: readonly Series[]): AllCounts {
  const services = new Map<string, Sums>()
  const all: Sums = { ...NO_COUNTS }
  for (const { name, values, total } of series) {
    if (!COUNTED.has(name)) continue
    const [service = '', second = '', code = '', way = ''] = values
    let sums = services.get(service)
    if (sums === undefined) {
      sums = { ...NO_COUNTS }
      services.set(service, sums)
    }
    for (const each of [all, sums]) {
      if (name === 'xengate_requests_total') countRequests(each, total[0]!, code, way)
      else if (name === 'xengate_requests_cut_total') each.errors += isError(second) ? total[0]! : 0
      // A call of the XenAPI that waits for events says nothing of any service.
      else if (!service.startsWith('_') || each === sums) countAnswers(each, total)
    }
  }
  return { all, services }
}

const COUNTED: ReadonlySet<string> = new Set([
  'xengate_requests_total',
  'xengate_requests_cut_total',
  'xengate_time_to_first_byte_seconds',
])

function countRequests(sums: Sums, count: number, code: string, way: string): void {
  sums.requests += count
  if (code === '5xx') sums.errors += count
  else if (way === 'refused' || way === 'redirect') sums.refusals += count
}

function countAnswers(sums: Sums, total: Float64Array): void {
  for (const count of total.subarray(0, HISTOGRAM_VALUES - 1)) sums.answers += count
  sums.latencyMs += total[HISTOGRAM_VALUES - 1]! * 1000
}

function isError(reason: string): boolean {
  const by = Object.hasOwn(END_REASONS, reason) ? END_REASONS[reason as keyof typeof END_REASONS].by : 'gateway'
  return by === 'service' || by === 'gateway'
}

// What a case is: one kind of load, given to several peers.

import type { Bench } from '../bench.ts'
import type { Options } from '../options.ts'
import type { Peer, Running } from '../peers/peer.ts'
import type { Results } from '../results.ts'

/** What is measured: how it is called, in what unit, and how it is shown. */
export interface Metric {
  readonly title: string
  readonly unit: string
  readonly digits: number
}

/** Name of a metric in the results. */
export type MetricName =
  | 'cpuUs'
  | 'requestsPerSecond'
  | 'busy'
  | 'p50Us'
  | 'p99Us'
  | 'offeredRate'
  | 'megabytesPerSecond'
  | 'cpuSecondsPerGib'
  | 'growthMib'
  | 'bytesPerConnection'
  | 'gatewaySecondsPerMillion'
  | 'privateMib'
  | 'connectedMib'
  | 'idlePercent'

/** Every metric. */
export const METRICS: Readonly<Record<MetricName, Metric>> = {
  cpuUs: { title: 'CPU per request', unit: 'µs', digits: 1 },
  requestsPerSecond: { title: 'requests/s', unit: '1/s', digits: 0 },
  p50Us: { title: 'latency, median', unit: 'µs', digits: 0 },
  p99Us: { title: 'latency, p99', unit: 'µs', digits: 0 },
  offeredRate: { title: 'offered rate', unit: '1/s', digits: 0 },
  megabytesPerSecond: { title: 'throughput', unit: 'MB/s', digits: 0 },
  cpuSecondsPerGib: { title: 'CPU per GiB', unit: 's', digits: 2 },
  growthMib: { title: 'memory growth, at most', unit: 'MiB', digits: 1 },
  bytesPerConnection: { title: 'memory per idle connection', unit: 'bytes', digits: 0 },
  gatewaySecondsPerMillion: { title: "the gateway's CPU per 1,000,000 requests", unit: 's', digits: 2 },
  privateMib: { title: 'private memory, idle', unit: 'MiB', digits: 1 },
  connectedMib: { title: 'private memory with 1,000 connections', unit: 'MiB', digits: 1 },
  idlePercent: { title: 'CPU when idle', unit: '% of a core', digits: 2 },
  busy: { title: "the peer's core in use", unit: '%', digits: 0 },
}

/** One measurement of one peer. */
export type Measurement = Partial<Record<MetricName, number>>

/** What a measurement is given. */
export interface Situation {
  readonly bench: Bench
  readonly options: Options
  readonly peer: Peer
  readonly running: Running
  /** What was measured before. */
  readonly results: Results
}

/** One table of the results. */
export interface Case {
  /** Name in --only and in the results. */
  readonly name: string
  /** What is measured, for a table's heading. */
  readonly title: (options: Options) => string
  /** How, in a sentence or two, with the command where there is one. */
  readonly how: string
  /** Metrics that are drawn. */
  readonly plots: readonly MetricName[]
  measure(situation: Situation): Promise<Measurement>
}

/** Cases that the same peers take, one after the other, in one start of each. */
export interface Group {
  readonly peers: (options: Options) => readonly Peer[]
  readonly cases: readonly Case[]
  /** All peers are started before the first round and take turns, since starting takes long; else each starts in each round. */
  readonly isStartedOnce?: boolean
}

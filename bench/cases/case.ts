// What a case is: one kind of load, given to several peers.

import type { Bench } from '../bench.ts'
import type { Measurement, MetricName } from '../metrics.ts'
import type { Options } from '../options.ts'
import type { Peer, Running } from '../peers/peer.ts'
import type { Results } from '../results.ts'

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

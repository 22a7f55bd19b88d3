// What was measured, in all rounds so far.

import type { Measurement, MetricName } from './metrics.ts'

/** The values of one metric in all rounds. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly values: readonly number[]
}

/** One peer in one case. */
export interface Row {
  readonly case: string
  readonly peer: string
  readonly title: string
  readonly measurements: Measurement[]
}

export class Results {
  readonly rows: Row[] = []

  add(name: string, peer: { readonly name: string; readonly title: string }, measurement: Measurement): void {
    let row = this.row(name, peer.name)
    if (row === undefined) {
      row = { case: name, peer: peer.name, title: peer.title, measurements: [] }
      this.rows.push(row)
    }
    row.measurements.push(measurement)
  }

  /** Takes the rows of an earlier run that this one does not have, in the order of the earlier one. */
  addEarlier(earlier: readonly Row[]): void {
    const rows = earlier.map((row) => this.row(row.case, row.peer) ?? row)
    this.rows.splice(0, this.rows.length, ...rows, ...this.rows.filter((row) => !rows.includes(row)))
  }

  row(name: string, peer: string): Row | undefined {
    return this.rows.find((row) => row.case === name && row.peer === peer)
  }

  /** The median of a metric; undefined when it was not measured. */
  median(name: string, peer: string, metric: MetricName): number | undefined {
    const row = this.row(name, peer)
    return row === undefined ? undefined : summaryOf(row, metric)?.median
  }

  /**
   * What `combine` makes of a metric of two peers in the same round, over all rounds: so that a slow hour of the machine is on
   * both sides. Where a round of one of them failed, of their medians; undefined when either was not measured.
   */
  compared(
    name: string,
    [ours, theirs]: readonly [string, string],
    metric: MetricName,
    combine: (ours: number, theirs: number) => number,
  ): Summary | undefined {
    const [one, other] = [ours, theirs].map((peer) => this.row(name, peer)).map((row) => row && summaryOf(row, metric))
    if (one == null || other == null) return undefined
    if (one.values.length !== other.values.length) return summarize([combine(one.median, other.median)])
    return summarize(one.values.map((value, round) => combine(value, other.values[round] ?? other.median)))
  }
}

/** A metric over all rounds; undefined when it was not measured. */
export function summaryOf(row: Row, metric: MetricName): Summary | undefined {
  return summarize(row.measurements.flatMap((measurement) => measurement[metric] ?? []))
}

function summarize(values: readonly number[]): Summary | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const [min, max] = [sorted[0], sorted.at(-1)]
  if (min === undefined || max === undefined) return undefined
  const middle = (sorted.length - 1) / 2
  const median = ((sorted[Math.floor(middle)] ?? min) + (sorted[Math.ceil(middle)] ?? max)) / 2
  return { median, min, max, values }
}

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
}

/** A metric over all rounds; undefined when it was not measured. */
export function summaryOf(row: Row, metric: MetricName): Summary | undefined {
  const values = row.measurements.flatMap((measurement) => measurement[metric] ?? [])
  const sorted = values.toSorted((a, b) => a - b)
  const [min, max] = [sorted[0], sorted.at(-1)]
  if (min === undefined || max === undefined) return undefined
  const middle = (sorted.length - 1) / 2
  const median = ((sorted[Math.floor(middle)] ?? min) + (sorted[Math.ceil(middle)] ?? max)) / 2
  return { median, min, max, values }
}

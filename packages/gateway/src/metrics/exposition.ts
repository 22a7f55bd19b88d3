// Prometheus' text format, version 0.0.4.

import { BUCKETS, FAMILIES, type FamilyName } from './families.ts'
import type { Series } from './sums.ts'

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** The labels of series as they are written, which are made once. */
const labelsOf = new WeakMap<Series['total'], readonly string[]>()

/** All series as text. */
export function exposition(series: readonly Series[]): string {
  const byName = new Map<FamilyName, Series[]>()
  for (const one of series) {
    const same = byName.get(one.name)
    if (same === undefined) byName.set(one.name, [one])
    else same.push(one)
  }
  let text = ''
  for (const name of Object.keys(FAMILIES) as FamilyName[]) {
    const same = byName.get(name)
    if (same === undefined) continue
    const { help, kind } = FAMILIES[name]
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${kind === 'latest' ? 'gauge' : kind}\n`
    for (const one of same) text += kind === 'histogram' ? histogramLines(one) : valueLine(one)
  }
  return text
}

function valueLine(series: Series): string {
  const [start = ''] = startsOf(series, () => [series.name + braced(labelPairs(series))])
  return `${start}${number(series.total[0]!)}\n`
}

function histogramLines(series: Series): string {
  const starts = startsOf(series, histogramStarts)
  const { total } = series
  let text = ''
  let count = 0
  for (let index = 0; index <= BUCKETS.length; index++) {
    count += total[index]!
    text += `${starts[index]!}${count}\n`
  }
  return `${text}${starts[BUCKETS.length + 1]!}${number(total[BUCKETS.length + 1]!)}\n${starts[BUCKETS.length + 2]!}${count}\n`
}

function histogramStarts(series: Series): readonly string[] {
  const pairs = labelPairs(series)
  const { name } = series
  return [
    ...[...BUCKETS, '+Inf'].map((bound) => `${name}_bucket${braced([...pairs, `le="${bound}"`])}`),
    `${name}_sum${braced(pairs)}`,
    `${name}_count${braced(pairs)}`,
  ]
}

function startsOf(series: Series, make: (series: Series) => readonly string[]): readonly string[] {
  const known = labelsOf.get(series.total)
  if (known !== undefined) return known
  const starts = make(series).map((start) => `${start} `)
  labelsOf.set(series.total, starts)
  return starts
}

function labelPairs({ family, values }: Series): string[] {
  return family.labels.map((label, index) => `${label}="${escaped(values[index] ?? '')}"`)
}

function braced(pairs: readonly string[]): string {
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function number(value: number): string {
  if (Number.isInteger(value)) return String(value)
  // A sum of durations has no more digits than clocks have.
  return Number.isFinite(value) ? String(Number(value.toFixed(9))) : value > 0 ? '+Inf' : 'NaN'
}

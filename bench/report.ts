// Writes the results: JSON for programs, Markdown with tables and plots for people.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, Group } from './cases/case.ts'
import { type Measurement, METRICS, type MetricName } from './metrics.ts'
import type { Machine } from './machine.ts'
import type { Options } from './options.ts'
import { drawPlot } from './plots.ts'
import { type Results, type Row, type Summary, summaryOf } from './results.ts'
import { judge, type Target } from './targets.ts'

/** What is written. */
export interface Report {
  readonly results: Results
  readonly plan: readonly Group[]
  readonly options: Options
  readonly machine: Machine
  /** Whether nothing of the plan is missing. */
  readonly isComplete: boolean
}

const RESULTS = join(import.meta.dirname, 'results')
/** Where anything but a whole run goes, so that it does not replace one. */
const TRIAL = join(RESULTS, 'trial')

const METRIC_NAMES = Object.keys(METRICS) as MetricName[]

/** @returns the Markdown's path */
export function writeReport(given: Report): string {
  const { isComplete, options: asked } = given
  const isAll = asked.cases === null && asked.peers === null
  const isWhole = isComplete && !asked.isQuick && (asked.isUpdate || isAll)
  const report = isWhole && asked.isUpdate ? updated(given) : given
  const { results, options, machine, plan } = report
  const directory = isWhole ? RESULTS : TRIAL
  mkdirSync(directory, { recursive: true })
  for (const name of readdirSync(directory)) if (/\.(?:svg|md|json)$/.test(name)) rmSync(join(directory, name))
  const targets = judge(results, options)
  const rows = results.rows.map((row) => ({
    case: row.case,
    peer: row.peer,
    title: row.title,
    metrics: Object.fromEntries(METRIC_NAMES.map((metric) => [metric, summaryOf(row, metric)])),
  }))
  writeFileSync(join(directory, 'results.json'), `${JSON.stringify({ machine, options, targets, rows }, null, 2)}\n`)
  const path = join(directory, 'results.md')
  const cases = plan.flatMap((group) => group.cases)
  const sections = cases.map((of) => section(directory, of, results, options))
  writeFileSync(path, [introduction(machine, options), targetTable(targets), ...sections].join('\n\n').concat('\n'))
  if (isWhole) writePage(report, targets)
  return path
}

/** The page of the documentation that shows the last whole run, and where in it. */
const PAGE = join(import.meta.dirname, '../docs/performance.md')
const [PAGE_START, PAGE_END] = ['<!-- results -->\n', '<!-- /results -->\n']
/** Cases whose first plots it shows. */
const SHOWN = new Set([
  'keep-alive',
  'connection-per-request',
  'latency',
  'latency-80',
  'bulk-get',
  'bulk-put',
  'idle',
  'channel',
])

/** The last whole run, with what was measured anew in place of what it had. */
function updated({ results, machine, plan }: Report): Report {
  const earlier = JSON.parse(readFileSync(join(RESULTS, 'results.json'), 'utf8')) as Earlier
  results.addEarlier(
    earlier.rows.map(({ case: name, peer, title, metrics }) => {
      const measurements: Measurement[] = []
      for (const [metric, { values }] of Object.entries(metrics)) {
        for (const [round, value] of values.entries()) measurements[round] = { ...measurements[round], [metric]: value }
      }
      return { case: name, peer, title, measurements }
    }),
  )
  const again = [...(earlier.machine.again ?? []), `\`${machine.command}\`, commit ${machine.commit}`]
  return { results, plan, isComplete: true, options: earlier.options, machine: { ...earlier.machine, again } }
}

interface Earlier {
  readonly machine: Machine
  readonly options: Options
  readonly rows: readonly EarlierRow[]
}

interface EarlierRow {
  readonly case: string
  readonly peer: string
  readonly title: string
  readonly metrics: Readonly<Record<string, Summary>>
}

function writePage({ machine, options, plan }: Report, targets: readonly Target[]): void {
  const page = readFileSync(PAGE, 'utf8')
  const plots = plan
    .flatMap((group) => group.cases)
    .filter(({ name }) => SHOWN.has(name))
    .flatMap((of) => {
      const metric = of.name.startsWith('latency') ? 'p99Us' : of.plots[0]
      if (metric === undefined) return []
      return [`![${of.title(options)}: ${METRICS[metric].title}](../bench/results/${of.name}-${metric}.svg)`]
    })
  const parts = [machineTable(machine, options), aboutRatios(machine), targetTable(targets), ...plots]
  const results = parts.filter((part) => part !== '').join('\n\n')
  const [start, end] = [page.indexOf(PAGE_START) + PAGE_START.length, page.indexOf(PAGE_END)]
  writeFileSync(PAGE, `${page.slice(0, start)}\n${results}\n\n${page.slice(end)}`)
}

function introduction(machine: Machine, options: Options): string {
  const warning = options.isQuick
    ? '\n\n**A quick run: it shows that the benchmark works. Its numbers prove nothing.**'
    : ''
  return `# Benchmark${warning}

${machineTable(machine, options)}

Each number is the median of all rounds, with the least and the most in parentheses. The README of
bench/ says how it is measured, and what is fair.

${aboutRatios(machine)}`.trimEnd()
}

/** Calls that HAProxy makes for a small GET kept alive, counted with strace: two reads, two writes, and a part of a wait. */
const CALLS_PER_REQUEST = 4.2

/** What the numbers say of other machines; '' of results that do not know what a system call cost. */
function aboutRatios({ systemCallNs }: Machine): string {
  if (systemCallNs === undefined) return ''
  const us = ((CALLS_PER_REQUEST * systemCallNs) / 1000).toFixed(1)
  return `**Ratios differ between machines**: compare peers within one run, and do not carry a ratio over to another machine. A bare system call
costs ${systemCallNs.toFixed(0)} ns here. HAProxy makes ${CALLS_PER_REQUEST} of them for a small GET, which is ${us} µs, and so does Xengate with node:net; with io_uring it makes one for
all that a turn of its loop has to do. What io_uring gains is calls not made: much where they are dear, little where they are cheap.`
}

function machineTable(machine: Machine, options: Options): string {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`)
  const again = (machine.again ?? []).map((run) => `\n| measured again | ${run} |`).join('')
  return `| | |
| --- | --- |
| command | \`${machine.command}\`, on ${machine.date.slice(0, 10)}, commit ${machine.commit} |
| processor | ${machine.processor}, ${machine.cores} cores; the peer on core ${machine.peerCore}, load and service on core ${machine.loadCore} |
| memory | ${machine.memoryGib} GiB |
| system | ${machine.system}, ${machine.kernel} |${guestRows(machine)}
| versions | ${versions.join('; ')} |
| rounds | ${options.rounds} of ${options.seconds} s each, after ${options.warmSeconds} s to get warm; the order rotates |${again}`
}

function guestRows({ guest, systemCallNs }: Machine): string {
  const rows = [
    guest === undefined ? '' : `\n| machine | ${guest} |`,
    systemCallNs === undefined ? '' : `\n| a bare system call | ${systemCallNs.toFixed(0)} ns (getppid) |`,
  ]
  return rows.join('')
}

function targetTable(targets: readonly Target[]): string {
  const rows = targets.map(
    ({ what, wanted, measured, isReached }) =>
      `| ${what} | ${wanted} | ${measured} | ${isReached ? 'yes' : '**no**'} |`,
  )
  return [
    '## What is to be reached',
    '',
    '| what | wanted | measured | reached |',
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n')
}

function section(directory: string, of: Case, results: Results, options: Options): string {
  const rows = results.rows.filter((row) => row.case === of.name)
  const metrics = METRIC_NAMES.filter((metric) => rows.some((row) => summaryOf(row, metric) !== undefined))
  const title = of.title(options)
  const plots = of.plots.flatMap((metric) => {
    const file = drawPlot(directory, of.name, title, metric, rows)
    return file === undefined ? [] : [`![${title}: ${METRICS[metric].title}](${file})`]
  })
  return [
    `## ${title}`,
    '',
    of.how,
    '',
    `| | ${metrics.map((metric) => `${METRICS[metric].title} (${METRICS[metric].unit})`).join(' | ')} |`,
    `| --- |${' ---: |'.repeat(metrics.length)}`,
    ...rows.map((row) => `| ${row.title} | ${metrics.map((metric) => cell(row, metric)).join(' | ')} |`),
    '',
    ...plots,
  ].join('\n')
}

function cell(row: Row, metric: MetricName): string {
  const summary = summaryOf(row, metric)
  if (summary === undefined) return ''
  const { digits } = METRICS[metric]
  const shown = (value: number): string =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  const { median, min, max, values } = summary
  return values.length === 1 ? shown(median) : `${shown(median)} (${shown(min)}–${shown(max)})`
}

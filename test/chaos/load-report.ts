// A long load as files: samples as CSV, and a plot of them as SVG.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { INK, line, PALE, stepOf, text } from '../../bench/svg.ts'
import type { LoadReport, Sample } from './load.ts'

const WIDTH = 760
const LEFT = 64
const RIGHT = 110
const TOP = 52
const PANEL_HEIGHT = 130
const PANEL_GAP = 52
const BOTTOM = 40
const COLOURS = ['#1668a8', '#c1621b', '#3d8348'] as const
const STEPS = 4

interface Line {
  readonly name: string
  readonly of: (sample: Sample) => number
}

interface Panel {
  readonly title: string
  readonly lines: readonly Line[]
}

const PANELS: readonly Panel[] = [
  {
    title: 'private memory of all processes of the gateway (MiB)',
    lines: [
      { name: 'all', of: ({ taken }) => taken.all.memoryMiB },
      { name: 'primary', of: ({ taken }) => taken.primary.memoryMiB },
      { name: 'workers', of: ({ taken }) => taken.workers.memoryMiB },
    ],
  },
  {
    title: 'open descriptors',
    lines: [
      { name: 'all', of: ({ taken }) => taken.all.descriptors },
      { name: 'primary', of: ({ taken }) => taken.primary.descriptors },
      { name: 'workers', of: ({ taken }) => taken.workers.descriptors },
    ],
  },
  { title: 'answers a second', lines: [{ name: 'answers', of: ({ answersPerSecond }) => answersPerSecond }] },
  { title: 'time until the whole answer (ms)', lines: [{ name: 'p99', of: ({ p99Ms }) => p99Ms }] },
]

/** Writes `load-<transport>.csv` and `.svg` into `directory`. */
export function writeReport(directory: string, transport: string, report: LoadReport): void {
  mkdirSync(directory, { recursive: true })
  const lines = PANELS.flatMap((panel) =>
    panel.lines.map((each) => ({ ...each, title: `${panel.title}: ${each.name}` })),
  )
  const rows = report.samples.map((sample) =>
    [sample.minute, ...lines.map(({ of }) => of(sample))].map((value) => value.toFixed(2)).join(','),
  )
  const csv = [['minute', ...lines.map(({ title }) => title)].join(','), ...rows, ''].join('\n')
  writeFileSync(join(directory, `load-${transport}.csv`), csv)
  writeFileSync(join(directory, `load-${transport}.svg`), plot(`Under load, on ${transport}`, report))
}

function plot(title: string, { samples, upgradeMinutes }: LoadReport): string {
  const height = TOP + PANELS.length * (PANEL_HEIGHT + PANEL_GAP) + BOTTOM
  const minutes = Math.max(1, Math.round(samples.at(-1)?.minute ?? 1))
  const x = (minute: number): number => round(LEFT + (minute / minutes) * (WIDTH - LEFT - RIGHT))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(8, 24, title, 'font-size="18" font-weight="bold"'),
    ...PANELS.flatMap((panel, index) =>
      panelAt(panel, TOP + index * (PANEL_HEIGHT + PANEL_GAP), samples, upgradeMinutes, x),
    ),
    ...ticksTo(minutes).map((minute) => text(x(minute), height - BOTTOM - 10, String(minute), 'text-anchor="middle"')),
    text(WIDTH - RIGHT, height - 14, 'minutes; dashed: an upgrade', 'text-anchor="end"'),
    '</svg>\n',
  ].join('\n')
}

function panelAt(
  { title, lines }: Panel,
  top: number,
  samples: readonly Sample[],
  upgradeMinutes: readonly number[],
  x: (minute: number) => number,
): string[] {
  const [ceiling, floor] = [top + 24, top + 24 + PANEL_HEIGHT]
  const step = stepOf(Math.max(...lines.flatMap(({ of }) => samples.map(of))), STEPS)
  const most = step * Math.ceil(Math.max(1, ...lines.flatMap(({ of }) => samples.map(of))) / step)
  const y = (value: number): number => round(floor - (value / most) * (floor - ceiling))
  const grid = Array.from({ length: Math.round(most / step) + 1 }, (_, index) => index * step)
  return [
    text(8, top + 12, title),
    ...grid.map((value) => line(LEFT, y(value), WIDTH - RIGHT, y(value), PALE)),
    ...grid.map((value) => text(LEFT - 8, y(value) + 4, value.toLocaleString('en'), 'text-anchor="end"')),
    ...upgradeMinutes.map(
      (minute) =>
        `<line x1="${x(minute)}" y1="${ceiling}" x2="${x(minute)}" y2="${floor}" stroke="${INK}" stroke-dasharray="4 4"/>`,
    ),
    ...lines.flatMap(({ name, of }, index) => {
      const colour = COLOURS[index % COLOURS.length]
      const points = samples.map((sample) => `${x(sample.minute)},${y(of(sample))}`).join(' ')
      return [
        `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
        `<rect x="${WIDTH - RIGHT + 12}" y="${ceiling + 6 + index * 20}" width="12" height="12" fill="${colour}"/>`,
        text(WIDTH - RIGHT + 30, ceiling + 16 + index * 20, name),
      ]
    }),
  ]
}

function ticksTo(minutes: number): number[] {
  const step = stepOf(minutes, 10)
  return Array.from({ length: Math.floor(minutes / step) + 1 }, (_, index) => index * step)
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

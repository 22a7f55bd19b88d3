// Plots as SVG: a bar for each peer at its median, with a mark from the least to the most of all rounds.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { METRICS, type MetricName } from './metrics.ts'
import { type Row, type Summary, summaryOf } from './results.ts'
import { INK, line, PALE, stepOf, text } from './svg.ts'

const WIDTH = 760
const TOP = 60
const BOTTOM = 36
const RIGHT = 80
const ROW_HEIGHT = 32
const BAR_HEIGHT = 20
/** Half the height of the ends of a mark. */
const END = 5
/** Room for labels. There is no font to measure them with. */
const LABEL_CHARACTER = 7
const LABEL_GAP = 20
const OURS = '#1668a8'
const OTHERS = '#b4bcc6'

interface Bar extends Summary {
  readonly row: Row
}

/** Draws one metric of one case. @returns the file's name in `directory`, or undefined when nothing was measured */
export function drawPlot(
  directory: string,
  name: string,
  title: string,
  metric: MetricName,
  rows: readonly Row[],
): string | undefined {
  const bars = rows.flatMap((row): Bar[] => {
    const summary = summaryOf(row, metric)
    return summary === undefined ? [] : [{ row, ...summary }]
  })
  if (bars.length === 0) return undefined
  const file = `${name}-${metric}.svg`
  writeFileSync(join(directory, file), plot(title, metric, bars))
  return file
}

function plot(title: string, metric: MetricName, bars: readonly Bar[]): string {
  const { title: metricTitle, unit, digits } = METRICS[metric]
  const bottom = TOP + bars.length * ROW_HEIGHT
  const left = LABEL_GAP + LABEL_CHARACTER * Math.max(...bars.map(({ row }) => row.title.length))
  const step = stepOf(Math.max(...bars.map(({ max }) => max)))
  const end = step * Math.ceil(Math.max(...bars.map(({ max }) => max)) / step) || 1
  const x = (value: number): number => Math.round(left + (Math.max(0, value) / end) * (WIDTH - RIGHT - left))
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, index) => index * step)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${bottom + BOTTOM}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(8, 22, title, 'font-size="18" font-weight="bold"'),
    text(8, 42, `${metricTitle} (${unit}): median, least and most`),
    ...ticks.map((value) => line(x(value), TOP, x(value), bottom, PALE)),
    ...ticks.map((value) => text(x(value), bottom + 18, value.toLocaleString('en'), 'text-anchor="middle"')),
    ...bars.flatMap((bar, index) => barAt(bar, TOP + (index + 0.5) * ROW_HEIGHT, left, x, digits)),
    '</svg>\n',
  ].join('\n')
}

/** The bar, a line from least to most with an end at each, and the median's number beside it. */
function barAt(
  { row, median, min, max }: Bar,
  y: number,
  left: number,
  x: (value: number) => number,
  digits: number,
): string[] {
  const fill = row.peer.startsWith('xengate') ? OURS : OTHERS
  return [
    text(left - 8, y + 4, row.title, 'text-anchor="end"'),
    `<rect x="${left}" y="${y - BAR_HEIGHT / 2}" width="${x(median) - left}" height="${BAR_HEIGHT}" fill="${fill}"/>`,
    line(x(min), y, x(max), y, INK),
    line(x(min), y - END, x(min), y + END, INK),
    line(x(max), y - END, x(max), y + END, INK),
    text(x(max) + END + 3, y + 4, median.toFixed(digits)),
  ]
}

// Plots as SVG: a bar for each peer at its median, with a mark from the least to the most of all rounds.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BarChart, CustomChart, type BarSeriesOption, type CustomSeriesOption } from 'echarts/charts'
import { GridComponent, TitleComponent, type GridComponentOption, type TitleComponentOption } from 'echarts/components'
import { type ComposeOption, init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import { METRICS, type MetricName } from './metrics.ts'
import { type Row, summaryOf } from './results.ts'

use([BarChart, CustomChart, GridComponent, SVGRenderer, TitleComponent])

type Option = ComposeOption<BarSeriesOption | CustomSeriesOption | GridComponentOption | TitleComponentOption>

const WIDTH = 760
const BAR_HEIGHT = 32
const FRAME_HEIGHT = 96
/** Room for labels. There is no font to measure them with. */
const LABEL_CHARACTER = 7
const LABEL_GAP = 20
const OURS = '#1668a8'
const OTHERS = '#b4bcc6'
const INK = '#333'

/** Draws one metric of one case. @returns the file's name in `directory`, or undefined when nothing was measured */
export function drawPlot(
  directory: string,
  name: string,
  title: string,
  metric: MetricName,
  rows: readonly Row[],
): string | undefined {
  // The axis goes upwards: the first peer is to be on top.
  const bars = rows.toReversed().flatMap((row) => {
    const summary = summaryOf(row, metric)
    return summary === undefined ? [] : [{ row, ...summary }]
  })
  if (bars.length === 0) return undefined
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: WIDTH,
    height: FRAME_HEIGHT + bars.length * BAR_HEIGHT,
  })
  const longest = Math.max(...bars.map(({ row }) => row.title.length))
  const { title: metricTitle, unit, digits } = METRICS[metric]
  const option: Option = {
    animation: false,
    backgroundColor: '#fff',
    title: { text: title, subtext: `${metricTitle} (${unit}): median, least and most`, left: 8, top: 6 },
    grid: { left: LABEL_GAP + LABEL_CHARACTER * longest, right: 80, top: 60, bottom: 24 },
    xAxis: { type: 'value', min: 0 },
    yAxis: { type: 'category', data: bars.map(({ row }) => row.title), axisTick: { show: false } },
    series: [
      {
        type: 'bar',
        barWidth: '62%',
        data: bars.map(({ row, median }) => ({
          value: median,
          itemStyle: { color: row.peer.startsWith('xengate') ? OURS : OTHERS },
        })),
      },
      errorMarks(bars.map(({ min, max, median }) => ({ min, max, text: median.toFixed(digits) }))),
    ],
  }
  chart.setOption(option)
  const file = `${name}-${metric}.svg`
  writeFileSync(join(directory, file), `${chart.renderToSVGString()}\n`)
  chart.dispose()
  return file
}

/** A line from least to most with an end at each, and the median's number beside it. */
function errorMarks(
  marks: readonly { readonly min: number; readonly max: number; readonly text: string }[],
): CustomSeriesOption {
  const END = 5
  return {
    type: 'custom',
    data: marks.map(({ min, max }, index) => [min, index, max]),
    encode: { x: [0, 2], y: 1 },
    renderItem: (_, api) => {
      const index = Number(api.value(1))
      const [left = 0, y = 0] = api.coord([api.value(0), index])
      const [right = 0] = api.coord([api.value(2), index])
      const line = (x1: number, y1: number, x2: number, y2: number) =>
        ({ type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: INK, lineWidth: 1.5 } }) as const
      return {
        type: 'group',
        children: [
          line(left, y, right, y),
          line(left, y - END, left, y + END),
          line(right, y - END, right, y + END),
          {
            type: 'text',
            style: {
              text: marks[index]?.text ?? '',
              x: right + END + 3,
              y,
              verticalAlign: 'middle',
              fill: INK,
              fontSize: 12,
            },
          },
        ],
      }
    },
  }
}

// Parts that pages are made of.

import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { clock, count } from './format.ts'
import type { Series } from './history.ts'
import type { Watched } from './watch.ts'

/** A line without axes. Its last value is told beside it, so it says nothing to a screen reader. */
export function Sparkline({ values }: { readonly values: readonly (number | null)[] }): JSX.Element {
  const [width, height] = [100, 24]
  const known = values.filter((value) => value !== null)
  const most = Math.max(1e-9, ...known)
  const step = width / Math.max(1, values.length - 1)
  let path = ''
  for (const [index, value] of values.entries()) {
    if (value === null) continue
    const y = height - 1 - (value / most) * (height - 2)
    path += `${path === '' ? 'M' : 'L'}${(index * step).toFixed(1)} ${y.toFixed(1)}`
  }
  return (
    <svg class="sparkline" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  )
}

/** How much a chart shows: as much as is kept. */
const SHOWN_SECONDS = 300

/** A chart of one value over the last minutes. */
export function Chart({
  title,
  series,
  pick,
  show,
}: {
  readonly title: string
  readonly series: Series
  readonly pick: (series: Series) => readonly (number | null)[]
  readonly show: (value: number) => string
}): JSX.Element {
  const at = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlot | null>(null)
  const values = pick(series)
  const last = values.findLast((value) => value !== null) ?? null
  useEffect(() => {
    const element = at.current
    if (element === null) return
    const style = getComputedStyle(element)
    const axis = {
      stroke: style.getPropertyValue('--quiet'),
      grid: { stroke: style.getPropertyValue('--line'), width: 1 },
      ticks: { show: false },
    }
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: 160,
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: { auto: false },
          y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] },
        },
        axes: [axis, { ...axis, size: 64, values: (_, splits) => splits.map((split) => show(split)) }],
        series: [{}, { stroke: style.getPropertyValue('--accent'), width: 2, spanGaps: true, points: { show: false } }],
      },
      [[], []],
      element,
    )
    chart.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: 160 }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
    }
  }, [])
  useEffect(() => {
    const made = chart.current
    if (made === null) return
    const end = series.times.at(-1) ?? Date.now() / 1000
    const start = end - SHOWN_SECONDS
    // Before there is anything, the empty minutes are shown.
    made.setData(
      series.times.length === 0
        ? [
            [start, end],
            [null, null],
          ]
        : [series.times, [...values]],
      false,
    )
    made.setScale('x', { min: start, max: end })
  })
  const said = last === null ? 'nothing yet' : show(last)
  return (
    <figure class="chart">
      <figcaption>
        {title} <strong>{said}</strong>
      </figcaption>
      <div ref={at} role="img" aria-label={`${title} over the last five minutes; now ${said}`} />
    </figure>
  )
}

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => ComponentChildren
  /** By what rows are ordered; absent: they cannot be. */
  readonly by?: (row: Row) => number | string
  readonly isNumber?: boolean
  /** Left out on narrow screens. */
  readonly isExtra?: boolean
  /** Broken into lines wherever it has to be; the others stay whole. */
  readonly isLong?: boolean
}

function classOf({ isNumber, isExtra, isLong }: Pick<Column<never>, 'isNumber' | 'isExtra' | 'isLong'>): string {
  return `${isNumber === true ? 'number' : ''} ${isExtra === true ? 'extra' : ''} ${isLong === true ? 'long' : ''}`
}

const ROWS_FIRST = 100

/** A table that can be searched and ordered. The first hundred rows are shown, and more on demand. */
export function Table<Row>({
  label,
  rows,
  columns,
  keyOf,
  textOf,
  empty,
}: {
  readonly label: string
  readonly rows: readonly Row[]
  readonly columns: readonly Column<Row>[]
  readonly keyOf: (row: Row) => string
  /** What the search looks in. */
  readonly textOf: (row: Row) => string
  readonly empty: string
}): JSX.Element {
  const [wanted, setWanted] = useState('')
  const [order, setOrder] = useState<{ readonly column: number; readonly isDown: boolean } | null>(null)
  const [most, setMost] = useState(ROWS_FIRST)
  const words = wanted.toLowerCase().split(' ')
  const found = rows.filter((row) => {
    const text = textOf(row).toLowerCase()
    return words.every((word) => text.includes(word))
  })
  const by = order === null ? undefined : columns[order.column]?.by
  if (by !== undefined) {
    const sign = order?.isDown === true ? -1 : 1
    found.sort((one, other) => (by(one) < by(other) ? -sign : by(one) > by(other) ? sign : 0))
  }
  const shown = found.slice(0, most)
  return (
    <div class="table">
      <label class="search">
        <span class="hidden">Search {label}</span>
        <input
          type="search"
          placeholder="Search"
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
      </label>
      <div class="scroll" tabindex={0} role="region" aria-label={label}>
        <table>
          <thead>
            <tr>
              {columns.map(({ title, by: canOrder, ...column }, index) => {
                const isOrdered = order?.column === index
                const sort = isOrdered ? (order.isDown ? 'descending' : 'ascending') : undefined
                return (
                  <th scope="col" class={classOf(column)} {...(sort === undefined ? {} : { 'aria-sort': sort })}>
                    {canOrder === undefined ? (
                      title === '' ? (
                        <span class="hidden">Acts</span>
                      ) : (
                        title
                      )
                    ) : (
                      <button
                        type="button"
                        onClick={() =>
                          setOrder({ column: index, isDown: isOrdered ? !order.isDown : column.isNumber === true })
                        }
                      >
                        {title}
                        <span aria-hidden="true">{isOrdered ? (order.isDown ? ' ↓' : ' ↑') : ''}</span>
                      </button>
                    )}
                  </th>
                )
              })}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={keyOf(row)}>
                {columns.map(({ cell, ...column }) => (
                  <td class={classOf(column)}>{cell(row)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
        {found.length === 0 && <p class="empty">{rows.length === 0 ? empty : `Nothing matches “${wanted}”.`}</p>}
      </div>
      {found.length > shown.length && (
        <button type="button" onClick={() => setMost(most * 4)}>
          Show more of {count(found.length)}
        </button>
      )}
    </div>
  )
}

/** Says that what is shown is old. */
export function Stale({ watched }: { readonly watched: Watched<unknown> }): JSX.Element | null {
  if (watched.staleSince === null) return null
  return (
    <p class="stale" role="alert">
      Stale since {clock(new Date(watched.staleSince).toISOString())}. {watched.problem} Trying again.
    </p>
  )
}

/** A button that asks once more before it acts. */
export function EndButton({
  what,
  act,
  label = 'End',
}: {
  readonly what: string
  readonly act: () => Promise<void>
  /** What the button says. */
  readonly label?: string
}): JSX.Element {
  const [step, setStep] = useState<'rest' | 'sure' | 'acting'>('rest')
  const [problem, setProblem] = useState('')
  const press = async (): Promise<void> => {
    if (step === 'rest') {
      setStep('sure')
      return
    }
    setStep('acting')
    try {
      await act()
      setProblem('')
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error))
    }
    setStep('rest')
  }
  return (
    <span class="end">
      <button
        type="button"
        class={step === 'sure' ? 'danger' : ''}
        disabled={step === 'acting'}
        onClick={() => void press()}
        onBlur={() => setStep((now) => (now === 'sure' ? 'rest' : now))}
      >
        {step === 'sure' ? `Really ${label.toLowerCase()}` : label} <span class="hidden">{what}</span>
      </button>
      {problem !== '' && <span role="alert">{problem}</span>}
    </span>
  )
}

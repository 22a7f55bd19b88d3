// How far a transfer is, in one line of a terminal that is written again and again.

import type { Progress } from '@xengate/client'
import type { Io } from './io.ts'
import { bytesText } from './table.ts'

/** How often, in milliseconds. */
const SHOW_MS = 200
/** Takes the cursor to the line's beginning, and what is behind it away. */
const CLEAR_LINE = '\r\u001B[K'
const BAR_CHARACTERS = 20
const COLUMNS = 80

/** See the head of this file. */
export class ProgressLine {
  readonly #io: Io
  #shownMs = 0
  #startedMs = performance.now()
  #direction: Progress['direction'] | null = null
  #isShown = false

  constructor(io: Io) {
    this.#io = io
  }

  readonly show = (progress: Progress): void => {
    const nowMs = performance.now()
    if (progress.direction !== this.#direction) {
      this.#direction = progress.direction
      this.#startedMs = nowMs
      this.#shownMs = nowMs
    }
    if (nowMs - this.#shownMs < SHOW_MS) return
    this.#shownMs = nowMs
    this.#isShown = true
    const { columns = 0 } = this.#io.stderr
    // A terminal may not say how wide it is.
    const width = columns > 0 ? columns : COLUMNS
    this.#io.stderr.write(CLEAR_LINE + progressText(progress, nowMs - this.#startedMs, width))
  }

  /** Takes the line away. */
  end(): void {
    if (this.#isShown) this.#io.stderr.write(CLEAR_LINE)
    this.#isShown = false
  }
}

/** @param ms since the transfer began */
export function progressText({ direction, bytes, total }: Progress, ms: number, columns: number): string {
  const bytesPerMs = bytes / Math.max(1, ms)
  const rate = `${bytesText(bytesPerMs * 1000)}/s`
  const what = direction === 'up' ? 'sent' : 'received'
  if (total === undefined || total === 0) return `${what} ${bytesText(bytes)}  ${rate}`.slice(0, columns - 1)
  const part = Math.min(1, bytes / total)
  const done = Math.round(part * BAR_CHARACTERS)
  const bar = `[${'#'.repeat(done)}${'.'.repeat(BAR_CHARACTERS - done)}]`
  const left = bytesPerMs === 0 ? '' : `  ${leftText((total - bytes) / bytesPerMs)} left`
  const numbers = `${Math.floor(part * 100)} %  ${what} ${bytesText(bytes)} of ${bytesText(total)}  ${rate}${left}`
  return `${bar} ${numbers}`.slice(0, columns - 1)
}

function leftText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

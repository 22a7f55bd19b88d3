// An event as a line for the person at a terminal.

import { styleText } from 'node:util'
import { type AccessFields, pathForLog } from './access.ts'
import type { Failure } from './causes.ts'
import type { LogLevel } from './level.ts'

const LEVEL_STYLES = { trace: 'dim', debug: 'dim', info: 'green', warn: 'yellow', error: 'red' } as const
const MINUTE_START = 11

/** Writes lines, with colours or without. */
export class Readable {
  readonly #isColoured: boolean

  constructor(isColoured: boolean) {
    this.#isColoured = isColoured
  }

  /** `12:34:56 warn  config-doubtful line=3 problem="…"`, with the stack of an error below. */
  event(level: LogLevel, record: Readonly<Record<string, unknown>>, now: Date): string {
    const { event, error, ...fields } = record
    const words = Object.entries(fields).map(([name, value]) => `${this.#style('dim', `${name}=`)}${valueText(value)}`)
    const stack = errorText(error)
    const isLong = stack?.includes('\n') === true
    if (stack !== undefined && !isLong) words.push(`${this.#style('dim', 'error=')}${stack}`)
    const said = [this.#time(now), this.#style(LEVEL_STYLES[level], level.padEnd(5)), String(event), ...words].join(' ')
    return `${said}\n${isLong ? `${stack}\n` : ''}`
  }

  /** `12:34:56 GET /services/plugin/x 200 8 ms alice`, and the code of what went wrong. */
  access(fields: AccessFields, now: Date): string {
    const { method, path, status, outcome, reason, totalMs, caller } = fields
    const style = status >= 500 ? 'red' : status >= 400 ? 'yellow' : 'green'
    const words = [
      this.#time(now),
      method ?? '-',
      path === null ? '-' : printable(pathForLog(path)),
      this.#style(style, String(status)),
      `${Math.round(totalMs)} ms`,
      ...(caller === null ? [] : [caller.session.user]),
      ...(outcome === 'complete' ? [] : [this.#style('dim', reason ?? outcome)]),
    ]
    return `${words.join(' ')}\n`
  }

  #time(now: Date): string {
    const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString()
    return this.#style('dim', local.slice(MINUTE_START, MINUTE_START + 8))
  }

  #style(style: Parameters<typeof styleText>[0], text: string): string {
    return this.#isColoured ? styleText(style, text, { validateStream: false }) : text
  }
}

function valueText(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value) ?? 'undefined'
  return /^[\w./:@[\]+-]+$/.test(value) ? value : JSON.stringify(value)
}

function errorText(error: unknown): string | undefined {
  if (error === undefined) return undefined
  if (error instanceof Error) return error.stack ?? error.message
  const { message } = error as Partial<Failure>
  return valueText(message ?? error)
}

/** A client chose it: no byte of it may move the terminal's cursor. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it is about
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?')
}

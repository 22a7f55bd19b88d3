// The log: events as JSON lines on standard output, or as readable lines when a person watches a terminal.

import { isatty } from 'node:tty'
import { type AccessFields, accessJson } from './access.ts'
import type { LogEvent } from './event.ts'
import { LOG_LEVELS, type LogLevel } from './level.ts'
import { LineWriter } from './line-writer.ts'
import { shortenLine } from './long-lines.ts'
import { Readable } from './readable.ts'
import { SYSLOG_SOCKET, SyslogWriter } from './syslog.ts'

/** Where events go. */
export interface Log {
  /** Threshold; may be set at any time. */
  level: LogLevel
  trace(event: LogEvent): void
  debug(event: LogEvent): void
  /** Whether such events are logged: what costs something to say is made only then. */
  isLogged(level: LogLevel): boolean
  info(event: LogEvent): void
  warn(event: LogEvent): void
  error(event: LogEvent): void
  /** Logs a request, as an event of level `info`. */
  access(fields: AccessFields): void
  /** Told of each warning and error; what is below the threshold is none. Null: nobody is. */
  onProblem: ((problem: Problem) => void) | null
  /** Takes all that is logged as lines of JSON, too; null: nobody does. */
  tap: ((line: string) => void) | null
  /** Writes what is buffered, then calls `done`. What is still buffered at exit is written by itself. */
  flush(done?: () => void): void
}

/** An event of level `warn` or `error`. */
export interface Problem {
  readonly level: LogLevel
  readonly event: string
  /** One; of `log-dropped`, how many lines. */
  readonly count: number
}

/** `json` for programs; `colour` and `plain` for people. */
export type LogFormat = 'json' | 'colour' | 'plain'

/** What a log is made from. */
export interface LogOptions {
  readonly level: LogLevel
  /** Default: standard output. */
  readonly to?: 'stdout' | 'syslog'
  /** Path of syslog's socket. */
  readonly syslog?: string
  /** Default: what {@link logFormatFor} says of `fd`. */
  readonly format?: LogFormat
  /** File descriptor that is written to; default 1, standard output. */
  readonly fd?: number
}

/** Creates the log of this process. */
export function createLog({ level, to = 'stdout', syslog = SYSLOG_SOCKET, format, fd = 1 }: LogOptions): Log {
  if (to === 'syslog') {
    return new EventLog(level, null, (droppedLine) => new SyslogWriter(syslog, 'daemon', droppedLine))
  }
  const chosen = format ?? logFormatFor({ isTTY: isatty(fd) }, process.env)
  const readable = chosen === 'json' ? null : new Readable(chosen === 'colour')
  return new EventLog(level, readable, (droppedLine) => new LineWriter(fd, droppedLine))
}

/** Where lines go; what cannot be written is dropped, counted, and told by a line of its own. */
interface Lines {
  add(line: string, level: LogLevel): void
  flush(done?: () => void): void
}

/** The format for an output: a terminal is read by a person, anything else by a program. */
export function logFormatFor(output: { readonly isTTY?: boolean }, env: Readonly<NodeJS.ProcessEnv>): LogFormat {
  if (output.isTTY !== true) return 'json'
  return env['NO_COLOR'] === undefined || env['NO_COLOR'] === '' ? 'colour' : 'plain'
}

class EventLog implements Log {
  #level: LogLevel
  #rank: number
  readonly #lines: Lines
  /** Null: JSON. */
  readonly #readable: Readable | null
  onProblem: ((problem: Problem) => void) | null = null
  tap: ((line: string) => void) | null = null

  constructor(level: LogLevel, readable: Readable | null, open: (droppedLine: (lines: number) => string) => Lines) {
    this.#level = level
    this.#rank = LOG_LEVELS.indexOf(level)
    this.#readable = readable
    this.#lines = open((lines) => {
      this.onProblem?.({ level: 'warn', event: 'log-dropped', count: lines })
      return this.#line('warn', { event: 'log-dropped', lines })
    })
  }

  get level(): LogLevel {
    return this.#level
  }

  set level(level: LogLevel) {
    this.#level = level
    this.#rank = LOG_LEVELS.indexOf(level)
  }

  isLogged(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) >= this.#rank
  }

  trace(event: LogEvent): void {
    this.#log('trace', event)
  }

  debug(event: LogEvent): void {
    this.#log('debug', event)
  }

  info(event: LogEvent): void {
    this.#log('info', event)
  }

  warn(event: LogEvent): void {
    this.#log('warn', event)
  }

  error(event: LogEvent): void {
    this.#log('error', event)
  }

  access(fields: AccessFields): void {
    if (this.#rank > INFO_RANK) return
    const { tap } = this
    const json = this.#readable === null || tap !== null ? shortenLine(accessJson(fields, process.pid, Date.now())) : ''
    tap?.(json)
    this.#lines.add(this.#readable === null ? json : cut(this.#readable.access(fields, new Date())), 'info')
  }

  flush(done?: () => void): void {
    this.#lines.flush(done)
  }

  #log(level: LogLevel, event: LogEvent): void {
    if (!this.isLogged(level)) return
    if (LOG_LEVELS.indexOf(level) > INFO_RANK) this.onProblem?.({ level, event: event.event, count: 1 })
    this.tap?.(jsonLine(level, event, new Date()))
    this.#lines.add(this.#line(level, event), level)
  }

  #line(level: LogLevel, event: LogEvent): string {
    const now = new Date()
    if (this.#readable !== null) return cut(this.#readable.event(level, event, now))
    return jsonLine(level, event, now)
  }
}

function jsonLine(level: LogLevel, event: LogEvent, now: Date): string {
  const record = { level, time: now.toISOString(), pid: process.pid, ...event }
  if ('error' in event) record.error = errorRecord(event.error)
  return shortenLine(`${JSON.stringify(record)}\n`)
}

const INFO_RANK = LOG_LEVELS.indexOf('info')

/** What a person sees is at most this long. */
const READABLE_LENGTH_MAX = 1300

function cut(line: string): string {
  return line.length <= READABLE_LENGTH_MAX ? line : `${line.slice(0, READABLE_LENGTH_MAX)}…\n`
}

/** An error as data: type, text and stack, its code, and where it came from. */
function errorRecord(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { message, stack, cause } = error
  return {
    type: error.constructor.name,
    message,
    stack,
    ...('code' in error && { code: error.code }),
    ...(cause !== undefined && { cause: errorRecord(cause) }),
  }
}

// The log: events as JSON lines on standard output, or coloured lines when a person watches a terminal.
//
// The daemon's processes share one standard output, often a pipe. The kernel keeps a write to a pipe in one piece up to
// PIPE_BUF, 4096 bytes on Linux, so every write here is whole lines and at most that long: lines of two processes never
// mix. sonic-boom joins whole lines up to `maxWrite` and never cuts one; a longer line is shortened before it gets there.
// A file takes any write in one piece and never keeps a writer waiting for a reader: there the writes are longer, and done at
// once instead of on another thread.

import { fstatSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isatty } from 'node:tty'
import pino from 'pino'
import { type PrettyOptions } from 'pino-pretty'
import { type LogLevel } from '../config/schema.ts'
import { type AccessFields, accessJson, accessLine } from './access.ts'
import { type LogEvent } from './event.ts'
import { GatheredLines } from './gathered-lines.ts'
import { LINE_BYTES_MAX, shortenLine } from './long-lines.ts'

/** Where events go. */
export interface Log {
  /** Threshold; may be set at any time. */
  level: string
  trace(event: LogEvent): void
  debug(event: LogEvent): void
  info(event: LogEvent): void
  warn(event: LogEvent): void
  error(event: LogEvent): void
  /** Logs a request, as an event of level `info`. */
  access(fields: AccessFields): void
  /** Writes what is buffered, then calls `done`. What is still buffered at exit is written by itself. */
  flush(done?: () => void): void
}

/** `json` for programs; `colour` and `plain` for people. */
export type LogFormat = 'json' | 'colour' | 'plain'

/** What a log is made from. */
export interface LogOptions {
  readonly level: LogLevel
  /** Default: what {@link logFormatFor} says of `fd`. */
  readonly format?: LogFormat
  /** File descriptor that is written to; default 1, standard output. */
  readonly fd?: number
  /** Added to every event, besides `pid`. */
  readonly fields?: Readonly<Record<string, unknown>>
}

/** How long a line may wait in a buffer, milliseconds. */
const FLUSH_MS = 100

/** Bytes at which the buffer is written without waiting; sonic-boom wants less than `maxWrite`. */
const BUFFER_BYTES = 3072
const FILE_BUFFER_BYTES = 16_384
/** Bytes of the lines of requests that are passed to it as one text. */
const FILE_GATHERED_BYTES = 65_536

/** Bytes that may wait for a slow reader; past that, events are dropped and counted. */
const WAITING_BYTES_MAX = 4_194_304

/** Creates the log of this process. */
export function createLog(options: LogOptions): Log {
  const { level, fd = 1, fields = {} } = options
  const format = options.format ?? logFormatFor({ isTTY: isatty(fd) }, process.env)
  const settings: pino.LoggerOptions = {
    level,
    base: { pid: process.pid, ...fields },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: pino.stdSerializers.err, error: pino.stdSerializers.err },
    formatters: { level: (label) => ({ level: label }) },
  }
  if (format !== 'json') return new EventLog(pino(settings, prettyDestination(fd, format === 'colour')), null)
  const destination = jsonDestination(fd)
  return new EventLog(pino(settings, destination), destination)
}

/** The format for an output: a terminal is read by a person, anything else by a program. */
export function logFormatFor(output: { readonly isTTY?: boolean }, env: Readonly<NodeJS.ProcessEnv>): LogFormat {
  if (output.isTTY !== true) return 'json'
  return env['NO_COLOR'] === undefined || env['NO_COLOR'] === '' ? 'colour' : 'plain'
}

/** Pino without its sentences: every method takes one event. */
class EventLog implements Log {
  readonly #logger: pino.Logger
  /** Whether its level lets lines of requests through. */
  #isInfo: boolean
  /** Where lines of JSON go; null when they are not JSON. */
  readonly #destination: JsonDestination | null

  constructor(logger: pino.Logger, destination: JsonDestination | null) {
    this.#logger = logger
    this.#isInfo = logger.isLevelEnabled('info')
    this.#destination = destination
  }

  get level(): string {
    return this.#logger.level
  }

  set level(level: string) {
    this.#logger.level = level
    this.#isInfo = this.#logger.isLevelEnabled('info')
  }

  trace(event: LogEvent): void {
    this.#logger.trace(event)
  }

  debug(event: LogEvent): void {
    this.#logger.debug(event)
  }

  info(event: LogEvent): void {
    this.#logger.info(event)
  }

  warn(event: LogEvent): void {
    this.#logger.warn(event)
  }

  error(event: LogEvent): void {
    this.#logger.error(event)
  }

  access(fields: AccessFields): void {
    if (this.#destination === null) this.#logger.info(accessLine(fields))
    else if (this.#isInfo) this.#destination.gather(accessJson(fields, process.pid, Date.now()))
  }

  flush(done?: () => void): void {
    this.#logger.flush(() => done?.())
  }
}

/** After a write failed, as on a full disk, nothing is written for this long, milliseconds. */
const RETRY_MS = 1000

/** Where lines of JSON go. Pino looks for the last two beside `write`: it flushes on demand, and at once when an event is fatal. */
interface JsonDestination extends pino.DestinationStream {
  /** Takes a line that can wait for others; they are written in the order of all. */
  gather(line: string): void
  flush(done?: () => void): void
  flushSync(): void
}

/** Lines to `fd`. What cannot be written, or waits for too long, is dropped, counted, and the count logged later. */
function jsonDestination(fd: number): JsonDestination {
  const isFile = fstatSync(fd).isFile()
  let output: SonicBoom | null = null
  let retryAtMs = 0
  let dropped = 0

  const open = (): SonicBoom => {
    const opened = sonicBoom(fd, isFile)
    opened.on('drop', () => dropped++)
    opened.on('error', () => {
      dropped++
      // It would try again without end, and never let the process go.
      opened.destroy()
      output = null
      retryAtMs = Date.now() + RETRY_MS
    })
    opened.on('drain', () => {
      if (dropped === 0) return
      const [time, lines] = [new Date().toISOString(), dropped]
      dropped = 0
      opened.write(`${JSON.stringify({ level: 'warn', time, pid: process.pid, event: 'log-dropped', lines })}\n`)
    })
    return opened
  }
  const write = (lines: string): void => {
    if (output === null && Date.now() >= retryAtMs) output = open()
    if (output === null) dropped++
    else output.write(lines)
  }
  let timer: NodeJS.Timeout | null = null
  // Armed by a line, so that a daemon that has nothing to say sleeps.
  const flushSoon = (): void => {
    timer ??= setTimeout(() => {
      timer = null
      gathered.flush()
      output?.flush()
    }, FLUSH_MS).unref()
  }
  const gathered = new GatheredLines(isFile ? FILE_GATHERED_BYTES : LINE_BYTES_MAX, write)
  return {
    write: (line) => {
      gathered.flush()
      write(shortenLine(line))
      flushSoon()
    },
    gather: (line) => {
      gathered.add(shortenLine(line))
      flushSoon()
    },
    flush: (done) => {
      gathered.flush()
      if (output === null) done?.()
      else output.flush(done)
    },
    flushSync: () => {
      gathered.flush()
      output?.flushSync()
    },
  }
}

type SonicBoom = ReturnType<typeof pino.destination>

function sonicBoom(fd: number, isFile: boolean): SonicBoom {
  return pino.destination({
    dest: fd,
    sync: isFile,
    minLength: isFile ? FILE_BUFFER_BYTES : BUFFER_BYTES,
    maxWrite: isFile ? FILE_GATHERED_BYTES : LINE_BYTES_MAX,
    maxLength: WAITING_BYTES_MAX,
  })
}

function prettyDestination(fd: number, colorize: boolean): pino.DestinationStream {
  // Loaded here, because a daemon whose log is read by programs never needs it.
  const pretty = createRequire(import.meta.url)('pino-pretty') as (options: PrettyOptions) => pino.DestinationStream
  return pretty({
    destination: fd,
    sync: true,
    colorize,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,event',
    messageFormat: '{event}',
  })
}

// Lines to the host's syslog: a datagram each to /dev/log, in the form that the C library's syslog(3) writes (RFC 3164 section 4.1,
// without a host name).

import { DatagramSender } from '@xengate/channel'
import type { LogLevel } from './level.ts'

/** Where syslog listens. */
export const SYSLOG_SOCKET = '/dev/log'

/** Numbers of facilities: `daemon` for what a daemon says; xapi's audit is in `local6`. */
export const FACILITY = { daemon: 3, local6: 22 } as const

/** One of them. */
export type Facility = keyof typeof FACILITY

const SEVERITY: Readonly<Record<LogLevel, number>> = { trace: 7, debug: 7, info: 6, warn: 4, error: 3 }

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const

/** A reader that is behind has a queue of ten datagrams; what waits for it here is at most so much. */
const WAITING_BYTES_MAX = 1_048_576
/** After this it is tried again: where a reader is behind, and where there is none. */
const BEHIND_MS = 20
const ABSENT_MS = 1000

/** See the head of this file. Nobody waits for a reader that is behind, or not there: past what may wait, lines are dropped, counted, and told later. */
export class SyslogWriter {
  readonly #sender: DatagramSender
  readonly #facility: Facility
  readonly #droppedLine: (lines: number) => string
  /** Datagrams that were not taken yet. */
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #timer: NodeJS.Timeout | null = null
  #dropped = 0

  /** @param droppedLine makes a line of the number of lines that were dropped */
  constructor(path: string, facility: Facility, droppedLine: (lines: number) => string) {
    this.#sender = new DatagramSender(path)
    this.#facility = facility
    this.#droppedLine = droppedLine
    process.on('exit', () => this.#sendWaiting())
  }

  /** Takes a line; its line break is left out. */
  add(line: string, level: LogLevel): void {
    const datagram = this.#datagram(line, level)
    const failure = this.#waiting.length === 0 ? this.#sender.send(datagram) : 'EAGAIN'
    if (failure === null) return
    if (this.#waitingBytes + datagram.length > WAITING_BYTES_MAX) this.#dropped++
    else this.#keep(datagram, failure)
  }

  /** Tries once more to send what waits; `done` is called whether it was taken or not. */
  flush(done?: () => void): void {
    this.#sendWaiting()
    done?.()
  }

  #keep(datagram: Buffer, failure: string): void {
    this.#waiting.push(datagram)
    this.#waitingBytes += datagram.length
    this.#retry(failure)
  }

  #retry(failure: string): void {
    this.#timer ??= setTimeout(() => this.#sendWaiting(), failure === 'EAGAIN' ? BEHIND_MS : ABSENT_MS).unref()
  }

  #sendWaiting(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    let sent = 0
    for (const datagram of this.#waiting) {
      const failure = this.#sender.send(datagram)
      if (failure !== null) {
        this.#waiting.splice(0, sent)
        this.#retry(failure)
        return
      }
      sent++
      this.#waitingBytes -= datagram.length
    }
    this.#waiting = []
    if (this.#dropped === 0) return
    const lines = this.#dropped
    this.#dropped = 0
    this.add(this.#droppedLine(lines), 'warn')
  }

  #datagram(line: string, level: LogLevel): Buffer {
    const priority = FACILITY[this.#facility] * 8 + SEVERITY[level]
    return Buffer.from(`<${priority}>${stamp(new Date())} xengate[${process.pid}]: ${line.trimEnd()}`)
  }
}

/** `Nov  5 08:30:00`, in the local time. */
function stamp(now: Date): string {
  const [, clock = ''] = /(\d\d:\d\d:\d\d)/.exec(now.toTimeString()) ?? []
  return `${MONTHS[now.getMonth()]} ${String(now.getDate()).padStart(2)} ${clock}`
}

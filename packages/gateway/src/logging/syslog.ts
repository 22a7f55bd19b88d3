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

/** See the head of this file. A reader that is behind, or not there, is not waited for: what it does not take is counted, and told later. */
export class SyslogWriter {
  readonly #sender: DatagramSender
  readonly #facility: Facility
  readonly #droppedLine: (lines: number) => string
  #dropped = 0

  /** @param droppedLine makes a line of the number of lines that were dropped */
  constructor(path: string, facility: Facility, droppedLine: (lines: number) => string) {
    this.#sender = new DatagramSender(path)
    this.#facility = facility
    this.#droppedLine = droppedLine
  }

  /** Takes a line; its line break is left out. */
  add(line: string, level: LogLevel): void {
    if (this.#dropped > 0 && this.#send(this.#droppedLine(this.#dropped), 'warn')) this.#dropped = 0
    if (!this.#send(line, level)) this.#dropped++
  }

  /** Nothing is kept. */
  flush(done?: () => void): void {
    done?.()
  }

  #send(line: string, level: LogLevel): boolean {
    const priority = FACILITY[this.#facility] * 8 + SEVERITY[level]
    return (
      this.#sender.send(Buffer.from(`<${priority}>${stamp(new Date())} xengate[${process.pid}]: ${line.trimEnd()}`)) ===
      null
    )
  }
}

/** `Nov  5 08:30:00`, in the local time. */
function stamp(now: Date): string {
  const [, clock = ''] = /(\d\d:\d\d:\d\d)/.exec(now.toTimeString()) ?? []
  return `${MONTHS[now.getMonth()]} ${String(now.getDate()).padStart(2)} ${clock}`
}

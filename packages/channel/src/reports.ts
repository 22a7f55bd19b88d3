// What the service says on the control connection: lines of JSON, first whether it takes the channel, then how much it is used.

import { isCount } from './offer.ts'

/** Longest line, in bytes. */
export const LINE_BYTES_MAX = 4096
/** Longest reason in a refusal, in characters; it may be quoted, and three bytes each. */
const WHY_CHARACTERS_MAX = 300

/** The line that takes a channel. */
export function encodeAccepted(): string {
  return '{"accepted":true}\n'
}

/** The line that refuses a channel. @param why for the gateway's log; what is too long is cut off */
export function encodeRefused(why: string): string {
  return `${JSON.stringify({ refused: why.slice(0, WHY_CHARACTERS_MAX) })}\n`
}

/** The line that tells of use since the last one. @param bytesIn from the client, @param bytesOut to it */
export function encodeUsage(requests: number, bytesIn: number, bytesOut: number): string {
  return `{"requests":${requests},"bytesIn":${bytesIn},"bytesOut":${bytesOut}}\n`
}

/** One line of the service. */
export type Report =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'refused'; readonly why: string }
  /** Counted since the report before. */
  | { readonly kind: 'usage'; readonly requests: number; readonly bytesIn: number; readonly bytesOut: number }
  /** The service does not keep to the protocol; nothing after this is read. */
  | { readonly kind: 'invalid'; readonly reason: string }

const LF = 0x0a
const NOTHING = Buffer.alloc(0)

/**
 * Reads reports as they come. The first line accepts or refuses, all others tell of use:
 *
 *     state      line                     next
 *     EXPECTED   accepted                 ACCEPTED
 *     EXPECTED   refused, or wrong        DONE
 *     ACCEPTED   usage                    ACCEPTED
 *     ACCEPTED   anything else            DONE
 *     DONE       not looked at            DONE
 */
export class ReportReader {
  #state: 'EXPECTED' | 'ACCEPTED' | 'DONE' = 'EXPECTED'
  /** @param hasAccepted whether the first line was read elsewhere */
  constructor(hasAccepted: boolean = false) {
    if (hasAccepted) this.#state = 'ACCEPTED'
  }

  /** Whether a line has begun whose end has not come. */
  get isWithinLine(): boolean {
    return this.#partial.length > 0
  }

  /** The beginning of a line whose end has not come. */
  #partial: Buffer = NOTHING

  /** Reads `chunk`, which is borrowed until it returns; returns the reports that are whole now. */
  write(chunk: Buffer): readonly Report[] {
    const reports: Report[] = []
    let bytes = this.#partial.length === 0 ? chunk : Buffer.concat([this.#partial, chunk])
    while (this.#state !== 'DONE') {
      const end = bytes.indexOf(LF)
      if ((end === -1 ? bytes.length : end) > LINE_BYTES_MAX) {
        reports.push(this.#invalid(`a line is longer than ${LINE_BYTES_MAX} bytes`))
      } else if (end === -1) {
        break
      } else {
        reports.push(this.#line(bytes.toString('utf8', 0, end)))
        bytes = bytes.subarray(end + 1)
      }
    }
    this.#partial = this.#state === 'DONE' || bytes.length === 0 ? NOTHING : Buffer.from(bytes)
    return reports
  }

  #line(text: string): Report {
    const report = decodeReport(text)
    if (report.kind === 'invalid') return this.#invalid(report.reason)
    if ((report.kind === 'usage') === (this.#state === 'EXPECTED')) {
      return this.#invalid(`"${report.kind}" is out of turn`)
    }
    this.#state = report.kind === 'refused' ? 'DONE' : 'ACCEPTED'
    return report
  }

  #invalid(reason: string): Report {
    this.#state = 'DONE'
    return { kind: 'invalid', reason }
  }
}

function decodeReport(text: string): Report {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { kind: 'invalid', reason: 'a line is not JSON' }
  }
  if (typeof value !== 'object' || value === null) return { kind: 'invalid', reason: 'a line is not a JSON object' }
  const { accepted, refused, requests, bytesIn, bytesOut } = value as Readonly<Record<string, unknown>>
  if (accepted === true) return { kind: 'accepted' }
  if (typeof refused === 'string') return { kind: 'refused', why: refused }
  if (isCount(requests) && isCount(bytesIn) && isCount(bytesOut)) return { kind: 'usage', requests, bytesIn, bytesOut }
  return { kind: 'invalid', reason: 'a line is neither "accepted", "refused" nor usage' }
}

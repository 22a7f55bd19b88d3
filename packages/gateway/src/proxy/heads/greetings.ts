// The line that a service writes first on a connection that it brings back, by which the gateway knows which client's it is:
//
//     XENGATE <code> <address> <port> <address> <port> CR LF      the client's end, and the one that it connected to
//
// The service gets it with the offer of a channel and does not look into it. Every user of the host may connect to that socket, so
// the code, made with a key that only the gateway's processes have, proves that the gateway wrote the line: see docs/decisions/0030.

import { hash, timingSafeEqual } from 'node:crypto'
import type { Ends } from '../../transport/transport.ts'
import type { ProxyHeader } from './proxy-header.ts'

const START = 'XENGATE '
/** Longest line: two IPv6 addresses with zones are shorter. */
const LINE_BYTES_MAX = 300
const LINE = /^([0-9a-f]{64}) ([!-~]+) (\d{1,5}) ([!-~]+) (\d{1,5})$/
const NEED_MORE: ProxyHeader = { kind: 'need-more' }

export class Greetings {
  readonly #key: string

  /** @param key the same in all processes that serve the socket; secret, and of one length */
  constructor(key: string) {
    this.#key = key
  }

  /** The line for a connection with these ends; empty when they are not known. */
  of(ends: Ends | null): string {
    if (ends === null) return ''
    const text = endsText(ends)
    return `${START}${this.#codeOf(text)} ${text}\r\n`
  }

  /**
   * Reads the line that starts at `from`, if one does; never looks at or beyond `to`. A connection without one, or with one that
   * was not made with this key, is nobody's in particular.
   */
  read(bytes: Buffer, from: number, to: number): ProxyHeader {
    const known = Math.min(START.length, to - from)
    if (bytes.toString('latin1', from, from + known) !== START.slice(0, known))
      return { kind: 'complete', end: from, ends: null }
    const limit = Math.min(to, from + LINE_BYTES_MAX)
    const lineEnd = bytes.subarray(from, limit).indexOf('\r\n')
    if (lineEnd === -1 && limit === to) return NEED_MORE
    if (lineEnd === -1) return { kind: 'complete', end: from, ends: null }
    const end = from + lineEnd
    return { kind: 'complete', end: end + 2, ends: this.#endsIn(bytes.toString('latin1', from + START.length, end)) }
  }

  #endsIn(line: string): Ends | null {
    const [, code, source, sourcePort, destination, destinationPort] = LINE.exec(line) ?? []
    if (code === undefined || source === undefined || destination === undefined) return null
    const ends = {
      source: { address: source, port: Number(sourcePort) },
      destination: { address: destination, port: Number(destinationPort) },
    }
    return timingSafeEqual(Buffer.from(code), Buffer.from(this.#codeOf(endsText(ends)))) ? ends : null
  }

  /**
   * A hash behind the key proves as much as an HMAC where the hash shows but half of its state, from which nobody goes on to a longer
   * text. A hand-over takes 8 µs in all, an HMAC 3 of them, and this 0.7.
   */
  #codeOf(text: string): string {
    return hash('sha512-256', `${this.#key} ${text}`)
  }
}

function endsText({ source, destination }: Ends): string {
  return `${source.address} ${source.port} ${destination.address} ${destination.port}`
}

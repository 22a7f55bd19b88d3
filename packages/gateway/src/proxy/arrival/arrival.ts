// What a listener makes of its connections, and how each becomes a client: at once, or after the header that says whose it is, and the
// handshake of TLS.

import type { SessionEntry } from '../../sessions/table.ts'
import type { Ends, Wire } from '../../transport/transport.ts'
import type { Peer } from '../exchange/ports.ts'
import type { Greetings } from '../heads/greetings.ts'
import type { ProxyHeaderFault } from '../heads/proxy-header.ts'
import { Repeated } from '../heads/repeated.ts'
import type { TlsCredentials } from './tls-credentials.ts'

/** What a listener makes of its connections. */
export interface ListenerTraits {
  /** The listener's address, as it is configured. */
  readonly name: string
  /** Whether they may be passed to services: not those that services bring back. */
  readonly canPass: boolean
  /** Whether each begins with the header of the PROXY protocol. */
  readonly hasProxyHeader: boolean
  /** By which those that services bring back say whose they are; null of all others. */
  readonly greetings: Greetings | null
  /** What they are secured with; null for plain ones. */
  readonly tls: TlsCredentials | null
}

/** The listener that has nothing of its own. */
export const PLAIN_LISTENER: ListenerTraits = Object.freeze({
  name: '',
  canPass: true,
  hasProxyHeader: false,
  greetings: null,
  tls: null,
})

/** Why a connection was closed without an answer, before anything was asked on it; for the log. */
export type ArrivalFault = ProxyHeaderFault | 'proxy-header-slow' | 'tls-failed' | 'tls-slow'

/** A connection that is no client's yet, or that will be none. */
export interface Arrival {
  /** Called by the sweep: gives up if the deadline has passed. */
  sweep(nowMs: number): void
  /** The gateway stops: a client that has said nothing is let go, another has until `deadlineMs`. */
  hasten(deadlineMs: number): void
  destroy(): void
}

/** What the owner of an arrival hears, once. */
export interface ArrivalListener {
  /** The connection is a client's, and the listener's. @param rest what it has sent beyond its header; borrowed */
  arrived(wire: Wire, peer: Peer, rest: Buffer): void
  /** The connection is over. @param fault why; null when the client went away without a word */
  failed(fault: ArrivalFault | null, address: string): void
}

/** Text of latin1 that is not made of parts. */
function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

/** Port at which everybody expects TLS. */
const HTTPS_PORT = 443

/** The client of a connection that has arrived. */
export class ArrivedPeer implements Peer {
  readonly address: string
  readonly port: number
  readonly proto: 'http' | 'https'
  readonly forwardedLines: string
  readonly canPass: boolean
  readonly repeated: Repeated = new Repeated()
  readonly #wire: Wire
  readonly told: Ends | null
  /** Of whom, and for which host, `#callerLines` were made last: most connections are one session's. */
  #caller: SessionEntry | null = null
  #host: string | undefined
  #callerLines = ''

  /**
   * @param told both ends, where a header told them: a TLS proxy at the port of HTTPS has ended TLS
   * @param isSecure whether TLS ends here
   */
  constructor(wire: Wire, told: Ends | null, isSecure: boolean, canPass: boolean) {
    const source = told === null ? wire.source : told.source
    this.#wire = wire
    this.told = told
    this.address = source?.address ?? ''
    this.port = source?.port ?? 0
    this.proto = isSecure || told?.destination.port === HTTPS_PORT ? 'https' : 'http'
    const forLine = this.address === '' ? '' : `X-Forwarded-For: ${this.address}\r\n`
    this.forwardedLines = `${forLine}X-Forwarded-Proto: ${this.proto}\r\n`
    this.canPass = canPass
  }

  get ends(): Ends | null {
    return this.told ?? this.#wire.ends
  }

  callerLines(entry: SessionEntry, host: string | undefined): string {
    if (entry === this.#caller && host === this.#host) return this.#callerLines
    this.#caller = entry
    // A part of the head's text would keep all of that.
    this.#host = host === undefined ? undefined : flat(host)
    const hostLine = host === undefined ? '' : `X-Forwarded-Host: ${host}\r\n`
    // As one piece: each request would have it put together from its parts.
    this.#callerLines = flat(entry.identityLines + this.forwardedLines + hostLine)
    return this.#callerLines
  }
}

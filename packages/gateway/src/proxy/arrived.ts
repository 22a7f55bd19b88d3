// A connection as it has arrived at a listener, before its first request.

import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { AcceptedHandle } from './accepting.ts'
import { acceptedSocket, type BorrowedReads } from './borrowed-reads.ts'
import { type Ends, plainAddress, type ProxyHeaderFault } from './proxy-header.ts'
import type { Greetings } from './greetings.ts'
import type { TlsCredentials } from './tls-credentials.ts'

/** What a listener makes of its connections. */
export interface ListenerTraits {
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
  canPass: true,
  hasProxyHeader: false,
  greetings: null,
  tls: null,
})

/** A connection, which whoever is given this owns from now on. */
export type Arrived =
  | {
      readonly kind: 'plain'
      readonly handle: AcceptedHandle
      readonly hasProxyHeader: boolean
      readonly greetings: Greetings | null
      readonly canPass: boolean
    }
  /** The handshake is done. `raw` is the socket below; `ends` are those that a PROXY header told. */
  | { readonly kind: 'secure'; readonly socket: TLSSocket; readonly raw: Socket; readonly ends: Ends | null }

/** Why a connection was closed without an answer, before anything was asked on it; for the log. */
export type ArrivalFault = ProxyHeaderFault | 'proxy-header-slow' | 'tls-failed' | 'tls-slow'

/** The socket of `arrived`, from which `take` is given what comes. */
export function socketOf(arrived: Arrived, reads: BorrowedReads, take: (bytes: Buffer, count: number) => void): Socket {
  if (arrived.kind === 'plain') return acceptedSocket(arrived.handle, reads)
  return arrived.socket.on('data', (chunk: Buffer) => take(chunk, chunk.length))
}

/** The ends of a connection as the system has them; null of a Unix socket. */
export function endsOf(socket: Socket): Ends | null {
  const { remoteAddress, remotePort = 0, localAddress, localPort = 0 } = socket
  if (remoteAddress === undefined) return null
  return {
    source: { address: plainAddress(remoteAddress), port: remotePort },
    destination: { address: plainAddress(localAddress), port: localPort },
  }
}

/** Port at which everybody expects TLS. */
const HTTPS_PORT = 443

/**
 * `X-Forwarded-For` and `X-Forwarded-Proto` of a connection, each with its CRLF.
 * @param address the client's, empty when it is not known
 * @param told what a PROXY header told: a terminator at the port of HTTPS has ended TLS
 */
export function forwardedLines(address: string, told: Ends | null, isPlain: boolean): string {
  return `${address === '' ? '' : `X-Forwarded-For: ${address}\r\n`}X-Forwarded-Proto: ${protoOf(told, isPlain)}\r\n`
}

/** By what a client came, as in `forwardedLines`. */
export function protoOf(told: Ends | null, isPlain: boolean): 'http' | 'https' {
  return !isPlain || told?.destination.port === HTTPS_PORT ? 'https' : 'http'
}

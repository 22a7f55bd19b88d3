// A connection on its way through the handshake.
//
//   from         to           method
//   HEADER       HELLO        #readHeader   the PROXY header is whole; what follows it is the client's
//   HELLO        HANDSHAKE    #handshake    the first byte is TLS's: Node.js's own socket takes over
//   HANDSHAKE    (given on)   #secured      the connection is the taker's
//   any          CLOSED       destroy       refused, too slow, or the client has gone
//
// HEADER is left out where the listener has none. Until HANDSHAKE nothing is read beyond one chunk.

import { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { plainAddress } from '../../transport/ends.ts'
import { type Handle, streamOf } from '../../transport/net/handle.ts'
import { NetWire } from '../../transport/net/wire.ts'
import type { Ends, Wire } from '../../transport/transport.ts'
import { readProxyHeader } from '../heads/proxy-header.ts'
import { type Arrival, type ArrivalFault, type ArrivalListener, ArrivedPeer } from './arrival.ts'
import type { TlsCredentials } from './tls-credentials.ts'

const STATE = { HEADER: 0, HELLO: 1, HANDSHAKE: 2, CLOSED: 3 } as const

/** The first byte of a TLS connection: a record that holds a handshake (RFC 8446 section 5.1). */
const HANDSHAKE_RECORD = 0x16
/** The first byte of a method, as all that are registered have it. */
const A = 0x41
const Z = 0x5a

const NOTHING = Buffer.alloc(0)

/** The protocols that a client may choose (RFC 7301 section 3.1): a list of names, each behind its length. */
const ALPN = Buffer.from('\x08http/1.1', 'latin1')

/** What the owner of a connection on its way through the handshake hears, once. */
export interface TlsArrivalListener extends ArrivalListener {
  /** The client speaks HTTP without TLS; `wire` is the listener's from now on. */
  refusedPlain(address: string, wire: Wire): void
}

/** See the head of this file. */
export class TlsArrival implements Arrival {
  readonly #raw: Socket
  readonly #credentials: TlsCredentials
  readonly #listener: TlsArrivalListener
  #deadlineMs: number
  #state: number
  #ends: Ends | null = null
  #address: string
  #kept: Buffer = Buffer.alloc(0)

  /**
   * @param handle an accepted connection, whose owner this is
   * @param deadlineMs by when it has to be secured, on the gateway's clock
   */
  constructor(
    handle: Handle,
    credentials: TlsCredentials,
    hasProxyHeader: boolean,
    deadlineMs: number,
    listener: TlsArrivalListener,
  ) {
    handle.setNoDelay?.(true)
    this.#raw = new Socket(streamOf(handle, { allowHalfOpen: true }))
    this.#credentials = credentials
    this.#listener = listener
    this.#deadlineMs = deadlineMs
    this.#state = hasProxyHeader ? STATE.HEADER : STATE.HELLO
    this.#address = plainAddress(this.#raw.remoteAddress)
    this.#raw.on('error', () => {}) // 'close' follows
    this.#raw.on('data', this.#onData)
    this.#raw.on('end', this.#onEnd)
    this.#raw.on('close', this.#onEnd)
  }

  /** The peer's; once the PROXY header is read the client's. */
  get address(): string {
    return this.#address
  }

  sweep(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return
    this.#fail(this.#state === STATE.HEADER ? 'proxy-header-slow' : 'tls-slow')
  }

  hasten(deadlineMs: number): void {
    if (this.#kept.length === 0 && this.#state !== STATE.HANDSHAKE) this.#fail(null)
    else this.#deadlineMs = Math.min(this.#deadlineMs, deadlineMs)
  }

  destroy(): void {
    this.#state = STATE.CLOSED
    this.#raw.destroy()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#kept = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk])
    if (this.#state === STATE.HEADER) this.#readHeader()
    if (this.#state === STATE.HELLO && this.#kept.length > 0) this.#readHello()
  }

  /** The client has gone before it was secured: a probe of the port, when it had said nothing. */
  readonly #onEnd = (): void => {
    if (this.#state === STATE.CLOSED) return
    const isProbe = this.#kept.length === 0 && this.#state !== STATE.HANDSHAKE
    if (isProbe) this.#fail(null)
    else this.#fail(this.#state === STATE.HEADER ? 'proxy-header-malformed' : 'tls-failed')
  }

  #readHeader(): void {
    const header = readProxyHeader(this.#kept, 0, this.#kept.length)
    if (header.kind === 'need-more') return
    if (header.kind === 'invalid') {
      this.#fail(header.fault)
      return
    }
    this.#ends = header.ends
    if (header.ends !== null) this.#address = header.ends.source.address
    this.#kept = this.#kept.subarray(header.end)
    this.#state = STATE.HELLO
  }

  #readHello(): void {
    const first = this.#kept[0] ?? 0
    if (first === HANDSHAKE_RECORD) this.#handshake()
    else if (first >= A && first <= Z) this.#refusePlain()
    else this.#fail('tls-failed')
  }

  /** A client that speaks HTTP without TLS is told so, in HTTP. */
  #refusePlain(): void {
    this.#state = STATE.CLOSED
    const raw = this.#raw
    raw.off('data', this.#onData)
    raw.off('end', this.#onEnd).off('close', this.#onEnd)
    this.#listener.refusedPlain(this.#address, NetWire.ofSocket(raw))
  }

  #handshake(): void {
    this.#state = STATE.HANDSHAKE
    const raw = this.#raw
    raw.pause()
    raw.off('data', this.#onData)
    raw.off('end', this.#onEnd)
    // What is in the socket's buffer is the first that TLS reads.
    raw.unshift(this.#kept)
    const { context } = this.#credentials
    const socket = new TLSSocket(raw, { isServer: true, secureContext: context, ALPNProtocols: ALPN })
    socket.on('error', () => {}) // 'close' follows
    socket.once('close', this.#onEnd)
    socket.once('secure', () => this.#secured(socket))
  }

  #secured(socket: TLSSocket): void {
    if (this.#state !== STATE.HANDSHAKE) return
    this.#state = STATE.CLOSED
    this.#raw.off('close', this.#onEnd)
    socket.off('close', this.#onEnd)
    const wire = NetWire.ofTls(socket, this.#raw)
    this.#listener.arrived(wire, new ArrivedPeer(wire, this.#ends, true, false), NOTHING)
  }

  #fail(fault: ArrivalFault | null): void {
    this.destroy()
    this.#listener.failed(fault, this.#address)
  }
}

// One request and its response, between a client's connection and a service's.
//
// Two small states, independent of each other, since a service may answer before the request is complete:
//
//   request    SENDING   → SENT       requestComplete         the body goes to the service as it comes
//   response   AWAITED   → BODY       (final head arrived)    interim responses pass in AWAITED
//              BODY      → COMPLETE   responseComplete
//
// The exchange is over when both are done, or when either side fails: before the response's head has gone to the client
// a failure is a refusal; after it the client's connection is cut, so that a truncated body never looks complete.

import {
  BODY,
  BodyDecoder,
  CHUNK_END,
  chunkStart,
  FIELD,
  HEAD,
  lastChunk,
  type ResponseHead,
  STEP,
} from '@xengate/http1'
import type { SessionEntry } from '../sessions/table.ts'
import type { ClientConnection } from './client-connection.ts'
import type { Exchange } from './exchange.ts'
import { RESPONSE_DROPS, RESPONSE_DROPS_BUT_UPGRADE, RESPONSE_DROPS_WITHOUT_BODY } from './field-ids.ts'
import type { Gateway } from './gateway.ts'
import { keptLines } from './kept-lines.ts'
import {
  DRAINING,
  INTERIM_FLOOD,
  malformed,
  type Refusal,
  REQUEST_SLOW,
  responseInvalid,
  SERVICE_DIED,
  SERVICE_SLOW,
  SESSION_INVALID,
  SWITCH_UNASKED,
} from './refusals.ts'
import type { ServiceConnection, ServiceListener } from './service-connection.ts'
import { Tunnel } from './tunnel.ts'

/** What the relay has to know of the request. */
export interface RelayedRequest {
  readonly id: string
  readonly method: string
  /** The target up to the query. */
  readonly path: string
  /** The service's name, or XENAPI. */
  readonly service: string
  readonly entry: SessionEntry | null
  /** The head as the service gets it. */
  readonly text: string
  /** Decoder of the body; null when there is none. */
  readonly decoder: BodyDecoder | null
  readonly isChunked: boolean
  readonly minorVersion: number
  /** Whether the client keeps its connection open. */
  readonly isPersistent: boolean
  /** Whether the client may be waiting for 100 before it sends the body. */
  readonly expectsContinue: boolean
  /** Value of Upgrade that is passed on. */
  readonly upgrade: string | undefined
  readonly accept: string | undefined
  /** When its head was complete, by `Gateway.stampMs`. */
  readonly startedMs: number
  /** Whether it goes to xapi behind the gateway, which may take its time, and says when a connection ends. */
  readonly isForXapi: boolean
}

/** With its head, a response of this length goes out in one flight: TCP begins with ten segments (RFC 6928). */
const SHORT_RESPONSE_BYTES = 8192
/** Interim responses to one request. */
const INTERIM_MAX = 100

const RESPONSE = { AWAITED: 0, BODY: 1, COMPLETE: 2 } as const

/** How an exchange ended, for the access log. */
export type Outcome = 'complete' | 'refused' | 'client-gone' | 'client-failed' | 'service-failed' | 'gateway-failed'

export class Relay implements Exchange, ServiceListener {
  readonly request: RelayedRequest
  /** Body bytes from the client and to it, without framing. */
  bytesIn = 0
  bytesOut = 0
  /** Status of the final response, 0 before it. */
  status = 0
  /** When the final response's head arrived, by `Gateway.stampMs`; 0 before it. */
  firstByteMs = 0

  readonly #gateway: Gateway
  readonly #client: ClientConnection
  #service: ServiceConnection | null
  #isRequestSent: boolean
  #response: number = RESPONSE.AWAITED
  #responseDecoder: BodyDecoder | null = null
  #isChunkedToClient = false
  /** Whether the service keeps its connection after this response. */
  #isServicePersistent = false
  /** Whether the client's connection stays open after this exchange; known with the response's head. */
  #keepsClient = false
  /** The beginning of a response head that did not come whole. */
  #partialHead: Buffer | null = null
  #hasHeardService = false
  #hasContinued = false
  #interims = 0
  #isRetry = false

  constructor(gateway: Gateway, client: ClientConnection, service: ServiceConnection, request: RelayedRequest) {
    this.#gateway = gateway
    this.#client = client
    this.#service = service
    this.request = request
    this.#isRequestSent = request.decoder === null
  }

  /** Sends the head; of a request with a body it is written together with what of the body is at hand, at `flush`. */
  start(): void {
    const service = this.#service
    if (service === null) return
    service.take(this)
    service.outgoing.text(this.request.text)
    if (this.#isRequestSent) service.outgoing.flush()
    this.#expectProgress()
  }

  /** Sends the head; from then on bytes pass both ways, and none of them are looked at. */
  startTunnel(): void {
    const service = this.#service
    if (service === null) return
    service.outgoing.text(this.request.text)
    service.outgoing.flush()
    const tunnel = new Tunnel(this.#gateway, this.#client, service, this)
    service.take(tunnel)
    this.#client.tunnelStarted(tunnel)
  }

  /** Writes what `clientBytes` and `start` gathered. */
  flush(): void {
    this.#service?.outgoing.flush()
  }

  // ── the client's side ──

  get wantsBytes(): boolean {
    return !this.#isRequestSent
  }

  clientBytes(bytes: Buffer, from: number, to: number): number {
    const { decoder } = this.request
    const service = this.#service
    if (decoder === null || service === null) return from
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) {
        this.#sendData(service, bytes, decoder.dataStart, decoder.dataEnd)
        continue
      }
      if (step === STEP.INVALID) {
        this.#fail(malformed(decoder.reason), 'client')
        return to
      }
      if (step === STEP.DONE) this.#requestComplete(service, decoder)
      break
    }
    service.outgoing.flush()
    if (service.outgoing.isFull) this.#client.pause()
    this.#expectProgress()
    return at
  }

  #sendData(service: ServiceConnection, bytes: Buffer, from: number, to: number): void {
    const { outgoing } = service
    this.bytesIn += to - from
    if (!this.request.isChunked) {
      outgoing.data(bytes, from, to)
      return
    }
    outgoing.text(chunkStart(to - from))
    outgoing.data(bytes, from, to)
    outgoing.text(CHUNK_END)
  }

  #requestComplete(service: ServiceConnection, decoder: BodyDecoder): void {
    this.#isRequestSent = true
    if (this.request.isChunked) service.outgoing.text(lastChunk(decoder.trailers))
    if (this.#response !== RESPONSE.COMPLETE) return
    service.outgoing.flush()
    this.#finish()
  }

  clientEnded(): void {
    if (this.#isRequestSent) return
    this.#letServiceGo()
    this.#fail(malformed('body-truncated'), 'client')
  }

  clientClosed(): void {
    this.#letServiceGo()
    this.#log('client-gone')
  }

  /** The client is gone: the service gets what it sent, to the last byte, and then sees that there is no more. */
  #letServiceGo(): void {
    this.#service?.close(this.#gateway.limits.bodyIdleTimeoutMs)
    this.#service = null
  }

  clientDrained(): void {
    this.#service?.socket.resume()
    this.#expectProgress()
  }

  // ── the service's side ──

  serviceBytes(bytes: Buffer, from: number, to: number): void {
    this.#hasHeardService = true
    if (this.#response === RESPONSE.COMPLETE) {
      // More than the response: the request is still being sent, and this connection will serve no other.
      this.#isServicePersistent = false
      return
    }
    if (this.#partialHead === null) this.#read(bytes, from, to)
    else {
      const whole = Buffer.concat([this.#partialHead, bytes.subarray(from, to)])
      this.#partialHead = null
      this.#read(whole, 0, whole.length)
    }
  }

  #read(bytes: Buffer, from: number, to: number): void {
    let at = from
    if (this.#response === RESPONSE.AWAITED) {
      at = this.#readHead(bytes, from, to)
      if (at === -1) return
    }
    const decoder = this.#responseDecoder
    at = decoder === null ? at : this.#readBody(decoder, bytes, at, to)
    if (at === -1) return
    this.#client.outgoing.flush()
    this.#expectProgress()
    if (this.#responseDecoder === null) this.#responseComplete(at < to)
    else if (this.#client.outgoing.isFull) this.#service?.socket.pause()
  }

  /** Reads interim heads and the final one. @returns the offset after it, or -1 when there is nothing more to do now */
  #readHead(bytes: Buffer, from: number, to: number): number {
    const head = this.#gateway.responseHead
    let at = from
    while (at < to) {
      const status = head.parse(bytes, at, to)
      if (status === HEAD.NEED_MORE) {
        this.#partialHead = Buffer.from(bytes.subarray(at, to))
        return -1
      }
      if (status === HEAD.INVALID) {
        this.#fail(responseInvalid(head.reason), 'service')
        return -1
      }
      at = head.end
      if (head.status === 101) {
        this.#switchProtocols(head, bytes.subarray(at, to))
        return -1
      }
      if (!head.isInterim) {
        this.#finalHead(head)
        return at
      }
      if (++this.#interims > INTERIM_MAX) {
        this.#fail(INTERIM_FLOOD, 'service')
        return -1
      }
      this.#interim(head)
    }
    return -1
  }

  /** Passes on 100, 103 and the like; an HTTP/1.0 client would not understand them (RFC 9110 section 15.2). */
  #interim(head: ResponseHead): void {
    if (head.status === 100) this.#hasContinued = true
    this.#expectProgress()
    if (this.request.minorVersion === 0) return
    const lines = keptLines(head, RESPONSE_DROPS_WITHOUT_BODY)
    this.#client.outgoing.text(`HTTP/1.1 ${head.status} ${head.reasonPhrase}\r\n${lines}\r\n`)
    this.#client.outgoing.flush()
    if (this.#client.outgoing.isFull) this.#service?.socket.pause()
  }

  #finalHead(head: ResponseHead): void {
    const { request } = this
    const kind = head.bodyKind(request.method === 'HEAD')
    this.status = head.status
    this.firstByteMs = this.#gateway.stampMs()
    this.#response = RESPONSE.BODY
    this.#isServicePersistent = head.isPersistent && kind !== BODY.CLOSE
    // What xapi ends with its connection ends with the client's, too: not all of its clients understand chunks.
    const becomesChunked = kind === BODY.CLOSE && !request.isForXapi
    this.#isChunkedToClient = (kind === BODY.CHUNKED || becomesChunked) && request.minorVersion === 1
    this.#keepsClient = this.#canKeepClient(kind !== BODY.CHUNKED && kind !== BODY.CLOSE)
    if (request.isForXapi) this.#keepsClient &&= this.#isServicePersistent
    this.#client.outgoing.text(this.#headText(head))
    this.#responseDecoder =
      kind === BODY.NONE ? null : new BodyDecoder(kind, head.contentLength, this.#gateway.trailerLines)
  }

  /** @param hasLength whether the response's length is known, which an HTTP/1.0 client needs */
  #canKeepClient(hasLength: boolean): boolean {
    const { request } = this
    if (!request.isPersistent || this.#client.hasEnded || this.#gateway.isDraining) return false
    if (request.minorVersion === 0 && !hasLength) return false
    // Nobody can tell whether a client that was not told to go on will still send its body (RFC 9110 section 10.1.1).
    return this.#isRequestSent || !request.expectsContinue || this.#hasContinued
  }

  #headText(head: ResponseHead): string {
    return (
      `HTTP/1.1 ${head.status} ${head.reasonPhrase}\r\n` +
      keptLines(head, dropsOf(head.status)) +
      (this.#isChunkedToClient ? 'Transfer-Encoding: chunked\r\n' : '') +
      this.#client.connectionLine(this.#keepsClient, this.request.minorVersion) +
      '\r\n'
    )
  }

  /** Passes on what is there of the body. @returns the offset after it, or -1 when it is malformed */
  #readBody(decoder: BodyDecoder, bytes: Buffer, from: number, to: number): number {
    const { outgoing } = this.#client
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) this.#passData(bytes, decoder.dataStart, decoder.dataEnd)
      else if (step === STEP.INVALID) {
        outgoing.flush()
        this.#fail(responseInvalid(decoder.reason), 'service')
        return -1
      } else if (step === STEP.DONE) {
        if (this.#isChunkedToClient) outgoing.text(lastChunk(decoder.trailers))
        this.#responseDecoder = null
        return at
      } else return at
    }
  }

  #passData(bytes: Buffer, from: number, to: number): void {
    const { outgoing } = this.#client
    this.bytesOut += to - from
    if (this.#isChunkedToClient) outgoing.text(chunkStart(to - from))
    outgoing.data(bytes, from, to)
    if (this.#isChunkedToClient) outgoing.text(CHUNK_END)
  }

  #switchProtocols(head: ResponseHead, after: Buffer): void {
    const service = this.#service
    if (this.#hasSessionEnded) {
      this.#fail(SESSION_INVALID, 'client')
      return
    }
    const upgrade = head.first(FIELD.UPGRADE) ?? ''
    if (service === null || !isAmong(upgrade, this.request.upgrade)) {
      this.#fail(SWITCH_UNASKED, 'service')
      return
    }
    this.status = 101
    this.firstByteMs = this.#gateway.stampMs()
    const { outgoing } = this.#client
    outgoing.text(`HTTP/1.1 101 ${head.reasonPhrase}\r\n${keptLines(head, RESPONSE_DROPS_WITHOUT_BODY)}`)
    outgoing.text(`Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`)
    const tunnel = new Tunnel(this.#gateway, this.#client, service, this)
    service.take(tunnel)
    tunnel.serviceBytes(after, 0, after.length)
    this.#client.tunnelStarted(tunnel)
  }

  serviceEnded(): void {
    const decoder = this.#responseDecoder
    if (this.#response === RESPONSE.BODY && decoder?.endsWithConnection === true) {
      if (this.#isChunkedToClient) this.#client.outgoing.text(lastChunk(''))
      this.#client.outgoing.flush()
      this.#responseDecoder = null
      this.#responseComplete(false)
    } else if (this.#response === RESPONSE.COMPLETE) {
      this.#abandonRequest()
    } else if (!this.#retries()) {
      this.#fail(SERVICE_DIED, 'service')
    }
  }

  serviceClosed(): void {
    if (this.#response === RESPONSE.COMPLETE) this.#abandonRequest()
    else if (!this.#retries()) this.#fail(SERVICE_DIED, 'service')
  }

  serviceDrained(): void {
    this.#client.resume()
    this.#expectProgress()
  }

  /**
   * The one safe retry: a GET without a body on a kept connection that closed before anything of a response came is sent
   * once more, on a fresh connection. @returns whether it is
   */
  #retries(): boolean {
    const { request } = this
    const isSafe = request.method === 'GET' && request.decoder === null && request.upgrade === undefined
    const wasKept = this.#service !== null && this.#service.exchangesBefore > 0
    if (!isSafe || !wasKept || this.#hasHeardService || this.#isRetry || this.#hasSessionEnded) return false
    this.#isRetry = true
    this.#dropService()
    this.#gateway.pool.connect(request.service, (connected) => {
      if (!this.#client.isIn(this)) {
        if (connected.kind === 'connected') connected.connection.destroy()
      } else if (connected.kind === 'connected') {
        this.#service = connected.connection
        this.start()
      } else {
        this.#fail(SERVICE_DIED, 'service')
      }
    })
    return true
  }

  /** Whether a logout has been answered since the request was admitted: nothing more may be begun in its name. */
  get #hasSessionEnded(): boolean {
    return this.request.entry !== null && this.request.entry.state !== 'live'
  }

  // ── the end ──

  #responseComplete(hasLeftover: boolean): void {
    this.#response = RESPONSE.COMPLETE
    if (hasLeftover) this.#isServicePersistent = false
    if (this.#isRequestSent) this.#finish()
    else if (!this.#isServicePersistent || !this.#keepsClient || this.#service?.isUsable !== true) {
      this.#abandonRequest()
    }
    // Otherwise the rest of the request still goes to the service, which keeps its connection for it.
  }

  /** The response is complete and the service takes no more of the request: what still comes of it is dropped. */
  #abandonRequest(): void {
    this.#dropService()
    this.#log('complete')
    this.#client.exchangeEnded(this.#keepsClient, false, this.request.decoder)
  }

  /**
   * Whether the connection can be closed without lingering. A stray byte that arrives after that draws a reset, which takes
   * along what the kernel has not sent: of a short response that is nothing.
   */
  get #isLastAndShort(): boolean {
    return !this.request.isPersistent && this.bytesOut <= SHORT_RESPONSE_BYTES
  }

  #finish(): void {
    const service = this.#service
    this.#service = null
    if (service !== null) {
      if (this.#isServicePersistent) this.#gateway.pool.keep(this.request.service, service)
      else service.destroy()
    }
    this.#log('complete')
    this.#client.exchangeEnded(this.#keepsClient, this.#isLastAndShort, null)
  }

  timedOut(): void {
    if (this.#response === RESPONSE.COMPLETE) {
      this.#abandonRequest()
      return
    }
    const isServiceSlow = this.#isRequestSent || this.#service?.socket.writableNeedDrain === true
    if (isServiceSlow) this.#fail(SERVICE_SLOW, 'service')
    else this.#fail(REQUEST_SLOW, 'client')
  }

  drainTimedOut(): void {
    this.#fail(DRAINING, 'gateway')
  }

  /**
   * Ends the exchange: with `refusal` while nothing of the response has gone out, else by cutting the connection.
   * @param side whose doing it is, for the log
   */
  #fail(refusal: Refusal, side: 'client' | 'service' | 'gateway'): void {
    this.#dropService()
    if (this.#response === RESPONSE.AWAITED) {
      this.status = refusal.status
      this.#log('refused', refusal.code)
      this.#client.refuseRelayed(refusal, this.request)
    } else {
      this.#log(`${side}-failed`, refusal.code)
      this.#client.cut()
    }
  }

  #dropService(): void {
    this.#service?.destroy()
    this.#service = null
  }

  /** Sets the deadline by which something more has to happen. */
  #expectProgress(): void {
    if (this.request.isForXapi) {
      // Calls that wait for events, and disks that are written as they come, take as long as they take.
      this.#client.expectWithin(Number.POSITIVE_INFINITY)
      return
    }
    const { limits } = this.#gateway
    const isResponseDue = this.#response === RESPONSE.AWAITED && this.#isRequestSent
    this.#client.expectWithin(isResponseDue ? limits.responseTimeoutMs : limits.bodyIdleTimeoutMs)
    if (this.request.entry !== null) this.#gateway.touch(this.request.entry)
  }

  #log(outcome: Outcome, reason: string | null = null): void {
    this.#gateway.logExchange(this.#client, this, outcome, reason)
  }
}

function dropsOf(status: number): Uint8Array {
  if (status === 204) return RESPONSE_DROPS_WITHOUT_BODY
  return status === 426 ? RESPONSE_DROPS_BUT_UPGRADE : RESPONSE_DROPS
}

/** Whether each protocol of `chosen`, a value of Upgrade, is one of `wanted`. */
function isAmong(chosen: string, wanted: string | undefined): boolean {
  const protocols = (wanted ?? '').toLowerCase().split(/\s*,\s*/)
  return (
    chosen !== '' &&
    chosen
      .toLowerCase()
      .split(/\s*,\s*/)
      .every((protocol) => protocols.includes(protocol))
  )
}

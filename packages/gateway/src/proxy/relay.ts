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
import type { Asked } from './asked.ts'
import type { ClientConnection } from './client-connection.ts'
import type { Exchange } from './exchange.ts'
import {
  RESPONSE_DROPS,
  RESPONSE_DROPS_BUT_UPGRADE,
  RESPONSE_DROPS_WITHOUT_BODY,
  RESPONSE_REQUEST_ID,
} from './field-ids.ts'
import type { Gateway } from './gateway.ts'
import { keptLines } from './kept-lines.ts'
import {
  DRAINING,
  INTERIM_FLOOD,
  malformed,
  type Refusal,
  REQUEST_SLOW,
  RESPONSE_UNREAD,
  responseInvalid,
  SERVICE_DIED,
  SERVICE_SLOW,
  SESSION_INVALID,
  SWITCH_UNASKED,
} from './refusals.ts'
import { RateWatch } from './rate-watch.ts'
import type { ServiceConnection, ServiceListener } from './service-connection.ts'
import { Tunnel } from './tunnel.ts'

/** What the relay has to know of the request. */
export interface RelayedRequest extends Asked {
  readonly method: string
  readonly path: string
  /** The service's name, or XENAPI. */
  readonly service: string
  /** The head as the service gets it. */
  readonly text: string
  readonly isChunked: boolean
  /** Value of Upgrade that is passed on. */
  readonly upgrade: string | undefined
  /** Whether it goes to xapi behind the gateway, which may take its time, and says when a connection ends. */
  readonly isForXapi: boolean
  /**
   * Whether the connection that it goes on may be used again. A request whose body the other side leaves unread would be followed
   * by that body, read as a request: `after-200` is for a call of which only this status shows that it was read.
   */
  readonly reuse: 'never' | 'always' | 'after-200'
  /** Whether it is cut when its session ends. */
  readonly cutsWithSession: boolean
}

/** With its head, a response of this length goes out in one flight: TCP begins with ten segments (RFC 6928). */
const SHORT_RESPONSE_BYTES = 8192
/** Interim responses to one request. */
const INTERIM_MAX = 100
/** A body beyond this takes many pieces. */
const BULK_BYTES = 262_144

const RESPONSE = { AWAITED: 0, BODY: 1, COMPLETE: 2 } as const

/** How an exchange ended, for the access log. */
export type Outcome =
  | 'complete'
  | 'refused'
  | 'cut'
  | 'client-gone'
  | 'client-failed'
  | 'service-failed'
  | 'gateway-failed'

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
  /** Whether the service's connection may be used again after this response. */
  #isReusable = false
  /** Whether the client's connection stays open after this exchange; known with the response's head. */
  #keepsClient = false
  /** The beginning of a response head that did not come whole. */
  #partialHead: Buffer | null = null
  #hasHeardService = false
  #hasContinued = false
  #interims = 0
  #isRetry = false
  /** When the response's head is due, on the gateway's clock; 0 while it is not awaited. */
  #responseDueMs = 0
  readonly #rate = new RateWatch()

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
    if (this.#isBulk) service.expectBulk()
    service.outgoing.text(this.request.text)
    if (this.#isRequestSent) service.outgoing.flush()
    this.#expectProgress()
  }

  /** Whether the body is, or may be, too long for a few reads. */
  get #isBulk(): boolean {
    const { decoder } = this.request
    return decoder !== null && (decoder.left === -1 || decoder.left > BULK_BYTES)
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
      if (step === STEP.DONE && this.#requestComplete(service, decoder)) return at
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

  /** @returns whether the exchange is over with it */
  #requestComplete(service: ServiceConnection, decoder: BodyDecoder): boolean {
    this.#isRequestSent = true
    if (this.request.isChunked) service.outgoing.text(lastChunk(decoder.trailers))
    if (this.#response !== RESPONSE.COMPLETE) return false
    service.outgoing.flush()
    this.#finish()
    return true
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
      this.#isReusable = false
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
    const isServicePersistent = head.isPersistent && kind !== BODY.CLOSE
    this.#isReusable = isServicePersistent && this.#mayReuse
    // What xapi ends with its connection ends with the client's, too: not all of its clients understand chunks.
    const becomesChunked = kind === BODY.CLOSE && !request.isForXapi
    this.#isChunkedToClient = (kind === BODY.CHUNKED || becomesChunked) && request.minorVersion === 1
    this.#keepsClient =
      this.#canKeepClient(kind !== BODY.CHUNKED && kind !== BODY.CLOSE, isServicePersistent) &&
      (isServicePersistent || !this.#endsWithService(kind))
    this.#client.outgoing.text(this.#headText(head))
    this.#responseDecoder =
      kind === BODY.NONE ? null : new BodyDecoder(kind, head.contentLength, this.#gateway.trailerLines)
  }

  /**
   * @param hasLength whether the response's length is known, which an HTTP/1.0 client needs
   * @param readsOn whether the service takes the rest of the request after its answer
   */
  #canKeepClient(hasLength: boolean, readsOn: boolean): boolean {
    const { request } = this
    if (request.minorVersion === 0 && !hasLength) return false
    const rest = this.#isRequestSent ? null : request.decoder
    return this.#client.canKeep(request, rest, readsOn, this.#hasContinued)
  }

  /** Whether the client's connection has to end where the other side's does. */
  #endsWithService(kind: number): boolean {
    if (!this.request.isForXapi) return false
    // A connection of xapi's that was asked to end says nothing of the client's.
    return kind === BODY.CLOSE || this.request.reuse !== 'never'
  }

  /** Whether another request may follow on the service's connection, as far as the body of this one is concerned. */
  get #mayReuse(): boolean {
    const { reuse } = this.request
    return reuse === 'always' || (reuse === 'after-200' && this.status === 200 && this.#isRequestSent)
  }

  #headText(head: ResponseHead): string {
    return (
      `HTTP/1.1 ${head.status} ${head.reasonPhrase}\r\n` +
      keptLines(head, dropsOf(head.status)) +
      this.#requestIdLine(head) +
      (this.#isChunkedToClient ? 'Transfer-Encoding: chunked\r\n' : '') +
      this.#client.connectionLine(this.#keepsClient, this.request.minorVersion) +
      '\r\n'
    )
  }

  /** Names the line in the log, unless the service names its own. What xapi answers is the answer. */
  #requestIdLine(head: ResponseHead): string {
    const isOthers = this.request.isForXapi || head.first(RESPONSE_REQUEST_ID) !== undefined
    return isOthers ? '' : `X-Request-Id: ${this.request.id}\r\n`
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
    const wasKept = this.#service?.wasIdle === true
    if (!isSafe || !wasKept || this.#hasHeardService || this.#isRetry || this.#hasSessionEnded) return false
    this.#isRetry = true
    this.#dropService()
    this.#gateway.pool.connect(request.service, (connected) => {
      if (!this.#client.isIn(this)) {
        if (connected.kind === 'connected') connected.connection.destroy()
      } else if (connected.kind === 'connected') {
        this.#service = connected.connection
        // It took a while, and requests may outlive their session only when they have been begun.
        if (this.#hasSessionEnded) this.#fail(SESSION_INVALID, 'client')
        else this.start()
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
    if (hasLeftover) this.#isReusable = false
    if (this.#isRequestSent) this.#finish()
    else if (this.#service?.isUsable !== true || this.#isBodyDoubtful) this.#abandonRequest()
    // Otherwise the rest of the request still goes to the service: it may read on after its answer.
    else if (!this.#keepsClient) this.#client.socket.end()
  }

  /** Whether the client waits to be told to send the body, and now need not (RFC 9110 section 10.1.1). */
  get #isBodyDoubtful(): boolean {
    return this.request.expectsContinue && !this.#hasContinued
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
      if (service.socket.writableLength > 0) service.close(this.#gateway.limits.bodyIdleTimeoutMs)
      else if (this.#isReusable) this.#gateway.pool.keep(this.request.service, service)
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
    if (this.#awaited === 'service') this.#fail(SERVICE_SLOW, 'service')
    else this.#fail(this.#response === RESPONSE.BODY ? RESPONSE_UNREAD : REQUEST_SLOW, 'client')
  }

  /** Whose turn it is: who has to take or to send something for the exchange to go on. */
  get #awaited(): 'client' | 'service' {
    if (this.#response === RESPONSE.BODY) return this.#client.outgoing.isPending ? 'client' : 'service'
    return this.#isRequestSent || this.#service?.outgoing.isPending === true ? 'service' : 'client'
  }

  /** A peer that takes bytes slowly, but takes them, is not late; one that takes or sends them too slowly is. */
  swept(nowMs: number): void {
    const hasClientTaken = this.#client.outgoing.hasMoved()
    const hasServiceTaken = this.#service?.outgoing.hasMoved() === true
    if (hasClientTaken || hasServiceTaken) this.#expectProgress()
    if (!this.request.isForXapi) this.#checkRate(nowMs)
  }

  /** Fails the exchange when the client has sent its body too slowly; how it takes the response its connection watches. */
  #checkRate(nowMs: number): void {
    if (this.#response === RESPONSE.BODY || this.#awaited !== 'client') this.#rate.reset()
    else if (this.#rate.isTooSlow(nowMs, this.bytesIn, this.#gateway.limits.requestMinRate)) {
      this.#fail(REQUEST_SLOW, 'client')
    }
  }

  clientTooSlow(): void {
    if (!this.request.isForXapi) this.#fail(RESPONSE_UNREAD, 'client')
  }

  get transfer(): RelayedRequest | null {
    return this.request.cutsWithSession ? this.request : null
  }

  cutTransfer(): void {
    if (this.#response === RESPONSE.AWAITED) {
      this.#fail(SESSION_INVALID, 'gateway')
      return
    }
    this.#dropService()
    this.#log('cut', 'session-ended')
    this.#client.cut()
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
      this.#client.refuse(refusal, this.request, this.bytesIn)
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
    const { limits, clock } = this.#gateway
    if (this.#response === RESPONSE.AWAITED && this.#isRequestSent) {
      // Counted once, from the end of the request: interim responses do not put it off.
      if (this.#responseDueMs === 0) this.#responseDueMs = clock.nowMs + limits.responseTimeoutMs
      this.#client.expectBy(this.#responseDueMs)
    } else {
      this.#client.expectWithin(limits.bodyIdleTimeoutMs)
    }
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

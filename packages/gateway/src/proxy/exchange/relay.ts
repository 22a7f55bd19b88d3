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

import { performance } from 'node:perf_hooks'
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
import type { ReasonName } from '../../model/reasons.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import { connectionLine } from '../heads/connection-line.ts'
import { bodyOffence, headOffence } from '../heads/offence.ts'
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
} from '../heads/refusals.ts'
import { interimText, responseText, switchText } from '../heads/response-text.ts'
import { isAmong } from '../heads/upgrade.ts'
import type { ServiceConnection, ServiceListener } from '../upstream/connection.ts'
import type { Errand } from './errand.ts'
import { type About, type Client, Exchange, type Outcome, type Shared } from './ports.ts'
import { RateWatch } from './rate-watch.ts'
import type { Request } from './request.ts'
import { Tunnel } from './tunnel.ts'

/** Interim responses to one request. */
const INTERIM_MAX = 100
/** A body beyond this takes many pieces. */
const BULK_BYTES = 262_144

const RESPONSE = { AWAITED: 0, BODY: 1, COMPLETE: 2 } as const

export class Relay extends Exchange implements ServiceListener {
  readonly #request: Request
  readonly #errand: Errand
  readonly #shared: Shared
  readonly #client: Client
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
  /** Whether the response's head came in what is being read now. */
  #isHeadNew = false
  #interims = 0
  #isRetry = false
  /** When the response's head is due, on the gateway's clock; 0 while it is not awaited. */
  #responseDueMs = 0
  #rate: RateWatch | null = null

  /** @param service a connection to the errand's target, which is the relay's from now on */
  constructor(shared: Shared, client: Client, service: ServiceConnection, request: Request, errand: Errand) {
    super()
    this.#shared = shared
    this.#client = client
    this.#service = service
    this.#request = request
    this.#errand = errand
    this.#isRequestSent = !request.isBodyComing
    const { counters } = shared
    request.counters = service.counters
    request.counters.began()
    // Most are admitted within a few microseconds: a clock would cost more than it says.
    if (request.hasWaited) {
      request.waitedMs = performance.now() - request.startedMs - request.connectMs
      counters.observe(counters.admit, request.waitedMs)
    } else counters.cells[counters.admit]! += 1
  }

  /** Sends the head; of a request with a body it is written together with what of the body is at hand, at `flush`. */
  override start(): void {
    const service = this.#service
    if (service === null) return
    service.take(this)
    if (this.#isBulk()) service.wire.expectBulk()
    service.wire.text(this.#errand.text)
    if (this.#isRequestSent) service.wire.flush()
    this.#expectProgress()
  }

  /** Whether the body is, or may be, too long for a few reads. */
  #isBulk(): boolean {
    const { decoder } = this.#request
    return decoder !== null && (decoder.left === -1 || decoder.left > BULK_BYTES)
  }

  /** Writes what `clientBytes` and `start` gathered. */
  override flush(): void {
    this.#service?.wire.flush()
  }

  // ── the client's side ──

  override get wantsBytes(): boolean {
    return !this.#isRequestSent
  }

  override clientBytes(bytes: Buffer, from: number, to: number): number {
    const { decoder } = this.#request
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
        this.#request.offence = bodyOffence('client')
        this.#fail(malformed(decoder.reason), 'client')
        return to
      }
      if (step === STEP.DONE && this.#requestComplete(service, decoder)) return at
      break
    }
    service.wire.flush()
    if (service.wire.isFull) this.#client.pause()
    this.#expectProgress()
    return at
  }

  #sendData(service: ServiceConnection, bytes: Buffer, from: number, to: number): void {
    const { wire } = service
    this.#request.bytesIn += to - from
    if (!this.#request.isChunked) {
      wire.data(bytes, from, to)
      return
    }
    wire.text(chunkStart(to - from))
    wire.data(bytes, from, to)
    wire.text(CHUNK_END)
  }

  /** @returns whether the exchange is over with it */
  #requestComplete(service: ServiceConnection, decoder: BodyDecoder): boolean {
    this.#isRequestSent = true
    if (this.#request.isChunked) service.wire.text(lastChunk(decoder.trailers))
    if (this.#response !== RESPONSE.COMPLETE) return false
    service.wire.flush()
    this.#finish()
    return true
  }

  override clientEnded(): void {
    if (this.#isRequestSent) return
    this.#letServiceGo()
    this.#fail(malformed('body-truncated'), 'client')
  }

  override get about(): About {
    return { request: this.#request, way: 'relay', channel: null }
  }

  override clientClosed(why: ReasonName = 'client-gone'): void {
    this.#letServiceGo()
    this.#log(why === 'client-gone' ? why : 'cut', why)
  }

  /** The client is gone: the service gets what it sent, to the last byte, and then sees that there is no more. */
  #letServiceGo(): void {
    this.#service?.close(this.#shared.limits.bodyIdleTimeoutMs)
    this.#service = null
  }

  override clientDrained(): void {
    this.#service?.wire.resume()
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
    this.#isHeadNew = false
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
    this.#client.wire.flush()
    this.#expectProgress()
    if (this.#responseDecoder === null) this.#responseComplete(at < to)
    else if (this.#client.wire.isFull) this.#service?.wire.pause()
  }

  /** Reads interim heads and the final one. @returns the offset after it, or -1 when there is nothing more to do now */
  #readHead(bytes: Buffer, from: number, to: number): number {
    const head = this.#shared.responseHead
    let at = from
    while (at < to) {
      const status = head.parse(bytes, at, to)
      if (status === HEAD.NEED_MORE) {
        this.#partialHead = Buffer.from(bytes.subarray(at, to))
        return -1
      }
      if (status === HEAD.INVALID) {
        this.#request.offence = headOffence('service', bytes, at, to, head.offset)
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
    if (head.status === 100) this.#request.hasContinued = true
    if (this.#request.minorVersion === 0) return
    this.#client.wire.text(interimText(head))
    this.#client.wire.flush()
    if (this.#client.wire.isFull) this.#service?.wire.pause()
  }

  #finalHead(head: ResponseHead): void {
    const request = this.#request
    const kind = head.bodyKind(request.method === 'HEAD')
    this.#request.status = head.status
    this.#request.firstByteMs = performance.now()
    this.#request.turn?.answered()
    this.#response = RESPONSE.BODY
    this.#isHeadNew = true
    // 204 with a body is none, but its body may still come.
    const isDoubtful = head.status === 204 && (head.contentLength > 0 || head.isChunked)
    const isServicePersistent = head.isPersistent && kind !== BODY.CLOSE && !isDoubtful
    this.#isReusable = isServicePersistent && this.#mayReuse()
    // What xapi ends with its connection ends with the client's, too: not all of its clients understand chunks.
    const becomesChunked = kind === BODY.CLOSE && !this.#errand.isForXapi
    this.#isChunkedToClient = (kind === BODY.CHUNKED || becomesChunked) && request.minorVersion === 1
    this.#keepsClient =
      this.#canKeepClient(kind !== BODY.CHUNKED && kind !== BODY.CLOSE, isServicePersistent) &&
      (isServicePersistent || !this.#endsWithService(kind))
    const id = this.#errand.isForXapi ? null : request.id
    const line = connectionLine(this.#keepsClient, request.minorVersion)
    this.#client.wire.text(responseText(head, id, this.#isChunkedToClient, line))
    this.#responseDecoder =
      kind === BODY.NONE ? null : new BodyDecoder(kind, head.contentLength, this.#shared.trailerLines)
  }

  /**
   * @param hasLength whether the response's length is known, which an HTTP/1.0 client needs
   * @param readsOn whether the service takes the rest of the request after its answer
   */
  #canKeepClient(hasLength: boolean, readsOn: boolean): boolean {
    const request = this.#request
    if (request.minorVersion === 0 && !hasLength) return false
    return this.#client.canKeep(request, !this.#isRequestSent, readsOn)
  }

  /** Whether the client's connection has to end where the other side's does. */
  #endsWithService(kind: number): boolean {
    if (!this.#errand.isForXapi) return false
    // A connection of xapi's that was asked to end says nothing of the client's.
    return kind === BODY.CLOSE || this.#errand.reuse !== 'never'
  }

  /** Whether another request may follow on the service's connection, as far as the body of this one is concerned. */
  #mayReuse(): boolean {
    const { reuse } = this.#errand
    return reuse === 'always' || (reuse === 'after-200' && this.#request.status === 200 && this.#isRequestSent)
  }

  /** Passes on what is there of the body. @returns the offset after it, or -1 when it is malformed */
  #readBody(decoder: BodyDecoder, bytes: Buffer, from: number, to: number): number {
    const { wire } = this.#client
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) this.#passData(bytes, decoder.dataStart, decoder.dataEnd)
      else if (step === STEP.INVALID) {
        wire.flush()
        this.#request.offence = bodyOffence('service')
        this.#fail(responseInvalid(decoder.reason), 'service')
        return -1
      } else if (step === STEP.DONE) {
        if (this.#isChunkedToClient) wire.text(lastChunk(decoder.trailers))
        this.#responseDecoder = null
        return at
      } else return at
    }
  }

  #passData(bytes: Buffer, from: number, to: number): void {
    const { wire } = this.#client
    this.#request.bytesOut += to - from
    if (this.#isChunkedToClient) wire.text(chunkStart(to - from))
    wire.data(bytes, from, to)
    if (this.#isChunkedToClient) wire.text(CHUNK_END)
  }

  #switchProtocols(head: ResponseHead, after: Buffer): void {
    const service = this.#service
    if (this.#hasSessionEnded()) {
      this.#fail(SESSION_INVALID, 'client')
      return
    }
    const upgrade = head.first(FIELD.UPGRADE) ?? ''
    if (service === null || !isAmong(upgrade, this.#errand.upgrade)) {
      this.#fail(SWITCH_UNASKED, 'service')
      return
    }
    this.#request.status = 101
    this.#request.firstByteMs = performance.now()
    this.#request.turn?.answered()
    this.#client.wire.text(switchText(head, upgrade))
    const tunnel = new Tunnel(this.#shared, this.#client, service, this.#request, null)
    service.take(tunnel)
    tunnel.serviceBytes(after, 0, after.length)
    this.#client.become(tunnel)
  }

  serviceEnded(): void {
    const decoder = this.#responseDecoder
    if (this.#response === RESPONSE.BODY && decoder?.endsWithConnection === true) {
      if (this.#isChunkedToClient) this.#client.wire.text(lastChunk(''))
      this.#client.wire.flush()
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
    const request = this.#request
    const isSafe = request.method === 'GET' && request.decoder === null && this.#errand.upgrade === undefined
    const wasKept = this.#service?.wasIdle === true
    if (!isSafe || !wasKept || this.#hasHeardService || this.#isRetry || this.#hasSessionEnded()) return false
    this.#isRetry = true
    this.#dropService()
    this.#shared.pool.connect(this.#errand.target, (connected) => {
      if (!this.#client.isIn(this)) {
        if (typeof connected !== 'string') connected.destroy()
      } else if (typeof connected !== 'string') {
        this.#service = connected
        // It took a while, and requests may outlive their session only when they have been begun.
        if (this.#hasSessionEnded()) this.#fail(SESSION_INVALID, 'client')
        else this.start()
      } else {
        this.#fail(SERVICE_DIED, 'service')
      }
    })
    return true
  }

  /** Whether a logout has been answered since the request was admitted: nothing more may be begun in its name. */
  #hasSessionEnded(): boolean {
    return this.#request.entry !== null && this.#request.entry.state !== 'live'
  }

  // ── the end ──

  #responseComplete(hasLeftover: boolean): void {
    this.#response = RESPONSE.COMPLETE
    if (hasLeftover) this.#isReusable = false
    if (this.#isRequestSent) this.#finish()
    else if (this.#service?.isUsable !== true || this.#isBodyDoubtful()) this.#abandonRequest()
    // Otherwise the rest of the request still goes to the service: it may read on after its answer.
    else if (!this.#keepsClient) this.#client.wire.end()
  }

  /** Whether the client waits to be told to send the body, and now need not (RFC 9110 section 10.1.1). */
  #isBodyDoubtful(): boolean {
    return this.#request.expectsContinue && !this.#request.hasContinued
  }

  /** The response is complete and the service takes no more of the request: what still comes of it is dropped. */
  #abandonRequest(): void {
    this.#dropService()
    this.#log('complete')
    this.#client.done(this.#request, this.#keepsClient, false, true)
  }

  #finish(): void {
    const service = this.#service
    this.#service = null
    if (service !== null) {
      // The last piece of the request may still be on its way to the service.
      if (this.#isReusable && !service.wire.isPending) this.#shared.pool.keep(this.#errand.target, service)
      else service.close(this.#shared.limits.bodyIdleTimeoutMs)
    }
    this.#request.isPrompt = this.#isHeadNew
    this.#log('complete')
    this.#client.done(this.#request, this.#keepsClient, this.#request.isLastAndShort, false)
  }

  override timedOut(): void {
    if (this.#response === RESPONSE.COMPLETE) {
      this.#abandonRequest()
      return
    }
    if (this.#awaited() === 'service') this.#fail(SERVICE_SLOW, 'service')
    else this.#fail(this.#response === RESPONSE.BODY ? RESPONSE_UNREAD : REQUEST_SLOW, 'client')
  }

  /** Whose turn it is: who has to take or to send something for the exchange to go on. */
  #awaited(): 'client' | 'service' {
    if (this.#response === RESPONSE.BODY) return this.#client.wire.isPending ? 'client' : 'service'
    return this.#isRequestSent || this.#service?.wire.isPending === true ? 'service' : 'client'
  }

  /** A peer that takes bytes slowly, but takes them, is not late; one that takes or sends them too slowly is. */
  override swept(nowMs: number): void {
    const hasClientTaken = this.#client.wire.hasMoved()
    const hasServiceTaken = this.#service?.wire.hasMoved() === true
    if (hasClientTaken || hasServiceTaken) this.#expectProgress()
    if (!this.#errand.isForXapi) this.#checkRate(nowMs)
  }

  /** Fails the exchange when the client has sent its body too slowly; how it takes the response its connection watches. */
  #checkRate(nowMs: number): void {
    this.#rate ??= new RateWatch()
    if (this.#response === RESPONSE.BODY || this.#awaited() !== 'client') this.#rate.reset()
    else if (this.#rate.isTooSlow(nowMs, this.#request.bytesIn, this.#shared.limits.requestMinRate)) {
      this.#fail(REQUEST_SLOW, 'client')
    }
  }

  override clientTooSlow(): void {
    if (!this.#errand.isForXapi) this.#fail(RESPONSE_UNREAD, 'client')
  }

  override get cutsWith(): SessionEntry | null {
    return this.#errand.cutsWithSession ? this.#request.entry : null
  }

  override cutWithSession(): void {
    if (this.#response === RESPONSE.AWAITED) {
      this.#fail(SESSION_INVALID, 'gateway')
      return
    }
    this.#dropService()
    this.#log('cut', 'session-ended')
    this.#client.cut('session-ended')
  }

  override drainTimedOut(): void {
    this.#fail(DRAINING, 'gateway')
  }

  /**
   * Ends the exchange: with `refusal` while nothing of the response has gone out, else by cutting the connection.
   * @param side whose doing it is, for the log
   */
  #fail(refusal: Refusal, side: 'client' | 'service' | 'gateway'): void {
    this.#dropService()
    if (this.#response === RESPONSE.AWAITED) {
      this.#client.refuse(refusal, this.#request)
    } else {
      this.#log(`${side}-failed`, refusal.reason)
      this.#client.cut(refusal.reason)
    }
  }

  #dropService(): void {
    this.#service?.destroy()
    this.#service = null
  }

  /** Sets the deadline by which something more has to happen. */
  #expectProgress(): void {
    if (this.#errand.isForXapi) {
      // Calls that wait for events, and disks that are written as they come, take as long as they take.
      this.#client.expectWithin(Number.POSITIVE_INFINITY)
      return
    }
    const { limits, clock } = this.#shared
    if (this.#response === RESPONSE.AWAITED && this.#isRequestSent) {
      // Counted once, from the end of the request: interim responses do not put it off.
      if (this.#responseDueMs === 0) this.#responseDueMs = clock.nowMs + limits.responseTimeoutMs
      this.#client.expectBy(this.#responseDueMs)
    } else {
      this.#client.expectWithin(limits.bodyIdleTimeoutMs)
    }
    if (this.#request.entry !== null) this.#shared.touch(this.#request.entry)
  }

  #log(outcome: Outcome, reason: ReasonName | null = null): void {
    this.#shared.journal.exchanged(this.#client.peer, this.#request, outcome, reason)
  }
}

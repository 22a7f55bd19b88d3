// One client's connection.
//
//   from         to            method
//   PROXY        IDLE          #readProxyHeader   the header of a terminator in front is read; where there is one, the first state
//   IDLE         HEAD          #readHead           the first bytes of a request are there
//   IDLE, HEAD   WAITING       #wait               the head is complete; a session or a connection is asked for
//   WAITING      HEAD          #learn              the answer is there: the same head is read and decided on again
//   IDLE, HEAD   EXCHANGE      #relay, #pass       a relay owns the connection, after 101 a tunnel; or a channel does
//   EXCHANGE     HEAD          passRefused         nobody took the channel: the same head is read again and relayed
//   IDLE, HEAD   DISCARDING    refuse              refused with a short body to come, which is dropped
//   EXCHANGE     IDLE          exchangeEnded       complete; the next request may come, or is there already
//   EXCHANGE     DISCARDING    exchangeEnded       the service answered early; the rest of the body is dropped
//   DISCARDING   IDLE          #discard            the body has ended
//   any          LINGERING     #linger             the last answer is written and our side ended; what comes is dropped
//   any          CLOSED        destroy, or the socket closed
//
// IDLE: nothing of the next request is there. HEAD: `#unread` has its beginning. WAITING, EXCHANGE: `#unread` has what
// came beyond what is taken, and while it is not empty nothing more is read. Requests are answered in order because the
// next one is not looked at before.

import type { Socket } from 'node:net'
import { type BodyDecoder, HEAD, type RequestHead, STEP } from '@xengate/http1'
import type { SessionEntry } from '../sessions/table.ts'
import { decide, type Decision, isForService, type Learned, serviceNameIn, wantedUpgrade, XENAPI } from './admission.ts'
import { type Asked, askedIn, nothingAsked } from './asked.ts'
import type { Exchange } from './exchange.ts'
import { type ArrivalFault, type Arrived, endsOf, forwardedLines, protoOf, socketOf } from './arrived.ts'
import { BorrowedReads } from './borrowed-reads.ts'
import { decideFront, type FrontDecision, frontText, isXenApiCall, lacksHost, xapiName } from './front.ts'
import type { Gateway } from './gateway.ts'
import type { Greetings } from './greetings.ts'
import { Outgoing } from './outgoing.ts'
import { type Ends, plainAddress, readProxyHeader } from './proxy-header.ts'
import {
  AUTHORITY_UNAVAILABLE,
  DRAINING,
  malformed,
  type Refusal,
  refusalResponse,
  REQUEST_SLOW,
  SERVICE_SLOW,
} from './refusals.ts'
import { Relay, type RelayedRequest } from './relay.ts'
import { RateWatch } from './rate-watch.ts'
import { callLines, requestText } from './request-text.ts'
import type { ServiceConnection } from './service-connection.ts'
import type { Tunnel } from './tunnel.ts'
import { XenApiCall } from './xenapi-call.ts'

const STATE = { IDLE: 0, HEAD: 1, WAITING: 2, EXCHANGE: 3, DISCARDING: 4, LINGERING: 5, CLOSED: 6, PROXY: 7 } as const

/** A refused request's body up to this length is read and dropped so that the connection can go on. */
const DISCARD_BYTES_MAX = 65_536
/** How much is read and dropped, and for how long, of a client that still sends while it is being told to stop. */
const LINGER_BYTES_MAX = 16 * 1024 * 1024
const LINGER_MS = 5000
/** The same of a client that has sent its request, when the gateway stops: what it was answered is on its way. */
const LINGER_STOPPING_MS = 500
/** How long an answer about a session is waited for. */
const ANSWER_TIMEOUT_MS = 5000
/** How long a connection is kept without a request once the gateway drains: one may be on its way. */
const DRAIN_GRACE_MS = 1000

/** How often a quiet client of xapi is probed by TCP. */
const KEEP_ALIVE_MS = 60_000

/** `#step` took nothing: what is there is kept. */
const KEEP = -1

export class ClientConnection {
  readonly socket: Socket
  readonly outgoing: Outgoing
  /** Whether what the socket below carries is the client's own bytes: not those of TLS. */
  readonly isPlain: boolean
  /** Address and port of the client, as a terminator in front told or the system has them; none on a Unix socket. */
  address = ''
  port = 0
  /** What a terminator in front told. */
  #told: Ends | null = null
  /** `X-Forwarded-For` and `X-Forwarded-Proto`, each with its CRLF. */
  #forwardedLines = ''
  readonly #gateway: Gateway
  /** The socket that the system has: below TLS, or the same. */
  readonly #raw: Socket
  readonly #canEverPass: boolean
  readonly #greetings: Greetings | null
  readonly #reads = new BorrowedReads((bytes, count) => this.#bytes(bytes, count))
  #state: number = STATE.IDLE
  #exchange: Exchange | null = null
  /** Bytes that came and are not taken; owned. */
  #unread: Buffer | null = null
  #learned: Learned = NOTHING_LEARNED
  /** Name, in the pool, of connections to xapi for this client. */
  #xapiName: string | null = null
  /** When the head of the request was complete, by `Gateway.stampMs`. */
  #startedMs = 0
  /** Null until something is said of the request. */
  #requestId: string | null = null
  /** Counts waits, so that an answer which comes too late finds that nobody waits for it. */
  #waits = 0
  #isWaitingForSession = false
  /** On the gateway's clock; the sweep calls `timedOut` after it. */
  #deadlineMs = 0
  #hasEnded = false
  #isConsuming = false
  #isReading = true
  /** Whether the exchange cannot take more now. */
  #isPaused = false
  #discarding: BodyDecoder | null = null
  #droppedBytes = 0
  readonly #rate = new RateWatch()
  /** While LINGERING: whether the client was still sending a body. */
  #isBodyComing = false

  /** @param arrived a connection, whose owner this is from now on */
  constructor(gateway: Gateway, arrived: Arrived) {
    const isPlain = arrived.kind === 'plain'
    const socket = socketOf(arrived, this.#reads, (bytes, count) => this.#bytes(bytes, count))
    this.#gateway = gateway
    this.isPlain = isPlain
    this.#canEverPass = isPlain && arrived.canPass
    this.socket = socket
    this.#raw = isPlain ? socket : arrived.raw
    this.outgoing = new Outgoing(socket)
    this.#knowClient(isPlain ? null : arrived.ends)
    this.#greetings = isPlain ? arrived.greetings : null
    if (isPlain && (arrived.hasProxyHeader || this.#greetings !== null)) this.#state = STATE.PROXY
    const { headTimeoutMs } = gateway.limits
    this.expectWithin(gateway.isDraining ? Math.min(DRAIN_GRACE_MS, headTimeoutMs) : headTimeoutMs)
    socket.on('end', () => this.#ended())
    socket.on('drain', () => this.#drained())
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => this.#closed())
  }

  /** Both ends of the client's connection, as it is known where the client is; null when that is not known. */
  get ends(): Ends | null {
    return this.#told ?? endsOf(this.#raw)
  }

  /** By what the client came. */
  get proto(): 'http' | 'https' {
    return protoOf(this.#told, this.isPlain)
  }

  #knowClient(told: Ends | null): void {
    this.#told = told
    this.address = told === null ? plainAddress(this.#raw.remoteAddress) : told.source.address
    this.port = told === null ? (this.#raw.remotePort ?? 0) : told.source.port
    this.#forwardedLines = forwardedLines(this.address, told, this.isPlain)
  }

  /** Whether the client has ended its side and everything that it sent is taken. */
  get hasEnded(): boolean {
    return this.#hasEnded && this.#unread === null
  }

  /** Whether `exchange` owns the connection. */
  isIn(exchange: Exchange): boolean {
    return this.#exchange === exchange
  }

  /** Sets the deadline of the present state, in milliseconds from now. */
  expectWithin(ms: number): void {
    this.#deadlineMs = this.#gateway.clock.nowMs + ms
  }

  /** The same, on the gateway's clock. */
  expectBy(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs
  }

  /** Stops reading until `resume`: the exchange cannot take more. */
  pause(): void {
    this.#isPaused = true
    this.#updateReading()
  }

  resume(): void {
    this.#isPaused = false
    this.#updateReading()
  }

  // ── bytes ──

  #bytes(bytes: Buffer, count: number): boolean {
    if (this.#unread === null) this.#consume(bytes, count)
    else {
      const whole = Buffer.concat([this.#unread, bytes.subarray(0, count)])
      this.#unread = null
      this.#consume(whole, whole.length)
    }
    return this.#exchange?.wantsBytes === true
  }

  /** Takes what there is, up to `to`, one step after the other, and keeps the rest. */
  #consume(bytes: Buffer, to: number): void {
    this.#isConsuming = true
    let at = 0
    while (at < to) {
      const next = this.#step(bytes, at, to)
      if (next === KEEP) break
      at = next
    }
    this.#isConsuming = false
    if (at < to && this.#state !== STATE.CLOSED) this.#unread = Buffer.from(bytes.subarray(at, to))
    if (this.#exchange instanceof Relay) this.#exchange.flush()
    this.#updateReading()
  }

  #step(bytes: Buffer, at: number, to: number): number {
    switch (this.#state) {
      case STATE.IDLE:
      case STATE.HEAD:
        this.#gateway.clock.wake()
        return this.socket.writableNeedDrain ? KEEP : this.#readHead(bytes, at, to)
      case STATE.PROXY:
        return this.#readProxyHeader(bytes, at, to)
      case STATE.WAITING:
        return KEEP
      case STATE.EXCHANGE:
        return this.#exchange?.wantsBytes === true ? this.#exchange.clientBytes(bytes, at, to) : KEEP
      case STATE.DISCARDING:
        return this.#discard(bytes, at, to)
      case STATE.LINGERING:
        return this.#drop(to - at, to)
      default:
        return to
    }
  }

  /** Goes on with what is kept, after something that stood in its way is gone. */
  #advance(): void {
    const bytes = this.#unread
    this.#unread = null
    if (bytes === null) this.#updateReading()
    else this.#consume(bytes, bytes.length)
    if (this.#state === STATE.IDLE && this.hasEnded) this.#linger()
    else if (this.#state === STATE.HEAD && this.#hasEnded) this.#refuseBytes(malformed('head-truncated'))
    else if (this.#state === STATE.PROXY && this.hasEnded) this.destroy()
    else if (this.#state === STATE.PROXY && this.#hasEnded) this.#refuseArrival('proxy-header-malformed')
    else if (this.#state === STATE.EXCHANGE && this.hasEnded) this.#exchange?.clientEnded()
  }

  #updateReading(): void {
    const isHeld =
      this.#unread !== null &&
      (this.#state === STATE.WAITING || this.#state === STATE.EXCHANGE || this.socket.writableNeedDrain)
    const reads = !isHeld && !this.#isPaused
    if (reads === this.#isReading) return
    this.#isReading = reads
    if (reads) this.socket.resume()
    else this.socket.pause()
  }

  // ── before the first request ──

  #readProxyHeader(bytes: Buffer, from: number, to: number): number {
    const header = this.#greetings?.read(bytes, from, to) ?? readProxyHeader(bytes, from, to)
    if (header.kind === 'need-more') return KEEP
    if (header.kind === 'invalid') {
      this.#refuseArrival(header.fault)
      return to
    }
    this.#knowClient(header.ends)
    this.#state = STATE.IDLE
    this.expectWithin(this.#gateway.limits.headTimeoutMs)
    return header.end
  }

  /** Closes a connection on which nothing can be asked, without an answer: whoever is there does not expect HTTP. */
  #refuseArrival(fault: ArrivalFault): void {
    this.#gateway.logArrivalFault(this.address, fault)
    this.destroy()
  }

  // ── a request ──

  #readHead(bytes: Buffer, from: number, to: number): number {
    const head = this.#gateway.requestHead
    const status = head.parse(bytes, from, to)
    if (status === HEAD.COMPLETE && this.#gateway.front !== null && lacksHost(head)) {
      this.#refuseBytes(malformed('host-missing'))
      return to
    }
    if (status === HEAD.COMPLETE) return this.#decide(head, bytes.subarray(from, to)) ? head.end : KEEP
    if (status === HEAD.INVALID) {
      this.#refuseBytes(malformed(head.reason))
      return to
    }
    if (this.#state === STATE.IDLE) {
      this.#state = STATE.HEAD
      this.expectWithin(this.#gateway.limits.headTimeoutMs)
    }
    return KEEP
  }

  /**
   * @param bytes all that is there, from the head on
   * @returns whether the head is done with; otherwise it is to be kept and read again
   */
  #decide(head: RequestHead, bytes: Buffer): boolean {
    if (this.#learned === NOTHING_LEARNED) {
      this.#startedMs = this.#gateway.stampMs()
      this.#requestId = null
    }
    const decision = this.#decisionOn(head)
    // A connection that was waited for is used now or not at all.
    if (decision.kind !== 'relay' && decision.kind !== 'front') this.#dropConnected()
    switch (decision.kind) {
      case 'ask': {
        const { id } = decision
        const wait = this.#wait(ANSWER_TIMEOUT_MS, true)
        this.#gateway.sessions.question(id, this.address, (answer) =>
          this.#learn(wait, { ...NOTHING_LEARNED, answer: { id, answer } }),
        )
        return false
      }
      case 'connect': {
        const wait = this.#wait(this.#gateway.limits.connectTimeoutMs + ANSWER_TIMEOUT_MS, false)
        const learned = this.#learned
        this.#gateway.pool.connect(decision.name, (connected) => {
          if (!this.#learn(wait, { ...learned, connected }) && connected.kind === 'connected')
            connected.connection.destroy()
        })
        return false
      }
      case 'call':
        this.#learned = NOTHING_LEARNED
        this.#call(head)
        return true
      case 'pass':
        if (this.#pass(decision, head, bytes)) return false
        this.#learned = { ...this.#learned, isRelayed: true }
        return this.#decide(head, bytes)
      case 'refuse':
        this.#learned = NOTHING_LEARNED
        this.#refuseHead(decision.refusal, head, decision.name, decision.entry)
        return true
      case 'relay':
        this.#learned = NOTHING_LEARNED
        this.#relay(head, decision)
        return true
      case 'front':
        this.#learned = NOTHING_LEARNED
        this.#relayToXapi(head, decision)
        return true
    }
  }

  #decisionOn(head: RequestHead): Decision | FrontDecision {
    const { front, rules } = this.#gateway
    if (front === null || isForService(head.originTarget)) return decide(rules, head, this.#learned, this.#isPassable)
    this.#xapiName ??= xapiName(front, this.ends)
    return decideFront(rules.pool, head, this.#xapiName, this.#learned)
  }

  #dropConnected(): void {
    const { connected } = this.#learned
    if (connected?.kind === 'connected') connected.connection.destroy()
    if (connected !== null) this.#learned = { ...this.#learned, connected: null }
  }

  #wait(timeoutMs: number, isForSession: boolean): number {
    this.#state = STATE.WAITING
    this.#isWaitingForSession = isForSession
    this.expectWithin(timeoutMs)
    return ++this.#waits
  }

  /** Takes what was waited for. @returns whether anybody still waits for it */
  #learn(wait: number, learned: Learned): boolean {
    if (this.#state !== STATE.WAITING || wait !== this.#waits) return false
    this.#learned = learned
    this.#state = STATE.HEAD
    // Called while the head is being looked at, the answer is found there; otherwise the head is taken up again.
    if (!this.#isConsuming) this.#advance()
    else queueMicrotask(() => this.#advance())
    return true
  }

  /** Whether the connection could be passed to a service now: nothing of it is in this process but what was read. */
  get #isPassable(): boolean {
    return this.#canEverPass && !this.#hasEnded && !this.#gateway.isDraining && this.socket.writableLength === 0
  }

  /** Offers the connection to a service. @returns whether the service's answer is waited for */
  #pass(decision: Extract<Decision, { kind: 'pass' }>, head: RequestHead, bytes: Buffer): boolean {
    // Nothing may be read behind the service's back.
    this.pause()
    // When the offer comes to nothing in the end, the service may still have the connection.
    const asked: Asked = { ...this.#asked(head, decision.name, decision.entry), isPersistent: false }
    const channel = this.#gateway.pass(this, decision, asked, bytes)
    if (channel === null) {
      this.resume()
      return false
    }
    this.#learned = NOTHING_LEARNED
    this.#state = STATE.EXCHANGE
    this.#exchange = channel
    this.expectWithin(this.#gateway.limits.connectTimeoutMs)
    return true
  }

  /** The service has taken the connection, with all that was read. */
  passed(): void {
    this.#unread = null
    this.#deadlineMs = Number.POSITIVE_INFINITY
  }

  /** The service did not take the connection. */
  passRefused(): void {
    this.#exchange = null
    this.#isPaused = false
    this.#state = STATE.HEAD
    this.#learned = { ...NOTHING_LEARNED, isRelayed: true }
    this.#advance()
  }

  #relay(head: RequestHead, { connection, name, entry, policy }: Extract<Decision, { kind: 'relay' }>): void {
    const asked = this.#asked(head, name, entry)
    const upgrade = wantedUpgrade(head)
    const isReused = asked.decoder === null || policy.reuse === 'always' || connection.readsBodies
    const text = requestText(head, {
      entry,
      stripSession: policy.stripSession,
      forwardedLines: this.#forwardedLines,
      requestId: asked.id,
      upgrade,
      isLast: !isReused,
    })
    this.#start(connection, {
      ...asked,
      method: head.method,
      path: asked.path ?? '',
      service: name,
      text,
      isChunked: head.isChunked,
      upgrade,
      isForXapi: false,
      reuse: isReused ? 'always' : 'never',
      cutsWithSession: policy.cutTransfers,
    }).start()
  }

  #relayToXapi(head: RequestHead, { connection, isLast }: Extract<FrontDecision, { kind: 'front' }>): void {
    const service = this.#xapiName ?? ''
    const asked = this.#asked(head, service, null)
    const upgrade = isLast ? undefined : wantedUpgrade(head)
    const reuse = asked.decoder === null ? 'always' : isXenApiCall(head) ? 'after-200' : 'never'
    // A peer that is gone without a word is found by TCP: nothing else ends what takes its time.
    this.socket.setKeepAlive(true, KEEP_ALIVE_MS)
    const relay = this.#start(connection, {
      ...asked,
      method: head.method,
      path: asked.path ?? '',
      service,
      text: frontText(head, isLast, reuse === 'never', upgrade),
      isChunked: head.isChunked,
      upgrade,
      isForXapi: true,
      reuse,
      cutsWithSession: false,
    })
    if (isLast) relay.startTunnel()
    else relay.start()
  }

  #asked(head: RequestHead, service: string | null, entry: SessionEntry | null): Asked {
    const { trailerLines } = this.#gateway
    this.#requestId ??= this.#gateway.nextRequestId()
    return askedIn(head, { id: this.#requestId, service, entry, startedMs: this.#startedMs }, trailerLines)
  }

  /** Gives the connection to a relay, which is returned to be started. */
  #start(connection: ServiceConnection, request: RelayedRequest): Relay {
    const relay = new Relay(this.#gateway, this, connection, request)
    this.#become(relay)
    return relay
  }

  #become(exchange: Exchange): void {
    this.#state = STATE.EXCHANGE
    this.#exchange = exchange
  }

  #call(head: RequestHead): void {
    const asked = this.#asked(head, XENAPI, null)
    const call = new XenApiCall(this.#gateway, this, asked, callLines(head, this.#forwardedLines, asked.id))
    this.#become(call)
    call.start()
  }

  /** The call that owns the connection goes on as a request without a body. @param bytesIn of the body that is in its text */
  relay(connection: ServiceConnection, request: RelayedRequest, bytesIn: number): void {
    const relay = this.#start(connection, request)
    relay.bytesIn = bytesIn
    relay.start()
  }

  /** The exchange is now a tunnel. What the client has sent since its request goes through it. */
  tunnelStarted(tunnel: Tunnel): void {
    this.#exchange = tunnel
    this.#deadlineMs = Number.POSITIVE_INFINITY
    this.#gateway.hold(tunnel)
    if (!this.#isConsuming) this.#advance()
  }

  /**
   * The exchange is over and its response is written.
   * @param keeps whether the client was told that its connection stays open
   * @param isLast whether the client said that this request is its last, and the response was short
   * @param rest decoder of a body that is still coming, which is to be dropped
   */
  exchangeEnded(keeps: boolean, isLast: boolean, rest: BodyDecoder | null): void {
    this.#exchange = null
    this.#isPaused = false
    if (isLast && this.isPlain && rest === null && this.#unread === null && this.socket.writableLength === 0) {
      // All is read, and all is on its way: closing ends the connection in order, without the calls that lingering takes.
      // TLS has an end of its own to be sent.
      this.destroy()
    } else if (!keeps) {
      this.#linger(rest !== null)
    } else if (rest === null) {
      this.#enterIdle()
    } else {
      this.#enterDiscarding(rest)
    }
    if (!this.#isConsuming) this.#advance()
  }

  #enterIdle(): void {
    this.#state = STATE.IDLE
    const { idleTimeoutMs } = this.#gateway.limits
    // The rest of an answer may wait for its reader: then the grace begins when that is gone.
    const isLeaving = this.#gateway.isDraining && !this.outgoing.isPending
    this.expectWithin(isLeaving ? Math.min(DRAIN_GRACE_MS, idleTimeoutMs) : idleTimeoutMs)
  }

  // ── refusals and ends ──

  /** Refuses bytes that cannot be read as a request. */
  #refuseBytes(refused: Refusal): void {
    this.refuse(refused, nothingAsked(this.#gateway.nextRequestId()), 0)
  }

  #refuseHead(refused: Refusal, head: RequestHead, service: string | null, entry: SessionEntry | null): void {
    this.refuse(refused, this.#asked(head, service, entry), 0)
  }

  /** Refuses the request whose head is kept while something is waited for. */
  #refuseWaiting(refused: Refusal): void {
    const bytes = this.#unread
    const head = this.#gateway.requestHead
    this.#learned = NOTHING_LEARNED
    if (bytes === null || head.parse(bytes, 0, bytes.length) !== HEAD.COMPLETE) {
      this.#refuseBytes(refused)
      return
    }
    this.#unread = head.end === bytes.length ? null : bytes.subarray(head.end)
    const target = head.originTarget
    this.#refuseHead(refused, head, isForService(target) ? serviceNameIn(target) : null, null)
    this.#advance()
  }

  /**
   * Answers a request by a refusal of which nothing has gone out, and logs it. Whatever owned the connection is done with it.
   * @param bytesIn how much of its body was taken
   */
  refuse(refused: Refusal, asked: Asked, bytesIn: number): void {
    this.#exchange = null
    this.#isPaused = false
    const rest = asked.decoder === null || asked.decoder.isDone ? null : asked.decoder
    const keeps = this.canKeep(asked, rest, false, false)
    const text = refusalResponse(refused, {
      requestId: asked.id,
      accept: asked.accept,
      isToHead: asked.method === 'HEAD',
      connectionLine: this.connectionLine(keeps, asked.minorVersion),
      nowMs: Date.now(),
    })
    this.outgoing.text(text)
    this.outgoing.flush()
    this.#gateway.logRefusal(this, refused, asked, bytesIn, bodyBytesOf(text))
    if (!keeps) this.#linger(rest !== null)
    else if (rest === null) this.#enterIdle()
    else this.#enterDiscarding(rest)
    if (!this.#isConsuming) this.#advance()
  }

  /**
   * Whether the connection can go on after an answer to `asked`: what still comes of the body is certain to come, and either
   * taken by the service or short.
   * @param rest decoder of what still comes, null when the request is complete
   * @param readsOn whether the service takes it
   * @param hasContinued whether the client was told to go on (RFC 9110 section 10.1.1)
   */
  canKeep(asked: Asked, rest: BodyDecoder | null, readsOn: boolean, hasContinued: boolean): boolean {
    if (!asked.isPersistent || this.#gateway.isDraining || this.hasEnded) return false
    if (rest === null) return true
    const isCertain = !asked.expectsContinue || hasContinued
    return isCertain && (readsOn || (rest.left !== -1 && rest.left <= DISCARD_BYTES_MAX))
  }

  /** The Connection line that tells a client of this version whether its connection stays open. */
  connectionLine(keeps: boolean, minorVersion: number): string {
    if (!keeps) return 'Connection: close\r\n'
    return minorVersion === 0 ? 'Connection: keep-alive\r\n' : ''
  }

  #enterDiscarding(rest: BodyDecoder): void {
    this.#state = STATE.DISCARDING
    this.#discarding = rest
    this.#droppedBytes = 0
    this.expectWithin(LINGER_MS)
  }

  #discard(bytes: Buffer, from: number, to: number): number {
    const decoder = this.#discarding
    if (decoder === null) return to
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) continue
      if (step === STEP.INVALID) this.destroy()
      else if (step === STEP.DONE) this.#enterIdle()
      else return this.#drop(at - from, at)
      return step === STEP.DONE ? at : to
    }
  }

  #drop(count: number, next: number): number {
    this.#droppedBytes += count
    if (this.#droppedBytes > LINGER_BYTES_MAX) this.destroy()
    return next
  }

  /** Ends our side, and reads on for a while: a client that is still sending would otherwise lose the answer to a reset. */
  #linger(isBodyComing: boolean = false): void {
    if (this.#state === STATE.LINGERING || this.#state === STATE.CLOSED) return
    this.#state = STATE.LINGERING
    this.#unread = null
    this.#droppedBytes = 0
    this.#isBodyComing = isBodyComing
    this.expectWithin(this.#gateway.limits.bodyIdleTimeoutMs)
    const lingerMs = this.#gateway.isStopping && !isBodyComing ? LINGER_STOPPING_MS : LINGER_MS
    this.socket.end(() => this.expectWithin(lingerMs))
    this.#updateReading()
  }

  /** Ends the connection after what is written has gone out. */
  destroySoon(): void {
    this.#exchange = null
    this.#isPaused = false
    this.#linger()
  }

  /** Ends the connection by a reset: an orderly end could make a response look complete. */
  cut(): void {
    this.#state = STATE.CLOSED
    this.#exchange = null
    this.#unread = null
    // A Unix socket has no reset.
    if (this.#raw.remoteAddress === undefined) this.socket.destroy()
    else this.#raw.resetAndDestroy()
  }

  /** Ends the connection now. */
  destroy(): void {
    this.#state = STATE.CLOSED
    this.#exchange = null
    this.#unread = null
    this.socket.destroy()
  }

  #ended(): void {
    this.#hasEnded = true
    if (this.#state === STATE.EXCHANGE) this.#exchange?.clientEnded()
    else if (this.#state === STATE.DISCARDING) this.#linger()
    else this.#advance()
  }

  #drained(): void {
    if (this.#exchange === null) this.#advance()
    else this.#exchange.clientDrained()
  }

  #closed(): void {
    this.#reads.close()
    const exchange = this.#exchange
    this.#dropConnected()
    this.#state = STATE.CLOSED
    this.#exchange = null
    this.#unread = null
    this.#gateway.connectionClosed(this)
    exchange?.clientClosed()
  }

  // ── time ──

  /** Whether nothing can happen here within `ms` unless the client sends something. */
  isResting(nowMs: number, ms: number): boolean {
    return this.#state === STATE.IDLE && !this.outgoing.isPending && this.#deadlineMs - nowMs > ms
  }

  /** Called by the sweep: acts if the deadline has passed. */
  sweep(nowMs: number): void {
    if (this.#state === STATE.EXCHANGE) this.#exchange?.swept(nowMs)
    // What was answered may still be on its way to a slow reader, whatever state it is in by then.
    else if (this.outgoing.hasMoved() && this.outgoing.isPending) this.#expectOutput()
    if (!this.outgoing.isPending) this.#rate.reset()
    else if (this.#rate.isTooSlow(nowMs, this.outgoing.takenBytes, this.#gateway.limits.responseMinRate)) {
      if (this.#state === STATE.EXCHANGE) this.#exchange?.clientTooSlow()
      else this.cut()
    }
    if (this.#state === STATE.IDLE && this.#gateway.isDraining && !this.outgoing.isPending) {
      this.#deadlineMs = Math.min(this.#deadlineMs, nowMs + DRAIN_GRACE_MS)
    }
    if (nowMs >= this.#deadlineMs) this.#timedOut()
  }

  /** The request under way that ends with its session. */
  get transfer(): RelayedRequest | null {
    return this.#exchange?.transfer ?? null
  }

  /** The session of `transfer` has ended. */
  cutTransfer(): void {
    this.#exchange?.cutTransfer()
  }

  /** The client has taken something: it has as long again for the next, and no less than it had. */
  #expectOutput(): void {
    this.#deadlineMs = Math.max(this.#deadlineMs, this.#gateway.clock.nowMs + this.#gateway.limits.bodyIdleTimeoutMs)
  }

  #timedOut(): void {
    switch (this.#state) {
      case STATE.PROXY:
        this.#refuseArrival('proxy-header-slow')
        break
      case STATE.HEAD:
        this.#refuseBytes(REQUEST_SLOW)
        break
      case STATE.WAITING:
        this.#refuseWaiting(this.#isWaitingForSession ? AUTHORITY_UNAVAILABLE : SERVICE_SLOW)
        break
      case STATE.EXCHANGE:
        this.#exchange?.timedOut()
        break
      case STATE.IDLE:
        if (this.outgoing.isPending) this.cut()
        else this.#linger()
        break
      default:
        this.#giveUp()
    }
  }

  /** Ends the connection; not in order while something waits for the client, which could then look complete. */
  #giveUp(): void {
    if (this.outgoing.isPending) this.cut()
    else this.destroy()
  }

  /** The gateway takes no more connections: this one ends with its next response, or when none comes. */
  drain(): void {
    if (this.#state === STATE.IDLE) this.#enterIdle()
  }

  /** The gateway stops: a connection on which nothing is asked ends now, and one on which it begins has little time. */
  closeIfIdle(): void {
    if (this.#state === STATE.PROXY) this.destroy()
    else if (this.#state === STATE.IDLE) this.#closeIdle()
    else if (this.#state === STATE.HEAD) this.expectWithin(DRAIN_GRACE_MS)
    else if (this.#state === STATE.LINGERING && !this.#isBodyComing && !this.outgoing.isPending) {
      this.expectWithin(LINGER_STOPPING_MS)
    }
  }

  #closeIdle(): void {
    // A request is there, behind an answer that the client is still taking: it is served after that.
    if (this.#unread !== null) this.expectWithin(this.#gateway.limits.bodyIdleTimeoutMs)
    else if (this.outgoing.isPending) this.#linger()
    else this.destroy()
  }

  /** The gateway stops now. */
  drainTimedOut(): void {
    if (this.#state === STATE.EXCHANGE) this.#exchange?.drainTimedOut()
    else if (this.#state === STATE.WAITING) this.#refuseWaiting(DRAINING)
    else this.#giveUp()
  }
}

const NOTHING_LEARNED: Learned = Object.freeze({ answer: null, connected: null, isRelayed: false })

function bodyBytesOf(response: string): number {
  return response.length - response.indexOf('\r\n\r\n') - 4
}

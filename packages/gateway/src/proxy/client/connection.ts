// One client's connection.
//
//   from         to            method
//   IDLE         HEAD          #readHead           the first bytes of a request are there
//   IDLE, HEAD   EXCHANGE      #handle             the head is complete: an exchange owns the connection
//   EXCHANGE     HEAD          again               it has learned, or was refused, what it waited for: the same head is read again
//   IDLE, HEAD,  DISCARDING    refuse              refused with a short body to come, which is dropped; without one it goes on to IDLE, or
//   EXCHANGE                                       to LINGERING when the connection cannot go on
//   EXCHANGE     IDLE          done                complete; the next request may come, or is there already
//   EXCHANGE     DISCARDING    done                the service answered early; the rest of the body is dropped
//   DISCARDING   IDLE          #discard            the body has ended
//   any          LINGERING     #linger             the last answer is written and our side ended; what comes is dropped
//   any          CLOSED        destroy, cut, or the wire is closed
//
// IDLE: nothing of the next request is there. HEAD: `#unread` has its beginning. EXCHANGE: `#unread` has what came beyond what is taken
// (with the head itself, when the exchange holds it), and while it is not empty nothing more is read. Requests are answered in order
// because the next one is not looked at before.

import { type BodyDecoder, HEAD, type RequestHead, STEP } from '@xengate/http1'
import { CLIENT, type ClientState, type Counters, type ListenerCounters } from '../../metrics/counters.ts'
import type { LimitsConfig } from '../../model/limits.ts'
import { STAGE as OVERLOAD, type Stage } from '../../model/overload.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { Ends, Wire, WireListener } from '../../transport/transport.ts'
import type { SweepClock } from '../clock.ts'
import type { Client, Exchange, Handler, Journal, Peer } from '../exchange/ports.ts'
import type { Moved } from '../exchange/moved.ts'
import { RateWatch } from '../exchange/rate-watch.ts'
import { Request } from '../exchange/request.ts'
import { headOffence, type Offence } from '../heads/offence.ts'
import { connectionLine } from '../heads/connection-line.ts'
import { malformed, type Refusal, refusalResponse, REQUEST_SLOW } from '../heads/refusals.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import type { ConnectionRecord } from '../records.ts'
import { CountedConnection, type Named } from './counted-connection.ts'
import { Leftover } from './leftover.ts'

const STATE = { IDLE: 0, HEAD: 1, EXCHANGE: 2, DISCARDING: 3, LINGERING: 4, CLOSED: 5 } as const
type State = (typeof STATE)[keyof typeof STATE]

/** As what a connection is counted, by its state; while it is CLOSED it waits for the end of its wire. */
const COUNTED: readonly ClientState[] = [
  CLIENT.IDLE,
  CLIENT.ACTIVE,
  CLIENT.ACTIVE,
  CLIENT.ACTIVE,
  CLIENT.ENDING,
  CLIENT.ENDING,
]

/** A refused request's body up to this length is read and dropped so that the connection can go on. */
const DISCARD_BYTES_MAX = 65_536
/** How long a client that has sent its request is lingered for when the gateway stops: what it was answered is on its way. */
const LINGER_STOPPING_MS = 500
/** How long a connection is kept without a request once the gateway drains: one may be on its way. */
const DRAIN_GRACE_MS = 1000

/** The part of the idle timeout that is left to a connection while there is too little of something. */
const IDLE_PARTS = 10

const NOTHING = Buffer.alloc(0)

/** `#step` took nothing: what is there is kept. */
const KEEP = -1

/** A connection that is given to another process. */
export interface GivenConnection {
  readonly fd: number
  /** Name of the listener where it came. */
  readonly listener: string
  /** Both ends, where a header told them. */
  readonly told: Ends | null
  /** By what it is known; null where the giver, of an earlier version, does not say. */
  readonly named: Named | null
  /** What is under way on it, with the descriptor of the connection to the service; null when nothing is. */
  readonly underWay: { readonly serviceFd: number; readonly moved: Moved } | null
}

/** What the clients' connections of one worker share. */
export interface ClientContext {
  readonly limits: LimitsConfig
  readonly clock: SweepClock
  readonly handler: Handler
  readonly journal: Journal
  readonly counters: Counters
  /** One parser serves every connection: what it says is used within the turn. */
  readonly requestHead: RequestHead
  /** Whether it drains: it takes no more connections, or keeps none. */
  readonly isDraining: boolean
  /** Whether it stops, rather than giving way to a newer one. */
  readonly isStopping: boolean
  /** At which stage of overload the gateway is. */
  readonly overloadStage: Stage
  /** Whether it serves the documentation's pages. */
  readonly hasPages: boolean
  /** Whether connections of this listener on which nothing is asked are given to a newer one. */
  gives(listener: string): boolean
  /** Nothing is asked on the connection. */
  idled(connection: ClientConnection): void
  nextRequestId(): string
  connectionClosed(connection: ClientConnection, why: ReasonName): void
}

/** See the head of this file. */
export class ClientConnection extends CountedConnection implements Client, WireListener {
  readonly wire: Wire
  readonly peer: Peer
  readonly #context: ClientContext
  #state: State = STATE.IDLE
  #exchange: Exchange | null = null
  /** The exchange that held the head which is to be read again. */
  #before: Exchange | null = null
  /** Bytes of the head that the exchange holds, at the beginning of `#unread`. */
  #heldBytes = 0
  /** Bytes that came and are not taken; owned. */
  #unread: Buffer | null = null
  /** On the gateway's clock; the sweep calls `#timedOut` after it. */
  #deadlineMs = 0
  #hasEnded = false
  #isConsuming = false
  #isReading = true
  /** Whether the exchange cannot take more now. */
  #isPaused = false
  #discarding: BodyDecoder | null = null
  /** While DISCARDING or LINGERING. */
  #leftover: Leftover | null = null
  readonly #rate = new RateWatch()
  /** While IDLE: whether it ends sooner than the configuration says. */
  #isHastened = false
  /** Whether another process has it. */
  #isGiven = false
  /** Whether it goes because its listener is gone, or is another. */
  #isLeft = false
  /** While LINGERING: whether the client was still sending a body. */
  #isBodyComing = false

  /**
   * @param wire whose owner this is from now on
   * @param listener counters of where it came
   * @param named as what another process has given it; null of one that is new
   */
  constructor(context: ClientContext, wire: Wire, peer: Peer, listener: ListenerCounters, named: Named | null) {
    super(context.counters, listener, context.clock.nowMs, named)
    this.#context = context
    this.wire = wire
    this.peer = peer
    const { headTimeoutMs } = context.limits
    wire.listener = this
    this.expectWithin(this.#isLeaving ? Math.min(DRAIN_GRACE_MS, headTimeoutMs) : headTimeoutMs)
  }

  #enter(state: State): void {
    this.#state = state
    this.countAs(COUNTED[state]!)
  }

  get hasEnded(): boolean {
    return this.#hasEnded && this.#unread === null
  }

  get unread(): Buffer {
    return this.#unread?.subarray(this.#heldBytes) ?? NOTHING
  }

  isIn(exchange: Exchange): boolean {
    return this.#exchange === exchange
  }

  expectWithin(ms: number): void {
    this.#deadlineMs = this.#context.clock.nowMs + ms
  }

  expectBy(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs
  }

  pause(): void {
    this.#isPaused = true
    this.#updateReading()
  }

  resume(): void {
    this.#isPaused = false
    this.#updateReading()
  }

  stop(): boolean {
    this.pause()
    if (this.wire.stop()) return true
    this.resume()
    return false
  }

  // ── bytes ──

  bytes(bytes: Buffer, from: number, to: number): boolean {
    if (this.#unread === null) this.#consume(bytes, from, to, false)
    else {
      const whole = Buffer.concat([this.#unread, bytes.subarray(from, to)])
      this.#unread = null
      this.#consume(whole, 0, whole.length, true)
    }
    return this.#exchange?.wantsBytes === true
  }

  /**
   * Takes what there is, from `from` to `to`, one step after the other, and keeps the rest.
   * @param isOwned whether `bytes` is the connection's
   */
  #consume(bytes: Buffer, from: number, to: number, isOwned: boolean): void {
    this.#isConsuming = true
    let at = from
    while (at < to) {
      const next = this.#step(bytes, at, to)
      if (next === KEEP) break
      at = next
    }
    this.#isConsuming = false
    if (at < to && this.#state !== STATE.CLOSED) this.#keep(bytes.subarray(at, to), isOwned)
    this.#exchange?.flush()
    this.#updateReading()
  }

  /** A rest of many requests is not copied again and again, nor is all that was there kept for the last of them. */
  #keep(rest: Buffer, isOwned: boolean): void {
    this.#unread = isOwned && rest.length * 2 >= rest.buffer.byteLength ? rest : Buffer.from(rest)
  }

  #step(bytes: Buffer, at: number, to: number): number {
    switch (this.#state) {
      case STATE.IDLE:
      case STATE.HEAD:
        this.#context.clock.wake()
        return this.wire.isFull ? KEEP : this.#readHead(bytes, at, to)
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
    else this.#consume(bytes, 0, bytes.length, true)
    if (this.#state === STATE.IDLE && this.hasEnded) this.#linger('client-closed')
    else if (this.#state === STATE.HEAD && this.#hasEnded && !this.wire.isFull)
      this.#refuseBytes(malformed('head-truncated'))
    else if (this.#state === STATE.EXCHANGE && this.hasEnded) this.#exchange?.clientEnded()
  }

  #updateReading(): void {
    const isHeld = this.#unread !== null && (this.#keepsEnough(this.#unread) || this.wire.isFull)
    const reads = !isHeld && !this.#isPaused
    if (reads === this.#isReading) return
    this.#isReading = reads
    if (reads) this.wire.resume()
    else this.wire.pause()
  }

  /** Whether what is kept has to be taken before more is read. */
  #keepsEnough(unread: Buffer): boolean {
    return this.#state === STATE.EXCHANGE && unread.length > (this.#exchange?.unreadBytesMax ?? 0)
  }

  // ── a request ──

  #readHead(bytes: Buffer, from: number, to: number): number {
    const head = this.#context.requestHead
    const status = head.parse(bytes, from, to)
    if (status === HEAD.COMPLETE) {
      if (this.#before === null) this.headRead()
      // Known before it is handled: that may have another connection go on, which reads a head by the same parser.
      const { end } = head
      return this.#handle(head, end - from) ? end : KEEP
    }
    if (status === HEAD.INVALID) {
      this.#refuseBytes(malformed(head.reason), headOffence('client', bytes, from, to, head.offset))
      return to
    }
    if (this.#state === STATE.IDLE) {
      this.#enter(STATE.HEAD)
      this.headBegan()
      this.expectWithin(this.#context.limits.headTimeoutMs)
    }
    return KEEP
  }

  /** @returns whether the head is done with; otherwise it is to be kept and read again */
  #handle(head: RequestHead, headBytes: number): boolean {
    for (;;) {
      const before = this.#before
      this.#before = null
      const exchange = this.#context.handler.handle(head, this, before)
      if (exchange === null) return true
      if (exchange.holdsHead) this.#heldBytes = headBytes
      this.become(exchange)
      // What is waited for may be known at once.
      if (this.#before === null) return !exchange.holdsHead
    }
  }

  become(exchange: Exchange): void {
    this.#enter(STATE.EXCHANGE)
    this.#exchange = exchange
    this.countAs(exchange.countedAs)
    exchange.start()
    if (!this.#isConsuming) this.#advance()
  }

  passed(): void {
    this.#unread = null
    this.countAs(CLIENT.CHANNEL)
    this.#deadlineMs = Number.POSITIVE_INFINITY
  }

  again(): void {
    this.#before = this.#exchange
    this.#exchange = null
    this.#isPaused = false
    this.#enter(STATE.HEAD)
    if (!this.#isConsuming) this.#advance()
  }

  done({ decoder, isPersistent }: Request, keeps: boolean, isLast: boolean, isBodyComing: boolean): void {
    this.#exchange = null
    this.#isPaused = false
    const isAllTaken = !isBodyComing && this.#unread === null && !this.wire.isPending
    if (isLast && isAllTaken && this.wire.fd !== -1) {
      // All is read: closing ends the connection in order, without the calls that lingering takes. TLS has an end of its own to be sent.
      this.#close('last-request')
      this.wire.finish(this.#context.limits.bodyIdleTimeoutMs)
    } else if (!keeps) {
      this.#linger(this.#lastWhy(isPersistent), isBodyComing)
    } else if (!isBodyComing) {
      this.#enterIdle()
    } else {
      this.#enterDiscarding(decoder)
    }
    if (!this.#isConsuming) this.#advance()
  }

  /** Why no other request follows on the connection. */
  #lastWhy(isPersistent: boolean): ReasonName {
    if (this.#context.isDraining || this.#isLeft) return 'gateway-stopped'
    if (this.#context.overloadStage >= OVERLOAD.CLOSE) return 'overloaded'
    return isPersistent && !this.hasEnded ? 'connection-spent' : 'last-request'
  }

  #enterIdle(): void {
    this.#enter(STATE.IDLE)
    this.#leftover = null
    this.#isHastened = false
    const { idleTimeoutMs } = this.#context.limits
    // The rest of an answer may wait for its reader: then the grace begins when that is gone.
    const isLeaving = this.#isLeaving && !this.wire.isPending
    this.expectWithin(isLeaving ? Math.min(DRAIN_GRACE_MS, idleTimeoutMs) : idleTimeoutMs)
    if (this.#isGivable) this.#context.idled(this)
  }

  /** Whether it may be given to another process when nothing is asked on it: what is written to it is what the client reads. */
  get #isGivable(): boolean {
    return !this.#isLeft && this.#context.gives(this.listenerName) && this.peer.canPass && this.wire.fd !== -1
  }

  /** Whether it ends with its next response, or soon: the gateway drains, and nobody takes it, or its listener is gone. */
  get #isLeaving(): boolean {
    return this.#isLeft || (this.#context.isDraining && !this.#isGivable)
  }

  /**
   * Gives the connection away, if nothing is asked on it now.
   * @param give gives its descriptor away, of which this process keeps none; returns whether that was possible
   */
  giveAway(give: (given: GivenConnection) => boolean): void {
    const { wire, peer } = this
    if (this.#state !== STATE.IDLE || this.#unread !== null || this.#hasEnded || !this.#isGivable) return
    if (!this.stop()) return
    if (!give({ fd: wire.fd, listener: this.listenerName, told: peer.told, named: this.named, underWay: null })) {
      this.resume()
      return
    }
    this.#isGiven = true
    this.destroy('gateway-stopped')
  }

  /** The same with what is under way on it, if that can go on elsewhere: a channel, or a tunnel. */
  moveAway(give: (given: GivenConnection) => boolean): void {
    const { wire, peer, named } = this
    if (this.#unread !== null || this.#hasEnded || !this.#isGivable) return
    const isMoved = this.#exchange?.moveAway((serviceFd, moved) => {
      return give({ fd: wire.fd, listener: this.listenerName, told: peer.told, named, underWay: { serviceFd, moved } })
    })
    if (isMoved !== true) return
    this.#isGiven = true
    this.destroy('gateway-stopped')
  }

  // ── refusals and ends ──

  /** Refuses bytes that cannot be read as a request. */
  #refuseBytes(refused: Refusal, offence: Offence | null = null): void {
    const request = new Request(this.#context.nextRequestId(), 0)
    request.offence = offence
    this.refuse(refused, request)
  }

  refuse(refused: Refusal, request: Request): void {
    if (this.#exchange?.holdsHead === true) this.#dropHeld()
    this.#leaveExchange()
    const { isBodyComing } = request
    const keeps = this.canKeep(request, isBodyComing, false)
    const text = refusalResponse(refused, {
      requestId: request.id,
      accept: request.accept,
      isToHead: request.method === 'HEAD',
      connectionLine: connectionLine(keeps, request.minorVersion),
      hasPages: this.#context.hasPages,
      nowMs: Date.now(),
    })
    this.wire.text(text)
    this.wire.flush()
    this.#context.journal.refused(this.peer.address, request, refused, bodyBytesOf(text))
    if (!keeps) this.#linger(request.method === '' ? refused.reason : this.#lastWhy(request.isPersistent), isBodyComing)
    else if (!isBodyComing) this.#enterIdle()
    else this.#enterDiscarding(request.decoder)
    if (!this.#isConsuming) this.#advance()
  }

  /** The head that was held is done with. */
  #dropHeld(): void {
    if (this.#unread === null) return
    this.#unread = this.#heldBytes === this.#unread.length ? null : this.#unread.subarray(this.#heldBytes)
  }

  #leaveExchange(): void {
    this.#exchange = null
    this.#isPaused = false
    this.#before?.clientClosed()
    this.#before = null
  }

  canKeep(request: Request, isBodyComing: boolean, readsOn: boolean): boolean {
    if (!request.isPersistent || this.hasEnded) return false
    if (this.#isLeaving || this.#context.overloadStage >= OVERLOAD.CLOSE) return false
    if (!isBodyComing) return true
    const isCertain = !request.expectsContinue || request.hasContinued
    const left = request.decoder?.left ?? -1
    return isCertain && (readsOn || (left !== -1 && left <= DISCARD_BYTES_MAX))
  }

  #enterDiscarding(rest: BodyDecoder | null): void {
    this.#enter(STATE.DISCARDING)
    this.#discarding = rest
    this.#expectLeftover()
  }

  #expectLeftover(): void {
    const { limits, clock } = this.#context
    this.#leftover = new Leftover(this.wire, limits, clock.nowMs)
    this.expectWithin(this.#leftover.patienceMs)
  }

  #discard(bytes: Buffer, from: number, to: number): number {
    const decoder = this.#discarding
    if (decoder === null) return to
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) continue
      if (step === STEP.INVALID) this.destroy(decoder.reason)
      else if (step === STEP.DONE) this.#enterIdle()
      else return this.#drop(at - from, at)
      return step === STEP.DONE ? at : to
    }
  }

  #drop(count: number, next: number): number {
    if (this.#leftover?.drop(count) === false) this.#isPaused = true
    return next
  }

  /** Ends our side, and reads on: a client that is still sending would otherwise lose the answer to a reset. */
  #linger(why: ReasonName, isBodyComing: boolean = false): void {
    if (this.#state === STATE.LINGERING || this.#state === STATE.CLOSED) return
    this.endsBy(why)
    this.#enter(STATE.LINGERING)
    this.#unread = null
    this.#isBodyComing = isBodyComing
    this.wire.end(() => {
      if (this.#isHurried()) this.expectWithin(LINGER_STOPPING_MS)
    })
    this.#expectLeftover()
    this.#updateReading()
  }

  endSoon(why: ReasonName): void {
    this.#leaveExchange()
    this.#linger(why)
  }

  cut(why: ReasonName): void {
    this.#close(why)
    this.wire.reset()
  }

  destroy(why: ReasonName): void {
    this.#close(why)
    this.wire.destroy()
  }

  #close(why: ReasonName): void {
    this.endsBy(why)
    this.#enter(STATE.CLOSED)
    this.#leftover = null
    this.#leaveExchange()
    this.#unread = null
  }

  ended(): void {
    this.#hasEnded = true
    if (this.#state === STATE.EXCHANGE) this.#exchange?.clientEnded()
    else if (this.#state === STATE.DISCARDING) this.#linger('client-gone')
    else this.#advance()
  }

  drained(): void {
    if (this.#exchange === null) this.#advance()
    else this.#exchange.clientDrained()
  }

  closed(): void {
    const exchange = this.#exchange
    this.#close(exchange === null ? 'client-closed' : 'client-gone')
    this.#context.connectionClosed(this, this.countEnd(this.#isGiven))
    exchange?.clientClosed()
  }

  // ── time ──

  /** Whether nothing can happen here within `ms` unless the client sends something. */
  isResting(nowMs: number, ms: number): boolean {
    return this.#state === STATE.IDLE && !this.wire.isPending && this.#deadlineMs - nowMs > ms
  }

  /** Called by the sweep: acts if the deadline has passed. */
  sweep(nowMs: number): void {
    const { wire } = this
    if (this.#state === STATE.EXCHANGE) this.#exchange?.swept(nowMs)
    // What was answered may still be on its way to a slow reader, whatever state it is in by then.
    else if (this.#leftover !== null) this.#sweepLeftover(this.#leftover, nowMs)
    else if (wire.hasMoved() && wire.isPending) this.#expectOutput()
    if (!this.#isTaking()) this.#rate.reset()
    else if (this.#rate.isTooSlow(nowMs, wire.takenBytes, this.#context.limits.responseMinRate)) {
      if (this.#state === STATE.EXCHANGE) this.#exchange?.clientTooSlow()
      else this.cut('response-unread')
    }
    if (this.#state === STATE.IDLE && this.#isLeaving && !wire.isPending) {
      this.#deadlineMs = Math.min(this.#deadlineMs, nowMs + DRAIN_GRACE_MS)
    }
    if (this.#context.overloadStage > OVERLOAD.NORMAL) this.#endSooner(nowMs)
    if (nowMs >= this.#deadlineMs) this.#timedOut()
  }

  /** There is too little of something: nothing is asked here, and it is not waited for as long as usual. */
  #endSooner(nowMs: number): void {
    if (this.#state !== STATE.IDLE || this.wire.isPending) return
    const patienceMs = this.#context.limits.idleTimeoutMs / IDLE_PARTS
    if (this.#deadlineMs <= nowMs + patienceMs) return
    this.#deadlineMs = nowMs + patienceMs
    this.#isHastened = true
  }

  /** Whether it is the client's turn to take something. */
  #isTaking(): boolean {
    if (this.wire.isPending) return true
    if (this.#leftover !== null) return this.#leftover.isTaking
    // What is measured is measured to its end: the kernel may have taken the rest meanwhile, and the client have none of it.
    return this.#rate.isRunning && this.wire.pendingBytes > 0
  }

  #sweepLeftover(leftover: Leftover, nowMs: number): void {
    if (leftover.isTooSlow(nowMs)) this.#deadlineMs = nowMs
    else if (leftover.hasMoved(nowMs) && !this.#isHurried()) this.expectWithin(leftover.patienceMs)
  }

  /** Whether the gateway stops, and the client has sent all and been sent all: then the kernel has the rest. */
  #isHurried(): boolean {
    const isLingering = this.#state === STATE.LINGERING && !this.#isBodyComing
    return isLingering && this.#context.isStopping && !this.wire.isPending
  }

  /** For who asks what goes on. */
  get record(): ConnectionRecord {
    return this.recordOf(this.peer, this.#exchange?.about)
  }

  /** An administrator ends the connection, with what is under way. */
  endByOperator(): void {
    const exchange = this.#exchange
    this.cut('operator-ended')
    exchange?.clientClosed('operator-ended')
  }

  /** The session under which what is under way is cut when it ends; null when there is none. */
  get cutsWith(): SessionEntry | null {
    return this.#exchange?.cutsWith ?? null
  }

  /** The session of `cutsWith` has ended. */
  cutWithSession(): void {
    this.#exchange?.cutWithSession()
  }

  /** The client has taken something: it has as long again for the next, and no less than it had. */
  #expectOutput(): void {
    this.#deadlineMs = Math.max(this.#deadlineMs, this.#context.clock.nowMs + this.#context.limits.bodyIdleTimeoutMs)
  }

  #timedOut(): void {
    switch (this.#state) {
      case STATE.HEAD:
        this.#refuseBytes(REQUEST_SLOW)
        break
      case STATE.EXCHANGE:
        this.#exchange?.timedOut()
        break
      case STATE.IDLE:
        if (this.wire.isPending) this.cut('response-unread')
        else this.#linger(this.#idleWhy())
        break
      default:
        this.#giveUp('body-unwanted')
    }
  }

  #idleWhy(): ReasonName {
    if (this.#isLeaving) return 'gateway-stopped'
    return this.#isHastened ? 'overloaded' : 'idle-timeout'
  }

  /** Ends the connection; not in order while something waits for the client, which could then look complete. */
  #giveUp(why: ReasonName): void {
    if (this.wire.isPending) this.cut(why)
    else this.destroy(why)
  }

  /** Whether the gateway drains has changed: if so, this connection ends with its next response, or when none comes. */
  drain(): void {
    if (this.#state === STATE.IDLE) this.#enterIdle()
  }

  /** Its listener is gone, or is another: it ends as if the gateway drained. */
  leave(): void {
    this.#isLeft = true
    this.drain()
  }

  /** The gateway stops: a connection on which nothing is asked ends now, and one on which it begins has little time. */
  closeIfIdle(): void {
    if (this.#state === STATE.IDLE) this.#closeIdle()
    else if (this.#state === STATE.HEAD) this.expectWithin(DRAIN_GRACE_MS)
    else if (this.#isHurried()) this.expectWithin(LINGER_STOPPING_MS)
  }

  #closeIdle(): void {
    // A request is there, behind an answer that the client is still taking: it is served after that.
    if (this.#unread !== null) this.expectWithin(this.#context.limits.bodyIdleTimeoutMs)
    else if (this.wire.hasUnsent) this.#linger('gateway-stopped')
    else this.destroy('gateway-stopped')
  }

  /** The gateway stops now. */
  drainTimedOut(): void {
    if (this.#state === STATE.EXCHANGE) this.#exchange?.drainTimedOut()
    else this.#giveUp('drain-timeout')
  }
}

function bodyBytesOf(response: string): number {
  return response.length - response.indexOf('\r\n\r\n') - 4
}

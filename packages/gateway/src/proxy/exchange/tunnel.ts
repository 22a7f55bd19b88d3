// A connection whose bytes pass both ways, with no framing known: after 101 Switching Protocols, each direction ended on its own;
// or after the head of a last request to xapi, whose end is the end of both.

import { performance } from 'node:perf_hooks'
import { endConnection } from '@xengate/channel'
import { CLIENT, type ClientState } from '../../metrics/counters.ts'
import { isPermitted, type Policies } from '../../model/policy.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import type { ServiceConnection, ServiceListener } from '../upstream/connection.ts'
import type { Errand } from './errand.ts'
import type { Held } from './holds.ts'
import { type Move, movedRequest, movedSession } from './moved.ts'
import { type About, type Client, Exchange, type Outcome, type Shared } from './ports.ts'
import type { Request } from './request.ts'

/** How often a quiet tunnel's peers are probed by TCP. */
const KEEP_ALIVE_MS = 60_000

const BY_CLIENT = 'tunnel-closed-by-client'
const BY_SERVICE = 'tunnel-closed-by-service'

/** Status of the answer that makes a tunnel. */
const SWITCHED = 101

/** As much of a status line as has the status. */
const STATUS_BYTES = 12

/** See the head of this file. */
export class Tunnel extends Exchange implements ServiceListener, Held {
  readonly wantsBytes = true
  readonly admitsByItself = false
  override readonly countedAs: ClientState
  /** The session whose end is the tunnel's; null when it has none. */
  readonly entry: SessionEntry | null
  readonly #shared: Shared
  readonly #client: Client
  readonly #service: ServiceConnection
  /** Keeps the counts for the access log. */
  readonly #request: Request
  /** What is still to be sent first; null when it goes on from a 101, or from another process. */
  readonly #errand: Pick<Errand, 'text'> | null
  /** Whether 101 made it; otherwise it is a last request to xapi. */
  readonly #isSwitched: boolean
  #isOver = false

  /** @param errand of a last request to xapi that begins; null for what goes on from a 101, or from another process */
  constructor(
    shared: Shared,
    client: Client,
    service: ServiceConnection,
    request: Request,
    errand: Pick<Errand, 'text'> | null,
  ) {
    super()
    this.#shared = shared
    this.#client = client
    this.#service = service
    this.#request = request
    this.#errand = errand
    this.entry = request.entry
    this.#isSwitched = request.status === SWITCHED
    this.countedAs = this.#isSwitched ? CLIENT.TUNNEL : CLIENT.ACTIVE
  }

  override start(): void {
    this.#client.wire.keepAlive(KEEP_ALIVE_MS)
    this.#client.expectWithin(Number.POSITIVE_INFINITY)
    this.#shared.holds.hold(this)
    this.#service.take(this)
    if (this.#request.counters === null) {
      this.#request.counters = this.#service.counters
      this.#request.counters.began()
    }
    if (this.#errand === null) return
    this.#service.wire.text(this.#errand.text)
    this.#service.wire.flush()
  }

  override moveAway(move: Move): boolean {
    const request = this.#request
    // What has ended on one side is over soon; what is left of an upload, and that xapi's status is to come, is known here alone.
    const isCertain = this.#isSwitched || (request.decoder === null && request.bytesOut > 0)
    if (this.#service.hasEnded || !isCertain || !this.#stop()) return false
    const { wire, counters } = this.#service
    const moved = move(wire.fd, {
      kind: 'tunnel',
      session: movedSession(this.entry),
      request: movedRequest(request),
      isSwitched: this.#isSwitched,
      counted: counters.name,
      isUnix: wire.source === null,
    })
    if (moved) this.#leave()
    else this.#goOn()
    return moved
  }

  /** Reads no more on either side. @returns whether all that was read is in the kernel's hands */
  #stop(): boolean {
    const { wire } = this.#service
    // Where one is full the other is not read from, which has to stay so.
    if (wire.fd === -1 || wire.isFull || this.#client.wire.isFull || !this.#client.stop()) return false
    if (wire.stop()) return true
    this.#goOn()
    return false
  }

  #goOn(): void {
    this.#client.resume()
    this.#service.wire.resume()
  }

  /** It is not this process's any more. */
  #leave(): void {
    this.#isOver = true
    this.#shared.holds.letGo(this)
    const request = this.#request
    request.counters?.gaveUp()
    request.counters = null
    if (request.entry !== null) request.entry.underWay--
    request.turn?.end()
    // What follows is not seen here.
    request.endSpan(null, performance.now())
    this.#service.destroy()
  }

  override clientBytes(bytes: Buffer, from: number, to: number): number {
    const { wire } = this.#service
    this.#request.bytesIn += to - from
    this.#touch()
    wire.data(bytes, from, to)
    wire.flush()
    if (wire.isFull) this.#client.pause()
    return to
  }

  override clientEnded(): void {
    if (this.#service.hasEnded) this.#close(true, BY_CLIENT)
    else this.#service.wire.end()
  }

  override get about(): About {
    return { request: this.#request, way: this.#isSwitched ? 'tunnel' : 'relay', channel: null }
  }

  override clientClosed(why: ReasonName = BY_CLIENT): void {
    if (why === BY_CLIENT) this.#close(false, why)
    else this.cut(why)
  }

  override clientDrained(): void {
    this.#service.wire.resume()
  }

  serviceBytes(bytes: Buffer, from: number, to: number): void {
    const { wire } = this.#client
    if (!this.#isSwitched && this.#request.bytesOut === 0) this.#readStatus(bytes, from, to)
    this.#request.bytesOut += to - from
    this.#touch()
    wire.data(bytes, from, to)
    wire.flush()
    if (wire.isFull) this.#service.wire.pause()
  }

  /** The status of xapi's answer, for the log; there is none where xapi does not answer in HTTP. */
  #readStatus(bytes: Buffer, from: number, to: number): void {
    const line = bytes.toString('latin1', from, Math.min(to, from + STATUS_BYTES))
    const [, status = '0'] = /^HTTP\/1\.[01] (\d{3})/.exec(line) ?? []
    this.#request.status = Number(status)
    this.#request.firstByteMs = performance.now()
  }

  serviceEnded(): void {
    if (!this.#isSwitched) {
      this.#close(true, BY_SERVICE)
      return
    }
    this.#client.wire.end()
    if (this.#client.hasEnded) this.#close(true, BY_SERVICE)
  }

  serviceClosed(): void {
    if (this.#isSwitched) {
      this.#close(false, BY_SERVICE)
    } else if (this.#isUploading) {
      // xapi has answered early and closed, which resets what it has not read: the answer is what counts.
      this.#close(true, BY_SERVICE)
    } else {
      // Nobody knows whether xapi's answer was complete: an orderly end could make it look so.
      this.#client.cut('service-died')
      this.#close(false, 'service-died', 'service-failed')
    }
  }

  /** Whether more of the request's body was to come; a PUT without a length ends with the client's side. */
  get #isUploading(): boolean {
    const { decoder, isChunked, method } = this.#request
    if (this.#client.hasEnded) return false
    return decoder === null ? method === 'PUT' : isChunked || this.#request.bytesIn < decoder.left
  }

  serviceDrained(): void {
    this.#client.resume()
  }

  /** Tunnels have no deadline of their own. */
  override timedOut(): void {}

  override drainTimedOut(): void {
    this.#close(false, 'drain-timeout')
  }

  isAllowed(policies: Policies): boolean {
    const { service, method } = this.#request
    return this.entry === null || isPermitted(policies.of(service ?? ''), method, this.entry.session.roles)
  }

  cut(why: ReasonName): void {
    this.#close(false, why, 'cut')
  }

  destroy(): void {
    this.#close(false, 'gateway-stopped')
  }

  /** @param isPolite whether what is on its way still goes out */
  #close(isPolite: boolean, why: ReasonName, outcome: Outcome = 'complete'): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#shared.holds.letGo(this)
    // A last request to xapi has ended as it had to.
    const isAsUsual = !this.#isSwitched && outcome === 'complete'
    this.#shared.journal.exchanged(this.#client.peer, this.#request, outcome, isAsUsual ? null : why)
    const connectionWhy = isAsUsual && why === BY_SERVICE ? 'last-request' : why
    if (isPolite) {
      this.#service.close(this.#shared.limits.bodyIdleTimeoutMs)
      this.#client.endSoon(connectionWhy)
    } else {
      this.#service.destroy()
      // The process that it came from may keep a copy for a moment, by which closing alone would not end it.
      const { fd } = this.#client.wire
      if (fd !== -1) endConnection(fd)
      this.#client.destroy(connectionWhy)
    }
  }

  #touch(): void {
    if (this.entry !== null) this.#shared.touch(this.entry)
  }
}

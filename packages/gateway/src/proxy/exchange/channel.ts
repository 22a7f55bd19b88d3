// A client's connection that was offered to a service, and passed to it: the gateway keeps a copy, from which it does not
// read, and a control connection to the service.
//
//   from       to         method
//   OFFERED    ACCEPTED   #accepted     the service has it; what it did with it comes in reports
//   ACCEPTED   OVER       moveAway      it goes on in another process, where it begins as ACCEPTED
//   OFFERED    OVER       #refused      refused, gone, or no service that knows channels: the client's connection is relayed after all
//   ACCEPTED   OVER       #finish       the service has closed the control connection: it is done, or has crashed
//   any        CUT        cut           the session has ended, the policy has changed, the gateway stops; last reports may come
//   CUT        OVER       #finish
//
// While OFFERED the client's connection still has every byte that was read, so that nothing is lost when it is relayed.

import { performance } from 'node:perf_hooks'
import { cutConnection, endConnection, type Report, ReportReader } from '@xengate/channel'
import { isPermitted, type Policies } from '../../model/policy.ts'
import type { ServiceCounters } from '../../metrics/counters.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import type { Wire, WireListener } from '../../transport/transport.ts'
import { DRAINING, SERVICE_SLOW } from '../heads/refusals.ts'
import type { ChannelSockets } from './channel-sockets.ts'
import type { Held } from './holds.ts'
import { clockMs, epochMs, type Move, type Moved, movedRequest, movedSession } from './moved.ts'
import { type About, type ChannelOutcome, type Client, Exchange, type Shared } from './ports.ts'
import type { Request } from './request.ts'

const STATE = { OFFERED: 0, ACCEPTED: 1, CUT: 2, OVER: 3 } as const

/** How long the last reports of a channel that was cut are waited for. */
const LAST_REPORT_MS = 1000

type MovedChannel = Extract<Moved, { kind: 'channel' }>

/** What was offered. */
export interface PassedConnection {
  /** Names the channel in logs. */
  readonly id: string
  readonly service: string
  readonly entry: SessionEntry
  /** The methods that were offered. */
  readonly methods: readonly string[]
  /** The request that came with the offer. */
  readonly request: Request
}

/** See the head of this file. */
export class Channel extends Exchange implements Held, WireListener {
  readonly wantsBytes = false
  override readonly holdsHead = true
  readonly admitsByItself = true
  readonly #passed: PassedConnection
  /** Counted by the service. */
  #requests = 0
  #bytesIn = 0
  #bytesOut = 0
  readonly #startedMs: number

  readonly #shared: Shared
  readonly #channels: ChannelSockets
  readonly #client: Client
  readonly #control: Wire
  readonly #reader: ReportReader
  #state: number = STATE.OFFERED
  /** Whether the service has the connection. */
  #isPassed = false
  #outcome: ChannelOutcome = 'complete'
  #why: string | null = null
  /** What ended it, for the counts of connections. */
  #endedBy: ReasonName = 'channel-over'

  /**
   * @param channels where services take connections
   * @param control the control connection of the offer, whose owner this is from now on
   * @param moved what it was in another process, where it was accepted; null when it begins
   */
  constructor(
    shared: Shared,
    channels: ChannelSockets,
    client: Client,
    control: Wire,
    passed: PassedConnection,
    moved: MovedChannel | null = null,
  ) {
    super()
    this.#startedMs = moved === null ? performance.now() : clockMs(moved.startedMs)
    this.#reader = new ReportReader(moved !== null)
    if (moved !== null) {
      this.#state = STATE.ACCEPTED
      this.#requests = moved.requests
      this.#bytesIn = moved.bytesIn
      this.#bytesOut = moved.bytesOut
    }
    this.#shared = shared
    this.#channels = channels
    this.#client = client
    this.#passed = passed
    this.#control = control
    control.listener = this
  }

  override start(): void {
    this.#client.expectWithin(this.#shared.limits.connectTimeoutMs)
    this.#shared.holds.hold(this)
    if (this.#state === STATE.ACCEPTED) this.#isAccepted(false)
  }

  override moveAway(move: Move): boolean {
    if (this.#state !== STATE.ACCEPTED || this.#reader.isWithinLine) return false
    if (this.#control.stop() && move(this.#control.fd, this.#moved)) {
      this.#leave()
      return true
    }
    this.#control.resume()
    return false
  }

  get #moved(): Moved {
    const { id, service, entry, methods, request } = this.#passed
    return {
      kind: 'channel',
      session: movedSession(entry),
      request: movedRequest(request),
      channel: id,
      service,
      methods,
      requests: this.#requests,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      startedMs: epochMs(this.#startedMs),
    }
  }

  /** The request that came with the offer. */
  get request(): Request {
    return this.#passed.request
  }

  override get about(): About {
    return { request: this.request, way: 'channel', channel: this.#passed.id }
  }

  get entry(): SessionEntry {
    return this.#passed.entry
  }

  /** Of the service, which is there: it has a socket for channels. */
  get #counters(): ServiceCounters {
    return this.#shared.counters.service(this.#passed.service)
  }

  isAllowed(policies: Policies, inForce: readonly string[]): boolean {
    const { service, entry, methods } = this.#passed
    const policy = policies.of(service)
    // The service judges by the methods that it was told: fewer may not be in force.
    return (
      policies.allowsChannel(policy) &&
      methods.every((method) => inForce.includes(method) && isPermitted(policy, method, entry.session.roles))
    )
  }

  /** The control connection's. */
  bytes(bytes: Buffer, from: number, to: number): boolean {
    for (const report of this.#reader.write(bytes.subarray(from, to))) this.#report(report)
    return false
  }

  drained(): void {}

  #report(report: Report): void {
    switch (report.kind) {
      case 'accepted':
        this.#accepted()
        break
      case 'refused':
        this.#refused(report.why)
        break
      case 'usage':
        this.#count(report)
        break
      case 'invalid':
        this.#fail(report.reason)
        break
    }
  }

  #accepted(): void {
    if (this.#state !== STATE.OFFERED) return
    this.#state = STATE.ACCEPTED
    this.#isAccepted(true)
  }

  /** @param isNew whether it was not accepted in another process before */
  #isAccepted(isNew: boolean): void {
    this.#isPassed = true
    this.#counters.channels(1, isNew)
    this.request.turn?.answered()
    this.request.turn?.end()
    this.#client.passed()
  }

  #refused(why: string | null): void {
    if (this.#state !== STATE.OFFERED) return
    this.#counters.channelRefused()
    this.#outcome = 'refused'
    this.#why = why
    this.#release()
    this.#client.again()
  }

  #count({ requests, bytesIn, bytesOut }: Extract<Report, { kind: 'usage' }>): void {
    this.#requests += requests
    this.#bytesIn += bytesIn
    this.#bytesOut += bytesOut
    this.#counters.used(requests, bytesIn, bytesOut)
    this.request.bytesIn += bytesIn
    this.request.bytesOut += bytesOut
    const isUse = requests > 0 || bytesIn > 0 || bytesOut > 0
    if (isUse && this.#state === STATE.ACCEPTED) this.#shared.touch(this.#passed.entry)
  }

  /** The service does not keep to the protocol. */
  #fail(why: string): void {
    if (this.#state === STATE.OFFERED) {
      // It may be a server that knows nothing of channels, and has not even seen that a connection came.
      this.#channels.avoid(this.#passed.service)
      this.#refused(why)
      return
    }
    this.#outcome = 'service-failed'
    this.#why = why
    this.#endedBy = 'channel-failed'
    cutConnection(this.#client.wire.fd)
    this.#finish()
  }

  ended(): void {
    if (this.#state === STATE.OFFERED) this.#refused(null)
    else this.#finish()
  }

  closed(): void {
    this.ended()
  }

  /** Ends the channel, for the client and the service at once; the last reports still count. */
  cut(why: ReasonName): void {
    if (this.#state === STATE.CUT || this.#state === STATE.OVER) return
    this.#state = STATE.CUT
    this.#outcome = 'cut'
    this.#why ??= why
    this.#endedBy = why
    cutConnection(this.#client.wire.fd)
    this.#control.end()
    this.#client.expectWithin(LAST_REPORT_MS)
  }

  /** Ends the channel and waits for nothing. */
  destroy(): void {
    this.cut('gateway-stopped')
    this.#finish()
  }

  #finish(): void {
    if (this.#state === STATE.OVER) return
    this.request.turn?.end()
    // A service may keep its descriptor, and nobody could take the connection from it once this copy is gone.
    endConnection(this.#client.wire.fd)
    this.#release()
    this.#client.destroy(this.#endedBy)
  }

  /** It is not this process's any more. */
  #leave(): void {
    if (this.#isPassed) this.#counters.channels(-1, false)
    this.#isPassed = false
    this.#state = STATE.OVER
    this.#control.destroy()
    this.#shared.holds.letGo(this)
  }

  /** The channel is over; the client's connection need not be. */
  #release(): void {
    this.#leave()
    const { id, service, entry } = this.#passed
    this.#shared.journal.channelled(this.#client.peer, {
      id,
      service,
      entry,
      outcome: this.#outcome,
      reason: this.#why,
      requests: this.#requests,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      startedMs: this.#startedMs,
    })
  }

  // ── what happens on the client's connection ──

  /** Our copy is gone, by whatever ended the connection here. */
  override clientClosed(why: ReasonName = 'client-closed'): void {
    this.cut(why)
    this.#finish()
  }

  /** The service has said nothing about the offer, or nothing more after the end. */
  override timedOut(): void {
    if (this.#state !== STATE.OFFERED) {
      this.#finish()
      return
    }
    // It may still take the connection, so that nobody else may answer on it but to say that this has failed.
    this.#outcome = 'service-failed'
    this.#why = 'it neither took nor refused the connection in time'
    this.#release()
    this.#client.refuse(SERVICE_SLOW, this.#passed.request)
  }

  override drainTimedOut(): void {
    if (this.#state !== STATE.OFFERED) {
      this.cut('drain-timeout')
      return
    }
    this.#outcome = 'cut'
    this.#release()
    this.#client.refuse(DRAINING, this.#passed.request)
  }
}

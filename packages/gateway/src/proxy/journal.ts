// What is told of requests and channels that are over: to the access log and the audit, to the counts, and to tasks of the XenAPI.

import { performance } from 'node:perf_hooks'
import { type Counters, type ServiceCounters, WAY, XAPI } from '../metrics/counters.ts'
import type { LimitHits } from '../metrics/limit-hits.ts'
import type { AccessFields, ChannelFields } from '../logging/access.ts'
import type { ReasonName } from '../model/reasons.ts'
import type { Session } from '../model/session.ts'
import type { Gates } from './admission/gates.ts'
import type { ChannelRecord, Journal, Outcome, Peer } from './exchange/ports.ts'
import type { Request } from './exchange/request.ts'
import type { Refusal } from './heads/refusals.ts'
import { Recent } from './recent.ts'

/** A task of the XenAPI whose request is over. */
export interface EndedTask {
  /** In whose name the request was made. */
  readonly session: Session
  readonly reference: string
  /** A code of the XenAPI's and its parameters; null when nothing failed. */
  readonly failure: readonly string[] | null
}

/** What is logged. */
export interface JournalSettings {
  /** Takes a line for each request; null when access is not logged. */
  readonly access: ((line: AccessFields) => void) | null
  /** Takes a line for each channel, at its end; null when access is not logged. */
  readonly channel: ((line: ChannelFields) => void) | null
}

/** What hears of requests that a limit or a service has failed. */
export interface JournalWatched {
  readonly limits: LimitHits
  readonly gates: Gates
}

/** Who is told. */
export interface JournalOptions extends JournalSettings {
  /** Told of tasks whose request is over; null when the gateway has no XenAPI. */
  readonly taskEnded: ((ended: EndedTask) => void) | null
}

/** Statuses of refusals that say that the service has a socket, here or on another host. */
const WITH_A_SOCKET: ReadonlySet<number> = new Set([302, 502, 504])
/** Those that say that it fails. */
const FAILURES: ReadonlySet<number> = new Set([502, 504])
const SWITCHING_PROTOCOLS = 101
/** See `#endOf`. */
const RELAYS_TIMED = 16

/** See the head of this file. */
export class RequestJournal implements Journal {
  #settings: JournalSettings
  readonly #taskEnded: JournalOptions['taskEnded']
  readonly recent: Recent = new Recent()
  readonly #counters: Counters
  readonly #watched: JournalWatched
  #untimed = 0

  constructor(counters: Counters, watched: JournalWatched, options: JournalOptions) {
    this.#counters = counters
    this.#watched = watched
    this.#settings = options
    this.#taskEnded = options.taskEnded
  }

  configure(settings: JournalSettings): void {
    this.#settings = settings
  }

  exchanged(peer: Peer, request: Request, outcome: Outcome, reason: ReasonName | null): void {
    const { access } = this.#settings
    const { id, status, firstByteMs, startedMs } = request
    if (request.task !== null) this.#endTask(request, status, outcome, reason)
    const ttfbMs = firstByteMs === 0 ? 0 : firstByteMs - startedMs
    const nowMs = this.#endOf(request)
    this.#count(request, outcome, reason, nowMs)
    request.endSpan(reason, nowMs)
    const hasFailed = outcome !== 'complete' || status >= 500
    if (access === null && !hasFailed) return
    const fields: AccessFields = {
      requestId: id,
      client: peer.address,
      caller: request.entry,
      service: request.service,
      method: known(request.method),
      path: known(request.path),
      status,
      outcome,
      reason,
      bytesIn: request.bytesIn,
      bytesOut: request.bytesOut,
      ttfbMs,
      totalMs: nowMs - startedMs,
    }
    if (hasFailed) this.recent.failed(fields, request.offence)
    else this.recent.answered(fields)
    access?.(fields)
  }

  /**
   * When a request is over. Reading a clock costs as much as half of all counts: where nobody logs it, a response that was complete in the
   * turn in which its head came is taken to have ended there, but for one in `RELAYS_TIMED`.
   */
  #endOf({ isPrompt, firstByteMs }: Request): number {
    if (!isPrompt || this.#settings.access !== null) return performance.now()
    return this.#untimed++ % RELAYS_TIMED === 0 ? performance.now() : firstByteMs
  }

  #count(request: Request, outcome: Outcome, reason: ReasonName | null, nowMs: number): void {
    const { counters, status, firstByteMs, startedMs, waitedMs, entry } = request
    request.turn?.end()
    if (counters === null) return
    request.counters = null
    if (entry !== null) entry.underWay--
    const isTunnel = status === SWITCHING_PROTOCOLS
    // What it waited for here is no time of the service.
    const ttfbMs = firstByteMs === 0 ? null : firstByteMs - startedMs - waitedMs
    const way = counters.name === XAPI ? WAY.FRONT : WAY.RELAY
    counters.ended(request.method, status, way, ttfbMs, isTunnel ? null : nowMs - startedMs)
    counters.passed(request.bytesIn, request.bytesOut)
    if (request.isPrompt && nowMs !== firstByteMs) this.#counters.observe(this.#counters.relay, nowMs - firstByteMs)
    if (reason !== null && outcome !== 'complete') counters.cut(reason)
  }

  refused(
    address: string,
    request: Request,
    refusal: Pick<Refusal, 'status' | 'code' | 'reason' | 'host' | 'limit'>,
    bytesOut: number,
  ): void {
    const { access } = this.#settings
    if (refusal.status === 200) {
      this.#counters.none.answered(request.method, refusal.status, WAY.OWN)
      return
    }
    if (request.task !== null) this.#endTask(request, refusal.status, 'refused', refusal.code)
    const { service, startedMs } = request
    // Nothing was asked on a connection that ends without an answer.
    if (refusal.status !== 0) this.#countRefused(request, refusal.status)
    this.#counters.refused(refusal.reason)
    if (refusal.limit !== undefined) this.#watched.limits.hit(refusal.limit)
    if (refusal.host !== undefined) this.#counters.count('xengate_redirects_total', refusal.host)
    const nowMs = performance.now()
    const elapsedMs = startedMs === 0 ? 0 : nowMs - startedMs
    request.status = refusal.status
    request.endSpan(refusal.reason, nowMs)
    const fields: AccessFields = {
      requestId: request.id,
      client: address,
      caller: request.entry,
      service,
      method: known(request.method),
      path: known(request.path),
      status: refusal.status,
      outcome: 'refused',
      reason: refusal.reason,
      bytesIn: request.bytesIn,
      bytesOut,
      ttfbMs: elapsedMs,
      totalMs: elapsedMs,
    }
    this.recent.failed(fields, request.offence)
    access?.(fields)
  }

  #countRefused(request: Request, status: number): void {
    const { counters, method, service, isForService, entry } = request
    counters?.gaveUp()
    if (counters !== null && entry !== null) entry.underWay--
    request.counters = null
    // Before the turn is over, which says nothing of the service.
    if (service !== null && entry !== null && FAILURES.has(status))
      this.#watched.gates.failed(service, request.turn, entry.session.user)
    request.turn?.end()
    const way = status === 302 ? WAY.REDIRECT : WAY.REFUSED
    const whose = counters ?? this.#whose(isForService ? service : null, status)
    whose.answered(method, status, way)
    whose.passed(request.bytesIn, 0)
  }

  /** Clients do not make up names that are kept: a service has counters of its own when its socket was there. */
  #whose(service: string | null, status: number): ServiceCounters {
    if (service === null) return this.#counters.none
    return WITH_A_SOCKET.has(status) ? this.#counters.service(service) : this.#counters.known(service)
  }

  channelled(peer: Peer, { id, entry, startedMs, ...rest }: ChannelRecord): void {
    this.#settings.channel?.({
      channel: id,
      client: peer.address,
      caller: entry,
      ...rest,
      totalMs: performance.now() - startedMs,
    })
  }

  #endTask({ task, entry }: Request, status: number, outcome: Outcome, reason: string | null): void {
    const failure = taskFailure(status, outcome, reason)
    if (task === null || entry === null || failure === undefined) return
    this.#taskEnded?.({ session: entry.session, reference: task, failure })
  }
}

function known(text: string): string | null {
  return text === '' ? null : text
}

/** What a request that ended so says of its task; undefined when the task goes on: the client is sent elsewhere. */
function taskFailure(status: number, outcome: Outcome, reason: string | null): EndedTask['failure'] | undefined {
  // xapi's own word, which Xen Orchestra expects of streams whose length it does not know, and passes over.
  if (outcome === 'client-gone' || outcome === 'client-failed' || reason === 'body-truncated')
    return ['VDI_IO_ERROR', reason ?? 'the client has gone']
  if (status >= 300 && status < 400) return undefined
  if (outcome === 'complete' && status < 300) return null
  return ['REQUEST_FAILED', String(status), reason ?? outcome]
}

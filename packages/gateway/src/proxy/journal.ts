// What is told of requests and channels that are over: to the access log and the audit, to the counts, and to tasks of the XenAPI.

import { performance } from 'node:perf_hooks'
import type { AccessFields, ChannelFields } from '../logging/access.ts'
import type { Session } from '../model/session.ts'
import type { ChannelRecord, Journal, Outcome, Peer } from './exchange/ports.ts'
import type { Request } from './exchange/request.ts'
import type { Refusal } from './heads/refusals.ts'
import type { Tally } from './tally.ts'

/** A task of the XenAPI whose request is over. */
export interface EndedTask {
  /** In whose name the request was made. */
  readonly session: Session
  readonly reference: string
  /** A code of the XenAPI's and its parameters; null when nothing failed. */
  readonly failure: readonly string[] | null
}

/** Who is told. */
export interface JournalOptions {
  /** Takes a line for each request; null when access is not logged. */
  readonly access: ((line: AccessFields) => void) | null
  /** Takes a line for each channel, at its end; null when access is not logged. */
  readonly channel: ((line: ChannelFields) => void) | null
  /** Told of tasks whose request is over; null when the gateway has no XenAPI. */
  readonly taskEnded: ((ended: EndedTask) => void) | null
}

/** Statuses of refusals that say that the service has a socket. */
const WITH_A_SOCKET: ReadonlySet<number> = new Set([502, 504])

/** See the head of this file. */
export class RequestJournal implements Journal {
  readonly #options: JournalOptions
  readonly #tally: Tally

  constructor(tally: Tally, options: JournalOptions) {
    this.#tally = tally
    this.#options = options
  }

  exchanged(peer: Peer, request: Request, outcome: Outcome, reason: string | null): void {
    const { access } = this.#options
    const { id, status, firstByteMs, startedMs } = request
    if (request.task !== null) this.#endTask(request, status, outcome, reason)
    const ttfbMs = firstByteMs === 0 ? 0 : firstByteMs - startedMs
    const isError = status >= 500 || outcome === 'service-failed' || outcome === 'gateway-failed'
    this.#tally.relayed(request.isForService ? request.service : null, isError, firstByteMs === 0 ? null : ttfbMs)
    if (access === null) return
    access({
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
      totalMs: performance.now() - startedMs,
    })
  }

  refused(
    address: string,
    request: Request,
    refusal: Pick<Refusal, 'status' | 'code' | 'reason'>,
    bytesOut: number,
  ): void {
    const { access } = this.#options
    if (request.task !== null) this.#endTask(request, refusal.status, 'refused', refusal.code)
    const { service, isForService, startedMs } = request
    // Nothing was asked on a connection that ends without an answer.
    if (refusal.status !== 0) {
      this.#tally.refused(isForService ? service : null, refusal.status, WITH_A_SOCKET.has(refusal.status))
    }
    if (access === null) return
    const elapsedMs = startedMs === 0 ? 0 : performance.now() - startedMs
    access({
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
    })
  }

  channelled(peer: Peer, { id, entry, startedMs, ...rest }: ChannelRecord): void {
    this.#options.channel?.({
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
    this.#options.taskEnded?.({ session: entry.session, reference: task, failure })
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

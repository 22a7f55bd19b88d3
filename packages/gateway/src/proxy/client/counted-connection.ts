// What is counted of a client's connection, and told of it to who asks what goes on.

import { pathForLog } from '../../logging/access.ts'
import {
  CLIENT,
  CLIENT_STATES,
  type ClientState,
  type Counters,
  type ListenerCounters,
} from '../../metrics/counters.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { About, Peer } from '../exchange/ports.ts'
import type { ConnectionRecord, RequestRecord } from '../records.ts'

/** Connections that were made in this process. */
let connections = 0

/** See the head of this file. */
export abstract class CountedConnection {
  readonly #number: number = connections++
  readonly #sinceMs: number
  readonly #counters: Counters
  readonly #listener: ListenerCounters
  /** As what it is counted now; null when it has ended. */
  #state: ClientState | null = null
  /** What ends it: of all that does the first; null as long as it goes on. */
  #why: ReasonName | null = null
  /** When a head began that did not come whole, by `performance.now`; 0 while there is none. */
  #headMs = 0

  /** @param listener counters of where it came. @param nowMs on the gateway's clock */
  constructor(counters: Counters, listener: ListenerCounters, nowMs: number) {
    this.#counters = counters
    this.#listener = listener
    this.#sinceMs = nowMs
    this.countAs(CLIENT.IDLE)
  }

  protected countAs(state: ClientState | null): void {
    this.#listener.connectionIs(state, this.#state)
    this.#state = state
  }

  /** Notes what ends the connection. */
  protected endsBy(why: ReasonName): void {
    this.#why ??= why
  }

  /** Name of the listener that it came by. */
  get listenerName(): string {
    return this.#listener.name
  }

  /** The connection has ended. @param isGiven whether another process has it: then it goes on. @returns what ended it */
  protected countEnd(isGiven: boolean): ReasonName {
    this.countAs(null)
    const why = this.#why ?? 'client-closed'
    if (!isGiven) this.#listener.closed(why)
    return why
  }

  /** A head has begun, and is not whole. */
  protected headBegan(): void {
    this.#headMs = performance.now()
  }

  /** A head is whole; most come so. */
  protected headRead(): void {
    if (this.#headMs === 0) this.#counters.cells[this.#counters.read]! += 1
    else this.#counters.observe(this.#counters.read, performance.now() - this.#headMs)
    this.#headMs = 0
  }

  /** Names it among all connections of the gateway's workers. */
  get id(): string {
    return `${process.pid}-${this.#number.toString(36)}`
  }

  protected recordOf({ address, port, proto }: Peer, about: Readonly<About> | undefined): ConnectionRecord {
    return {
      id: this.id,
      listener: this.#listener.name,
      state: CLIENT_STATES[this.#state ?? CLIENT.ENDING],
      client: address,
      port,
      proto,
      sinceMs: performance.timeOrigin + this.#sinceMs,
      request: about === undefined ? null : requestRecord(about),
    }
  }
}

function requestRecord({ request, way, channel }: Readonly<About>): RequestRecord {
  const { id, startedMs, service, method, path, entry, status, bytesIn, bytesOut } = request
  return {
    id,
    sinceMs: performance.timeOrigin + startedMs,
    service,
    way,
    channel,
    method,
    path: pathForLog(path),
    user: entry === null ? null : entry.session.user,
    session: entry === null ? null : entry.session.uuid,
    status,
    bytesIn,
    bytesOut,
  }
}

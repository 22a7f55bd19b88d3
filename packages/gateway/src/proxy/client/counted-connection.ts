// What is counted of a client's connection, and told of it to who asks what goes on.

import { randomBytes } from 'node:crypto'
import { pathForLog } from '../../logging/access.ts'
import {
  CLIENT,
  CLIENT_STATES,
  type ClientState,
  type Counters,
  type ListenerCounters,
} from '../../metrics/counters.ts'
import type { ReasonName } from '../../model/reasons.ts'
import { clockMs, epochMs } from '../exchange/moved.ts'
import type { About, Peer } from '../exchange/ports.ts'
import type { ConnectionRecord, RequestRecord } from '../records.ts'

/** By what a connection is known, wherever it is. */
export interface Named {
  readonly id: string
  /** In milliseconds since the epoch. */
  readonly sinceMs: number
}

/** The process where a connection came; with something random, since process ids come again while connections go on elsewhere. */
const ID_PREFIX = `${process.pid}-${randomBytes(2).toString('hex')}`
/** Connections that were made in this process. */
let connections = 0

/** See the head of this file. */
export abstract class CountedConnection {
  readonly #number: number = connections++
  /** The id that it came with; null of one that was made here. */
  readonly #givenId: string | null
  readonly #sinceMs: number
  readonly #counters: Counters
  readonly #listener: ListenerCounters
  /** As what it is counted now; null when it has ended. */
  #state: ClientState | null = null
  /** What ends it: of all that does the first; null as long as it goes on. */
  #why: ReasonName | null = null
  /** When a head began that did not come whole, by `performance.now`; 0 while there is none. */
  #headMs = 0

  /**
   * @param listener counters of where it came
   * @param nowMs on the gateway's clock
   * @param named as what another process has given it; null of one that is new
   */
  constructor(counters: Counters, listener: ListenerCounters, nowMs: number, named: Named | null) {
    this.#counters = counters
    this.#listener = listener
    this.#givenId = named?.id ?? null
    this.#sinceMs = named === null ? nowMs : clockMs(named.sinceMs)
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
    return this.#givenId ?? `${ID_PREFIX}${this.#number.toString(36)}`
  }

  /** By what another process goes on to know it. */
  protected get named(): Named {
    return { id: this.id, sinceMs: epochMs(this.#sinceMs) }
  }

  protected recordOf({ address, port, proto }: Peer, about: Readonly<About> | undefined): ConnectionRecord {
    return {
      id: this.id,
      listener: this.#listener.name,
      state: CLIENT_STATES[this.#state ?? CLIENT.ENDING],
      client: address,
      port,
      proto,
      sinceMs: epochMs(this.#sinceMs),
      request: about === undefined ? null : requestRecord(about),
    }
  }
}

function requestRecord({ request, way, channel }: Readonly<About>): RequestRecord {
  const { id, startedMs, service, method, path, entry, status, bytesIn, bytesOut } = request
  return {
    id,
    sinceMs: epochMs(startedMs),
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

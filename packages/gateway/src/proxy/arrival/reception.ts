// Where connections come: the listeners, what is made of what they accept, and who is turned away before anything of a request is read.

import { type Counters, CLIENT, ListenerCounters } from '../../metrics/counters.ts'
import type { LimitHits } from '../../metrics/limit-hits.ts'
import type { LimitsConfig } from '../../model/limits.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { Handle } from '../../transport/net/handle.ts'
import { listenForHandles } from '../../transport/net/transport.ts'
import { type ListenAt, type Listening, NO_DESCRIPTORS, type Transport, type Wire } from '../../transport/transport.ts'
import type { Clock } from '../clock.ts'
import type { Journal, Peer } from '../exchange/ports.ts'
import { Request } from '../exchange/request.ts'
import { ADDRESS_BUSY, CONNECTIONS_BUSY, PLAIN_ON_TLS, type Refusal, refusalResponse } from '../heads/refusals.ts'
import { type Arrival, type ArrivalFault, type ArrivalListener, ArrivedPeer, type ListenerTraits } from './arrival.ts'
import { HeaderArrival } from './header-arrival.ts'
import { LastWords } from './last-words.ts'
import { TlsArrival } from './tls-arrival.ts'
import type { TlsCredentials } from './tls-credentials.ts'

/** Connections beyond the limit that are told so, and waited for until they have read it. */
const REFUSING_MAX = 64

/** A client that a connection has become. */
interface Served {
  /** Takes what has come beyond the connection's header. */
  bytes(bytes: Buffer, from: number, to: number): boolean
}

/** What a reception needs of its gateway. */
export interface ReceptionContext {
  readonly limits: LimitsConfig
  readonly clock: Clock & { wake(): void }
  readonly counters: Counters
  readonly journal: Journal
  /** Clients' connections. */
  readonly connections: number
  /** Whether clients of this address have as many connections as one address may. */
  hasEnough(address: string): boolean
  /** A connection of this address, which is no client's yet, has come, or with -1 is none any more. */
  countAddress(address: string, more: 1 | -1): void
  /** A connection is there: looks whether there is too much of something. */
  opening(): void
  /** Makes a client of a connection. */
  serve(wire: Wire, peer: Peer, counted: ListenerCounters): Served
  /** A connection that has not become a client is gone. */
  left(): void
  nextRequestId(): string
  problem(event: string, code: string): void
}

/** A listener: what is made of its connections, and where they are counted. */
export interface KnownListener {
  readonly traits: ListenerTraits
  readonly counted: ListenerCounters
  /** Null before it listens. */
  listening: Listening | null
}

/** See the head of this file. */
export class Reception {
  readonly #context: ReceptionContext
  readonly #transport: Transport
  readonly #limitHits: LimitHits
  readonly #listeners = new Map<string, KnownListener>()
  /** Those of the listeners, and of listeners whose name another has taken. */
  readonly #listenings = new Set<Listening>()
  /** Connections that are not a client's yet, and those that are being refused. */
  readonly #arrivals = new Set<Arrival>()
  /** Addresses of those that count among what their address has, although they are not secured yet. */
  readonly #counted = new Map<Arrival, string>()
  /** How many of these were refused because there were too many. */
  #refusing = 0

  constructor(context: ReceptionContext, transport: Transport, limitHits: LimitHits) {
    this.#context = context
    this.#transport = transport
    this.#limitHits = limitHits
  }

  /** Connections that are no client's. */
  get size(): number {
    return this.#arrivals.size
  }

  /** The listener of this name, if connections are taken there, or were until the gateway stopped. */
  listener(name: string): KnownListener | undefined {
    return this.#listeners.get(name)
  }

  /** Resolves with the port when it listens, 0 for a Unix socket. @param isClosed whether it listens no more by then */
  async listen(at: ListenAt, traits: ListenerTraits, isClosed: () => boolean): Promise<number> {
    const failed = (code: string): void => {
      if (NO_DESCRIPTORS.has(code)) this.#limitHits.hit('descriptors')
      this.#context.problem('accept-failed', code)
    }
    const { tls } = traits
    const counted = new ListenerCounters(this.#context.counters, traits.name)
    const known: KnownListener = { traits, counted, listening: null }
    this.#listeners.set(traits.name, known)
    const listening = await (tls === null
      ? this.#transport.listen(at, { accepted: (wire) => this.#accept(wire, traits, counted), failed })
      : listenForHandles(at, { accepted: (handle) => this.#acceptSecure(handle, tls, traits, counted), failed }))
    known.listening = listening
    this.#listenings.add(listening)
    if (isClosed()) listening.close()
    return listening.port
  }

  /** Listens no more at a listener whose socket nobody else listens on: what waits there is taken first. @returns whether there was one */
  unlisten(name: string): boolean {
    const known = this.#listeners.get(name)
    if (known === undefined) return false
    if (known.listening !== null) {
      known.listening.finish()
      this.#listenings.delete(known.listening)
    }
    return this.#listeners.delete(name)
  }

  /** Listens no more. @param isLast whether nobody else listens on these sockets: then what waits there is taken first */
  close(isLast: boolean): void {
    for (const listening of this.#listenings) {
      if (isLast) listening.finish()
      else listening.close()
    }
  }

  /** Lets what comes wait in the kernel. */
  pause(): void {
    for (const listening of this.#listenings) listening.pause()
  }

  resume(): void {
    for (const listening of this.#listenings) listening.resume()
  }

  sweep(nowMs: number): void {
    for (const arrival of this.#arrivals) arrival.sweep(nowMs)
  }

  /** The gateway stops: a client that has said nothing is let go, another has until `deadlineMs`. */
  hasten(deadlineMs: number): void {
    for (const arrival of this.#arrivals) arrival.hasten(deadlineMs)
  }

  destroy(): void {
    this.close(false)
    for (const arrival of this.#arrivals) arrival.destroy()
    this.#arrivals.clear()
  }

  get #isBusy(): boolean {
    return this.#context.connections + this.#arrivals.size - this.#refusing >= this.#context.limits.connections
  }

  /** By when an arrival has to be a client. */
  get #deadlineMs(): number {
    return this.#context.clock.nowMs + this.#context.limits.headTimeoutMs
  }

  #accept(wire: Wire, traits: ListenerTraits, counted: ListenerCounters): void {
    this.#context.opening()
    if (this.#isBusy) this.#refuseBusy(CONNECTIONS_BUSY, wire.source?.address ?? '', wire, counted)
    else if (!traits.hasProxyHeader && traits.greetings === null) {
      this.#serve(wire, new ArrivedPeer(wire, null, false, traits.canPass), counted)
    } else {
      const listener = this.#listenerOf(() => arrival, counted)
      const arrival: Arrival = new HeaderArrival(wire, traits, this.#deadlineMs, listener)
      this.#await(arrival, counted)
    }
  }

  #acceptSecure(
    handle: Handle,
    tls: TlsCredentials,
    { hasProxyHeader }: ListenerTraits,
    counted: ListenerCounters,
  ): void {
    this.#context.opening()
    const isBusy = this.#isBusy
    const listener = this.#listenerOf(() => arrival, counted)
    const arrival: TlsArrival = new TlsArrival(handle, tls, hasProxyHeader, this.#deadlineMs, {
      arrived: (wire, peer, rest) => {
        this.#uncount(arrival)
        listener.arrived(wire, peer, rest)
      },
      failed: (fault, address) => {
        this.#uncount(arrival)
        listener.failed(fault, address)
      },
      refusedPlain: (address, wire) => {
        this.#uncount(arrival)
        this.#forget(arrival, counted, null)
        this.#refuse(PLAIN_ON_TLS, address, wire, counted, true, () => {})
      },
    })
    // Behind a proxy it is nobody's address yet.
    const hasEnough = !hasProxyHeader && this.#context.hasEnough(arrival.address)
    // A client could not read a refusal before it is secured.
    if (isBusy || hasEnough) {
      const { address } = arrival
      arrival.destroy()
      this.#closeBusy(hasEnough ? ADDRESS_BUSY : CONNECTIONS_BUSY, address, counted)
      return
    }
    if (!hasProxyHeader) {
      this.#counted.set(arrival, arrival.address)
      this.#context.countAddress(arrival.address, 1)
    }
    this.#await(arrival, counted)
  }

  /** It is a client, and counted as such, or none. */
  #uncount(arrival: Arrival): void {
    const address = this.#counted.get(arrival)
    if (address === undefined) return
    this.#counted.delete(arrival)
    this.#context.countAddress(address, -1)
  }

  /** Makes a client of `arrival`, or has its end logged. */
  #listenerOf(arrival: () => Arrival, counted: ListenerCounters): ArrivalListener {
    return {
      arrived: (wire, peer, rest) => {
        // In this order: a gateway that drains is done when it has neither.
        const served = this.#serve(wire, peer, counted)
        this.#forget(arrival(), counted, null)
        if (rest.length > 0) served?.bytes(rest, 0, rest.length)
      },
      failed: (fault, address) => {
        this.#forget(arrival(), counted, fault ?? 'client-closed')
        if (fault !== null) this.#logFault(address, fault)
      },
    }
  }

  /** Makes a client of what has arrived, unless its address has as many as one may. */
  #serve(wire: Wire, peer: Peer, counted: ListenerCounters): Served | null {
    if (!this.#context.hasEnough(peer.address)) return this.#context.serve(wire, peer, counted)
    this.#refuseBusy(ADDRESS_BUSY, peer.address, wire, counted)
    return null
  }

  /** A connection is closed without a word, since there are too many. */
  #closeBusy(refused: Refusal, address: string, counted: ListenerCounters): void {
    const request = new Request(this.#context.nextRequestId(), 0)
    this.#context.journal.refused(address, request, { ...refused, status: 0 }, 0)
    counted.closed(refused.reason)
  }

  #refuseBusy(refused: Refusal, address: string, wire: Wire, counted: ListenerCounters): void {
    // Each takes a descriptor, as one that is served does: past these they are told, and not waited for.
    const lingers = this.#refusing < REFUSING_MAX
    this.#refusing++
    this.#refuse(refused, address, wire, counted, lingers, () => this.#refusing--)
  }

  /** Answers a connection of which nothing was read as a request. */
  #refuse(
    refused: Refusal,
    address: string,
    wire: Wire,
    counted: ListenerCounters,
    lingers: boolean,
    closed: () => void,
  ): void {
    const { journal, clock } = this.#context
    const request = new Request(this.#context.nextRequestId(), 0)
    const text = refusalResponse(refused, {
      requestId: request.id,
      accept: undefined,
      isToHead: false,
      connectionLine: 'Connection: close\r\n',
      // It may speak another protocol than the client does, or take no more of its connections.
      hasPages: false,
      nowMs: Date.now(),
    })
    journal.refused(address, request, refused, refused.text.length + 1)
    const words: LastWords = new LastWords(wire, text, lingers, clock.nowMs, () => {
      closed()
      this.#forget(words, counted, refused.reason)
    })
    this.#await(words, counted)
  }

  /** Logs a connection that was closed before anything was asked on it. */
  #logFault(address: string, fault: ArrivalFault): void {
    const request = new Request(this.#context.nextRequestId(), 0)
    this.#context.journal.refused(address, request, { status: 0, code: fault, reason: fault }, 0)
  }

  #await(arrival: Arrival, counted: ListenerCounters): void {
    this.#context.clock.wake()
    this.#arrivals.add(arrival)
    counted.connectionIs(CLIENT.ARRIVING, null)
  }

  /** @param why the connection has ended; null when it goes on as something else */
  #forget(arrival: Arrival, counted: ListenerCounters, why: ReasonName | null): void {
    if (!this.#arrivals.delete(arrival)) return
    counted.connectionIs(null, CLIENT.ARRIVING)
    if (why !== null) counted.closed(why)
    this.#context.left()
  }
}

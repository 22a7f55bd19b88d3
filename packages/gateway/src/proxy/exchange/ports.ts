// What meets at a client's connection: the connection itself, the exchange that it is given to while a request is under way, and the
// handler that makes one of each head. Each knows the others by these types alone.

import type { FieldLines, RequestHead, ResponseHead } from '@xengate/http1'
import { CLIENT, type ClientState, type Counters } from '../../metrics/counters.ts'
import type { LimitsConfig } from '../../model/limits.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import type { Ends, Wire } from '../../transport/transport.ts'
import type { Clock } from '../clock.ts'
import type { Refusal } from '../heads/refusals.ts'
import type { Repeated } from '../heads/repeated.ts'
import type { RequestRecord } from '../records.ts'
import type { ServicePool } from '../upstream/pool.ts'
import type { Holds } from './holds.ts'
import type { Move } from './moved.ts'
import type { Request } from './request.ts'

/** Who a client is: known when its connection has arrived, and the same for all of its requests. */
export interface Peer {
  /** Address and port of the client, as a TLS proxy in front told or the system has them; empty and 0 on a Unix socket. */
  readonly address: string
  readonly port: number
  /** Both ends of its connection, where they are known. */
  readonly ends: Ends | null
  /** The same, where a header told them. */
  readonly told: Ends | null
  /** By what the client came. */
  readonly proto: 'http' | 'https'
  /** `X-Forwarded-For` and `X-Forwarded-Proto`, each with its CRLF. */
  readonly forwardedLines: string
  /** Whether its connection may be passed to services: what is written to it is the client's own bytes, and it came by a listener. */
  readonly canPass: boolean
  readonly repeated: Repeated
  /**
   * The lines that tell a service who calls and by which way, each with its CRLF: those of the session, and `X-Forwarded-*`.
   * @param host that the request is for, if it says
   */
  callerLines(entry: SessionEntry, host: string | undefined): string
}

/** What an exchange is about. */
export interface About {
  readonly request: Request
  readonly way: RequestRecord['way']
  /** The channel's id. */
  readonly channel: string | null
}

/** Hears what happens on a client's connection while it owns it; what it does not care for it leaves as it is here. */
export abstract class Exchange {
  /** Whether it takes bytes of the client now. What it does not take is kept for the next request. */
  abstract readonly wantsBytes: boolean
  /** Whether the head that it was made of is kept, to be read and decided on again. */
  readonly holdsHead: boolean = false
  /** Bytes that are kept unread, the head that it holds among them, before no more are read: who reads on hears when the client ends. */
  readonly unreadBytesMax: number = 0
  /** As what the connection is counted that it is given to. */
  readonly countedAs: ClientState = CLIENT.ACTIVE

  /** Begins; called once, when the connection is the exchange's. */
  abstract start(): void

  /**
   * Takes bytes of the client, borrowed until this returns.
   * @returns the offset of the first byte that is not taken
   */
  clientBytes(_bytes: Buffer, from: number, _to: number): number {
    return from
  }

  /** All that came is given: write what was gathered of it. */
  flush(): void {}

  /** The client will send no more. */
  clientEnded(): void {}

  /** Goes on in another process, with the client's connection, if it can now; then it is over here. @returns whether it does */
  moveAway(_move: Move): boolean {
    return false
  }

  /** The client's connection is gone. @param why the client's doing, unless it is said otherwise */
  abstract clientClosed(why?: ReasonName): void

  /** What is under way, by which way, for who asks what goes on. */
  abstract readonly about: Readonly<About>

  /** What was written to the client has gone out: write on. */
  clientDrained(): void {}

  /** The client takes what is written to it more slowly than it has to. */
  clientTooSlow(): void {}

  /** Called at each sweep. */
  swept(_nowMs: number): void {}

  /** The connection's deadline has passed. */
  abstract timedOut(): void

  /** The gateway stops now. */
  abstract drainTimedOut(): void

  /** The session under which the exchange is cut when it ends; null for what is held to its session by itself, and what outlives it. */
  get cutsWith(): SessionEntry | null {
    return null
  }

  /** The session of `cutsWith` has ended. */
  cutWithSession(): void {}
}

/** A client's connection, as an exchange knows it. */
export interface Client {
  readonly wire: Wire
  readonly peer: Peer
  /** Whether the client has ended its side and everything that it sent is taken. */
  readonly hasEnded: boolean
  /** What has come behind the head that the exchange holds; borrowed until the exchange is told of more. */
  readonly unread: Buffer
  /** Whether it belongs to `exchange`. */
  isIn(exchange: Exchange): boolean
  /** Stops reading until `resume`: the exchange cannot take more. */
  pause(): void
  resume(): void
  /** The same as `pause`, at once: what is not read yet stays in the kernel. @returns whether that can be done now */
  stop(): boolean
  /** Sets the deadline after which the exchange is told, in milliseconds from now, or on the gateway's clock. */
  expectWithin(ms: number): void
  expectBy(deadlineMs: number): void
  /** Goes on with `next`, which is started. */
  become(next: Exchange): void
  /**
   * The response to `request` is complete.
   * @param keeps whether the client was told that its connection stays open
   * @param isLast whether the client said that this request is its last, and the response was short
   * @param isBodyComing whether more of the request's body is coming, which is to be dropped
   */
  done(request: Request, keeps: boolean, isLast: boolean, isBodyComing: boolean): void
  /** Answers `request` by a refusal, of which nothing has gone out; whatever owned the connection is done with it. */
  refuse(refusal: Refusal, request: Request): void
  /**
   * Whether the connection can go on after an answer to `request`: what still comes of the body is certain to come, and either taken
   * by the service or short.
   * @param isBodyComing whether some of the body is still to come
   * @param readsOn whether the service takes it
   */
  canKeep(request: Request, isBodyComing: boolean, readsOn: boolean): boolean
  /** Decides again on the head that the exchange holds. */
  again(): void
  /** The connection, with all that was read from it, is a service's now. */
  passed(): void
  /** Ends the connection after what is written has gone out. @param why which is what is counted, of all that are given the first */
  endSoon(why: ReasonName): void
  /** Ends it by a reset: an orderly end could make a response look complete. */
  cut(why: ReasonName): void
  /** Ends it now. */
  destroy(why: ReasonName): void
}

/** Makes an exchange of a request's head. */
export interface Handler {
  /**
   * @param head a complete head, whose parser serves the next one after this
   * @param before the exchange that held this head until now; null when it is seen for the first time
   * @returns the exchange that the connection belongs to from now on, to be started; null when the request was refused
   */
  handle(head: RequestHead, client: Client, before: Exchange | null): Exchange | null
}

/** How an exchange ended, for the access log. */
export type Outcome =
  | 'complete'
  | 'refused'
  | 'cut'
  | 'client-gone'
  | 'client-failed'
  | 'service-failed'
  | 'gateway-failed'

/** How a channel ended, for the log. */
export type ChannelOutcome = 'complete' | 'refused' | 'cut' | 'service-failed'

/** What is told of a channel that is over. */
export interface ChannelRecord {
  /** Names the channel in logs. */
  readonly id: string
  readonly service: string
  readonly entry: SessionEntry
  readonly outcome: ChannelOutcome
  readonly reason: string | null
  /** As the service counted them: requests that it answered, bytes from the client and to it. */
  readonly requests: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** When it was offered, by `performance.now`. */
  readonly startedMs: number
}

/** Is told of all that is over. */
export interface Journal {
  /** A request that was relayed. */
  exchanged(peer: Peer, request: Request, outcome: Outcome, reason: ReasonName | null): void
  /** A request that was refused. @param bytesOut bytes of the refusal's body */
  refused(
    address: string,
    request: Request,
    refusal: Pick<Refusal, 'status' | 'code' | 'reason' | 'host' | 'limit'>,
    bytesOut: number,
  ): void
  channelled(peer: Peer, record: ChannelRecord): void
}

/** What the exchanges of one worker share. */
export interface Shared {
  readonly limits: LimitsConfig
  readonly clock: Clock
  readonly pool: ServicePool
  readonly holds: Holds
  readonly journal: Journal
  readonly counters: Counters
  /** One parser serves every connection: what it says is used within the turn. */
  readonly responseHead: ResponseHead
  readonly trailerLines: FieldLines
  /** Notes activity of a session. */
  touch(entry: SessionEntry): void
}

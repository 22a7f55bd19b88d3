// What the primary and a worker say to each other, over the IPC channel that Node.js makes with the process.

import type { Passage } from '@xengate/channel'
import type { Config } from '../config/config.ts'
import type { OverloadState } from '../model/overload.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { Question, Told } from './control/questions.ts'
import type { EndedTask } from '../proxy/journal.ts'
import type { TlsPair } from '../transport/tls-pair.ts'
import type { Forgetting } from '../sessions/authority.ts'
import type { Session } from '../model/session.ts'

/** How often the primary says that it is there, in milliseconds at most: more often would cost an idle host more than it tells. */
const ALIVE_INTERVAL_MS = 1250
/** And in which part of `stale-grace` at least. */
const ALIVE_PARTS = 4

/** How often it is proved that the authority is heard: so often that a busy process is not taken for a dead one. */
export function aliveIntervalMs(staleGraceMs: number): number {
  return Math.min(ALIVE_INTERVAL_MS, staleGraceMs / ALIVE_PARTS)
}

/** A clock that does not go back, in milliseconds; every process of the machine reads the same. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}

/** Which connections those who go on take from those who give way. */
export interface Takes {
  /** Names of listeners: of these those on which nothing is asked. */
  readonly listeners: readonly string[]
  /** And those with a channel or a tunnel. */
  readonly takesUnderWay: boolean
}

/** None. */
export const TAKES_NOTHING: Takes = Object.freeze({ listeners: [], takesUnderWay: false })

/** From the primary to a worker. */
export type ToWorker =
  /** The first message: what to serve, and the inherited descriptors of the listening sockets. */
  | {
      readonly type: 'start'
      readonly config: Config
      readonly listenFds: readonly number[]
      /** Of the memory that it counts in. */
      readonly countersFd: number
      /** Certificates and keys of the listeners, in their order; null where there is no TLS. */
      readonly tls: readonly (TlsPair | null)[]
      /** Socket of the XenAPI endpoint; null when there is none. */
      readonly xenapiPath: string | null
      /** Where services are on other hosts. */
      readonly places: ServiceChanges
      /** xapi's reference of this host; null while, or where, that is not known. */
      readonly ownHost: string | null
      /** The socket where services bring back requests: its inherited descriptor, and its path. */
      readonly returnFd: number
      readonly returnPath: string
      /** Key of what they say there of themselves, in hexadecimal digits. */
      readonly returnKey: string
      /** Where workers give connections on which nothing is asked to newer ones, and where these take them. */
      readonly passage: Passage
      /** Whether another daemon gets it when the primary dies. */
      readonly isPassageKept: boolean
      readonly isOutOfService: boolean
      /** Where listening sockets are taken that the primary gives while the worker runs. */
      readonly socketsFd: number
    }
  /** The answer to `find`: the session, null when there is none, `unavailable` when nobody can tell. */
  | { readonly type: 'found'; readonly id: string; readonly session: Session | null | 'unavailable' }
  /** These sessions are over; to be confirmed with the same number. */
  | { readonly type: 'ended'; readonly ending: number; readonly uuids: readonly string[] }
  /** Ask about these sessions again before admitting them. */
  | { readonly type: 'forgotten'; readonly uuids: readonly string[]; readonly why: Forgetting }
  /**
   * What of a newer configuration is taken while the worker runs; what it no longer allows is ended. To be confirmed with the same
   * number. `tls`: as at the start. `opened`: places of the listeners that are new or others than they were, whose sockets were given in this
   * order; those that are not in the list are closed.
   */
  | {
      readonly type: 'configure'
      readonly change: number
      readonly config: Config
      readonly tls: readonly (TlsPair | null)[]
      readonly opened: readonly number[]
      readonly places: ServiceChanges
    }
  /** Another certificate and key for the listener of this name. To be confirmed as a configuration is, by a number of the same row. */
  | { readonly type: 'tls'; readonly change: number; readonly listener: string; readonly pair: TlsPair }
  /** A sign of life is wanted: `here`. */
  | { readonly type: 'are-you-there' }
  /** To be answered by `told`, with the same number. */
  | { readonly type: 'asked'; readonly question: number; readonly asked: Question }
  /** Somebody listens to the log's events, or nobody does any more. */
  | { readonly type: 'watched'; readonly isWatched: boolean }
  /** Places of services have changed. */
  | { readonly type: 'places'; readonly changes: ServiceChanges }
  /** xapi's reference of this host is known. */
  | { readonly type: 'own-host'; readonly ref: string }
  /** The primary is there, and tells of endings: of all that the authority had before this moment, on `monotonicMs`. */
  | { readonly type: 'alive'; readonly provenMs: number }
  /**
   * Take no more connections, finish, and exit. `closesIdle`: nobody else takes connections either, so that those on which nothing is
   * asked end at once; otherwise a request that is on its way there is still served.
   */
  | {
      readonly type: 'drain'
      readonly closesIdle: boolean
      /** Which connections newer workers take. */
      readonly gives: Takes
    }
  /** The gateway is out of service, or in service again: see drain.ts. */
  | { readonly type: 'out-of-service'; readonly isOutOfService: boolean }
  /** Earlier workers have given so many connections, one of which is there to be taken by whoever comes first. */
  | { readonly type: 'take'; readonly count: number }

/** A transport by its name, and why it is this one, in words. */
export interface TransportSaid {
  readonly name: string
  readonly reason: string
}

/** From a worker to the primary. */
export type ToPrimary =
  /** It serves. `transport`: how it has its connections, and why so, in words. */
  | { readonly type: 'ready'; readonly transport: TransportSaid }
  | { readonly type: 'here' }
  /** It is at this stage of overload from now on. */
  | { readonly type: 'overload'; readonly overload: OverloadState }
  | { readonly type: 'told'; readonly question: number; readonly told: Told[keyof Told] }
  /** What was logged, while somebody listens: lines of JSON. */
  | { readonly type: 'logged'; readonly lines: readonly string[] }
  /** The worker cannot serve, and exits: what failed, in words. */
  | { readonly type: 'failed'; readonly problem: string }
  /** Is there a session with this id? The client's address is empty when nobody can tell. */
  | { readonly type: 'find'; readonly id: string; readonly client: string }
  /** These sessions were active since the last such message. */
  | { readonly type: 'touched'; readonly uuids: readonly string[] }
  /** Something lives under these sessions now; said again and again where nobody tells of endings. */
  | { readonly type: 'held'; readonly uuids: readonly string[] }
  /** A request that named a task of the XenAPI is over. */
  | { readonly type: 'task-ended'; readonly ended: EndedTask }
  /** No request of the sessions of this ending is admitted any more. */
  | { readonly type: 'confirmed'; readonly ending: number }
  /** The configuration, or the certificate, of this number is in force here. */
  | { readonly type: 'configured'; readonly change: number }
  /** So many connections are given to newer workers. */
  | { readonly type: 'given'; readonly count: number }
  /** What is still under way a moment after `drain`: connections with a request, a channel or a tunnel. */
  | { readonly type: 'draining'; readonly connections: number }

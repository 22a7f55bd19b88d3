// What the primary and a worker say to each other, over the IPC channel that Node.js makes with the process.

import type { Config, ServicesConfig } from '../config/schema.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { Session } from '../sessions/session.ts'

/** How often the primary says that it is there, in milliseconds. */
export const ALIVE_INTERVAL_MS = 500

/** From the primary to a worker. */
export type ToWorker =
  /** The first message: what to serve, and the inherited descriptors of the listening sockets. */
  | {
      readonly type: 'start'
      readonly config: Config
      readonly listenFds: readonly number[]
      /** Socket of the XenAPI endpoint; null when there is none. */
      readonly xenapiPath: string | null
      /** Where services are on other hosts. */
      readonly places: ServiceChanges
      /** The socket where services bring back requests: its inherited descriptor, and its path. */
      readonly returnFd: number
      readonly returnPath: string
      /** Key of what they say there of themselves, in hexadecimal digits. */
      readonly returnKey: string
    }
  /** The answer to `find`: the session, null when there is none, `unavailable` when nobody can tell. */
  | { readonly type: 'found'; readonly id: string; readonly session: Session | null | 'unavailable' }
  /** These sessions are over; to be confirmed with the same number. */
  | { readonly type: 'ended'; readonly ending: number; readonly uuids: readonly string[] }
  /** Nobody vouches for these sessions any more: ask again before admitting them. */
  | { readonly type: 'forgotten'; readonly uuids: readonly string[] }
  /** Places of services have changed. */
  | { readonly type: 'places'; readonly changes: ServiceChanges }
  /** The primary is there, and tells of endings; for so many milliseconds the authority may not have heard of any. */
  | { readonly type: 'alive'; readonly deafMs: number }
  /** What a newer configuration says of services: what it no longer allows is ended. */
  | { readonly type: 'services'; readonly services: ServicesConfig }
  /**
   * Take no more connections, finish, and exit. `closesIdle`: nobody else takes connections either, so that those on which nothing is
   * asked end at once; otherwise a request that is on its way there is still served.
   */
  | { readonly type: 'drain'; readonly closesIdle: boolean }

/** From a worker to the primary. */
export type ToPrimary =
  | { readonly type: 'ready' }
  /** The worker cannot serve, and exits: what failed, in words. */
  | { readonly type: 'failed'; readonly problem: string }
  /** Is there a session with this id? */
  | { readonly type: 'find'; readonly id: string }
  /** These sessions were active since the last such message. */
  | { readonly type: 'touched'; readonly uuids: readonly string[] }
  /** No request of the sessions of this ending is admitted any more. */
  | { readonly type: 'confirmed'; readonly ending: number }

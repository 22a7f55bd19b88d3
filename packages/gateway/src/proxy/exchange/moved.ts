// What goes on in another process of the gateway while it is under way: a channel, or a tunnel. Beside the client's connection go the one to the
// service, and what is known of it.
//
// It is read by a process of another version after an upgrade: fields are only added, and one that is not known is passed over.

import { performance } from 'node:perf_hooks'
import type { SessionEntry } from '../../sessions/table.ts'
import { Request } from './request.ts'

/** The path is shown to who asks what goes on, and logged at the end: no more of it goes along. */
const TARGET_CHARACTERS_MAX = 2000

/** Times are in milliseconds since the epoch. */
export interface MovedRequest {
  readonly id: string
  readonly startedMs: number
  /** 0 where there was no response. */
  readonly firstByteMs: number
  readonly method: string
  readonly target: string
  readonly service: string | null
  readonly isForService: boolean
  readonly status: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** The task of the XenAPI that ends with it. */
  readonly task: string | null
}

/** See the head of this file. */
export type Moved = {
  /** Under which it lives; null where there is none. The id is a secret. */
  readonly session: { readonly id: string; readonly uuid: string } | null
  readonly request: MovedRequest
} & (
  | {
      readonly kind: 'channel'
      readonly channel: string
      readonly service: string
      readonly methods: readonly string[]
      /** Counted by the service so far. */
      readonly requests: number
      readonly bytesIn: number
      readonly bytesOut: number
      readonly startedMs: number
    }
  | {
      readonly kind: 'tunnel'
      readonly isSwitched: boolean
      /** Name that the service is counted by. */
      readonly counted: string
      /** Whether the service is reached by a Unix socket. */
      readonly isUnix: boolean
    }
)

/** Gives what is under way to another process, with the descriptor of its connection to the service. @returns whether that was possible now */
export type Move = (serviceFd: number, moved: Moved) => boolean

export function movedSession(entry: SessionEntry | null): Moved['session'] {
  return entry === null ? null : { id: entry.id, uuid: entry.session.uuid }
}

export function movedRequest(request: Request): MovedRequest {
  const { id, method, service, isForService, status, bytesIn, bytesOut, task, startedMs, firstByteMs } = request
  return {
    id,
    startedMs: epochMs(startedMs),
    firstByteMs: firstByteMs === 0 ? 0 : epochMs(firstByteMs),
    method,
    target: request.path.slice(0, TARGET_CHARACTERS_MAX),
    service,
    isForService,
    status,
    bytesIn,
    bytesOut,
    task,
  }
}

/** The request as it was in the other process. */
export function requestOf(moved: MovedRequest, entry: SessionEntry | null): Request {
  const request = new Request(moved.id, clockMs(moved.startedMs))
  request.method = moved.method
  request.target = moved.target
  request.service = moved.service
  request.isForService = moved.isForService
  request.status = moved.status
  request.bytesIn = moved.bytesIn
  request.bytesOut = moved.bytesOut
  request.firstByteMs = moved.firstByteMs === 0 ? 0 : clockMs(moved.firstByteMs)
  request.entry = entry
  request.task = moved.task
  return request
}

/** What `performance.now` says, for another process; and back. */
export function epochMs(clock: number): number {
  return performance.timeOrigin + clock
}

export function clockMs(epoch: number): number {
  return epoch - performance.timeOrigin
}

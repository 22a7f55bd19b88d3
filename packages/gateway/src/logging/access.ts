// The access log: one event for each request.

import { type LogEvent } from './event.ts'

/** What is logged of one request. Where something is not known, it is null. */
export interface AccessFields {
  readonly requestId: string
  /** The client's address. */
  readonly client: string
  /** Who asked, and under which session: its uuid, which is no secret; never its id. */
  readonly user: string | null
  readonly session: string | null
  readonly service: string | null
  readonly method: string | null
  /** The request's target; what follows the path is not logged. */
  readonly path: string | null
  readonly status: number
  /** How the exchange ended, and why where it failed. */
  readonly outcome?: string
  readonly reason?: string
  /** Body bytes from and to the client. */
  readonly bytesIn: number
  readonly bytesOut: number
  /** Milliseconds until the head of the response, and until its end. */
  readonly ttfbMs: number
  readonly totalMs: number
}

/** The event for a request. The path ends before `?`, because a query may hold a session id. */
export function accessLine(fields: AccessFields): LogEvent {
  return { event: 'request', ...fields, path: fields.path === null ? null : pathOf(fields.path) }
}

function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query === -1 ? target : target.slice(0, query)
}

// What the gateway answers of itself, and what can be ended: the same by both doors, the control socket for root on the host, and the
// service `org.xengate.control` for sessions with the role pool-admin.
//
//   GET  /status                      how the daemon does
//   GET  /services                    services here and on other hosts of the pool
//   GET  /sessions                    who is signed in, and what runs under each session
//   GET  /connections                 clients' connections, with what is under way on them: requests, tunnels, channels
//   GET  /refusals                    the latest requests that were refused or failed, and what could not be read of them
//   GET  /requests/ID                 what is known of a recent request
//   GET  /events                      the log's events as they come (server-sent events)
//   GET  /metrics                     as `[control] metrics` has them
//   POST /sessions/ID/end             ends a session, by its uuid
//   POST /connections/ID/end          ends a connection, with what is under way on it
//   POST /channels/ID/end             ends a channel
//   POST /services/NAME/close-breaker has a service asked again that has failed again and again
//
// JSON, but for events and metrics: an object with `schema`, the version of what is in it. A later version adds fields to the same one.

import { EXPOSITION_TYPE } from '../../metrics/exposition.ts'
import { END_REASONS, type ReasonName } from '../../model/reasons.ts'
import { AuthorityUnavailableError } from '../../sessions/authority.ts'
import type { SessionRecord, SignInAuthority } from '../../sessions/accounts/sign-in.ts'
import type { EndedRequest } from '../../proxy/recent.ts'
import type { ConnectionRecord } from '../../proxy/records.ts'
import { pathForLog } from '../../logging/access.ts'
import type { EventHub } from './events.ts'
import type { Question, Told } from './questions.ts'

/** The version of all answers. */
export const SCHEMA = 1
/** The latest that are told. */
const REFUSALS_MAX = 500
const SESSIONS_MAX = 1000

/** What is asked for an answer. */
export interface Watched {
  readonly status: () => Promise<Readonly<Record<string, unknown>>>
  readonly services: () => Promise<readonly unknown[]>
  /** Null where the gateway signs nobody in. */
  readonly signIn: SignInAuthority | null
  /** Asks all workers, those of earlier processes that finish what they have among them. */
  readonly ask: <Kind extends keyof Told>(question: Question<Kind>) => Promise<readonly Told[Kind][]>
  readonly metrics: () => Promise<string>
  readonly events: EventHub
  /** Logs that an answer could not be made. */
  readonly failed: (error: unknown) => void
  /** Logs an act of an administrator. */
  readonly acted: (event: string, particulars: Readonly<Record<string, unknown>>) => void
}

/** An answer. `events`: those that come from now on. */
export type ControlAnswer =
  | { readonly kind: 'json'; readonly status: number; readonly body: unknown }
  | { readonly kind: 'text'; readonly type: string; readonly text: string }
  | { readonly kind: 'events' }

/** Who asks, for the log. */
export type Asker = Readonly<Record<string, unknown>>

/** Answers a request. @param path without the door's own beginning, and without a query */
export async function controlAnswer(
  watched: Watched,
  method: string,
  path: string,
  asker: Asker,
): Promise<ControlAnswer> {
  try {
    return await answer(watched, method, path, asker)
  } catch (error) {
    if (error instanceof AuthorityUnavailableError) {
      return failure(503, 'authority-unavailable', 'sessions cannot be looked up now')
    }
    watched.failed(error)
    return failure(500, 'failed', 'the gateway failed: see its log')
  }
}

async function answer(watched: Watched, method: string, path: string, asker: Asker): Promise<ControlAnswer> {
  const [, what = '', id, verb, ...more] = path.split('/')
  if (more.length > 0) return failure(404, 'not-found', 'nothing is here')
  if (verb === 'end' && id !== undefined) {
    if (method !== 'POST') return failure(405, 'method-not-allowed', 'use POST')
    return end(watched, what, id, asker)
  }
  if (what === 'services' && verb === 'close-breaker' && id !== undefined) {
    if (method !== 'POST') return failure(405, 'method-not-allowed', 'use POST')
    return closeBreaker(watched, id, asker)
  }
  if (verb !== undefined) return failure(404, 'not-found', 'nothing is here')
  if (method !== 'GET' && method !== 'HEAD') return failure(405, 'method-not-allowed', 'use GET')
  return id === undefined ? read(watched, what) : readOne(watched, what, id)
}

async function read(watched: Watched, what: string): Promise<ControlAnswer> {
  switch (what) {
    case 'status':
      return found(await watched.status())
    case 'services':
      return found({ services: await watched.services() })
    case 'sessions':
      return found(await sessionsOf(watched))
    case 'connections':
      return found({ connections: (await watched.ask({ kind: 'connections', id: '' })).flat().map(shownConnection) })
    case 'refusals':
      return found({ refusals: await refusalsOf(watched) })
    case 'metrics':
      return { kind: 'text', type: EXPOSITION_TYPE, text: await watched.metrics() }
    case 'events':
      return { kind: 'events' }
    default:
      return failure(404, 'not-found', 'nothing is here')
  }
}

function found(fields: Readonly<Record<string, unknown>>): ControlAnswer {
  return { kind: 'json', status: 200, body: { schema: SCHEMA, ...fields } }
}

function failure(status: number, code: string, message: string): ControlAnswer {
  return { kind: 'json', status, body: { schema: SCHEMA, error: { code, message } } }
}

// ── sessions ──

/** What runs under a session. */
interface Under {
  requests: number
  tunnels: number
  channels: number
}

/** Sessions are told with how many there are in all. */
async function sessionsOf(watched: Watched): Promise<Readonly<Record<string, unknown>>> {
  const [{ records, count }, connections] = await Promise.all([
    knownSessions(watched),
    watched.ask({ kind: 'connections', id: '' }),
  ])
  const under = new Map<string, Under>()
  for (const { request } of connections.flat()) {
    if (request?.session === null || request?.session === undefined) continue
    const sums = under.get(request.session) ?? { requests: 0, tunnels: 0, channels: 0 }
    under.set(request.session, sums)
    if (request.way === 'tunnel') sums.tunnels++
    else if (request.way === 'channel') sums.channels++
    else sums.requests++
  }
  const sessions = records.map(({ id, ...record }) => ({
    id,
    ...record,
    under: under.get(id) ?? { requests: 0, tunnels: 0, channels: 0 },
  }))
  return { count, sessions }
}

interface ShownSession {
  /** The session's uuid, which is no secret. */
  readonly id: string
  readonly [field: string]: unknown
}

interface KnownSessions {
  readonly records: readonly ShownSession[]
  readonly count: number
}

/** Those of the authority that were used last; of one that is xapi, those that workers know. */
async function knownSessions({ signIn, ask }: Watched): Promise<KnownSessions> {
  if (signIn !== null) {
    const [records, count] = await Promise.all([signIn.records(SESSIONS_MAX), signIn.count()])
    return { records: records.map(shownRecord), count }
  }
  const known = new Map<string, ShownSession>()
  for (const { session, usedMs } of (await ask({ kind: 'sessions', id: '' })).flat()) {
    const { uuid, user, roles, originator } = session
    const before = known.get(uuid)
    if (before !== undefined && String(before['lastActive']) >= timeText(usedMs)) continue
    known.set(uuid, { id: uuid, user, roles, originator, address: null, since: null, lastActive: timeText(usedMs) })
  }
  return { records: [...known.values()].slice(0, SESSIONS_MAX), count: known.size }
}

function shownRecord({ session, clientAddress, createdMs, lastActiveMs }: SessionRecord): ShownSession {
  const { uuid, user, roles, originator } = session
  return {
    id: uuid,
    user,
    roles,
    originator,
    address: clientAddress,
    since: timeText(createdMs),
    lastActive: timeText(lastActiveMs),
  }
}

// ── connections and refusals ──

/** A connection, as all answers show one. */
export function shownConnection({ sinceMs, request, ...rest }: ConnectionRecord): unknown {
  return {
    ...rest,
    since: timeText(sinceMs),
    request: request === null ? null : { ...request, sinceMs: undefined, since: timeText(request.sinceMs) },
  }
}

async function refusalsOf({ ask }: Watched): Promise<readonly unknown[]> {
  const told = (await ask({ kind: 'refusals', id: '' })).flat()
  return told
    .toSorted((one, other) => other.endedMs - one.endedMs)
    .slice(0, REFUSALS_MAX)
    .map(shownRequest)
}

/** A request that is over. */
function shownRequest({ endedMs, fields, offence }: EndedRequest): Readonly<Record<string, unknown>> {
  const { caller, path, reason, ttfbMs, totalMs, ...rest } = fields
  return {
    time: timeText(endedMs),
    ...rest,
    ttfbMs: Number(ttfbMs.toFixed(3)),
    totalMs: Number(totalMs.toFixed(3)),
    user: caller === null ? null : caller.session.user,
    session: caller === null ? null : caller.session.uuid,
    path: path === null ? null : pathForLog(path),
    reason,
    ...explained(reason, rest.status),
    offence,
  }
}

/** Who ended it, in which phase, and what happened. */
function explained(reason: string | null, status: number): Readonly<Record<string, unknown>> {
  if (reason === null && status >= 500) {
    return { by: 'service', phase: 'answer', explanation: "the service's own answer" }
  }
  if (reason === null || !Object.hasOwn(END_REASONS, reason)) return { by: null, phase: null, explanation: null }
  const { by, phase, text } = END_REASONS[reason as ReasonName]
  return { by, phase, explanation: text }
}

async function readOne(watched: Watched, what: string, id: string): Promise<ControlAnswer> {
  if (what !== 'requests') return failure(404, 'not-found', 'nothing is here')
  const [ended, connections] = await Promise.all([
    watched.ask({ kind: 'request', id }),
    watched.ask({ kind: 'connections', id: '' }),
  ])
  const known = ended.find((one) => one !== null)
  if (known !== undefined && known !== null) return found({ request: { state: 'ended', ...shownRequest(known) } })
  const underWay = connections.flat().find(({ request }) => request?.id === id)
  if (underWay === undefined) return failure(404, 'request-unknown', `nothing is known of a request ${id}`)
  return found({ request: { state: 'under-way', connection: shownConnection(underWay) } })
}

// ── endings ──

async function end(watched: Watched, what: string, id: string, asker: Asker): Promise<ControlAnswer> {
  if (what === 'sessions') return endSession(watched, id, asker)
  if (what !== 'connections' && what !== 'channels') return failure(404, 'not-found', 'nothing is here')
  const ended = await watched.ask({ kind: 'end', id })
  if (!ended.includes(true)) return failure(404, 'connection-unknown', `there is no ${what.slice(0, -1)} ${id}`)
  watched.acted('connection-ended', { connection: id, ...asker })
  return found({ ended: id })
}

async function endSession({ signIn, acted }: Watched, id: string, asker: Asker): Promise<ControlAnswer> {
  if (signIn === null) {
    return failure(409, 'sessions-elsewhere', 'the sessions are those of xapi: use session.logout_subject_identifier')
  }
  const record = await signIn.recordOf(id)
  if (record === undefined || (await signIn.endSessions([id])) === 0) {
    return failure(404, 'session-unknown', 'there is no session with this id')
  }
  acted('sessions-ended', { user: record.session.user, sessions: [id], ...asker })
  return found({ ended: id })
}

async function closeBreaker({ ask, acted }: Watched, service: string, asker: Asker): Promise<ControlAnswer> {
  const closed = (await ask({ kind: 'close-breaker', id: service })).filter((wasOpen) => wasOpen).length
  if (closed === 0) return failure(404, 'breaker-closed', `the breaker of ${service} is not open`)
  acted('breaker-overridden', { service, workers: closed, ...asker })
  return found({ service, workers: closed })
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}

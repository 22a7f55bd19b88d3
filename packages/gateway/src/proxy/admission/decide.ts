// The way of one request to its decision: session (403), role (403), service (404), method (405), other host (302).
// The order is the specification's and never depends on the service.

import type { RequestHead } from '@xengate/http1'
import { CONTROL_SERVICE } from '../../model/control-service.ts'
import { STAGE, type Stage } from '../../model/overload.ts'
import { isOpen, isPermitted, permittedMethods, type Policies, type PolicySetting } from '../../model/policy.ts'
import type { ServiceRegistry } from '../../services/registry.ts'
import { isServiceName } from '@xengate/channel/contract'
import type { Answer, SessionEntry, SessionTable } from '../../sessions/table.ts'
import type { Clock } from '../clock.ts'
import type { ChannelSockets } from '../exchange/channel-sockets.ts'
import type { Request } from '../exchange/request.ts'
import { SEC_FETCH_SITE } from '../heads/field-ids.ts'
import {
  AUTHORITY_UNAVAILABLE,
  CROSS_SITE,
  elsewhere,
  GATEWAY_BUSY,
  LOOK_UPS_BUSY,
  METHOD_CLOSED,
  methodNotAllowed,
  OVERLOADED,
  PATH_UNKNOWN,
  type Refusal,
  ROLE_INSUFFICIENT,
  SERVICE_NAME_INVALID,
  SERVICE_NO_SOCKET,
  SERVICE_SLOW,
  SERVICE_STALE,
  SERVICE_UNKNOWN,
  SERVICE_UNNAMED,
  SERVICE_UNREACHABLE,
  SESSION_BUSY,
  SESSION_INVALID,
  SESSION_MISSING,
} from '../heads/refusals.ts'
import type { Repeated } from '../heads/repeated.ts'
import { presentedSession } from '../heads/session-id.ts'
import { isForService, namesTask, pathOf, serviceNameIn, XENAPI_PATHS } from '../heads/target.ts'
import type { ServiceConnection } from '../upstream/connection.ts'
import type { Absence, Connected, ServicePool } from '../upstream/pool.ts'
import { type ServiceDirectories, ServiceTarget, type Target } from '../upstream/target.ts'
import type { Gates } from './gates.ts'

/** By what stands where a service's socket would be. */
const ABSENT: Readonly<Record<Absence, Refusal>> = {
  absent: SERVICE_UNKNOWN,
  stale: SERVICE_STALE,
  'no-socket': SERVICE_NO_SOCKET,
}

/** What a decision rests on. */
export interface AdmissionRules {
  readonly sessions: SessionTable
  readonly policies: Policies
  readonly registry: ServiceRegistry
  readonly pool: ServicePool
  readonly channels: ChannelSockets
  readonly clock: Clock
  readonly directories: ServiceDirectories
  /** Methods that services may be reached with. */
  readonly methods: readonly string[]
  /** Whether the gateway has a XenAPI: not when sessions are xapi's. */
  readonly hasXenapi: boolean
  readonly gates: Gates
  readonly overload: { readonly stage: Stage }
  /** Requests of one session that may be with services at once. */
  readonly sessionRequestsMax: number
}

/** What was learned for this very request while it waited. */
export interface Learned {
  readonly answer: { readonly id: string; readonly answer: Answer } | null
  readonly connected: Connected | null
}

/** What becomes of a request. */
export type Decision =
  | {
      readonly kind: 'refuse'
      readonly refusal: Refusal
      readonly name: string | null
      readonly entry: SessionEntry | null
    }
  /** Ask about this session, then decide again. */
  | { readonly kind: 'ask'; readonly id: string }
  /** Wait for a turn at this service, then decide again. */
  | { readonly kind: 'queue'; readonly name: string; readonly entry: SessionEntry; readonly timeoutMs: number }
  /** Connect to this service, which takes a while, then decide again. */
  | { readonly kind: 'connect'; readonly target: Target }
  /** Gather the body, and send the request to the primary: to `target`, or as a call of the XenAPI where that is null. */
  | { readonly kind: 'call'; readonly target: Target | null }
  /** Pass the client's connection to the service; if it is not taken, decide again. */
  | {
      readonly kind: 'pass'
      readonly name: string
      readonly entry: SessionEntry
      readonly sessionId: string
      /** Those that this session may use at this service. */
      readonly methods: readonly string[]
    }
  | { readonly kind: 'dashboard'; readonly connection: ServiceConnection; readonly target: Target }
  | {
      readonly kind: 'relay'
      readonly connection: ServiceConnection
      readonly target: Target
      readonly entry: SessionEntry
      readonly policy: PolicySetting
    }

/** Decides on a request for the dashboard, which needs no session: its pages say who they are for. */
export function decideDashboard(
  pool: ServicePool,
  head: RequestHead,
  { method, decoder }: Request,
  dashboard: Target,
  learned: Learned,
): Decision {
  // Whoever has no session can send one: the primary sees nothing of a body that is long, or never ends.
  if (decoder !== null) return { kind: 'call', target: dashboard }
  const connected = learned.connected ?? pool.take(dashboard, isRepeatable(head, method))
  if (connected === null) return { kind: 'connect', target: dashboard }
  if (connected === 'no-descriptors') return refuse(GATEWAY_BUSY, dashboard.name)
  if (typeof connected === 'string') return refuse(PATH_UNKNOWN, dashboard.name)
  return { kind: 'dashboard', connection: connected, target: dashboard }
}

/**
 * Decides on `request`, whose head is `head`; takes a connection out of the pool when it is to be relayed and `learned` has none.
 * @param isPassable whether the client's connection could be passed to a service
 * @param repeated what the client has said before
 */
export function decide(
  rules: AdmissionRules,
  head: RequestHead,
  request: Request,
  learned: Learned,
  isPassable: boolean,
  repeated: Repeated,
): Decision {
  const { method, target } = request
  if (!isForService(target)) return decideXenapi(rules, method, target)

  const presented = presentedSession(head, target)
  if (presented === undefined) return refuse(SESSION_MISSING)
  const sessionId = repeated.sessionId(presented.id)
  const answer = answerOn(rules.sessions, sessionId, learned, rules.clock.nowMs)
  if (answer === undefined) return { kind: 'ask', id: sessionId }
  if (answer === 'nobody') return refuse(SESSION_INVALID)
  if (answer === 'unavailable') return refuse(AUTHORITY_UNAVAILABLE)
  if (answer === 'busy') return refuse(LOOK_UPS_BUSY)
  const entry = answer
  if (presented.isFromCookie && head.first(SEC_FETCH_SITE)?.toLowerCase() === 'cross-site') {
    return refuse(CROSS_SITE, null, entry)
  }
  const name = repeated.service(serviceNameIn(target))
  return decideService(rules, head, request, name, sessionId, entry, learned, isPassable)
}

/** What a request has to pass before a service is looked for, which takes a descriptor; null when it may. Asked once for each. */
function decideTurn(
  { gates, overload, sessionRequestsMax }: AdmissionRules,
  request: Request,
  name: string,
  entry: SessionEntry,
  { limits }: PolicySetting,
): Decision | null {
  // Who looks for what is wrong is let in.
  if (overload.stage >= STAGE.REFUSE && name !== CONTROL_SERVICE) return refuse(OVERLOADED, name, entry)
  if (entry.underWay >= sessionRequestsMax) return refuse(SESSION_BUSY, name, entry)
  if (!gates.concerns(limits)) return null
  const turn = gates.enter(name, limits, entry)
  if (turn === 'queue') return { kind: 'queue', name, entry, timeoutMs: limits.queueTimeoutMs }
  if (turn === null) return null
  if ('status' in turn) return refuse(turn, name, entry)
  request.turn = turn
  return null
}

function decideService(
  rules: AdmissionRules,
  head: RequestHead,
  request: Request,
  name: string,
  sessionId: string,
  entry: SessionEntry,
  learned: Learned,
  isPassable: boolean,
): Decision {
  const { method, target } = request
  const policy = rules.policies.of(name)
  if (policy.roles !== null && !isPermitted(policy, method, entry.roles)) {
    return refuse(isOpen(policy, method) ? ROLE_INSUFFICIENT : METHOD_CLOSED, name, entry)
  }
  if (!isServiceName(name)) return refuse(name === '' ? SERVICE_UNNAMED : SERVICE_NAME_INVALID, null, entry)

  if (request.turn === null && learned.connected === null) {
    const other = decideTurn(rules, request, name, entry, policy)
    if (other !== null) return other
  }
  const passes =
    isPassable && !isCounted(policy) && rules.policies.allowsChannel(policy) && rules.methods.includes(method)
  // The end of a request that names a task is the task's: only a relay sees it.
  const isFollowed = rules.hasXenapi && namesTask(target)
  // A connection that ends with this request gains nothing by being passed.
  if (passes && !isFollowed && head.isPersistent && learned.connected === null && rules.channels.mayTake(name)) {
    return pass(rules, name, sessionId, entry, policy)
  }
  const service = new ServiceTarget(name, rules.directories(name))
  const connected = learned.connected ?? rules.pool.take(service, isRepeatable(head, method))
  if (connected === null) return { kind: 'connect', target: service }
  // Nothing is wrong with a service that is not there.
  if (connected === 'not-running') request.turn?.answered()
  if (connected === 'not-running' && passes) return pass(rules, name, sessionId, entry, policy)
  if (connected === 'unreachable') return refuse(SERVICE_UNREACHABLE, name, entry)
  if (connected === 'no-descriptors') return refuse(GATEWAY_BUSY, name, entry)
  if (connected === 'too-slow') return refuse(SERVICE_SLOW, name, entry)

  const origin = connected === 'not-running' ? rules.registry.whereIs(name, entry.session.uuid) : undefined
  if (connected === 'not-running' && origin === undefined) {
    return refuse(ABSENT[rules.pool.absenceOf(service)], name, entry)
  }
  if (!rules.methods.includes(method)) {
    if (connected !== 'not-running' && learned.connected === null) rules.pool.giveBack(service, connected)
    return refuse(methodNotAllowed(rules.methods), name, entry)
  }
  if (connected === 'not-running') return refuse(elsewhere(`${origin}${target}`), name, entry)
  return { kind: 'relay', connection: connected, target: service, entry, policy }
}

/** Whether a request may be sent twice, as a relay does when the connection turns out to be gone: it is safe, and all of it is its head. */
function isRepeatable(head: RequestHead, method: string): boolean {
  return method === 'GET' && head.contentLength <= 0 && !head.isChunked && !head.hasConnectionUpgrade
}

/** Whether the requests of a service are counted: what is passed is not seen. */
function isCounted({ limits }: PolicySetting): boolean {
  return limits.requests > 0 || limits.sessionRate > 0
}

function pass(
  { methods }: AdmissionRules,
  name: string,
  sessionId: string,
  entry: SessionEntry,
  policy: PolicySetting,
): Decision {
  return { kind: 'pass', name, entry, sessionId, methods: permittedMethods(policy, methods, entry.roles) }
}

function decideXenapi(rules: AdmissionRules, method: string, target: string): Decision {
  const path = pathOf(target)
  // A page at `/` is somebody else's; only its POST is the XenAPI's.
  if (!rules.hasXenapi || !XENAPI_PATHS.has(path) || (path === '/' && method !== 'POST')) return refuse(PATH_UNKNOWN)
  if (method !== 'POST') return refuse(methodNotAllowed(['POST']))
  return { kind: 'call', target: null }
}

function answerOn(sessions: SessionTable, id: string, learned: Learned, nowMs: number): Answer | undefined {
  if (id === '') return 'nobody'
  if (!sessions.isTrusted) return 'unavailable'
  const entry = sessions.find(id, nowMs)
  if (entry !== undefined) return entry
  // An answer that names a session is in the table, unless the session ended since: then it is nobody's.
  if (learned.answer?.id !== id) return undefined
  return typeof learned.answer.answer === 'string' ? learned.answer.answer : 'nobody'
}

function refuse(refusal: Refusal, name: string | null = null, entry: SessionEntry | null = null): Decision {
  return { kind: 'refuse', refusal, name, entry }
}

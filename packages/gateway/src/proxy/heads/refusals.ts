// Every answer that the gateway gives itself: one catalogue, one writer.

import { REASONS, type Reason, statusOfReason } from '@xengate/http1'
import type { LimitName } from '../../model/limit-names.ts'
import type { ReasonName } from '../../model/reasons.ts'

/** An answer of the gateway's own. */
export interface Refusal {
  readonly status: number
  /** What went wrong, for programs: stable, in the log and in JSON bodies. */
  readonly code: string
  /** What went wrong and what to do, for people. */
  readonly text: string
  /** What the log says: the code, or more than the client is told. */
  readonly reason: ReasonName
  /** Of another host of the pool, where the client is sent to. */
  readonly host?: string
  /** The limit that is hit. */
  readonly limit?: LimitName
  /** Field lines of this answer alone, each with its CRLF. */
  readonly lines: string
}

function refusal(status: number, code: ReasonName, text: string, lines = ''): Refusal {
  return { status, code, reason: code, text, lines }
}

const RETRY_SOON = 'Retry-After: 1\r\n'

/** Reasons of the codec's that say that a limit is hit. */
const LIMIT_OF: Readonly<Partial<Record<Reason, LimitName>>> = {
  'head-too-large': 'head-bytes',
  'target-too-long': 'target-bytes',
  'fields-too-many': 'head-fields',
  'chunk-extension-too-long': 'chunk-extensions',
}

function ofLimit(refused: Refusal, limit: LimitName | undefined): Refusal {
  return limit === undefined ? refused : { ...refused, limit }
}

/** The same, to be tried again in `ms` milliseconds, or a second at least. */
export function retryIn(refused: Refusal, ms: number): Refusal {
  return { ...refused, lines: `Retry-After: ${Math.max(1, Math.ceil(ms / 1000))}\r\n` }
}

/** A request that the codec refuses. */
export function malformed(reason: Reason): Refusal {
  const refused = refusal(statusOfReason(reason), reason, `The request is refused: ${REASONS[reason]}.`)
  return ofLimit(refused, LIMIT_OF[reason])
}

/** What a load balancer is told while the gateway serves. */
export const HEALTHY: Refusal = refusal(200, 'healthy', 'ok')

export const HOST_UNKNOWN: Refusal = refusal(
  421,
  'host-unknown',
  'The gateway does not go by the name in Host: use a name of its own or its address, or have the administrator add the name to host-names.',
)

export const SESSION_MISSING: Refusal = refusal(
  403,
  'session-missing',
  'No session_id: log in through the XenAPI (session.login_with_password) and send the session as the cookie session_id or as the query parameter session_id.',
)

export const SESSION_INVALID: Refusal = refusal(
  403,
  'session-invalid',
  'The session_id names no live session: log in again through the XenAPI (session.login_with_password).',
)

export const CROSS_SITE: Refusal = refusal(
  403,
  'cross-site',
  'A page of another site may not use the session cookie: call the service from a page of this host, or send session_id in the query.',
)

export const ROLE_INSUFFICIENT: Refusal = refusal(
  403,
  'role-insufficient',
  'The role of this session may not do this on this service: ask an administrator, or log in as another user.',
)

/** Nobody has the right: the policy's table of roles does not have the method. */
export const METHOD_CLOSED: Refusal = refusal(
  403,
  'role-insufficient',
  'This method is not open to any role on this service: use another method, or have the administrator open it.',
)

export const SERVICE_UNKNOWN: Refusal = refusal(
  404,
  'service-unknown',
  'No such service is running here or on a known host: check the name in /services/plugin/<name>, and that the service is started.',
)

/** The client is told the same of each of these: only the log says what stands where the socket would be. */
export const SERVICE_STALE: Refusal = { ...SERVICE_UNKNOWN, reason: 'service-stale' }

export const SERVICE_NO_SOCKET: Refusal = { ...SERVICE_UNKNOWN, reason: 'service-no-socket' }

export const SERVICE_NAME_INVALID: Refusal = { ...SERVICE_UNKNOWN, reason: 'service-name-invalid' }

export const SERVICE_UNNAMED: Refusal = {
  ...SERVICE_UNKNOWN,
  reason: 'service-unnamed',
  text: 'No service is named: give its name, as in /services/plugin/<name>.',
}

export const PATH_UNKNOWN: Refusal = refusal(
  404,
  'path-unknown',
  'Nothing is here: services are at /services/plugin/<name>, the XenAPI is at / and /jsonrpc (POST).',
)

/** @param allowed the methods that may be used */
export function methodNotAllowed(allowed: readonly string[]): Refusal {
  const list = allowed.join(', ')
  return refusal(405, 'method-not-allowed', `This method may not be used here: use ${list}.`, `Allow: ${list}\r\n`)
}

/** @param location the same target on the host that has the service */
export function elsewhere(location: string): Refusal {
  const text = 'The service runs on another host: follow Location.'
  return {
    ...refusal(302, 'service-elsewhere', text, `Location: ${location}\r\n`),
    host: URL.parse(location)?.hostname ?? '',
  }
}

/** @param location the sign-in page, and the target to come back to */
export function signInFirst(location: string): Refusal {
  return refusal(302, 'sign-in-first', 'Sign in first: follow Location.', `Location: ${location}\r\n`)
}

export const REQUEST_SLOW: Refusal = refusal(
  408,
  'request-slow',
  'The request did not arrive in time: send its head, and then its body, without long pauses.',
)

/** Of a call of the XenAPI. */
export const BODY_TOO_LONG: Refusal = {
  ...refusal(413, 'body-too-long', 'The body is larger than 64 KiB: calls of the XenAPI are far shorter.'),
  limit: 'call-bytes',
}

/** Of a response under way: it is only logged. */
export const RESPONSE_UNREAD: Refusal = refusal(408, 'response-unread', 'The client did not take the response in time.')

export const SERVICE_DIED: Refusal = refusal(
  502,
  'service-died',
  'The service closed the connection before it answered: see the log of the service.',
)

export const SERVICE_UNREACHABLE: Refusal = refusal(
  502,
  'service-unreachable',
  'The socket of the service exists but cannot be used by the gateway: check its permissions.',
)

/** @param reason what is wrong with the service's response */
export function responseInvalid(reason: Reason): Refusal {
  const text = `The service did not answer valid HTTP/1.1: ${REASONS[reason]}.`
  return ofLimit(refusal(502, 'response-invalid', text), LIMIT_OF[reason])
}

export const SWITCH_UNASKED: Refusal = refusal(
  502,
  'switch-unasked',
  'The service answered 101 Switching Protocols to a request that did not ask for it.',
)

export const INTERIM_FLOOD: Refusal = refusal(
  502,
  'interim-flood',
  'The service sent interim responses (1xx) without end instead of a final one: see the log of the service.',
)

export const SERVICE_SLOW: Refusal = refusal(
  504,
  'service-slow',
  'The service did not answer in time: try again, or see the log of the service.',
)

export const AUTHORITY_UNAVAILABLE: Refusal = refusal(
  503,
  'authority-unavailable',
  'The gateway cannot verify the session right now: try again shortly.',
  RETRY_SOON,
)

export const GATEWAY_BUSY: Refusal = refusal(
  503,
  'gateway-busy',
  'The gateway has reached its limit of connections or of pending look-ups: try again shortly.',
  RETRY_SOON,
)

/** A session is asked about, and too many are. */
export const LOOK_UPS_BUSY: Refusal = { ...GATEWAY_BUSY, limit: 'look-ups' }

/** There are as many connections as there may be. */
export const CONNECTIONS_BUSY: Refusal = { ...GATEWAY_BUSY, limit: 'connections' }

export const ADDRESS_BUSY: Refusal = {
  ...refusal(
    503,
    'address-busy',
    'This address has as many connections as one may have: use fewer, or try again shortly.',
    RETRY_SOON,
  ),
  limit: 'connections-of-address',
}

export const SESSION_BUSY: Refusal = {
  ...refusal(
    503,
    'session-busy',
    'This session has as many requests under way as one may have: wait for some of them to end.',
    RETRY_SOON,
  ),
  limit: 'requests-of-session',
}

export const OVERLOADED: Refusal = refusal(
  503,
  'overloaded',
  'The gateway has more to do than it can: try again shortly.',
  RETRY_SOON,
)

/** As many wait for the service as may. */
export const QUEUE_FULL: Refusal = refusal(
  503,
  'service-busy',
  'The service has as many requests as it may have at once, and as many wait for their turn: try again shortly.',
  RETRY_SOON,
)

export const QUEUE_SLOW: Refusal = refusal(
  503,
  'queue-slow',
  'The service has as many requests as it may have at once, and the turn of this one did not come in time: try again shortly.',
  RETRY_SOON,
)

/** The client has ended its side while its request waited for its turn. */
export const QUEUE_LEFT: Refusal = { ...QUEUE_SLOW, reason: 'client-gone' }

export const SESSION_RATE: Refusal = refusal(
  503,
  'session-rate',
  'This session makes more requests a second to the service than it may: try again after the time that Retry-After says.',
  RETRY_SOON,
)

export const BREAKER_OPEN: Refusal = refusal(
  503,
  'breaker-open',
  'The service has failed again and again, and is not asked for a moment: try again after the time that Retry-After says, or see the log of the service.',
  RETRY_SOON,
)

export const XAPI_UNAVAILABLE: Refusal = refusal(
  503,
  'xapi-unavailable',
  'xapi does not answer behind this gateway: try again shortly; on the host, see whether xapi is running.',
  RETRY_SOON,
)

export const PLAIN_ON_TLS: Refusal = refusal(
  400,
  'plain-on-tls',
  'This port speaks HTTPS: use https:// in place of http://.',
)

export const DRAINING: Refusal = refusal(503, 'draining', 'The gateway is stopping: try again shortly.', RETRY_SOON)

const PHRASES: Readonly<Record<number, string>> = {
  200: 'OK',
  302: 'Found',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  421: 'Misdirected Request',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
}

/** What the writer of a refusal has to know of the request. */
export interface RefusalContext {
  readonly requestId: string
  /** The value of Accept, if the request had one. */
  readonly accept: string | undefined
  readonly isToHead: boolean
  /** The Connection line, with its CRLF, or nothing. */
  readonly connectionLine: string
  /** Whether the gateway serves the documentation, which has a page for each code. */
  readonly hasPages: boolean
  /** Now, in milliseconds since 1970. */
  readonly nowMs: number
}

/** Where to read about it; nothing of what is no error, nor of a name under which the page is not to be had either. */
function helpLine(refused: Refusal): string {
  const hasPage = refused.status >= 400 && refused !== HOST_UNKNOWN
  return hasPage ? `Link: <${pageOf(refused.code)}>; rel="help"\r\n` : ''
}

/** The refusal as a whole HTTP/1.1 response. */
export function refusalResponse(refused: Refusal, context: RefusalContext): string {
  const isJson = prefersJson(context.accept)
  const body = isJson
    ? `${JSON.stringify({ error: { code: refused.code, message: refused.text, requestId: context.requestId } })}\n`
    : `${refused.text}\n`
  return (
    `HTTP/1.1 ${refused.status} ${PHRASES[refused.status] ?? ''}\r\n` +
    `Date: ${new Date(context.nowMs).toUTCString()}\r\n` +
    `Content-Type: ${isJson ? 'application/json' : 'text/plain; charset=utf-8'}\r\n` +
    `Content-Length: ${body.length}\r\n` +
    'Cache-Control: no-store\r\n' +
    (context.hasPages ? helpLine(refused) : '') +
    `X-Request-Id: ${context.requestId}\r\n${proxyStatusLine(refused)}${refused.lines}${context.connectionLine}\r\n` +
    (context.isToHead ? '' : body)
  )
}

/** The page that says more of a code, on every gateway with a dashboard. */
export function pageOf(code: string): string {
  return `/xengate/docs/answers/${code}.html`
}

/** Error types of RFC 9209 section 2.3, by the status of the refusal; others are `http_request_error`. */
const PROXY_ERRORS: Readonly<Record<number, string>> = {
  403: 'http_request_denied',
  421: 'http_request_denied',
  404: 'destination_not_found',
  500: 'proxy_internal_error',
  502: 'http_protocol_error',
  503: 'proxy_internal_error',
  504: 'http_response_timeout',
}

/** Says that the answer is the gateway's, and why, for programs that ask for no JSON (RFC 9209). */
function proxyStatusLine({ status, code }: Refusal): string {
  if (status < 300) return ''
  const error = status < 400 ? '' : `; error=${PROXY_ERRORS[status] ?? 'http_request_error'}`
  return `Proxy-Status: xengate${error}; details="${code}"\r\n`
}

/** Whether Accept ranks JSON above plain text (RFC 9110 section 12.5.1). */
function prefersJson(accept: string | undefined): boolean {
  return accept !== undefined && accept.includes('json') && quality(accept, JSON_RANGES) > quality(accept, TEXT_RANGES)
}

const JSON_RANGES = ['application/json', 'application/*', '*/*']
const TEXT_RANGES = ['text/plain', 'text/*', '*/*']

/** Weight, 0 to 1, of the most specific of `ranges` that Accept has. */
function quality(accept: string, ranges: readonly string[]): number {
  const weights = new Map<string, number>()
  for (const part of accept.toLowerCase().split(',')) {
    const [range = '', ...parameters] = part.split(';').map((text) => text.trim())
    const weight = parameters.find((text) => text.startsWith('q='))
    weights.set(range, weight === undefined ? 1 : Number(weight.slice(2)) || 0)
  }
  for (const range of ranges) {
    const weight = weights.get(range)
    if (weight !== undefined) return weight
  }
  return 0
}

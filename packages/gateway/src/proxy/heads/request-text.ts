// The head of the request that a service gets: what the client sent end to end, and who the client is.

import { targetWithoutSession } from '@xengate/channel/contract'
import { FIELD, type RequestHead } from '@xengate/http1'
import { COOKIE, REQUEST_DROPS, TRACEPARENT, withDrop } from './field-ids.ts'
import { framingLine, keptLines } from './kept-lines.ts'
import { cookieLineWithoutSession } from './session-id.ts'

/** What a request's head is made from, beside the head that came. */
export interface RequestContext {
  /** Method and target of the head, as an origin server is sent it. */
  readonly method: string
  readonly target: string
  /** The host that the request is for, if it says. */
  readonly host: string | undefined
  readonly stripSession: boolean
  /** Who calls, and by which way: see `Peer.callerLines`. */
  readonly callerLines: string
  readonly requestId: string
  /** What is told in place of the client's traceparent; null: that. */
  readonly traceparent: string | null
  /** Value of Upgrade to pass on, if any. */
  readonly upgrade: string | undefined
  /** Whether the service is told that its connection will not be used again. */
  readonly isLast: boolean
}

/** Host of a request that came without one, in HTTP/1.0: HTTP/1.1 asks for some. */
const HOST_UNKNOWN = 'localhost'

/** Why fields are left out: an HTTP/1.0 client cannot be sent the 100 that Expect would ask for; others are written anew. */
const IS_HTTP_10 = 1
const STRIPS_SESSION = 2
const IS_TRACED = 4
/** What is left out, by the sum of these. */
const DROPS = Array.from({ length: 8 }, (_, why) => {
  const drops = (why & IS_HTTP_10) === 0 ? REQUEST_DROPS : withDrop(REQUEST_DROPS, FIELD.EXPECT)
  const session = (why & STRIPS_SESSION) === 0 ? drops : withDrop(drops, COOKIE)
  return (why & IS_TRACED) === 0 ? session : withDrop(session, TRACEPARENT)
})

/** The head as text, up to and with its empty line. */
export function requestText(head: RequestHead, context: RequestContext): string {
  const { method, stripSession, host, traceparent } = context
  const target = stripSession ? targetWithoutSession(context.target) : context.target
  const why =
    (head.minorVersion === 0 ? IS_HTTP_10 : 0) |
    (stripSession ? STRIPS_SESSION : 0) |
    (traceparent === null ? 0 : IS_TRACED)
  return (
    `${method} ${target} HTTP/1.1\r\nHost: ${host ?? HOST_UNKNOWN}\r\n` +
    keptLines(head, DROPS[why]!) +
    (stripSession ? cookieLineWithoutSession(head) : '') +
    (traceparent === null ? '' : `traceparent: ${traceparent}\r\n`) +
    `${context.callerLines}X-Request-Id: ${context.requestId}\r\n` +
    framingLine(head.bodyKind, head.contentLength) +
    connectionLines(context) +
    '\r\n'
  )
}

/** What is left out there: Expect is answered here. */
const CALL_DROPS = withDrop(REQUEST_DROPS, FIELD.EXPECT)

/** The head of a request to the primary whose body is gathered, up to the fields that frame that. */
export function callLines(head: RequestHead, method: string, forwardedLines: string, requestId: string): string {
  return (
    `${method} ${head.originTarget} HTTP/1.1\r\nHost: ${head.host ?? HOST_UNKNOWN}\r\n` +
    keptLines(head, CALL_DROPS) +
    `${forwardedLines}X-Request-Id: ${requestId}\r\n`
  )
}

function connectionLines({ upgrade, isLast }: RequestContext): string {
  if (upgrade !== undefined) return `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`
  return isLast ? 'Connection: close\r\n' : ''
}

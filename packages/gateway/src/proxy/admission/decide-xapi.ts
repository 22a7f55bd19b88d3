// Standing in front of xapi: what is not for a service goes there, and what xapi answers is the answer.
//
// A request after which its connection goes on is relayed as a message, so that a later one for a service is seen. After the last one
// of a connection (HTTP/1.0 without keep-alive, `Connection: close`, CONNECT) the bytes are not looked at: they pass both ways until
// xapi ends. So the protocols of xapi that are no HTTP behind their head pass as well: consoles, `xe`, imports without a length,
// what hosts of a pool send each other.

import type { RequestHead } from '@xengate/http1'
import { GATEWAY_BUSY, malformed, PATH_UNKNOWN, type Refusal, XAPI_UNAVAILABLE } from '../heads/refusals.ts'
import { isForService, pathOf, XENAPI_PATHS } from '../heads/target.ts'
import { PLUGIN_BODY_BYTES_MAX } from '../exchange/plugin-call.ts'
import type { Request } from '../exchange/request.ts'
import type { ServiceConnection } from '../upstream/connection.ts'
import type { ServicePool } from '../upstream/pool.ts'
import type { Target } from '../upstream/target.ts'
import type { PluginAnswers } from '../../xenapi/plugin-answers.ts'
import type { Decision, Learned } from './decide.ts'

/** What becomes of a request that is not for a service, beside the refusals. */
export type XapiDecision =
  | Extract<Decision, { kind: 'refuse' | 'connect' }>
  /** Look at the body first: `plugins` may have an answer. */
  | { readonly kind: 'plugin'; readonly plugins: PluginAnswers }
  /** `isLast`: nothing of the client's connection is looked at after this head. */
  | {
      readonly kind: 'xapi'
      readonly connection: ServiceConnection
      readonly target: Target
      readonly isLast: boolean
    }

/** Decides on `request`, whose head is `head` and which is not for a service. @param xapi as it is for this client */
export function decideXapi(
  pool: ServicePool,
  head: RequestHead,
  { method, target }: Request,
  xapi: Target,
  learned: Learned,
): XapiDecision {
  const isConnect = method === 'CONNECT'
  // xapi's consoles are asked for by CONNECT with a path. An authority would ask for a way to another host.
  if (isConnect && !head.target.startsWith('/')) return refuse(malformed('target-invalid'))
  if (isServiceInDisguise(target)) return refuse(PATH_UNKNOWN)
  const connected = learned.connected ?? pool.take(xapi, false)
  if (connected === null) return { kind: 'connect', target: xapi }
  if (connected === 'no-descriptors') return refuse(GATEWAY_BUSY)
  if (typeof connected === 'string') return refuse(XAPI_UNAVAILABLE)
  return { kind: 'xapi', connection: connected, target: xapi, isLast: isConnect || !head.isPersistent }
}

function refuse(refusal: Refusal): XapiDecision {
  return { kind: 'refuse', refusal, name: 'xapi', entry: null }
}

/**
 * Whether xapi would take the target for a service's, and answer for it by rules of its own: it percent-decodes paths, and what
 * follows `//` is the name of a host to it.
 */
function isServiceInDisguise(target: string): boolean {
  const path = pathOf(target).replace(/^\/\/[^/]*/, '')
  const decoded = path.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return isForService(decoded)
}

/** Whether a request is a call of the XenAPI, whose body xapi reads before it answers 200. */
export function isXenApiCall({ method, path }: Request): boolean {
  return method === 'POST' && XENAPI_PATHS.has(path)
}

/** Fields that say more of a call than its body does, or that its body is no text, in lower case and with `-` for `_`. */
const TELLING_FIELDS: ReadonlySet<string> = new Set([
  'content-encoding',
  'expect',
  'upgrade',
  // Of calls that xapi makes on another host for a client of its own: the session is the pool's then.
  'subtask-of',
  'task-id',
])

/** Whether the body of a request on its way to xapi is worth a look: it may be a call of a plugin. */
export function mayCallPlugin(head: RequestHead, { method, target }: Request): boolean {
  const { contentLength, isChunked, fields } = head
  if (method !== 'POST' || !XENAPI_PATHS.has(target) || isChunked) return false
  if (contentLength <= 0 || contentLength > PLUGIN_BODY_BYTES_MAX) return false
  for (let index = 0; index < fields.count; index++) {
    if (TELLING_FIELDS.has(head.name(index).toLowerCase().replaceAll('_', '-'))) return false
  }
  return true
}

/** Whether a request for a service lacks the Host that HTTP/1.1 requires; xapi does without, and its pool's hosts send none. */
export function lacksHost(head: RequestHead): boolean {
  return head.minorVersion === 1 && head.host === undefined && isForService(head.originTarget)
}

// Standing in front of xapi: what is not for a service goes there, and what xapi answers is the answer.
//
// A request after which its connection goes on is relayed as a message, so that a later one for a service is seen. After the last one
// of a connection (HTTP/1.0 without keep-alive, `Connection: close`, CONNECT) the bytes are not looked at: they pass both ways until
// xapi ends. So the protocols of xapi that are no HTTP behind their head pass as well: consoles, `xe`, imports without a length,
// what hosts of a pool send each other.

import type { RequestHead } from '@xengate/http1'
import { type Decision, isForService, type Learned, pathOf, takeConnection, XENAPI_PATHS } from './admission.ts'
import { FRONT_DROPS } from './field-ids.ts'
import { keptLines } from './kept-lines.ts'
import { type Ends, proxyLineForXapi } from './proxy-header.ts'
import { GATEWAY_BUSY, malformed, PATH_UNKNOWN, type Refusal, XAPI_UNAVAILABLE } from './refusals.ts'
import type { Where } from './service-connection.ts'
import type { ServicePool } from './service-pool.ts'

/** What the gateway stands in front of. */
export interface Front {
  readonly upstream: { readonly host: string; readonly port: number }
  /** Whether xapi is told of each client by the PROXY protocol. */
  readonly proxyProtocol: boolean
}

/** How names of connections to xapi begin in the pool; no service can have such a name. */
const XAPI = '/xapi'

/** Name, in the pool, of connections to xapi that begin with what xapi is told of the client. */
export function xapiName({ proxyProtocol }: Front, ends: Ends | null): string {
  return proxyProtocol && ends !== null ? XAPI + proxyLineForXapi(ends) : XAPI
}

export function isXapiName(name: string): boolean {
  return name.startsWith(XAPI)
}

/** Where connections with this name go, and what they begin with. */
export function whereXapiIs({ upstream }: Front, name: string): Where {
  return { ...upstream, greeting: name.slice(XAPI.length) }
}

/** What becomes of a request that is not for a service, beside the refusals. */
export type FrontDecision =
  | Extract<Decision, { kind: 'refuse' | 'connect' }>
  /** `isLast`: nothing of the client's connection is looked at after this head. */
  | {
      readonly kind: 'front'
      readonly connection: Extract<Decision, { kind: 'relay' }>['connection']
      readonly isLast: boolean
    }

/** Decides on a request that is not for a service. @param name of connections to xapi for this client */
export function decideFront(pool: ServicePool, head: RequestHead, name: string, learned: Learned): FrontDecision {
  const isConnect = head.method === 'CONNECT'
  // xapi's consoles are asked for by CONNECT with a path. An authority would ask for a way to another host.
  if (isConnect && !head.target.startsWith('/')) return refuse(malformed('target-invalid'))
  if (isServiceInDisguise(head.originTarget)) return refuse(PATH_UNKNOWN)
  const connected = takeConnection(pool, name, learned)
  if (connected === undefined) return { kind: 'connect', name }
  if (connected.kind === 'no-descriptors') return refuse(GATEWAY_BUSY)
  if (connected.kind !== 'connected') return refuse(XAPI_UNAVAILABLE)
  return { kind: 'front', connection: connected.connection, isLast: isConnect || !head.isPersistent }
}

function refuse(refusal: Refusal): FrontDecision {
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
export function isXenApiCall(head: RequestHead): boolean {
  return head.method === 'POST' && XENAPI_PATHS.has(pathOf(head.originTarget))
}

/** Whether a request for a service lacks the Host that HTTP/1.1 requires; xapi does without, and its pool's hosts send none. */
export function lacksHost(head: RequestHead): boolean {
  return head.minorVersion === 1 && head.host === undefined && isForService(head.originTarget)
}

/**
 * The head as xapi gets it: method, target, version and end-to-end fields as they came, nothing added.
 * @param closes whether xapi's connection, if not the client's, ends with this request
 * @param upgrade value of Upgrade to pass on, if any
 */
export function frontText(head: RequestHead, isLast: boolean, closes: boolean, upgrade: string | undefined): string {
  const { host } = head
  return (
    `${head.method} ${head.originTarget} HTTP/1.${head.minorVersion}\r\n` +
    (host === undefined ? '' : `Host: ${host}\r\n`) +
    keptLines(head, FRONT_DROPS) +
    (head.isChunked ? 'Transfer-Encoding: chunked\r\n' : '') +
    connectionLines(head, isLast || closes, upgrade) +
    '\r\n'
  )
}

function connectionLines(head: RequestHead, isLast: boolean, upgrade: string | undefined): string {
  if (isLast) return isLastAnyway(head) ? '' : 'Connection: close\r\n'
  if (upgrade !== undefined) return `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`
  return head.minorVersion === 0 ? 'Connection: keep-alive\r\n' : ''
}

/** Whether the version alone says that the connection ends: xapi takes little more than 1,000 bytes of a head. */
function isLastAnyway(head: RequestHead): boolean {
  return head.minorVersion === 0 && !head.hasClose && !head.hasKeepAlive
}

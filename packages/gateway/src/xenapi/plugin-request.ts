// A body on its way to xapi, read as a call of host.call_plugin. xapi reads bodies by parsers of its own: what these could take for anything
// else than what is read here is not read at all, and xapi answers it. So this is narrower than the gateway's own XenAPI, and what it
// leaves is no fault.

import { MalformedCallError, type XenApiError } from './errors.ts'
import { formatJsonRpcError, formatJsonRpcResult, parseJsonRpcCall } from './json-rpc.ts'
import type { RpcValue } from './values.ts'
import { formatXmlRpcError, formatXmlRpcResult, parseXmlRpcCall } from './xml-rpc.ts'

/** A call of a plugin, and how it is answered in the format in which it came. */
export interface PluginRequest {
  readonly sessionId: string
  /** Reference of the host whose plugin it is. */
  readonly host: string
  readonly plugin: string
  readonly fn: string
  readonly args: Readonly<Record<string, string>>
  readonly contentType: string
  readonly succeeded: (value: string) => string
  readonly failed: (error: XenApiError) => string
}

const METHOD = 'host.call_plugin'
/** The forms in which clients write it: no entities, no escapes, no white space. */
const XML_METHOD = `<methodName>${METHOD}</methodName>`
const JSON_METHOD = `"${METHOD}"`
const BYTE_ORDER_MARK = '\u{feff}'
const REFERENCE = /OpaqueRef:[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/i

/** The session in whose name `body` may be such a call; null when it is none. Reads little: whoever has no session can send bodies. */
export function sessionInPluginRequest(body: Buffer): string | null {
  if (!body.includes(METHOD)) return null
  return REFERENCE.exec(body.toString('latin1'))?.[0] ?? null
}

/** Reads the body of a POST to `path`; null when it is anything else, or may be. */
export function readPluginRequest(path: string, body: Buffer): PluginRequest | null {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    if (text.startsWith(BYTE_ORDER_MARK)) return null
    return path === '/jsonrpc' ? readJson(text) : readXml(text)
  } catch (error) {
    // TextDecoder says by a TypeError that it is not UTF-8.
    if (error instanceof MalformedCallError || error instanceof TypeError) return null
    throw error
  }
}

/** What two readers could take differently: comments, CDATA and DOCTYPE, attributes, other encodings, types that are written as text. */
const DOUBTFUL_XML =
  /<!|<\/?[\w.:-]+\s|<(?:base64|dateTime\.iso8601)>|^<\?xml[^>]*encoding(?!=["'](?:utf-8|us-ascii)["'])/i

function readXml(text: string): PluginRequest | null {
  if (DOUBTFUL_XML.test(text) || !text.includes(XML_METHOD)) return null
  const { method, params } = parseXmlRpcCall(text)
  if (method !== METHOD) return null
  return requestOf(params, text.split('<member>').length - 1, {
    contentType: 'text/xml',
    succeeded: formatXmlRpcResult,
    failed: formatXmlRpcError,
  })
}

const JSON_MEMBERS: ReadonlySet<string> = new Set(['jsonrpc', 'method', 'params', 'id'])

function readJson(text: string): PluginRequest | null {
  if (!text.includes(JSON_METHOD)) return null
  const call = parseJsonRpcCall(text)
  if (call.method !== METHOD) return null
  const names = Object.keys(JSON.parse(text) as object)
  if (!names.every((name) => JSON_MEMBERS.has(name))) return null
  // Outside of strings each colon is a member's.
  const members = text.replaceAll(/"(?:[^"\\]|\\.)*"/gs, '').split(':').length - 1
  return requestOf(call.params, members - names.length, {
    contentType: 'application/json',
    succeeded: (value) => formatJsonRpcResult(call, value),
    failed: (error) => formatJsonRpcError(call, error),
  })
}

/** @param members that stand in the text of the arguments: fewer are left of them where one is there twice */
function requestOf(
  params: readonly RpcValue[],
  members: number,
  format: Pick<PluginRequest, 'contentType' | 'succeeded' | 'failed'>,
): PluginRequest | null {
  const [sessionId, host, plugin, fn, args, ...more] = params
  if (typeof sessionId !== 'string' || typeof host !== 'string' || typeof plugin !== 'string') return null
  // A function's name becomes part of a path.
  if (typeof fn !== 'string' || !fn.isWellFormed() || more.length > 0 || !isTextMap(args)) return null
  return Object.keys(args).length === members ? { sessionId, host, plugin, fn, args, ...format } : null
}

function isTextMap(value: RpcValue | undefined): value is Readonly<Record<string, string>> {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
  return isObject && Object.values(value).every((text) => typeof text === 'string')
}

// JSON-RPC as xapi speaks it: versions 1.0 and 2.0, no notifications, no batches.

import { MalformedCallError, type XenApiError } from './errors.ts'
import { formatDateTime, type MethodCall, type RpcValue } from './values.ts'

/** A call, with what its answer has to repeat. */
export interface JsonRpcCall extends MethodCall {
  readonly version: '1.0' | '2.0'
  readonly id: string | number
}

/**
 * Parses a request.
 *
 * @throws {MalformedCallError} when it is not one; as in xapi, `params` may not be missing, and `id` must be a string or
 *   an integer.
 */
export function parseJsonRpcCall(text: string): JsonRpcCall {
  const request = parse(text)
  if (typeof request !== 'object' || request === null || Array.isArray(request)) throw malformed('not an object')
  const { jsonrpc, method, params, id } = request as Readonly<Record<string, unknown>>
  if (jsonrpc !== undefined && jsonrpc !== '2.0') throw malformed('"jsonrpc" is neither missing nor "2.0"')
  if (typeof method !== 'string') throw malformed('"method" is not a string')
  if (!Array.isArray(params)) throw malformed('"params" is not an array')
  if (typeof id !== 'string' && !(typeof id === 'number' && Number.isSafeInteger(id))) {
    throw malformed('"id" is neither a string nor an integer')
  }
  // What JSON.parse makes is within RpcValue.
  return { version: jsonrpc === undefined ? '1.0' : '2.0', method, params: params as RpcValue[], id }
}

/** The answer to a call that succeeded. */
export function formatJsonRpcResult({ version, id }: JsonRpcCall, value: RpcValue): string {
  const result = plain(value)
  return JSON.stringify(version === '2.0' ? { jsonrpc: '2.0', result, id } : { result, error: null, id })
}

/** The answer to a call that failed. */
export function formatJsonRpcError({ version, id }: JsonRpcCall, { code, params }: XenApiError): string {
  return JSON.stringify(
    version === '2.0'
      ? { jsonrpc: '2.0', error: { code: 1, message: code, data: params }, id }
      : { result: null, error: [code, ...params], id },
  )
}

/** `value` with its dates as texts: JSON.stringify would write them in its own form. */
function plain(value: RpcValue): unknown {
  if (value instanceof Date) return formatDateTime(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own text quotes the input, which may hold a password.
    throw malformed('not JSON')
  }
}

function malformed(what: string): MalformedCallError {
  return new MalformedCallError(`read JSON-RPC: ${what}`)
}

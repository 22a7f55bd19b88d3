// What a plugin script of the XenAPI is told, and what it answers: XML-RPC, as an argument and on standard output.

import { MalformedCallError, XenApiError } from '../xenapi/errors.ts'
import type { RpcValue } from '../xenapi/values.ts'
import { formatXmlRpcCall, parseXmlRpcResponse } from '../xenapi/xml-rpc.ts'

/** What a script is called with. */
export interface ScriptCall {
  readonly fn: string
  /** The caller's session, by which the script may use the XenAPI; empty when the gateway keeps it back. */
  readonly sessionId: string
  readonly args: Readonly<Record<string, string>>
}

/** The script's one argument. */
export function argumentOf({ fn, sessionId, args }: ScriptCall): string {
  return formatXmlRpcCall(fn, [sessionId, args])
}

/**
 * The value in what a script printed; one that is no text is told as JSON.
 *
 * @throws {XenApiError} the failure that the script tells of
 * @throws {MalformedCallError} when it is no response
 */
export function valueIn(output: string): string {
  const response = parseXmlRpcResponse(output)
  if (typeof response !== 'object' || response === null || !('Status' in response)) throw noResponse()
  const { Status, Value = '', ErrorDescription } = response as Readonly<Record<string, RpcValue>>
  if (Status === 'Success') return textOf(Value)
  if (Status !== 'Failure' || !Array.isArray(ErrorDescription)) throw noResponse()
  const [code = '', ...params] = (ErrorDescription as readonly RpcValue[]).map(textOf)
  throw new XenApiError(code, params)
}

function textOf(value: RpcValue): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function noResponse(): MalformedCallError {
  return new MalformedCallError('read XML-RPC: the response is no struct of Status and Value or ErrorDescription')
}

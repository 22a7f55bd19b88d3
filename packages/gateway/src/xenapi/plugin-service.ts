// What a custom service is asked for a call of a plugin: POST /services/plugin/<plugin>/<function> with the arguments as a JSON object of
// strings. The body of a success is the value. Of a failure it is what failed, in the form that plugins have: {"error": ["CODE",
// "parameter", …]}; anything else is XENAPI_PLUGIN_FAILURE with the status and the body.

import { request, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { identityFields, SERVICES_PREFIX } from '@xengate/channel/contract'
import type { PolicySetting } from '../model/policy.ts'
import type { ReasonName } from '../model/reasons.ts'
import { XenApiError } from './errors.ts'
import type { PluginCall } from './plugin-methods.ts'

/** Calls that are under way at once in a process; past it they are told to come again. */
export const CALLS_MAX = 64
/** Bytes of a value, and of what a client is told of a failure. */
const VALUE_BYTES_MAX = 512 * 1024
const FAILURE_CHARACTERS_MAX = 4096
/** Part of response-timeout that a service has: sooner than whoever waits for the answer gives up. */
export const TIMEOUT_PART = 0.8
/** Codes by which connecting says that nobody is there. */
const NOBODY_THERE: ReadonlySet<string> = new Set([
  'ENOENT',
  'ECONNREFUSED',
  'ENOTDIR',
  'ENOTSOCK',
  'ELOOP',
  'EPROTOTYPE',
])

/** How a service is reached. */
export interface ServiceWay {
  /** Directories where its socket can be, in the order to try. */
  readonly directories: readonly string[]
  readonly policy: PolicySetting
  /** Connects to a Unix socket as the user whom services believe. */
  readonly connect: (path: string) => Socket
  /** How long the service may take, in milliseconds. */
  readonly timeoutMs: number
}

/** What the client is told where not the call has failed, but the service. */
export class ServiceFailure extends XenApiError {
  /** Why there is no answer; null where the answer is the failure. */
  readonly reason: ReasonName | null

  constructor(code: string, params: readonly string[], reason: ReasonName | null) {
    super(code, params)
    this.reason = reason
  }
}

/**
 * What `service` says to a call; null when it does not run here, and was asked nothing.
 * @param path of the call, below the service's
 * @throws {XenApiError} what the client is told
 */
export async function askService(
  service: string,
  path: string,
  call: PluginCall,
  way: ServiceWay,
): Promise<string | null> {
  const late = AbortSignal.timeout(way.timeoutMs)
  const signal = AbortSignal.any([call.gone, late])
  for (const directory of way.directories) {
    try {
      const response = await sent(call, join(directory, service), `${SERVICES_PREFIX}${service}${path}`, way, signal)
      return valueOf(call, response.statusCode ?? 0, await bodyOf(response, call))
    } catch (error) {
      if (error instanceof XenApiError) throw error
      if (!signal.aborted && isNobodyThere(error)) continue
      throw noAnswer(call.plugin, late.aborted ? 'service-slow' : 'service-died', error)
    }
  }
  return null
}

function isNobodyThere(error: unknown): boolean {
  return error instanceof Error && 'code' in error && NOBODY_THERE.has(String(error.code))
}

function sent(
  { args, session, sessionId, clientAddress }: PluginCall,
  socketPath: string,
  path: string,
  { policy: { stripSession }, connect }: ServiceWay,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const body = JSON.stringify(args)
  const identity = identityFields(session)
  const headers: Record<string, string | number> = {
    Host: 'localhost',
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    ...(stripSession ? {} : { Cookie: `session_id=${sessionId}` }),
    ...(clientAddress === '' ? {} : { 'X-Forwarded-For': clientAddress }),
  }
  for (let index = 0; index < identity.length; index += 2) headers[identity[index] ?? ''] = identity[index + 1] ?? ''
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const createConnection = (): Socket => connect(socketPath)
  const asked = request({ createConnection, path, method: 'POST', headers, signal })
  asked.once('error', reject).once('response', resolve)
  // Without an error and without a response ends what has switched protocols.
  asked.once('close', () => reject(new Error('the connection is closed')))
  asked.end(body)
  return promise
}

async function bodyOf(response: IncomingMessage, call: PluginCall): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > VALUE_BYTES_MAX) throw failure(call.plugin, `the answer has more than ${VALUE_BYTES_MAX} bytes`, null)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function valueOf(call: PluginCall, status: number, body: string): string {
  if (status >= 200 && status < 300) return body
  const [code, ...params] =
    errorIn(body) ??
    (status === 404
      ? ['UNKNOWN_XENAPI_PLUGIN_FUNCTION', call.fn]
      : ['XENAPI_PLUGIN_FAILURE', String(status), body.slice(0, FAILURE_CHARACTERS_MAX), ''])
  throw status < 500 ? new XenApiError(code, params) : new ServiceFailure(code, params, null)
}

/** The failure's code and parameters in its own words, if the body is one. */
function errorIn(body: string): readonly [string, ...string[]] | null {
  try {
    const { error } = JSON.parse(body) as { readonly error?: unknown }
    if (!Array.isArray(error)) return null
    const [code = '', ...params] = error.map((part) => String(part).slice(0, FAILURE_CHARACTERS_MAX))
    return /^[A-Z][A-Z0-9_]{0,99}$/.test(code) ? [code, ...params.slice(0, 16)] : null
  } catch {
    return null
  }
}

/** What the client of a service that gave no answer is told. */
export function noAnswer(plugin: string, reason: ReasonName, cause?: unknown): ServiceFailure {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : ''
  return failure(plugin, `the service gave no answer${code}`, reason)
}

function failure(plugin: string, why: string, reason: ReasonName | null): ServiceFailure {
  return new ServiceFailure('XENAPI_PLUGIN_FAILURE', [plugin, why, ''], reason)
}

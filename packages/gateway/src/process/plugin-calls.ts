// Calls of plugins by the XenAPI, which custom services answer: POST /services/plugin/<plugin>/<function> with the arguments as a JSON
// object of strings. Where no service has the plugin's name it is org.xengate.plugins that is asked, which runs plugin scripts. The body of a success is the value. Of a failure it is what failed, in the form that plugins have:
// {"error": ["CODE", "parameter", …]}; anything else is XENAPI_PLUGIN_FAILURE with the status and the body.

import { request, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { identityFields, isServiceName, SERVICES_PREFIX } from '@xengate/channel/contract'
import type { Config, ServicesConfig } from '../config/config.ts'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import { PLUGINS_SERVICE } from '../model/plugins-service.ts'
import { isPermitted, OPEN_POLICY, type PolicySetting } from '../model/policy.ts'
import { permissionDeniedText, tooBusy, XenApiError } from '../xenapi/errors.ts'
import type { CallPlugin, PluginCall } from '../xenapi/plugin-methods.ts'
import type { Account } from './account.ts'
import { connectAs } from './connect-as.ts'

/** Calls that are under way at once; past it they are told to come again. */
const CALLS_MAX = 64
/** Bytes of a value, and of what a client is told of a failure. */
const VALUE_BYTES_MAX = 512 * 1024
const FAILURE_CHARACTERS_MAX = 4096
/** Part of response-timeout that a service has. */
const TIMEOUT_PART = 0.8
/** Codes by which connecting says that nobody is there. */
const NOBODY_THERE: ReadonlySet<string> = new Set([
  'ENOENT',
  'ECONNREFUSED',
  'ENOTDIR',
  'ENOTSOCK',
  'ELOOP',
  'EPROTOTYPE',
])

/** How services are reached. */
interface Way {
  readonly services: ServicesConfig
  /** Whom workers run as, which is who services believe; null: this process's user. */
  readonly account: Account | null
  /** How long a service may take, in milliseconds. */
  readonly timeoutMs: number
}

/** @param config the configuration in force, @param account of whom workers run as with it */
export function pluginCalls(config: () => Config, account: (config: Config) => Account | null): CallPlugin {
  let underWay = 0
  return async (call) => {
    const inForce = config()
    const { plugin, fn } = call
    if (!isServiceName(plugin) || plugin === CONTROL_SERVICE) throw missing(plugin)
    if (underWay >= CALLS_MAX) throw tooBusy()
    underWay++
    try {
      const way: Way = {
        services: inForce.services,
        account: account(inForce),
        // Sooner than the worker that waits for the answer gives up.
        timeoutMs: inForce.limits.responseTimeoutMs * TIMEOUT_PART,
      }
      const name = encodeURIComponent(fn)
      const value =
        (await answerOf(plugin, `/${name}`, call, way)) ??
        (await answerOf(PLUGINS_SERVICE, `/${plugin}/${name}`, call, way))
      if (value === null) throw missing(plugin)
      return value
    } finally {
      underWay--
    }
  }
}

/** What a service says to a call; null when it does not run here. @param path of the call, below the service's */
async function answerOf(service: string, path: string, call: PluginCall, way: Way): Promise<string | null> {
  const { directories, policy: policies, methods } = way.services
  const policy = policies[service] ?? OPEN_POLICY
  if (!methods.includes('POST') || !isPermitted(policy, 'POST', call.session.roles)) {
    throw permissionDeniedText('host.call_plugin', `The role of this session may not use ${service}`)
  }
  for (const directory of directories) {
    try {
      const response = await sent(call, policy, join(directory, service), `${SERVICES_PREFIX}${service}${path}`, way)
      return valueOf(call, response.statusCode ?? 0, await bodyOf(response, call))
    } catch (error) {
      if (error instanceof XenApiError) throw error
      if (call.gone.aborted || !isNobodyThere(error)) throw failure(call, 'the service gave no answer', error)
    }
  }
  return null
}

function isNobodyThere(error: unknown): boolean {
  return error instanceof Error && 'code' in error && NOBODY_THERE.has(String(error.code))
}

function sent(
  { args, session, sessionId, clientAddress, gone }: PluginCall,
  { stripSession }: PolicySetting,
  socketPath: string,
  path: string,
  { account, timeoutMs }: Way,
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
  const signal = AbortSignal.any([gone, AbortSignal.timeout(timeoutMs)])
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const createConnection = (): Socket => connectAs(account, socketPath)
  const asked = request({ createConnection, path, method: 'POST', headers, signal })
  asked.once('error', reject).once('response', resolve).end(body)
  return promise
}

async function bodyOf(response: IncomingMessage, call: PluginCall): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > VALUE_BYTES_MAX) throw failure(call, `the answer has more than ${VALUE_BYTES_MAX} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

function valueOf(call: PluginCall, status: number, body: string): string {
  if (status >= 200 && status < 300) return body
  const told = errorIn(body)
  if (told !== null) throw told
  if (status === 404) throw new XenApiError('UNKNOWN_XENAPI_PLUGIN_FUNCTION', [call.fn])
  throw new XenApiError('XENAPI_PLUGIN_FAILURE', [String(status), body.slice(0, FAILURE_CHARACTERS_MAX), ''])
}

/** The failure in its own words, if the body is one. */
function errorIn(body: string): XenApiError | null {
  try {
    const { error } = JSON.parse(body) as { readonly error?: unknown }
    if (!Array.isArray(error)) return null
    const [code = '', ...params] = error.map((part) => String(part).slice(0, FAILURE_CHARACTERS_MAX))
    return /^[A-Z][A-Z0-9_]{0,99}$/.test(code) ? new XenApiError(code, params.slice(0, 16)) : null
  } catch {
    return null
  }
}

function missing(plugin: string): XenApiError {
  return new XenApiError('XENAPI_MISSING_PLUGIN', [plugin])
}

function failure({ plugin }: PluginCall, why: string, cause?: unknown): XenApiError {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : ''
  return new XenApiError('XENAPI_PLUGIN_FAILURE', [plugin, `${why}${code}`, ''])
}

// The XenAPI endpoint: HTTP around the methods. The gateway's workers relay to it; nobody else reaches its socket.
//
//   path   404 → method 405 → body 413 → wire format 500 → call: 200 with its result or error, 503 when it cannot tell

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

import { AuthorityUnavailableError } from '../sessions/authority.ts'
import { AccountError } from '../sessions/accounts/errors.ts'
import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import { readBody } from './body.ts'
import { internalError, MalformedCallError, XenApiError } from './errors.ts'
import { EventSource } from './events.ts'
import { formatJsonRpcError, formatJsonRpcResult, parseJsonRpcCall } from './json-rpc.ts'
import type { XenApiState } from './method.ts'
import { createMethodTable, dispatch } from './methods.ts'
import { objectsOf, type XenApiPool } from './records.ts'
import type { MethodCall, RpcValue } from './values.ts'
import { formatXmlRpcError, formatXmlRpcResult, parseXmlRpcCall } from './xml-rpc.ts'

/** A request's head and body have to arrive within this. */
const REQUEST_TIMEOUT_MS = 30_000
const HEADERS_TIMEOUT_MS = 10_000

/** Longer than any worker keeps an idle connection, so that it is never this end that closes under a request. */
const KEEP_ALIVE_TIMEOUT_MS = 300_000

const HEAD_BYTES_MAX = 16_384
const RETRY_AFTER_SECONDS = '1'

/** Where events are logged; a pino logger is one. No event holds a session id or a password. */
export interface XenApiLog {
  info(event: object, message: string): void
  error(event: object, message: string): void
}

/** What `createXenApiServer` builds from. */
export interface XenApiOptions {
  readonly authority: SignInAuthority
  readonly pool: XenApiPool
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Default: nothing is logged. */
  readonly log?: XenApiLog
  /** Version of this program, shown in `host.software_version`. Default `0.0.0`. */
  readonly version?: string
  /** When it aborts, waiting event calls are answered at once, so that `close()` of the server does not wait for them. */
  readonly draining?: AbortSignal
}

/** A wire format. */
interface Format<C extends MethodCall> {
  readonly contentType: string
  readonly parse: (text: string) => C
  readonly result: (call: C, value: RpcValue) => string
  readonly error: (call: C, error: XenApiError) => string
}

const XML_RPC: Format<MethodCall> = {
  contentType: 'text/xml',
  parse: parseXmlRpcCall,
  result: (_call, value) => formatXmlRpcResult(value),
  error: (_call, error) => formatXmlRpcError(error),
}

// Clients compare this type exactly: a charset after it makes Xen Orchestra's fall back to XML-RPC.
const JSON_RPC = {
  contentType: 'application/json',
  parse: parseJsonRpcCall,
  result: formatJsonRpcResult,
  error: formatJsonRpcError,
}

/** Answers a call in one format. */
type Run = (body: string, clientAddress: string, gone: AbortSignal) => Promise<Reply>

interface Reply {
  readonly status: number
  readonly contentType: string
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * The XenAPI on HTTP: `POST /`, `/RPC2`, `/xmlrpc` (XML-RPC) and `/jsonrpc` (JSON-RPC 1.0 and 2.0).
 *
 * Listening and closing are the caller's. The client's address is the last of `X-Forwarded-For`, which is trusted.
 */
export function createXenApiServer(options: XenApiOptions): Server {
  const { log = SILENT } = options
  const table = createMethodTable()
  const state = stateOf(options, Object.keys(table).toSorted())
  const run =
    <C extends MethodCall>(format: Format<C>): Run =>
    async (body, clientAddress, gone) => {
      const call = format.parse(body)
      const logged = { method: Object.hasOwn(table, call.method) ? call.method : 'unknown', clientAddress }
      try {
        const value = await dispatch(table, call, { state, clientAddress, gone })
        log.info({ event: 'xenapi-call', ...logged }, 'XenAPI call')
        return { status: 200, contentType: format.contentType, text: format.result(call, value) }
      } catch (error) {
        const told = toldOf(error)
        log.info({ event: 'xenapi-call', ...logged, code: told.code }, 'XenAPI call')
        if (told !== error) log.error({ event: 'xenapi-failure', ...logged, err: error }, 'XenAPI call failed')
        return { status: 200, contentType: format.contentType, text: format.error(call, told) }
      }
    }
  const routes = new Map([
    ...['/', '/RPC2', '/xmlrpc'].map((path) => [path, run(XML_RPC)] as const),
    ['/jsonrpc', run(JSON_RPC)],
  ])
  const server = createServer(
    {
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    },
    (request, response) => {
      answer(routes, request, response).catch((error: unknown) => {
        log.error({ event: 'xenapi-failure', err: error }, 'XenAPI request failed')
        response.destroy()
      })
    },
  )
  return server
}

function stateOf({ authority, pool, clock, version = '0.0.0', draining }: XenApiOptions, names: string[]): XenApiState {
  const events = new EventSource(authority, () => objectsOf(pool, version), clock())
  draining?.addEventListener('abort', () => {
    events.stop()
  })
  if (draining?.aborted === true) events.stop()
  return { authority, pool, events, clock, version, methodNames: names }
}

async function answer(
  routes: ReadonlyMap<string, Run>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => {
    gone.abort()
  })
  const reply = await replyTo(routes, request, gone.signal)
  if (response.destroyed) return
  response.writeHead(reply.status, {
    'Content-Type': reply.contentType,
    'Content-Length': Buffer.byteLength(reply.text),
    'Cache-Control': 'no-cache, no-store',
    ...reply.headers,
  })
  response.end(reply.text)
}

async function replyTo(routes: ReadonlyMap<string, Run>, request: IncomingMessage, gone: AbortSignal): Promise<Reply> {
  const [path = ''] = (request.url ?? '').split('?')
  const run = routes.get(path)
  if (run === undefined) return plain(404, 'There is no such page; the XenAPI is at / and /jsonrpc')
  if (request.method !== 'POST') return plain(405, 'The XenAPI takes POST', { Allow: 'POST' })
  try {
    const body = await readBody(request)
    if (body === undefined) return plain(413, 'The body is larger than 64 KiB')
    return await run(body, clientAddressOf(request), gone)
  } catch (error) {
    if (error instanceof MalformedCallError) return plain(500, `The request is malformed: ${error.message}`)
    if (error instanceof AuthorityUnavailableError) {
      if (error.clientText === null) return unavailable('Sessions cannot be looked up now')
      return plain(503, error.clientText, { 'Retry-After': RETRY_AFTER_SECONDS })
    }
    if (error instanceof AccountError && error.retryable) return unavailable('Too many clients sign in now')
    throw error
  }
}

/** What the client is told of `error`. Those that are answered below the XenAPI pass through. */
function toldOf(error: unknown): XenApiError {
  if (error instanceof XenApiError) return error
  if (error instanceof AuthorityUnavailableError || (error instanceof AccountError && error.retryable)) throw error
  return internalError()
}

function clientAddressOf(request: IncomingMessage): string {
  const forwarded = request.headers['x-forwarded-for']
  const joined = Array.isArray(forwarded) ? forwarded.join(',') : (forwarded ?? '')
  return joined.split(',').at(-1)?.trim() ?? ''
}

function unavailable(text: string): Reply {
  return plain(503, `${text}; try again in a second`, { 'Retry-After': RETRY_AFTER_SECONDS })
}

function plain(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, contentType: 'text/plain; charset=utf-8', text: `${text}\n`, headers }
}

const SILENT: XenApiLog = { info: () => {}, error: () => {} }

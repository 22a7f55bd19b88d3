// The XenAPI endpoint: HTTP around the methods. The gateway's workers relay to it; nobody else reaches its socket.
//
//   path   404 → method 405 → body 413 → turn 503 → wire format 500 → call: 200 with its result or error, 503 when it cannot tell,
//   or when too many answers of the address are not read

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

import { AuthorityUnavailableError } from '../sessions/authority.ts'
import { AccountError } from '../sessions/accounts/errors.ts'
import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import { Answers } from './answers.ts'
import { Bodies, type Body } from './body.ts'
import { CallLog, type XenApiLog } from './call-log.ts'
import { internalError, MalformedCallError, XenApiError } from './errors.ts'
import { EventSource } from './events.ts'
import { Journal } from './journal.ts'
import { formatJsonRpcError, formatJsonRpcResult, parseJsonRpcCall } from './json-rpc.ts'
import type { MethodTable, XenApiState } from './method.ts'
import { createMethodTable, dispatch } from './methods.ts'
import type { CallPlugin } from './plugin-methods.ts'
import { hostReference, objectsOf, type XenApiObject, type XenApiPool } from './records.ts'
import { Tasks } from './tasks.ts'
import { BusyError, Turns } from './turns.ts'
import type { MethodCall, RpcValue } from './values.ts'
import { formatXmlRpcError, formatXmlRpcResult, parseXmlRpcCall } from './xml-rpc.ts'

/** A request's head and body have to arrive within this. */
const REQUEST_TIMEOUT_MS = 30_000
const HEADERS_TIMEOUT_MS = 10_000

/** Longer than any worker keeps an idle connection, so that it is never this end that closes under a request. */
const KEEP_ALIVE_TIMEOUT_MS = 300_000

const HEAD_BYTES_MAX = 16_384
const RETRY_AFTER_SECONDS = '1'

/** How often it is logged at most that there are too many calls. */
const BUSY_INTERVAL_MS = 10_000

/** Bodies of calls without a session: a login takes fewer than 3,000 bytes. */
const OPEN_BODY_BYTES_MAX = 8192
const REFERENCE = /OpaqueRef:[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/i

/** What the XenAPI is built from. */
export interface XenApiOptions {
  readonly authority: SignInAuthority
  readonly pool: XenApiPool
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  readonly log: XenApiLog
  /** Version of this program, shown in `host.software_version`. */
  readonly version: string
  /** Makes calls of plugins. */
  readonly callPlugin: CallPlugin
  /** When it aborts, waiting event calls are answered at once, so that `close()` of the server does not wait for them. */
  readonly draining: AbortSignal
}

/** The XenAPI: a server, whose listening and closing are the caller's, and the tasks that it keeps. */
export interface XenApi {
  readonly server: Server
  readonly tasks: Tasks
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

/** A body that is read, and who sent it. */
interface Received {
  readonly body: Body
  readonly clientAddress: string
  readonly requestId: string
  readonly gone: AbortSignal
}

/** Answers a call in one format. */
type Run = (received: Received) => Promise<Reply>

interface Reply {
  readonly status: number
  readonly contentType: string
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * The XenAPI on HTTP: `POST /`, `/RPC2`, `/xmlrpc` (XML-RPC) and `/jsonrpc` (JSON-RPC 1.0 and 2.0).
 *
 * The client's address is the last of `X-Forwarded-For`, which is trusted.
 */
export function createXenApi(options: XenApiOptions): XenApi {
  const endpoint = new Endpoint(options)
  const server = createServer(
    {
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    },
    (request, response) => {
      endpoint.answer(request, response).catch((error: unknown) => {
        options.log.error({ event: 'xenapi-failure', error })
        response.destroy()
      })
    },
  )
  return { server, tasks: endpoint.tasks }
}

class Endpoint {
  readonly #options: XenApiOptions
  readonly #table: MethodTable
  readonly #state: XenApiState
  readonly #routes: ReadonlyMap<string, Run>
  readonly #bodies = new Bodies()
  readonly #turns = new Turns()
  readonly #answers = new Answers()
  /** Calls that were turned away since that was logged last, and when it was. */
  #refused = 0
  #busyLoggedMs = Number.NEGATIVE_INFINITY

  constructor(options: XenApiOptions) {
    this.#options = options
    this.#table = createMethodTable(options.callPlugin)
    this.#state = stateOf(options, Object.keys(this.#table).toSorted())
    this.#routes = new Map([
      ...['/', '/RPC2', '/xmlrpc'].map((path) => [path, this.#runner(XML_RPC)] as const),
      ['/jsonrpc', this.#runner(JSON_RPC)],
    ])
  }

  get tasks(): Tasks {
    return this.#state.tasks
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => {
      gone.abort()
    })
    const reply = await this.#replyTo(request, gone.signal)
    const bytes = Buffer.byteLength(reply.text)
    const clientAddress = clientAddressOf(request)
    this.#turns.charge(clientAddress, bytes)
    if (response.destroyed) return
    write(response, this.#answers.add(clientAddress, response, bytes) ? reply : this.#busy(request))
  }

  async #replyTo(request: IncomingMessage, gone: AbortSignal): Promise<Reply> {
    const [path = ''] = (request.url ?? '').split('?')
    const run = this.#routes.get(path)
    if (run === undefined) return plain(404, 'There is no such page; the XenAPI is at / and /jsonrpc')
    if (request.method !== 'POST') return plain(405, 'The XenAPI takes POST', { Allow: 'POST' })
    let body: Body | undefined
    try {
      const read = await this.#bodies.read(request)
      if (read === 'too-long') return plain(413, 'The body is larger than 64 KiB')
      if (read === 'busy') return this.#busy(request)
      body = read
      const clientAddress = clientAddressOf(request)
      if (body.length > OPEN_BODY_BYTES_MAX && !(await this.#namesSession(body, clientAddress))) {
        return plain(413, 'The body is larger than 8 KiB, and names no session')
      }
      return await run({ body, clientAddress, requestId: lastOf(request.headers['x-request-id']), gone })
    } catch (error) {
      if (error instanceof BusyError) return this.#busy(request)
      return belowXenApi(error)
    } finally {
      body?.release()
    }
  }

  /** Logged now and then: whoever makes too many calls would fill the log, too. */
  #busy(request: IncomingMessage): Reply {
    this.#refused++
    const nowMs = performance.now()
    if (nowMs - this.#busyLoggedMs >= BUSY_INTERVAL_MS) {
      this.#busyLoggedMs = nowMs
      const clientAddress = clientAddressOf(request)
      this.#options.log.warn({ event: 'xenapi-busy', refused: this.#refused, clientAddress })
      this.#refused = 0
    }
    return unavailable('Too many calls are made now')
  }

  /** Whether a live session stands in `body`, first of all that looks like one. Anybody else's body is not worth reading. */
  async #namesSession(body: Body, clientAddress: string): Promise<boolean> {
    const [id] = await this.#turns.take(clientAddress, 0, () => REFERENCE.exec(body.latin1) ?? [])
    return id !== undefined && (await this.#state.authority.record(id)) !== undefined
  }

  #runner<C extends MethodCall>(format: Format<C>): Run {
    return async ({ body, clientAddress, requestId, gone }) => {
      const call = await this.#turns.take(clientAddress, body.length, () => format.parse(body.text))
      // While it waits for events there may be many.
      body.release()
      const log = new CallLog(this.#options.log, call.method, clientAddress, requestId)
      try {
        const value = await dispatch(this.#table, call, { state: this.#state, clientAddress, log, gone })
        log.succeeded()
        return { status: 200, contentType: format.contentType, text: format.result(call, value) }
      } catch (error) {
        const told = error instanceof XenApiError ? error : internalError()
        log.failed(codeOf(error))
        if (isBelowXenApi(error)) throw error
        if (told !== error) log.broke(error)
        return { status: 200, contentType: format.contentType, text: format.error(call, told) }
      }
    }
  }
}

function stateOf({ authority, pool, clock, version, draining }: XenApiOptions, names: string[]): XenApiState {
  const journal = new Journal(clock())
  const tasks = new Tasks(authority, journal, clock)
  const reference = hostReference(pool)
  const objects = (): XenApiObject[] => objectsOf(pool, version)
  const events = new EventSource({ authority, journal, tasks, objects, hostReference: reference })
  draining.addEventListener('abort', () => {
    events.stop()
  })
  if (draining.aborted) events.stop()
  return { authority, pool, hostReference: reference, tasks, events, clock, version, methodNames: names }
}

function write(response: ServerResponse, reply: Reply): void {
  response.writeHead(reply.status, {
    'Content-Type': reply.contentType,
    'Content-Length': Buffer.byteLength(reply.text),
    'Cache-Control': 'no-cache, no-store',
    ...reply.headers,
  })
  response.end(reply.text)
}

/** Failures that are answered below the XenAPI: a client may try again. */
function isBelowXenApi(error: unknown): boolean {
  return error instanceof AuthorityUnavailableError || (error instanceof AccountError && error.retryable)
}

function belowXenApi(error: unknown): Reply {
  if (error instanceof MalformedCallError) return plain(500, `The request is malformed: ${error.message}`)
  if (error instanceof AuthorityUnavailableError) {
    if (error.clientText === null) return unavailable('Sessions cannot be looked up now')
    return plain(503, error.clientText, { 'Retry-After': RETRY_AFTER_SECONDS })
  }
  if (error instanceof AccountError && error.retryable) return unavailable('Too many clients sign in now')
  throw error
}

/** What the log says of a failure. */
function codeOf(error: unknown): string {
  if (error instanceof XenApiError || error instanceof AccountError) return error.code
  return error instanceof AuthorityUnavailableError ? 'AUTHORITY_UNAVAILABLE' : internalError().code
}

function clientAddressOf({ headers }: IncomingMessage): string {
  return lastOf(headers['x-forwarded-for'])
}

function lastOf(field: string | string[] | undefined): string {
  const joined = Array.isArray(field) ? field.join(',') : (field ?? '')
  return joined.split(',').at(-1)?.trim() ?? ''
}

function unavailable(text: string): Reply {
  return plain(503, `${text}; try again in a second`, { 'Retry-After': RETRY_AFTER_SECONDS })
}

function plain(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, contentType: 'text/plain; charset=utf-8', text: `${text}\n`, headers }
}

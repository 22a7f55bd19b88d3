// One HTTP request to xapi: JSON-RPC 2.0 over its Unix socket or HTTPS, on connections that are kept.

import { readFile } from 'node:fs/promises'
import { Agent as HttpAgent, type IncomingMessage, type RequestOptions, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { hostOf } from '../model/origin.ts'
import type { XapiAddress } from './address.ts'
import { XapiFailure, XapiUnreachableError } from './errors.ts'

/** Calls at once to one endpoint: xapi has a thread for each. */
const CONNECTIONS_MAX = 16
/** A kept connection is closed after this; stunnel in front of xapi waits longer. */
const IDLE_MS = 10_000
/** All records of the hosts of a large pool are some megabytes. */
const ANSWER_BYTES_MAX = 33_554_432

/** One address, with its connections. */
export class XapiEndpoint {
  readonly address: XapiAddress
  readonly #caFile: string | null
  #options: RequestOptions | undefined
  #agent: HttpAgent | undefined
  #calls = 0

  /** @param caFile certificates that may have signed the endpoint's own; null: those that the system trusts */
  constructor(address: XapiAddress, caFile: string | null) {
    this.address = address
    this.#caFile = caFile
  }

  /** The address in words. */
  get name(): string {
    return this.address.kind === 'unix' ? this.address.path : this.address.origin
  }

  /**
   * Calls a method; waiting for a free connection counts as part of its time.
   *
   * @throws {XapiFailure} what xapi says. @throws {XapiUnreachableError} when it says nothing that can be understood.
   */
  async call(method: string, params: readonly unknown[], timeoutMs: number): Promise<unknown> {
    const body = JSON.stringify({ jsonrpc: '2.0', id: ++this.#calls, method, params })
    const signal = AbortSignal.timeout(timeoutMs)
    try {
      return readAnswer(method, await this.#post(body, signal))
    } catch (error) {
      if (error instanceof XapiFailure) throw error
      const why = signal.aborted ? `no answer within ${timeoutMs} ms` : reasonOf(error)
      throw new XapiUnreachableError(`call ${method} of xapi at ${this.name}: ${why}`, { cause: error })
    }
  }

  /** Closes the connections; calls under way fail. */
  close(): void {
    this.#agent?.destroy()
  }

  async #post(body: string, signal: AbortSignal): Promise<string> {
    this.#options ??= await this.#connectOptions()
    try {
      return await this.#send(this.#options, body, signal)
    } catch (error) {
      // A kept connection may have been closed under the request: xapi has not read it then.
      if (!(error instanceof ConnectionClosedError)) throw error
      return this.#send(this.#options, body, signal)
    }
  }

  async #connectOptions(): Promise<RequestOptions> {
    const limits = { keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS }
    if (this.address.kind === 'unix') {
      this.#agent = new HttpAgent(limits)
      return { socketPath: this.address.path, agent: this.#agent }
    }
    const ca = this.#caFile === null ? undefined : await readFile(this.#caFile)
    this.#agent = new HttpsAgent({ ...limits, ...(ca && { ca }) })
    const { port } = new URL(this.address.origin)
    return { host: hostOf(this.address.origin), port: port === '' ? 443 : port, agent: this.#agent }
  }

  #send(options: RequestOptions, body: string, signal: AbortSignal): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }
    const make = this.address.kind === 'unix' ? httpRequest : httpsRequest
    const request = make({ ...options, method: 'POST', path: '/jsonrpc', headers, signal })
    request.once('response', (response) => void readText(response).then(resolve, reject))
    request.once('error', (error: NodeJS.ErrnoException) => {
      const isStale = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
      reject(isStale ? new ConnectionClosedError('the connection was closed', { cause: error }) : error)
    })
    // The agent's timeout is for idle connections; a call has its signal.
    request.setTimeout(0)
    request.end(body)
    return promise
  }
}

/** A kept connection turned out to be closed. */
class ConnectionClosedError extends Error {
  override readonly name = 'ConnectionClosedError'
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is longer than ${ANSWER_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  if (response.statusCode !== 200) throw new Error(`it answered with status ${response.statusCode}`)
  return Buffer.concat(chunks).toString('utf8')
}

function readAnswer(method: string, text: string): unknown {
  let answer: unknown
  try {
    answer = JSON.parse(text)
  } catch {
    // The parser's own words quote the answer, which may hold a session.
    throw new Error('the answer is not JSON')
  }
  if (typeof answer !== 'object' || answer === null) throw new Error('the answer is not an object')
  const { result, error } = answer as { readonly result?: unknown; readonly error?: unknown }
  if (result !== undefined && (error === undefined || error === null)) return result
  throw failureOf(method, error)
}

function failureOf(method: string, error: unknown): Error {
  if (typeof error !== 'object' || error === null) return new Error('the answer has neither result nor error')
  const { message, data } = error as { readonly message?: unknown; readonly data?: unknown }
  if (typeof message !== 'string') return new Error('the error has no code')
  return new XapiFailure(method, message, Array.isArray(data) ? data.map(String) : [])
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

// A custom service, as a program calls it.
//
// A request goes to the host that is known to run the service, first to the gateway's own. What leads elsewhere (302) is followed to hosts
// of the pool alone, with the same request. A session that is over is opened anew once, and only GET and HEAD are sent again when nothing
// came. A stream is there once: so it is asked before where the service is, and whether the session holds.

import { type Body, collected, isStream, sentBody, sizeOf, typeOf } from './body.ts'
import { errorOf, GatewayError, refusalCode } from './errors.ts'
import { PAUSES_MS, pause } from './pauses.ts'
import { countedResponse, type OnProgress } from './progress.ts'
import type { Session } from './session.ts'
import { reached } from './xenapi.ts'

/** A request, beside its path. */
export interface RequestOptions {
  readonly headers?: ConstructorParameters<typeof Headers>[0]
  /** Beside what stands in the path. */
  readonly query?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  /** Told as bodies pass, either way. */
  readonly onProgress?: OnProgress
  /** Bytes of a body that is a stream, where they are known. */
  readonly size?: number
}

export interface FetchOptions extends RequestOptions {
  /** Default: GET. */
  readonly method?: string
  readonly body?: Body
}

/** How often a request is sent on to another host, or by the service to another path. */
const HOPS_MAX = 5

/** Whether pages run here: then the browser follows redirects, and has no Cookie that a program may set. */
const IS_BROWSER = 'document' in globalThis || 'importScripts' in globalThis
/** Whether a stream's length may be told: elsewhere it goes in chunks. */
const IS_NODE = 'process' in globalThis && !('Deno' in globalThis) && !('Bun' in globalThis)

/** One request on its way. */
interface Sending {
  readonly method: string
  /** Path and query, from `/services/plugin/` on. */
  target: string
  readonly headers: Headers
  readonly body: Body | undefined
  readonly options: FetchOptions
}

/** See the head of this file. Made by `Gateway.service`. */
export class Service {
  readonly #session: Session
  readonly name: string
  readonly #root: string

  constructor(session: Session, name: string) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/.test(name)) throw new TypeError(`${name} cannot be the name of a service`)
    this.#session = session
    this.name = name
    this.#root = `/services/plugin/${name}`
  }

  /** @param path below the service, such as `/images/1?part=2`. @throws {GatewayError} unless the answer is a success (2xx) */
  get(path: string = '', options: RequestOptions = {}): Promise<Response> {
    return this.#success(path, { ...options, method: 'GET' })
  }

  /** The same, with a body. */
  put(path: string, body: Body, options: RequestOptions = {}): Promise<Response> {
    return this.#success(path, { ...options, method: 'PUT', body })
  }

  /** The same. */
  post(path: string, body: Body, options: RequestOptions = {}): Promise<Response> {
    return this.#success(path, { ...options, method: 'POST', body })
  }

  async #success(path: string, options: FetchOptions): Promise<Response> {
    const response = await this.fetch(path, options)
    if (!response.ok) throw await errorOf(response, this.name)
    return response
  }

  /**
   * Sends a request and answers what came of it, whatever its status.
   * @throws {GatewayError} when there is no answer, or none that may be followed. @throws what `signal` was aborted with
   */
  async fetch(path: string = '', options: FetchOptions = {}): Promise<Response> {
    const { method = 'GET', onProgress, headers } = options
    const body = IS_BROWSER && isStream(options.body) ? await collected(options.body) : options.body
    const sending = { method, target: this.#targetOf(path, options), headers: new Headers(headers), body, options }
    const type = typeOf(body)
    if (type !== null && !sending.headers.has('content-type')) sending.headers.set('Content-Type', type)
    if (isStream(body)) await this.#probe(options.signal)
    const response = await this.#follow(sending)
    return onProgress === undefined ? response : countedResponse(response, onProgress)
  }

  #targetOf(path: string, { query = {} }: RequestOptions): string {
    const below = path === '' || path.startsWith('/') || path.startsWith('?') ? path : `/${path}`
    // With dots in it, it may lead to another service.
    if (!this.#isBelow(new URL(this.#root + below, this.#session.url).pathname)) {
      throw new TypeError(`${path} is not below the service ${this.name}`)
    }
    const more = new URLSearchParams(query).toString()
    if (more === '') return this.#root + below
    return `${this.#root}${below}${below.includes('?') ? '&' : '?'}${more}`
  }

  /** Learns where the service is, and that the session holds, by a GET of which only the head is waited for. */
  async #probe(signal: AbortSignal | undefined): Promise<void> {
    const options = signal === undefined ? {} : { signal }
    const response = await this.#follow({
      method: 'GET',
      target: this.#root,
      headers: new Headers(),
      body: undefined,
      options,
    })
    const code = refusalCode(response)
    // That GET is not open here says nothing of what is to be sent.
    const isAnswered = code === undefined || code === 'method-not-allowed' || code === 'role-insufficient'
    if (!isAnswered) throw await errorOf(response, this.name)
    await response.body?.cancel()
  }

  /** Sends, until there is an answer that leads nowhere else. */
  async #follow(sending: Sending): Promise<Response> {
    let hasRenewed = false
    for (let hop = 0; hop <= HOPS_MAX;) {
      const used = this.#session.id
      const response = await this.#send(sending, used)
      if (response.status === 403 || response.status === 401) {
        if (hasRenewed || !(await this.#session.renew(used, refusalCode(response)))) return response
        this.#mustBeWhole(sending, 'session-ended', 'the session ended while a stream was on its way')
        hasRenewed = true
      } else if (response.status === 404 && this.#isGoneFrom(response)) {
        this.#mustBeWhole(sending, 'service-moved', 'the service is on another host by now')
      } else if (!(await this.#leadsOn(sending, response))) {
        return response
      } else hop++
      await response.body?.cancel()
    }
    throw new GatewayError('redirect-loop', `${this.name} is looked for on one host after the other`, this.#fields)
  }

  /** Whether the service is not on the host any more where it was found; then the gateway is asked. */
  #isGoneFrom(response: Response): boolean {
    if (this.#session.placeOf(this.name) === this.#session.url || refusalCode(response) === undefined) return false
    this.#session.isAt(this.name, this.#session.url)
    return true
  }

  /** A stream was given away with the request that was not taken. */
  #mustBeWhole({ body }: Sending, code: string, message: string): void {
    if (isStream(body)) throw new GatewayError(code, message, { ...this.#fields, retryable: true })
  }

  get #fields(): { readonly service: string } {
    return { service: this.name }
  }

  /** Whether the answer sends the client elsewhere, and where that may be followed: then the next request goes there. */
  async #leadsOn(sending: Sending, { status, headers }: Response): Promise<boolean> {
    const location = headers.get('location')
    if (status < 300 || status >= 400 || location === null) return false
    const here = this.#session.placeOf(this.name)
    const to = new URL(location, here + sending.target)
    to.searchParams.delete('session_id')
    const target = to.pathname + to.search
    const isSame =
      target === sending.target ||
      target === new URL(sending.target, here).pathname + new URL(sending.target, here).search
    if (!isSame && (to.origin !== here || !this.#isBelow(to.pathname))) return false
    if (isSame && to.origin === here)
      throw new GatewayError('redirect-loop', `${this.name} leads to itself`, this.#fields)
    if (isSame) {
      if (!(await this.#session.isOfPool(to))) {
        const text = `${this.name} leads to ${to.origin}, which is not a host of the pool: give it in "hosts" if it is`
        throw new GatewayError('redirect-refused', text, { ...this.#fields, status })
      }
      this.#mustBeWhole(sending, 'service-moved', 'the service went to another host while a stream was on its way')
      this.#session.isAt(this.name, to.origin)
      return true
    }
    // The service's own: another path of it, for those who only read.
    if (sending.method !== 'GET' && sending.method !== 'HEAD') return false
    sending.target = target
    return true
  }

  #isBelow(path: string): boolean {
    return path === this.#root || path.startsWith(`${this.#root}/`)
  }

  /** Sends once; what only reads again when nothing came. */
  async #send(sending: Sending, sessionId: string | null): Promise<Response> {
    const { method, body, options } = sending
    const isRepeatable = (method === 'GET' || method === 'HEAD') && body === undefined
    for (let attempt = 0; ; attempt++) {
      const url = this.#session.placeOf(this.name) + withSession(sending.target, sessionId)
      try {
        return await reached(this.#session.transport, url, initOf(sending, sessionId), this.name)
      } catch (error) {
        // The host may be gone, and the service be elsewhere by now.
        this.#session.isAt(this.name, this.#session.url)
        const pauseMs = PAUSES_MS[attempt]
        const isOver = !(error instanceof GatewayError) || !isRepeatable || pauseMs === undefined
        if (isOver) throw error
        await pause(pauseMs, options.signal)
      }
    }
  }
}

function initOf({ method, headers: given, body, options }: Sending, sessionId: string | null): RequestInit {
  const headers = new Headers(given)
  if (sessionId !== null && !IS_BROWSER) {
    const cookies = headers.get('cookie')
    headers.set('Cookie', `session_id=${sessionId}${cookies === null ? '' : `; ${cookies}`}`)
  }
  const { size, onProgress, signal = null } = options
  // A browser sends no stream by HTTP/1.1, and so does not tell how far it is.
  const sent = body === undefined ? {} : sentBody(body, size, IS_BROWSER ? undefined : onProgress)
  const bytes = size ?? (onProgress === undefined ? undefined : sizeOf(body))
  if (IS_NODE && bytes !== undefined && body !== undefined) headers.set('Content-Length', String(bytes))
  return { method, headers, redirect: IS_BROWSER ? 'follow' : 'manual', signal, ...sent }
}

/** Pages cannot set a cookie of another site, nor see one that is HttpOnly. */
function withSession(target: string, sessionId: string | null): string {
  if (sessionId === null || !IS_BROWSER) return target
  return `${target}${target.includes('?') ? '&' : '?'}session_id=${encodeURIComponent(sessionId)}`
}

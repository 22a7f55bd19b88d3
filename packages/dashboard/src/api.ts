// What the gateway is asked: the control service with the session that the browser keeps in a cookie, which no script can read, and
// the two addresses that give and take that cookie.

const CONTROL = '/services/plugin/org.xengate.control'
/** Where the dashboard itself is, whatever path it is served at. */
const OWN = '/xengate'
const TIMEOUT_MS = 10_000

/** The gateway has answered with something else than was asked for, or not at all: then `status` is 0. */
export class ApiError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface Status {
  readonly version: string
  readonly node: string
  readonly since: string
  readonly config: string | null
  readonly listen: readonly string[]
  readonly outOfService: boolean
  readonly certificates: readonly { readonly listener: string; readonly until: string }[]
  readonly authority: { readonly kind: string; readonly isHeard: boolean }
  readonly registry: { readonly kind: string; readonly isHeard: boolean }
  readonly workers: { readonly wanted: number; readonly ready: number }
  readonly transport: { readonly name: string; readonly reason: string } | null
  readonly overload: Overload
  readonly requests: number
  readonly refusals: number
  readonly errors: number
  readonly answers: number
  readonly latencyTotalMs: number
  readonly latencyMs: number | null
  readonly memoryBytes: { readonly primary: number; readonly workers: number }
  readonly warnings: readonly { readonly event: string; readonly count: number; readonly last: string }[]
}

/** What workers do against overload: each that does something, and why. */
export interface Overload {
  readonly stage: number
  readonly workers: readonly {
    readonly pid: number
    readonly stage: number
    readonly means: string
    readonly resource: string
    readonly used: number
    readonly limit: number
    readonly key: string
  }[]
}

/** A service with a socket on this host, or one that other hosts have. */
export interface Service {
  readonly name: string
  readonly socket?: string | null
  readonly accepts?: boolean
  readonly requests?: number
  readonly refusals?: number
  readonly errors?: number
  readonly answers?: number
  readonly latencyTotalMs?: number
  readonly latencyMs?: number | null
  readonly inFlight?: number
  readonly queued?: number
  /** Workers that do not ask it for a moment, since it has failed again and again. */
  readonly breakerOpen?: number
  readonly hosts?: readonly string[]
}

export interface Session {
  readonly id: string
  readonly user: string
  readonly roles: readonly string[]
  readonly originator: string
  readonly address: string | null
  readonly since: string | null
  readonly lastActive: string
  readonly under: { readonly requests: number; readonly tunnels: number; readonly channels: number }
}

export interface Connection {
  readonly id: string
  readonly listener: string
  readonly state: string
  readonly client: string
  readonly port: number
  readonly proto: string
  readonly since: string
  readonly request: {
    readonly id: string
    readonly service: string | null
    readonly way: string
    readonly method: string
    readonly path: string
    readonly user: string | null
    readonly bytesIn: number
    readonly bytesOut: number
    readonly since: string
  } | null
}

export interface Refusal {
  readonly time: string
  readonly requestId: string
  readonly client: string
  readonly service: string | null
  readonly method: string | null
  readonly path: string | null
  readonly status: number
  readonly user: string | null
  readonly reason: string | null
  readonly by: string | null
  readonly phase: string | null
  readonly explanation: string | null
}

/** A line of the log. */
export interface LogEvent {
  readonly level: string
  readonly time: string
  readonly event: string
  readonly [field: string]: unknown
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, { ...init, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) })
  } catch {
    throw new ApiError(0, 'The gateway does not answer.')
  }
  if (!response.ok) throw new ApiError(response.status, await messageOf(response))
  return response
}

async function messageOf(response: Response): Promise<string> {
  const text = await response.text()
  try {
    const { error, message } = JSON.parse(text) as { error?: { message?: string }; message?: string }
    return error?.message ?? message ?? text
  } catch {
    if (text.trim().startsWith('<')) return `It is not the gateway that answers (${response.status}).`
    return text.trim() || `The gateway answered ${response.status}.`
  }
}

const json = { Accept: 'application/json' }

/**
 * Whether it is the gateway that answers at this address. xapi has a web server, which may have sent this page while the gateway is down, or not in
 * front of it. Asked before anything else: xapi lets browsers ask for a password where it knows no session.
 */
export async function isGatewayHere(): Promise<boolean> {
  return fetch(`${OWN}/session`, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) }).then(
    ({ status }) => status === 204,
    () => false,
  )
}

/** Who is signed in. @throws {ApiError} 403 when nobody is, or a role is missing */
export async function whoAmI(): Promise<string> {
  return (await who()).user
}

/** `token`: what acts have to show. An upgrade makes another one. */
function who(): Promise<{ readonly user: string; readonly token: string }> {
  return read('token')
}

/** @throws {ApiError} */
export async function read<T>(what: string): Promise<T> {
  return (await ask(`${CONTROL}/${what}`, { headers: json })).json() as Promise<T>
}

/** Ends something. @throws {ApiError} */
export function end(what: 'sessions' | 'connections', id: string): Promise<void> {
  return act(`${what}/${encodeURIComponent(id)}/end`)
}

/** Has a service asked again that has failed again and again. @throws {ApiError} */
export function closeBreaker(service: string): Promise<void> {
  return act(`services/${encodeURIComponent(service)}/close-breaker`)
}

async function act(path: string): Promise<void> {
  const { token } = await who()
  await ask(`${CONTROL}/${path}`, { method: 'POST', headers: { ...json, 'X-Xengate-Token': token } })
}

/** Signs in as a user of the XenAPI. @throws {ApiError} with what the XenAPI says */
export async function signIn(user: string, password: string): Promise<void> {
  const call = {
    jsonrpc: '2.0',
    id: 1,
    method: 'session.login_with_password',
    params: [user, password, '1.0', 'Xengate'],
  }
  const headers = { 'Content-Type': 'application/json' }
  const response = await ask('/jsonrpc', { method: 'POST', headers, body: JSON.stringify(call) }).catch(
    (error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error
      throw new ApiError(404, 'The XenAPI is not here. Sign in where Xengate stands in front of xapi.')
    },
  )
  const { result, error } = (await response.json()) as { result?: string; error?: { message: string } }
  if (typeof result !== 'string') {
    const isWrong = error?.message === 'SESSION_AUTHENTICATION_FAILED'
    throw new ApiError(403, isWrong ? 'User name or password is wrong.' : (error?.message ?? 'No session came.'))
  }
  await ask(`${OWN}/session`, { method: 'POST', headers, body: JSON.stringify({ session: result }) })
  localStorage.setItem(SIGNED_IN, 'yes')
}

/** Whether somebody has signed in with this browser, and not out: else nothing need be asked. */
export function hasSignedIn(): boolean {
  return localStorage.getItem(SIGNED_IN) !== null
}

/** Forgets that somebody has signed in. */
export function forgetSignIn(): void {
  localStorage.removeItem(SIGNED_IN)
}

const SIGNED_IN = 'xengate-signed-in'

export async function signOut(): Promise<void> {
  await ask(`${OWN}/sign-out`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' })
}

/** Hears the log's events until `signal` aborts. */
export function listen(
  heard: (event: LogEvent) => void,
  broken: (isBroken: boolean) => void,
  signal: AbortSignal,
): void {
  const source = new EventSource(`${CONTROL}/events`)
  source.addEventListener('open', () => broken(false))
  source.addEventListener('error', () => broken(true))
  source.addEventListener('message', ({ data }) => heard(JSON.parse(data as string) as LogEvent))
  signal.addEventListener('abort', () => source.close())
}

/** What has come of an answer. */
export interface TriedAnswer {
  /** Status line and fields. */
  readonly head: string
  readonly body: string
  /** To the head. */
  readonly ms: number
}

/** As much of a body is shown. */
const SHOWN_CHARACTERS = 20_000

/** Sends a request to a service, as its clients do, and tells what comes as it comes. @param path with its query */
export async function tryService(
  service: string,
  method: string,
  path: string,
  body: string,
  signal: AbortSignal,
  told: (answer: TriedAnswer) => void,
): Promise<void> {
  const began = performance.now()
  const within = path === '' || path.startsWith('/') || path.startsWith('?') ? path : `/${path}`
  const response = await fetch(`/services/plugin/${service}${within}`, {
    method,
    cache: 'no-store',
    redirect: 'manual',
    signal,
    ...(method === 'GET' ? {} : { body }),
  })
  const ms = performance.now() - began
  if (response.type === 'opaqueredirect') {
    told({ head: 'The service runs on another host of the pool: a redirect.', body: '', ms })
    return
  }
  const fields = [...response.headers].map(([name, value]) => `${name}: ${value}`)
  const head = [`${response.status} ${response.statusText}`, ...fields].join('\n')
  let text = ''
  told({ head, body: text, ms })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
    text += part.value
    told({ head, body: text.slice(0, SHOWN_CHARACTERS), ms })
    if (text.length < SHOWN_CHARACTERS) continue
    await reader?.cancel()
    return
  }
}

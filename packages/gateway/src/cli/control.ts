// The control service, for commands: on the host by the daemon's control socket, elsewhere through a gateway, in a session.

import { request as plainRequest, type IncomingMessage } from 'node:http'
import { request as secureRequest } from 'node:https'
import { text } from 'node:stream/consumers'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import { controlSocketIn, daemonFailure, daemonText } from './daemon.ts'
import { CliError, type FailureCode } from './errors.ts'
import { type Io, say } from './io.ts'
import { keptSession, trustOf } from './session-file.ts'
import { stateDirectory, type StateOptions } from './state.ts'
import { trust } from './trust.ts'

/** Where a command finds the gateway. */
export interface ControlOptions extends StateOptions {
  /** Of a gateway; without it, the one of this host. */
  readonly url?: string
  readonly sessionId?: string
}

/** How long an answer may take. */
const WAIT_MS = 10_000
/** A gateway that can be asked. */
export interface Control {
  /** Which one it is: its socket or URL, and what named that. */
  readonly name: string
  /** Answers what is at `path`. @throws {CliError} */
  ask(method: 'GET' | 'POST', path: string): Promise<Readonly<Record<string, unknown>>>
  /** Calls `line` with each event of the log, from now on, until `stopped` aborts. @throws {CliError} also when the gateway ends it */
  listen(line: (json: string) => void, stopped: AbortSignal): Promise<void>
}

/** The gateway that the options mean: one elsewhere, the one of this host, or where there is none that of `xengate login`. @throws {CliError} */
export async function openControl(options: ControlOptions, io: Io): Promise<Control> {
  if (options.url !== undefined) return throughGateway(options.url, '--url', givenSession(options, io), io)
  try {
    const state = await stateDirectory(options, io)
    const unreachable = (cause: unknown): CliError => daemonFailure(state, cause)
    return new HttpControl({ socketPath: controlSocketIn(state) }, '/control', daemonText(state), unreachable)
  } catch (error) {
    const kept = error instanceof CliError && error.code === 'state-missing' ? keptSession(io) : null
    if (kept === null) throw error
    say(io, `no gateway in this directory: asking ${kept.url}, where "xengate login" signed in`)
    return readOnly(throughGateway(kept.url, 'xengate login', null, io), kept.url)
  }
}

/** A session, and what named it. */
interface NamedSession {
  readonly id: string
  readonly from: string
}

function givenSession({ sessionId }: ControlOptions, { env }: Io): NamedSession | null {
  if (sessionId !== undefined) return { id: sessionId, from: '--session-id' }
  const id = env['XENGATE_SESSION']
  return id === undefined ? null : { id, from: 'XENGATE_SESSION' }
}

/** What is changed elsewhere is changed by who says where. */
function readOnly(control: Control, url: string): Control {
  return {
    name: control.name,
    ask: async (method, path) => {
      if (method === 'GET') return control.ask(method, path)
      throw new CliError(
        'url-missing',
        `no gateway in this directory; to change something at ${url} it has to be named`,
      )
    },
    listen: (line, stopped) => control.listen(line, stopped),
  }
}

/** In the session that is given, or else in that of `xengate login` at the same gateway. */
function throughGateway(url: string, from: string, given: NamedSession | null, io: Io): Control {
  const parsed = URL.parse(url)
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new CliError('url-invalid', `${url} is not the URL of a gateway`)
  }
  const kept = given === null ? keptSession(io) : null
  if (kept?.url === parsed.origin) trust(trustOf(kept), io)
  const session = given ?? (kept?.url === parsed.origin ? { id: kept.id, from: 'xengate login' } : null)
  if (session === null) throw new CliError('session-needed', `nobody is signed in at ${url}`)
  const { protocol, hostname, port } = parsed
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const headers = { Cookie: `session_id=${session.id}` }
  const target: Target = { host, headers, isSecure: protocol === 'https:', ...(port !== '' && { port: Number(port) }) }
  const origins = from === session.from ? from : `${from}, in the session of ${session.from}`
  const name = `the gateway at ${url} (from ${origins})`
  return new HttpControl(target, `/services/plugin/${CONTROL_SERVICE}`, name, (cause) => gatewayFailure(name, cause))
}

function gatewayFailure(name: string, cause: unknown): CliError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const why = cause instanceof Error ? cause.message : String(cause)
  const kind = /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS/.test(code) ? 'certificate-unknown' : 'gateway-unreachable'
  return new CliError(kind, `cannot ask ${name}: ${why}`, { cause })
}

/** Where requests go. */
interface Target {
  readonly socketPath?: string
  readonly host?: string
  readonly port?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly isSecure?: boolean
}

class HttpControl implements Control {
  readonly name: string
  readonly #target: Target
  readonly #prefix: string
  /** What it means that no answer comes. */
  readonly #unreachable: (cause: unknown) => CliError

  constructor(target: Target, prefix: string, name: string, unreachable: (cause: unknown) => CliError) {
    this.name = name
    this.#target = target
    this.#prefix = prefix
    this.#unreachable = unreachable
  }

  async ask(method: 'GET' | 'POST', path: string): Promise<Readonly<Record<string, unknown>>> {
    const response = await this.#send(method, path, AbortSignal.timeout(WAIT_MS))
    const body = await text(response)
    if (response.statusCode === 200) return JSON.parse(body) as Readonly<Record<string, unknown>>
    throw this.#failure(response.statusCode ?? 0, body)
  }

  async listen(line: (json: string) => void, stopped: AbortSignal): Promise<void> {
    const response = await this.#send('GET', '/events', stopped)
    if (response.statusCode !== 200) throw this.#failure(response.statusCode ?? 0, await text(response))
    let rest = ''
    let cause: unknown
    try {
      for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        for (const each of lines) if (each.startsWith('data: ')) line(each.slice('data: '.length))
      }
    } catch (error) {
      cause = error
    }
    if (stopped.aborted) return
    throw new CliError('daemon-absent', `${this.name} has stopped, or was upgraded: it tells of no more events`, {
      cause,
    })
  }

  async #send(method: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { isSecure = false, ...target } = this.#target
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const send = isSecure ? secureRequest : plainRequest
    const sent = send({ ...target, method, path: this.#prefix + path, signal, agent: false })
    sent.once('error', reject).once('response', resolve).end()
    return promise.catch((error: unknown) => {
      throw this.#unreachable(error)
    })
  }

  #failure(status: number, body: string): CliError {
    const { code = '', message = '' } = errorIn(body)
    if (status === 403 && message.startsWith('The role ')) {
      return new CliError('role-needed', `${this.name} refuses: ${message}`)
    }
    if (status === 403) return new CliError('session-needed', `${this.name} refuses: ${message}`)
    const known = KNOWN_FAILURES.find((one) => one === code)
    if (known !== undefined) return new CliError(known, message)
    return new CliError('control-failed', `${this.name} answers ${status}${message === '' ? '' : `: ${message}`}`)
  }
}

const KNOWN_FAILURES: readonly FailureCode[] = [
  'request-unknown',
  'connection-unknown',
  'session-unknown',
  'breaker-closed',
]

/** The error that a body tells of: the control service's, or the gateway's, which is text. */
function errorIn(body: string): { readonly code?: string; readonly message?: string } {
  try {
    const { error = {} } = JSON.parse(body) as { error?: { code?: string; message?: string } }
    return error
  } catch {
    return { message: body.trim() }
  }
}

// A client of xapi with a root session of its own: made when it is first needed, made anew when xapi has lost it, and
// made on the coordinator when this host turns out to be a member of the pool.
//
// Over the Unix socket the connection is root and needs no password; over HTTPS, also to a coordinator, it does.

import { readFile } from 'node:fs/promises'
import type { XapiSettings } from './address.ts'
import { XapiEndpoint } from './endpoint.ts'
import { XapiFailure, XapiUnreachableError } from './errors.ts'

/** Shown in the session's record, and by which xapi counts its sessions. */
const ORIGINATOR = 'xengate'

/** Well below what a request waits for its session. */
export const CALL_TIMEOUT_MS = 2000
/** Calls under way or waiting for a connection; past it they fail. */
const CALLS_MAX = 1000
/** A call is tried again after a lost session, and after a change of coordinator: each once, and once more for both. */
const ATTEMPTS_MAX = 3

/** See the head of this file. */
export class XapiClient {
  readonly #settings: XapiSettings
  readonly #home: XapiEndpoint
  #endpoint: XapiEndpoint
  #session: Promise<string> | null = null
  #calls = 0
  #isClosed = false
  #isReachable = true
  readonly #noticed: (error: XapiUnreachableError | null) => void

  /** @param noticed told when xapi is not reachable any more, and why, and, with null, when it is again */
  constructor(settings: XapiSettings, noticed: (error: XapiUnreachableError | null) => void = () => {}) {
    this.#noticed = noticed
    this.#settings = settings
    this.#home = new XapiEndpoint(settings.address, settings.caFile)
    this.#endpoint = this.#home
  }

  /**
   * Calls a method whose parameters are complete.
   *
   * @throws {XapiFailure} @throws {XapiUnreachableError}
   */
  call(method: string, params: readonly unknown[], timeoutMs: number = CALL_TIMEOUT_MS): Promise<unknown> {
    return this.#persist((endpoint) => endpoint.call(method, params, timeoutMs))
  }

  /** Calls a method with the own session before `params`. @throws as `call` */
  own(method: string, params: readonly unknown[], timeoutMs: number = CALL_TIMEOUT_MS): Promise<unknown> {
    return this.#persist((endpoint) => this.#callOwn(endpoint, method, params, timeoutMs))
  }

  /**
   * As `own`, but not tried again: what was asked for may mean something else on another coordinator, or after a restart.
   * The next call may succeed after `HOST_IS_SLAVE` and `SESSION_INVALID`.
   */
  ownOnce(method: string, params: readonly unknown[], timeoutMs: number): Promise<unknown> {
    return this.#persist((endpoint) => this.#callOwn(endpoint, method, params, timeoutMs), 1)
  }

  async #callOwn(
    endpoint: XapiEndpoint,
    method: string,
    params: readonly unknown[],
    timeoutMs: number,
  ): Promise<unknown> {
    return endpoint.call(method, [await this.#ownSession(), ...params], timeoutMs)
  }

  /** Ends the own session, if xapi is there to be told, and closes the connections. */
  async close(): Promise<void> {
    this.#isClosed = true
    try {
      const session = await this.#session
      if (session !== null) await this.#endpoint.call('session.logout', [session], CALL_TIMEOUT_MS)
    } catch {
      // It would have ended it by itself after a day.
    }
    this.#home.close()
    this.#endpoint.close()
  }

  async #persist(
    attempt: (endpoint: XapiEndpoint) => Promise<unknown>,
    attemptsMax: number = ATTEMPTS_MAX,
  ): Promise<unknown> {
    if (this.#isClosed) throw new XapiUnreachableError('call xapi: the client is closed')
    if (this.#calls >= CALLS_MAX) throw new XapiUnreachableError(`call xapi: ${CALLS_MAX} calls are waiting already`)
    this.#calls += 1
    try {
      for (let attempts = 1; ; attempts++) {
        const [endpoint, session] = [this.#endpoint, this.#session]
        try {
          const result = await attempt(endpoint)
          this.#notice(null)
          return result
        } catch (error) {
          this.#notice(error instanceof XapiUnreachableError ? error : null)
          if (!(await this.#hasMended(error, endpoint, session)) || attempts >= attemptsMax) throw error
        }
      }
    } finally {
      this.#calls -= 1
    }
  }

  #notice(error: XapiUnreachableError | null): void {
    if (this.#isReachable === (error === null) || this.#isClosed) return
    this.#isReachable = error === null
    this.#noticed(error)
  }

  /** Whether the call may succeed now: another endpoint was found, or the own session was lost and is forgotten. */
  async #hasMended(error: unknown, endpoint: XapiEndpoint, session: Promise<string> | null): Promise<boolean> {
    if (error instanceof XapiUnreachableError && endpoint !== this.#home) this.#turnTo(this.#home, endpoint)
    if (!(error instanceof XapiFailure)) return false
    const [first = ''] = error.params
    if (error.code === 'HOST_IS_SLAVE') {
      const address = { kind: 'https', origin: originOf(first) } as const
      this.#turnTo(new XapiEndpoint(address, this.#settings.caFile), endpoint)
      return true
    }
    return error.code === 'SESSION_INVALID' && this.#hasLost(first, this.#session ?? session)
  }

  /** Forgets the session `own` if it is the one that xapi does not know. Answers whether it is. */
  async #hasLost(unknown: string, own: Promise<string> | null): Promise<boolean> {
    if (own === null || (await own.catch(() => undefined)) !== unknown) return false
    if (this.#session === own) this.#session = null
    return true
  }

  /** @param from the endpoint to leave; another call may have left it already */
  #turnTo(endpoint: XapiEndpoint, from: XapiEndpoint): void {
    if (this.#endpoint !== from) return
    if (from !== this.#home) from.close()
    this.#endpoint = endpoint
    this.#session = null
  }

  /** The own session; of calls that need one at once, the first logs in. */
  #ownSession(): Promise<string> {
    if (this.#session !== null) return this.#session
    const session = this.#login(this.#endpoint)
    this.#session = session
    session.catch(() => {
      if (this.#session === session) this.#session = null
    })
    return session
  }

  async #login(endpoint: XapiEndpoint): Promise<string> {
    const password = endpoint.address.kind === 'unix' ? '' : await this.#password(endpoint)
    const params = [this.#settings.user, password, '1.1', ORIGINATOR]
    const session = await endpoint.call('session.login_with_password', params, CALL_TIMEOUT_MS)
    if (typeof session === 'string') return session
    throw new XapiUnreachableError(`log in to xapi at ${endpoint.name}: the answer is no session`)
  }

  async #password(endpoint: XapiEndpoint): Promise<string> {
    const { passwordFile } = this.#settings
    if (passwordFile === null) {
      const text = `log in to xapi at ${endpoint.name}: it needs a password; set sessions.xapi.user and password-file`
      throw new XapiUnreachableError(text)
    }
    try {
      return (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '')
    } catch (cause) {
      throw new XapiUnreachableError(`log in to xapi: the password file ${passwordFile} cannot be read`, { cause })
    }
  }
}

/** The coordinator's address, which xapi gives without brackets when it is an IPv6 one. */
function originOf(address: string): string {
  return `https://${/^[^[]*:[^[]*:/.test(address) ? `[${address}]` : address}`
}

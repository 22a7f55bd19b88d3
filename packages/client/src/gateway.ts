// A gateway, under a session there.

import { GatewayError } from './errors.ts'
import { PAUSES_MS, pause } from './pauses.ts'
import { Service } from './service.ts'
import { type GatewayOptions, type OpenSession, Session } from './session.ts'
import { failed, XenApiFailure } from './xenapi.ts'

/** See the head of this file. Made by `login` and `session`. */
export class Gateway implements AsyncDisposable {
  readonly #session: Session

  constructor(url: string, open: OpenSession, options: GatewayOptions) {
    this.#session = new Session(url, open, options)
  }

  /** The origin: `https://host`. */
  get url(): string {
    return this.#session.url
  }

  /** The session's id, which is a secret; null where the browser has it, in a cookie. */
  get sessionId(): string | null {
    return this.#session.id
  }

  /** @param name the service's well-known name */
  service(name: string): Service {
    return new Service(this.#session, name)
  }

  /**
   * Calls the XenAPI in this session.
   * @param method such as `host.get_all`; the session is put before `params`
   * @throws {GatewayError} `xenapi-failed`, `unreachable`
   */
  async call(method: string, ...params: readonly unknown[]): Promise<unknown> {
    try {
      return await this.#session.call(method, params)
    } catch (error) {
      throw failed(method, error)
    }
  }

  /** Ends the session. One that is over already is no failure. */
  async logout(): Promise<void> {
    if (this.#session.id === null) return
    this.#session.end()
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#logout()
      } catch (error) {
        const pauseMs = PAUSES_MS[attempt]
        // The end of a session cuts the connections that services have for it, and this call may have been on one of them.
        const isUnreachable = error instanceof GatewayError && error.code === 'unreachable'
        if (!isUnreachable || pauseMs === undefined) throw failed('session.logout', error)
        await pause(pauseMs)
      }
    }
  }

  async #logout(): Promise<void> {
    try {
      await this.#session.call('session.logout')
    } catch (error) {
      if (!(error instanceof XenApiFailure) || error.code !== 'SESSION_INVALID') throw error
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.logout()
  }
}

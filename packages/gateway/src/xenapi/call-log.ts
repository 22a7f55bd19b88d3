// What is logged of a call: who made it, from where, and how it ended. Never a session id or a password.

import type { Log } from '../logging/log.ts'
import type { Session } from '../model/session.ts'

/** Where it is logged. */
export type XenApiLog = Pick<Log, 'info' | 'warn' | 'error'>

/** Events of calls that have a name of their own, when they succeed and when they fail. */
const EVENTS: ReadonlyMap<string, readonly [string, string]> = new Map([
  ['session.login_with_password', ['sign-in', 'sign-in-failed']],
  ['session.logout', ['sign-out', 'xenapi-call']],
] as const)
const CALL = ['xenapi-call', 'xenapi-call'] as const

const LOGGED_CHARACTERS_MAX = 100

/** A call's line in the log, while the call is under way. */
export class CallLog {
  readonly #log: XenApiLog
  readonly #events: readonly [string, string]
  #fields: Readonly<Record<string, unknown>>

  /** @param method as the client sent it */
  constructor(log: XenApiLog, method: string, clientAddress: string, requestId: string) {
    this.#log = log
    this.#events = EVENTS.get(method) ?? CALL
    this.#fields = { method: cleaned(method), clientAddress, requestId: cleaned(requestId) }
  }

  /** Somebody says that they are this user. */
  claimed(user: string, originator: string): void {
    this.#fields = { ...this.#fields, user: cleaned(user), originator: cleaned(originator) }
  }

  /** The call is this session's. */
  identified({ user, uuid, originator }: Session): void {
    this.#fields = { ...this.#fields, user, session: uuid, originator }
  }

  succeeded(): void {
    this.#log.info({ event: this.#events[0], ...this.#fields })
  }

  /** @param code what the client was told */
  failed(code: string): void {
    this.#log.warn({ event: this.#events[1], ...this.#fields, code })
  }

  /** The gateway's own failure, beside what the client was told. */
  broke(error: unknown): void {
    this.#log.error({ event: 'xenapi-failure', ...this.#fields, error })
  }
}

/** A client's text for the log: cut, without control characters, and without what could be a session's id. */
function cleaned(text: string): string {
  return text
    .slice(0, 2 * LOGGED_CHARACTERS_MAX)
    .replace(/OpaqueRef:\S*|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{1,12}/gi, '…')
    .slice(0, LOGGED_CHARACTERS_MAX)
    .toWellFormed()
    .replace(/\p{C}/gu, '\u{fffd}')
}

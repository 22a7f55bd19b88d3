// The one way to have a password checked: through the throttle.

import type { LimitName } from '../../model/limit-names.ts'
import { AuthorityUnavailableError } from '../authority.ts'
import { AccountError } from './errors.ts'
import { SignInThrottle, type Attempt, type HeldUp } from './throttle.ts'
import { isName, type UserRecord, type Users } from './users.ts'

/** Checks passwords for signing in and for changing a password. */
export class PasswordGate {
  readonly #users: Users
  readonly #throttle: SignInThrottle

  readonly #limited: (limit: LimitName) => void

  /**
   * @param clock one that does not go back, in ms
   * @param limited told of attempts that are refused since there are too many
   */
  constructor(users: Users, clock: () => number, limited: (limit: LimitName) => void) {
    this.#users = users
    this.#limited = limited
    this.#throttle = new SignInThrottle(clock)
  }

  /**
   * The user with this name and password.
   *
   * @throws {AccountError} `SIGN_IN_REFUSED`, with a text for the user, or `BUSY`.
   * @throws {AuthorityUnavailableError}
   */
  async check(user: string, password: string, clientAddress: string): Promise<UserRecord> {
    try {
      return await this.#check(user, password, clientAddress)
    } catch (error) {
      if (error instanceof AccountError && error.code === 'BUSY') this.#limited('sign-ins')
      throw error
    }
  }

  async #check(user: string, password: string, clientAddress: string): Promise<UserRecord> {
    // All impossible names share one key: none of them can be guessed.
    const admission = await this.#throttle.enter(isName(user) ? user : '', clientAddress)
    if (admission.kind === 'refused') {
      this.#limited('sign-in-attempts')
      throw tooMany(admission.seconds)
    }
    const verified = await this.#decide(admission.attempt, user, password)
    if (verified === undefined) throw wrongCredentials()
    return verified
  }

  /** Who cannot sign in now, or only by turns, because of wrong passwords. */
  heldUp(): HeldUp[] {
    return this.#throttle.heldUp()
  }

  /** Forgets wrong passwords: for a name, from an address, or all. */
  clearHeldUp(whose: { readonly name?: string; readonly address?: string }): void {
    this.#throttle.clear(whose)
  }

  async #decide(attempt: Attempt, user: string, password: string): Promise<UserRecord | undefined> {
    let verified: UserRecord | undefined
    try {
      verified = await this.#users.verify(user, password)
    } catch (error) {
      attempt.cancelled()
      if (error instanceof AccountError) throw error
      throw new AuthorityUnavailableError('check password: the store of users failed', { cause: error })
    }
    if (verified === undefined) attempt.failed()
    else attempt.succeeded()
    return verified
  }
}

/** Says the same whether or not there is such a user. */
export function wrongCredentials(): AccountError {
  return new AccountError('SIGN_IN_REFUSED', 'Wrong user name or password')
}

function tooMany(seconds: number): AccountError {
  const text = `Too many failed attempts; try again in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}`
  return new AccountError('SIGN_IN_REFUSED', text)
}

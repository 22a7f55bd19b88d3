// What can go wrong with accounts: names, passwords, roles and signing in. Callers compare `code`, never the text.

/** Code of an `AccountError`. */
export type AccountErrorCode =
  | 'USER_EXISTS'
  | 'USER_UNKNOWN'
  | 'USER_NAME_INVALID'
  | 'PASSWORD_INVALID'
  | 'ROLE_INVALID'
  | 'ORIGINATOR_INVALID'
  /** Wrong name or password, or too many wrong ones before. */
  | 'SIGN_IN_REFUSED'
  /** Too many password checks are waiting; the same request may succeed a second later. */
  | 'BUSY'

/** An account operation that was refused. Its text names no password. */
export class AccountError extends Error {
  override readonly name = 'AccountError'
  readonly code: AccountErrorCode
  /** Whether the same call may succeed later without a change. */
  readonly retryable: boolean

  constructor(code: AccountErrorCode, message: string) {
    super(message)
    this.code = code
    this.retryable = code === 'BUSY'
  }
}

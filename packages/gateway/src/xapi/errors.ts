// What can go wrong with a call of xapi.

/** xapi answered with an error. Its parameters may hold a session, so the text does not. */
export class XapiFailure extends Error {
  override readonly name = 'XapiFailure'
  readonly code: string
  readonly params: readonly string[]

  constructor(method: string, code: string, params: readonly string[]) {
    super(`call ${method} of xapi: ${code}`)
    this.code = code
    this.params = params
  }
}

/** xapi cannot be reached, is too slow, or answers what nobody understands. */
export class XapiUnreachableError extends Error {
  override readonly name = 'XapiUnreachableError'
}

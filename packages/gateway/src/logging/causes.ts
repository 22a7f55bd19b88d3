// An error and what it came from, as one line for the log.

const CAUSES_MAX = 5
/** Errors of other programs whose texts quote nothing that they were given. */
const PLAIN_CODES: ReadonlySet<string> = new Set(['ERR_SQLITE_ERROR'])

/**
 * What `error` says, and its causes after it. Texts that were not written here may quote arguments, such as a session id: of
 * those errors only the code or the name is told.
 */
export function causesText(error: unknown): string {
  const parts: string[] = []
  for (let cause = error; cause instanceof Error && parts.length < CAUSES_MAX; cause = cause.cause) {
    parts.push(textOf(cause, parts.length === 0))
  }
  return parts.length === 0 ? 'unknown' : parts.join(': ')
}

/** A failure as the log has it: what it says, with its causes, and the first one's code. */
export interface Failure {
  readonly code?: string
  readonly message: string
}

/** What the log tells of `error`, whose stack says nothing that an operator could use. */
export function failureOf(error: unknown): Failure {
  const code = codeOf(error)
  return { ...(code !== undefined && { code }), message: causesText(error) }
}

function textOf(error: Error, isFirst: boolean): string {
  const code = codeOf(error)
  // Errors that are made here have names of their own.
  const isOurs = error.name !== 'Error' && /^(?:Authority|Valkey|Xapi|Database|Account)/.test(error.name)
  if (isFirst || isOurs || (code !== undefined && PLAIN_CODES.has(code))) return error.message
  return code ?? error.name
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

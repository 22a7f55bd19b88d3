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

function textOf(error: Error, isFirst: boolean): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  // Errors that are made here have names of their own.
  const isOurs = error.name !== 'Error' && /^(?:Authority|Valkey|Xapi|Database|Account)/.test(error.name)
  if (isFirst || isOurs || (code !== undefined && PLAIN_CODES.has(code))) return error.message
  return code ?? error.name
}

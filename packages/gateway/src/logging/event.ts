// What is logged.

/** An event: what happened, in kebab-case, and its particulars. Never a session id, a password or a body. */
export interface LogEvent {
  readonly event: string
  /** What failed: an error, logged with its type, code, text, stack and causes, or a `Failure`, which has code and text alone. */
  readonly error?: unknown
  readonly [field: string]: unknown
}

// What is logged.

/** An event: what happened, in kebab-case, and its particulars. Never a session id, a password or a body. */
export interface LogEvent {
  readonly event: string
  /** An error that the event reports; logged with its type, code, text and stack. */
  readonly error?: unknown
  readonly [field: string]: unknown
}

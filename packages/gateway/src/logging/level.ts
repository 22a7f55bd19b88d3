/** Levels of the log, from the least important. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const

/** One of them. */
export type LogLevel = (typeof LOG_LEVELS)[number]

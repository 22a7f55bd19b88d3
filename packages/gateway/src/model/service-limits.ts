// What a service may be asked at once, and when it is not asked for a moment.

/** Counts, and times in milliseconds; each holds in one worker. */
export interface ServiceLimits {
  /** Requests that the service has at once; 0: any. */
  readonly requests: number
  /** Requests that wait for their turn. */
  readonly queue: number
  readonly queueTimeoutMs: number
  /** Requests a second of one session; 0: any. */
  readonly sessionRate: number
  /** Failures that open the breaker; 0: nothing does. */
  readonly breakerFailures: number
  readonly breakerPauseMs: number
}

/** Of what is never kept waiting. */
export const NO_LIMITS: ServiceLimits = Object.freeze({
  requests: 0,
  queue: 0,
  queueTimeoutMs: 0,
  sessionRate: 0,
  breakerFailures: 0,
  breakerPauseMs: 0,
})

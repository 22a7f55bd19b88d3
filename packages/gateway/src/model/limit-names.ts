// Every limit that is counted and logged when it is hit: one catalogue, for the metric, the log and docs/operations.md. Times and least
// rates are not among them: what ends by those says so by its reason.

/** Name of a limit. */
export type LimitName =
  | 'connections'
  | 'connections-of-address'
  | 'requests-of-session'
  | 'descriptors'
  | 'head-bytes'
  | 'target-bytes'
  | 'head-fields'
  | 'chunk-extensions'
  | 'call-bytes'
  | 'look-ups'
  | 'service-requests'
  | 'service-queue'
  | 'service-queue-timeout'
  | 'service-session-rate'
  | 'sessions'
  | 'sign-ins'
  | 'sign-in-attempts'
  | 'calls'

/** By name, what is changed for another limit; null for what the program has fixed. */
export const LIMITS: Readonly<Record<LimitName, string | null>> = {
  connections: 'limits.connections',
  'connections-of-address': 'limits.share',
  'requests-of-session': 'limits.share',
  descriptors: 'the limit of open files: LimitNOFILE of the unit',
  'head-bytes': 'limits.head-bytes',
  'target-bytes': 'limits.target-bytes',
  'head-fields': null,
  'chunk-extensions': null,
  'call-bytes': null,
  'look-ups': null,
  'service-requests': 'services.limits.requests',
  'service-queue': 'services.limits.queue',
  'service-queue-timeout': 'services.limits.queue-timeout',
  'service-session-rate': 'services.limits.session-rate',
  sessions: 'sessions.max-per-user, sessions.max-per-originator',
  'sign-ins': null,
  'sign-in-attempts': null,
  calls: null,
}

// Every metric that the gateway has: one catalogue, from which the exposition takes names, types and help, and with which a test compares
// docs/operations.md.

/** Upper bounds of the buckets of durations, in seconds: those that OpenTelemetry recommends for HTTP, and below them what a gateway adds. */
export const BUCKETS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
]

/** Values of a histogram: one for each bucket, what is beyond the last, and the sum in seconds. */
export const HISTOGRAM_VALUES: number = BUCKETS.length + 2

/** A metric with its labels. */
export interface Family {
  /** `gauge`: what is now, and goes with the process that has it. `latest`: the greatest of all processes, which is kept. */
  readonly kind: 'counter' | 'gauge' | 'latest' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
}

/** By name. A value of a label is never taken from a request, but for names of services that are there. */
const CATALOGUE = {
  xengate_build_info: ['gauge', 'The program: always 1', ['version', 'node', 'transport']],
  xengate_requests_total: [
    'counter',
    'Requests that are over; of those on a channel neither method nor code is known',
    ['service', 'method', 'code', 'way'],
  ],
  xengate_request_duration_seconds: [
    'histogram',
    'From the complete head of a relayed request to the end of its response, with its wait for its turn; not of tunnels',
    ['service'],
  ],
  xengate_time_to_first_byte_seconds: [
    'histogram',
    "How long services took to the heads of their responses; without the request's wait for its turn, and for its session",
    ['service'],
  ],
  xengate_gateway_duration_seconds: ['histogram', 'What the gateway itself took of a relayed request', ['phase']],
  xengate_requests_in_flight: ['gauge', 'Requests and tunnels that are with a service now', ['service']],
  xengate_queued: [
    'gauge',
    'Requests that wait for their turn at the service, or for a connection to it, now',
    ['service'],
  ],
  xengate_request_bytes_total: ['counter', "Bytes of requests' bodies, without framing", ['service']],
  xengate_response_bytes_total: ['counter', "Bytes of responses' bodies, without framing", ['service']],
  xengate_requests_cut_total: [
    'counter',
    'Requests that a service had and that ended otherwise than by their response, by reason',
    ['service', 'reason'],
  ],
  xengate_connections: ['gauge', "Clients' connections now", ['listener', 'state']],
  xengate_connections_closed_total: [
    'counter',
    "Clients' connections that have ended, by reason",
    ['listener', 'reason'],
  ],
  xengate_refused_total: ['counter', 'Requests and connections that the gateway refused, by reason', ['reason']],
  xengate_service_connections: ['gauge', 'Connections to services now', ['service', 'state']],
  xengate_service_connections_reused_total: ['counter', 'Requests that were sent on a kept connection', ['service']],
  xengate_service_connect_errors_total: [
    'counter',
    'Connections to services that could not be had',
    ['service', 'reason'],
  ],
  xengate_service_overflow_total: [
    'counter',
    "Requests that were refused for a service's limits, or by its breaker",
    ['service', 'reason'],
  ],
  xengate_breaker_open: ['gauge', 'Workers in which the breaker of the service is open', ['service']],
  xengate_channels: ['gauge', "Clients' connections that services have now", ['service']],
  xengate_channels_passed_total: ['counter', 'Connections that services have taken', ['service']],
  xengate_channels_refused_total: ['counter', 'Connections that services were offered and did not take', ['service']],
  xengate_sessions: ['gauge', 'Live sessions', ['authority']],
  xengate_session_lookups_total: ['counter', 'Questions of workers about sessions', ['authority', 'result']],
  xengate_session_lookup_duration_seconds: ['histogram', 'How long the authority took to answer these', ['authority']],
  xengate_sign_ins_total: ['counter', 'Attempts to sign in', ['authority', 'result']],
  xengate_redirects_total: ['counter', 'Requests that were sent to another host of the pool', ['host']],
  xengate_config_reloads_total: ['counter', 'Reloads of the configuration', ['result']],
  xengate_config_last_reload_successful: ['gauge', 'Whether the last reload was taken: 1 or 0', []],
  xengate_config_last_reload_success_timestamp_seconds: ['gauge', 'When a configuration was taken last', []],
  xengate_event_loop_delay_seconds: ['histogram', 'How late the clock of a worker that is busy ticks', ['process']],
  xengate_limit_hits_total: ['counter', 'How often a limit was reached', ['limit']],
  xengate_overload_stage: ['gauge', 'What a worker does against overload: 0 nothing, to 4', ['process']],
  xengate_workers: ['gauge', 'Worker processes now', ['state']],
  xengate_log_events_total: ['counter', 'Warnings and errors in the log', ['level', 'event']],
  xengate_log_event_last_timestamp_seconds: ['latest', 'When a warning or an error was logged last', ['event']],
  xengate_certificate_not_after_timestamp_seconds: [
    'gauge',
    "When the certificate of a listener's TLS ends",
    ['listener'],
  ],
  process_cpu_user_seconds_total: ['counter', 'User CPU time', ['process']],
  process_cpu_system_seconds_total: ['counter', 'System CPU time', ['process']],
  process_cpu_seconds_total: ['counter', 'User and system CPU time', ['process']],
  process_start_time_seconds: ['gauge', 'When the process was started', ['process']],
  process_resident_memory_bytes: ['gauge', 'Resident memory', ['process']],
  process_virtual_memory_bytes: ['gauge', 'Virtual memory', ['process']],
  process_open_fds: ['gauge', 'Open descriptors', ['process']],
  process_max_fds: ['gauge', 'How many descriptors there may be', ['process']],
  nodejs_heap_size_total_bytes: ['gauge', 'Heap of the primary', ['process']],
  nodejs_heap_size_used_bytes: ['gauge', 'Used heap of the primary', ['process']],
  nodejs_external_memory_bytes: ['gauge', 'Memory of the primary outside its heap', ['process']],
  nodejs_version_info: ['gauge', 'The version of Node.js: always 1', ['version', 'major', 'minor', 'patch']],
} as const

/** Name of a metric. */
export type FamilyName = keyof typeof CATALOGUE

export const FAMILIES: Readonly<Record<FamilyName, Family>> = Object.fromEntries(
  Object.entries(CATALOGUE).map(([name, [kind, help, labels]]) => [name, { kind, help, labels }]),
) as unknown as Record<FamilyName, Family>

/** What a series is called in memory: the metric, and the values of its labels in their order. */
export function seriesKey(family: FamilyName, values: readonly string[]): string {
  return values.length === 0 ? family : `${family}\n${values.join('\n')}`
}

/** The metric and the values that `key` names; undefined when it is no metric's. */
export function parseKey(key: string): { readonly family: FamilyName; readonly values: readonly string[] } | undefined {
  const [family = '', ...values] = key.split('\n')
  return Object.hasOwn(FAMILIES, family) ? { family: family as FamilyName, values } : undefined
}

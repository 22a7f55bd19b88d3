// The simulation's results as Markdown.

import {
  ENDINGS,
  IDLE_TIMEOUT_MS,
  type Measured,
  PROCESSES,
  SERVICES_PER_HOST,
  SESSIONS_USED,
  type Times,
  WRITE_INTERVAL_S,
} from './simulation.ts'

/** What the results belong to. */
export interface Machine {
  readonly date: string
  readonly command: string
  readonly processor: string
  readonly cores: number
  readonly memoryGib: number
  readonly kernel: string
  readonly commit: string
  readonly node: string
  readonly server: string
}

type Row = readonly [what: string, show: (measured: Measured) => string]

const times = ({ medianMs, maxMs }: Times): string => `${medianMs.toFixed(1)} (${maxMs.toFixed(1)})`
const number = (value: number, digits: number = 0): string =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })

const ROWS: readonly Row[] = [
  ['requests of known sessions', ({ known }) => number(known.requests)],
  ['of these, asked of Valkey', ({ known }) => number(known.unknown)],
  ['calls for each of them, which are reports of activity', ({ known }) => number(known.callsEach, 4)],
  [
    'reports for each session, gateway and interval of writing (one carries many)',
    ({ known }) => number(known.callsPerSessionInterval, 3),
  ],
  ['calls for a request of an unknown session', ({ unknown }) => number(unknown.callsEach, 2)],
  ['reports of its activity (one carries many)', ({ unknown }) => number(unknown.touchesPerRequest, 3)],
  ["the server's CPU for it, µs", ({ unknown }) => number(unknown.cpuUs, 1)],
  ['heartbeats of the connection (TIME) of a gateway, 1/s', ({ idle }) => number(idle.timePerGatewaySecond, 2)],
  ['heartbeats of the lease of a gateway, 1/s', ({ idle }) => number(idle.announcePerGatewaySecond, 2)],
  ["the server's CPU for an idle gateway, ms/s", ({ idle }) => number(idle.cpuMsPerGatewaySecond, 3)],
  ["the server's core in use while all are idle, %", ({ idle }) => number(idle.cpuPercent, 1)],
  ['traffic of an idle gateway, both ways, bytes/s', ({ idle }) => number(idle.bytesPerGatewaySecond)],
  ['calls for a logout that all gateways have to hear of', ({ logout }) => number(logout.callsEach, 1)],
  ['pushed for it', ({ logout }) => number(logout.pushes, 1)],
  ['the logout is answered after, ms', ({ logout }) => times(logout.answered)],
  ['the last gateway knows after, ms', ({ logout }) => times(logout.last)],
  ['calls for the start of a service', ({ service }) => number(service.callsEach, 1)],
  ['messages for it', ({ service }) => number(service.pushes, 1)],
  ['the last gateway knows after, ms', ({ service }) => times(service.last)],
  [
    'all are connected, started one after the other in each process, after, ms',
    ({ connectedMs }) => number(connectedMs),
  ],
  ["the server's memory for a session, bytes", ({ memory }) => number(memory.bytesPerSession)],
  ['for a session that a gateway knows, for each that does', ({ memory }) => number(memory.bytesPerKnownSession)],
  ['for a gateway', ({ memory }) => number(memory.bytesPerGateway)],
]

/** The results as Markdown. */
export function scaleTables(machine: Machine, all: readonly Measured[]): string {
  const { date, command, processor, cores, memoryGib, kernel, commit, node, server } = machine
  return `# Gateways on one Valkey

\`${command}\` on ${date.slice(0, 10)}, commit ${commit}: ${processor}, ${cores} cores, ${memoryGib} GiB, ${kernel}; ${server},
Node.js ${node}.

| gateways | ${all.map(({ gateways }) => number(gateways)).join(' | ')} |
| --- |${' ---: |'.repeat(all.length)}
${ROWS.map(([what, show]) => `| ${what} | ${all.map((measured) => show(measured)).join(' | ')} |`).join('\n')}

Times are the median of ${ENDINGS}, and in parentheses the most. ${SESSIONS_USED} sessions, each used on every gateway once a second;
10,000 sessions on the server; ${SERVICES_PER_HOST} services on each host; the idle timeout is ${IDLE_TIMEOUT_MS / 1000} s, so that activity is written every
${WRITE_INTERVAL_S} s (each minute with the default). The gateways are in ${PROCESSES} processes, and share the cores with the server.
`
}

// What Xengate is to reach, each judged from one run: what is compared with another peer is compared round by round.

import { bulkGet, bulkPut } from './cases/bulk.ts'
import { channelBulk, channelConnections, channelKeepAlive } from './cases/channels.ts'
import type { Case } from './cases/case.ts'
import { idle } from './cases/idle.ts'
import { latencyHalf, latencyMost } from './cases/latency.ts'
import { plugins } from './cases/plugins.ts'
import {
  accessLog,
  authorities,
  connectionPerRequest,
  keepAlive,
  keepAlive256,
  keepAlive4,
  post1k,
  sessions,
} from './cases/requests.ts'
import type { MetricName } from './metrics.ts'
import type { Options } from './options.ts'
import { sessionsPeer } from './peers/xengate.ts'
import type { Results, Summary } from './results.ts'

/** One line of the table. */
export interface Target {
  readonly what: string
  /** What is wanted, in words. */
  readonly wanted: string
  /** What was measured, in words. */
  readonly measured: string
  readonly isReached: boolean
}

const US_PER_MS = 1000
const KIB = 1024

/** The targets that `results` can judge; those whose peers or cases were left out are missing. */
export function judge(results: Results, options: Options): readonly Target[] {
  return RULES.flatMap((rule) => judgeOne(rule, results, options) ?? [])
}

/** What rules are judged from. Both throw MissingError when something was not measured. */
interface Measured {
  readonly options: Options
  readonly median: (of: Case, peer: string, metric: MetricName) => number
  /** `metric` of `ours` as a multiple of that of `theirs`, over all rounds. */
  readonly times: (of: Case, metric: MetricName, ours: string, theirs: string) => Summary
  /** How much more `ours` has than `theirs`, likewise. */
  readonly more: (of: Case, metric: MetricName, ours: string, theirs: string) => Summary
}

interface Rule {
  readonly what: string
  readonly wanted: string
  readonly limit: number
  /** What was reached: one number, or the rounds' summary, of which the median counts. */
  readonly reached: (measured: Measured) => number | Summary
  /** Whether more is better; default: less is. */
  readonly isAtLeast?: boolean
  readonly show: (value: number) => string
}

const showTimes = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ×`

/** How a peer is called in the table. */
const NAMES: Readonly<Record<string, string>> = {
  nginx: 'nginx with auth_request',
  haproxy: 'HAProxy',
  'node-direct': "the same service's by TCP",
}

/** The peers of Xengate itself, by how they have their connections. */
const TRANSPORTS = [
  { name: 'xengate', words: 'net' },
  { name: 'xengate-ring', words: 'ring' },
] as const
const [NET, RING] = TRANSPORTS

type Ours = (typeof TRANSPORTS)[number]

/** CPU of `ours`, at most `limit` × that of another peer. */
function cpu(what: string, of: Case, ours: Ours, limit: number, other: 'haproxy' | 'nginx'): Rule {
  const metric = of === bulkGet || of === bulkPut ? 'cpuSecondsPerGib' : 'cpuUs'
  return {
    what: `CPU, ${what}, ${ours.words}`,
    wanted: `at most ${limit} × ${NAMES[other]}`,
    limit,
    reached: ({ times }) => times(of, metric, ours.name, other),
    show: showTimes,
  }
}

/** What Xengate with `node:net` does in a second, at least as much as nginx. */
function asFast(what: string, of: Case, metric: 'requestsPerSecond' | 'megabytesPerSecond'): Rule {
  return {
    what: `${what}, ${NET.words}`,
    wanted: `at least ${NAMES['nginx']}'s`,
    limit: 1,
    reached: ({ times }) => times(of, metric, NET.name, 'nginx'),
    isAtLeast: true,
    show: showTimes,
  }
}

/** p99 at a rate that all can take. */
function latency(what: string, of: Case): Rule[] {
  return TRANSPORTS.map(({ name, words }) => ({
    what: `p99 at ${what} the saturating rate, ${words}`,
    wanted: "at most HAProxy's",
    limit: 0,
    reached: ({ more }) => more(of, 'p99Us', name, 'haproxy'),
    show: (us) => `HAProxy's ${us < 0 ? '−' : '+'} ${(Math.abs(us) / US_PER_MS).toFixed(2)} ms`,
  }))
}

function growth(what: string, of: Case): Rule[] {
  return TRANSPORTS.map(({ name, words }) => ({
    what: `${what}, memory growth, ${words}`,
    wanted: 'at most 32 MiB',
    limit: 32,
    reached: ({ median }) => median(of, name, 'growthMib'),
    show: (value) => `${value.toFixed(1)} MiB`,
  }))
}

/** A channel against the same service by TCP. */
function channel(what: string, of: Case, metric: MetricName): Rule[] {
  return TRANSPORTS.map(({ name, words }) => ({
    what: `${what}, ${words}`,
    wanted: `at least 0.98 × ${NAMES['node-direct']}`,
    limit: 0.98,
    reached: ({ times }) => times(of, metric, `${name}-channel`, 'node-direct'),
    isAtLeast: true,
    show: showTimes,
  }))
}

function channelCpu(): Rule[] {
  return TRANSPORTS.flatMap(({ name, words }): Rule[] => [
    {
      what: `the gateway's CPU for 1,000,000 requests by channels, ${words}`,
      wanted: 'under 0.5 s',
      limit: 0.5,
      reached: ({ median }) => median(channelKeepAlive, `${name}-channel`, 'gatewaySecondsPerMillion'),
      show: (value) => `${value.toFixed(2)} s`,
    },
    {
      what: `a connection per request: the gateway's CPU to pass it, ${words}`,
      wanted: 'at most what relaying takes',
      limit: 1,
      reached: ({ times }) => times(channelConnections, 'gatewaySecondsPerMillion', `${name}-channel`, `${name}-relay`),
      show: showTimes,
    },
  ])
}

function plugin(what: string, peer: string, limit: number): Rule {
  return {
    what: `CPU of a call, ${what}`,
    wanted: `at least ${limit.toLocaleString('en')} × Xengate's`,
    limit,
    reached: ({ median }) => median(plugins, peer, 'cpuUs') / median(keepAlive, NET.name, 'cpuUs'),
    isAtLeast: true,
    show: showTimes,
  }
}

function liveSessions(): Rule[] {
  return (['net', 'ring'] as const).map((transport) => ({
    what: `CPU, the most live sessions against one, ${transport}`,
    wanted: 'at most 1.1 ×',
    limit: 1.1,
    reached: ({ times, options: { sessionCounts } }) => {
      const [fewest = 1, most = 1] = [sessionCounts[0], sessionCounts.at(-1)]
      return times(sessions, 'cpuUs', sessionsPeer(most, transport), sessionsPeer(fewest, transport))
    },
    show: showTimes,
  }))
}

const SMALL_GET = 'a small GET kept alive, 64 connections'

const RULES: readonly Rule[] = [
  cpu(SMALL_GET, keepAlive, RING, 0.9, 'haproxy'),
  cpu(SMALL_GET, keepAlive, NET, 1.25, 'haproxy'),
  cpu(SMALL_GET, keepAlive, NET, 0.6, 'nginx'),
  cpu('the same, 4 connections', keepAlive4, RING, 0.95, 'haproxy'),
  cpu('the same, 256 connections', keepAlive256, RING, 0.8, 'haproxy'),
  asFast(`requests/s, ${SMALL_GET}`, keepAlive, 'requestsPerSecond'),
  cpu('a connection per request', connectionPerRequest, RING, 1.1, 'nginx'),
  cpu('a connection per request', connectionPerRequest, NET, 1.3, 'nginx'),
  ...TRANSPORTS.map((ours) => cpu('a POST of 1 KiB, reuse by default', post1k, ours, 1.3, 'nginx')),
  ...latency('half', latencyHalf),
  ...latency('80 % of', latencyMost),
  ...TRANSPORTS.map((ours) => cpu('big GET', bulkGet, ours, 0.5, 'haproxy')),
  asFast('big GET, throughput', bulkGet, 'megabytesPerSecond'),
  ...growth('big GET', bulkGet),
  ...TRANSPORTS.map((ours) => cpu('big PUT', bulkPut, ours, 0.5, 'haproxy')),
  asFast('big PUT, throughput', bulkPut, 'megabytesPerSecond'),
  ...growth('big PUT', bulkPut),
  ...TRANSPORTS.map(({ name, words }): Rule => ({
    what: `an idle connection, ${words}`,
    wanted: 'at most 8 KiB',
    limit: 8,
    reached: ({ median }) => median(idle, name, 'bytesPerConnection') / KIB,
    show: (value) => `${value.toFixed(1)} KiB`,
  })),
  ...liveSessions(),
  ...channel('requests/s by a channel', channelKeepAlive, 'requestsPerSecond'),
  ...channel('big GET by a channel', channelBulk, 'megabytesPerSecond'),
  ...channelCpu(),
  plugin('XenAPI plugin in Python', 'plugin-python', 1000),
  plugin('XenAPI plugin in C', 'plugin-c', 20),
  {
    what: 'access logging on, CPU',
    wanted: 'at most 10 % more',
    limit: 1.1,
    reached: ({ times }) => times(accessLog, 'cpuUs', 'xengate-log', NET.name),
    show: (value) => `${(100 * (value - 1)).toFixed(1)} %`,
  },
  ...['valkey', 'xapi'].map((authority): Rule => ({
    what: `CPU of a small GET with sessions of ${authority}`,
    wanted: 'at most 1.05 × that with the embedded authority',
    limit: 1.05,
    reached: ({ times }) => times(authorities, 'cpuUs', `xengate-${authority}`, NET.name),
    show: showTimes,
  })),
]

/** Something that a target needs was not measured. */
class MissingError extends Error {}

function judgeOne(rule: Rule, results: Results, options: Options): Target | undefined {
  try {
    const reached = rule.reached(measuredIn(results, options))
    const value = typeof reached === 'number' ? reached : reached.median
    const isReached = rule.isAtLeast === true ? value >= rule.limit : value <= rule.limit
    return { what: rule.what, wanted: rule.wanted, measured: shown(rule, reached), isReached }
  } catch (error) {
    if (error instanceof MissingError) return undefined
    throw error
  }
}

function shown({ show }: Rule, reached: number | Summary): string {
  if (typeof reached === 'number') return show(reached)
  const { median, min, max, values } = reached
  return values.length === 1 ? show(median) : `${show(median)} (${show(min)} to ${show(max)})`
}

function measuredIn(results: Results, options: Options): Measured {
  return {
    options,
    median: (of, peer, metric) => found(results.median(of.name, peer, metric)),
    times: (of, metric, ours, theirs) => found(results.compared(of.name, [ours, theirs], metric, (a, b) => a / b)),
    more: (of, metric, ours, theirs) => found(results.compared(of.name, [ours, theirs], metric, (a, b) => a - b)),
  }
}

function found<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new MissingError()
  return value
}

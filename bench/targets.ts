// What Xengate is to reach, each judged from one run.

import { accessLog, authorities, connectionPerRequest, keepAlive, sessions } from './cases/requests.ts'
import { channelBulk, channelConnections, channelKeepAlive } from './cases/channels.ts'
import { bulkGet, bulkPut } from './cases/bulk.ts'
import type { MetricName } from './metrics.ts'
import { idle } from './cases/idle.ts'
import { latency } from './cases/latency.ts'
import { plugins } from './cases/plugins.ts'
import type { Options } from './options.ts'
import type { Results } from './results.ts'

/** One line of the table. */
export interface Target {
  readonly what: string
  /** What is wanted, in words. */
  readonly wanted: string
  /** What was measured, in words. */
  readonly measured: string
  readonly isReached: boolean
}

type Median = (name: string, peer: string, metric: MetricName) => number

const US_PER_MS = 1000
const KIB = 1024

/** The targets that `results` can judge; those whose peers or cases were left out are missing. */
export function judge(results: Results, options: Options): readonly Target[] {
  const targets: Target[] = []
  for (const target of RULES) {
    const judged = judgeOne(target, results, options)
    if (judged !== undefined) targets.push(judged)
  }
  return targets
}

interface Rule {
  readonly what: string
  readonly wanted: string
  /** What was reached and the limit to compare it with. */
  readonly values: (median: Median, options: Options) => { readonly value: number; readonly limit: number }
  /** Whether more is better; default: less is. */
  readonly isAtLeast?: boolean
  readonly show: (value: number) => string
}

const times = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ×`

/** `metric` of Xengate as a multiple of another peer's, at most or at least `limit`. */
function ratio(what: string, wanted: string, limit: number, name: string, metric: MetricName, other: string): Rule {
  return {
    what,
    wanted,
    values: (median) => ({ value: median(name, 'xengate', metric) / median(name, other, metric), limit }),
    isAtLeast: metric === 'requestsPerSecond' || metric === 'megabytesPerSecond',
    show: times,
  }
}

/** A channel against the same service by TCP. */
function versus(what: string, limit: number, name: string, metric: MetricName): Rule {
  return {
    what,
    wanted: `at least ${limit} × the same service's by TCP`,
    values: (median) => ({
      value: median(name, 'xengate-channel', metric) / median(name, 'node-direct', metric),
      limit,
    }),
    isAtLeast: true,
    show: times,
  }
}

function plugin(what: string, peer: string, limit: number): Rule {
  return {
    what: `CPU of a call, ${what}`,
    wanted: `at least ${limit.toLocaleString('en')} × Xengate's`,
    values: (median) => ({
      value: median(plugins.name, peer, 'cpuUs') / median(keepAlive.name, 'xengate', 'cpuUs'),
      limit,
    }),
    isAtLeast: true,
    show: times,
  }
}

function growth(what: string, name: string): Rule {
  return {
    what: `${what}, memory growth`,
    wanted: 'under 32 MiB',
    values: (median) => ({ value: median(name, 'xengate', 'growthMib'), limit: 32 }),
    show: (value) => `${value.toFixed(1)} MiB`,
  }
}

const RULES: readonly Rule[] = [
  ratio(
    'CPU per small GET, kept alive',
    'at most 0.9 × nginx with auth_request',
    0.9,
    keepAlive.name,
    'cpuUs',
    'nginx',
  ),
  ratio('CPU per small GET, kept alive', "at most 1.25 × HAProxy's", 1.25, keepAlive.name, 'cpuUs', 'haproxy'),
  ratio('CPU per small GET, kept alive (further goal)', "1.0 × HAProxy's", 1, keepAlive.name, 'cpuUs', 'haproxy'),
  ratio(
    'requests/s, the same case',
    "at least nginx's with auth_request",
    1,
    keepAlive.name,
    'requestsPerSecond',
    'nginx',
  ),
  ratio(
    'CPU, a connection per request',
    'at most 1.3 × nginx with auth_request',
    1.3,
    connectionPerRequest.name,
    'cpuUs',
    'nginx',
  ),
  {
    what: 'p99 at half the saturating rate',
    wanted: "at most HAProxy's + 0.2 ms",
    values: (median) => ({
      value: (median(latency.name, 'xengate', 'p99Us') - median(latency.name, 'haproxy', 'p99Us')) / US_PER_MS,
      limit: 0.2,
    }),
    show: (value) => `HAProxy's ${value < 0 ? '−' : '+'} ${Math.abs(value).toFixed(2)} ms`,
  },
  ratio('big GET, throughput', "at least nginx's", 1, bulkGet.name, 'megabytesPerSecond', 'nginx'),
  growth('big GET', bulkGet.name),
  ratio('big PUT, throughput', "at least nginx's", 1, bulkPut.name, 'megabytesPerSecond', 'nginx'),
  growth('big PUT', bulkPut.name),
  {
    what: 'an idle connection',
    wanted: 'at most 8 KiB',
    values: (median) => ({ value: median(idle.name, 'xengate', 'bytesPerConnection') / KIB, limit: 8 }),
    show: (value) => `${value.toFixed(1)} KiB`,
  },
  versus('requests/s by a channel', 0.98, channelKeepAlive.name, 'requestsPerSecond'),
  {
    what: "the gateway's CPU for 1,000,000 requests by channels",
    wanted: 'under 0.5 s',
    values: (median) => ({
      value: median(channelKeepAlive.name, 'xengate-channel', 'gatewaySecondsPerMillion'),
      limit: 0.5,
    }),
    show: (value) => `${value.toFixed(2)} s`,
  },
  versus('big GET by a channel', 0.98, channelBulk.name, 'megabytesPerSecond'),
  {
    what: "a connection per request: the gateway's CPU to pass it",
    wanted: 'at most what relaying takes',
    values: (median) => ({
      value:
        median(channelConnections.name, 'xengate-channel', 'gatewaySecondsPerMillion') /
        median(channelConnections.name, 'xengate-relay', 'gatewaySecondsPerMillion'),
      limit: 1,
    }),
    show: times,
  },
  plugin('XenAPI plugin in Python', 'plugin-python', 1000),
  plugin('XenAPI plugin in C', 'plugin-c', 20),
  {
    what: 'access logging on, CPU',
    wanted: 'at most 10 % more',
    values: (median) => ({
      value: 100 * (median(accessLog.name, 'xengate-log', 'cpuUs') / median(accessLog.name, 'xengate', 'cpuUs') - 1),
      limit: 10,
    }),
    show: (value) => `${value.toFixed(1)} %`,
  },
  {
    what: 'the same with each authority, CPU',
    wanted: 'at most 1.05 × that with the embedded one',
    values: (median) => {
      const cost = (peer: string): number => median(authorities.name, peer, 'cpuUs')
      return { value: Math.max(cost('xengate-valkey'), cost('xengate-xapi')) / cost('xengate'), limit: 1.05 }
    },
    show: times,
  },
  {
    what: 'the most live sessions against one, CPU',
    wanted: 'the cost must not grow (judged: at most 1.1 ×)',
    values: (median, { sessionCounts }) => {
      const cost = (count: number | undefined): number => median(sessions.name, `xengate-${count}-sessions`, 'cpuUs')
      return { value: cost(sessionCounts.at(-1)) / cost(sessionCounts[0]), limit: 1.1 }
    },
    show: times,
  },
]

/** Something that a target needs was not measured. */
class MissingError extends Error {}

function judgeOne(rule: Rule, results: Results, options: Options): Target | undefined {
  const median: Median = (name, peer, metric) => {
    const value = results.median(name, peer, metric)
    if (value === undefined) throw new MissingError()
    return value
  }
  try {
    const { value, limit } = rule.values(median, options)
    const isReached = rule.isAtLeast === true ? value >= limit : value <= limit
    return { what: rule.what, wanted: rule.wanted, measured: rule.show(value), isReached }
  } catch (error) {
    if (error instanceof MissingError) return undefined
    throw error
  }
}

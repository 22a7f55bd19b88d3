// Latency at a rate that all compared peers can take: a part of what the slowest of them can do at most.

import { runLoad } from '../load.ts'
import type { Results } from '../results.ts'
import type { Case } from './case.ts'
import { keepAlive } from './requests.ts'

/** Peers whose saturation sets the rate. */
const COMPARED: readonly string[] = ['xengate', 'xengate-ring', 'nginx', 'haproxy']

/** How much longer than elsewhere a peer gets warm here: what a first second looks like is told in docs/performance.md. */
const WARM_TIMES = 8

/** `part` of the lowest saturating rate of those compared, in requests/s; undefined when none of them was measured. */
function offeredRate(results: Results, part: number): number | undefined {
  const rates = COMPARED.flatMap((peer) => results.median(keepAlive.name, peer, 'requestsPerSecond') ?? [])
  return rates.length === 0 ? undefined : Math.round(Math.min(...rates) * part)
}

function latencyCase(name: string, words: string, part: number): Case {
  return {
    name,
    title: () => `Latency at ${words} the saturating rate`,
    how: `Requests at Poisson times, the same for each peer, at ${words} the lowest requests/s that Xengate by either transport, nginx (auth_request) and HAProxy reach kept alive. A latency counts from the time that a request was due. \`native/load.c -r\`, 64 connections.`,
    plots: ['p50Us', 'p99Us'],
    async measure({ bench, options, running, results }) {
      const rate = offeredRate(results, part)
      if (rate === undefined) throw new Error(`${name} needs the rate of one of ${COMPARED.join(', ')}`)
      // Warm for this very load: a compiler at run time goes by what it has seen, and takes some seconds.
      await runLoad(bench, running, { seconds: options.warmSeconds })
      await runLoad(bench, running, { seconds: WARM_TIMES * options.warmSeconds, rate })
      const { p50Us, p99Us } = await runLoad(bench, running, { seconds: options.seconds, rate })
      return { p50Us, p99Us, offeredRate: rate }
    },
  }
}

export const latencyHalf: Case = latencyCase('latency', 'half of', 0.5)
export const latencyMost: Case = latencyCase('latency-80', '80 % of', 0.8)

// Channels: clients' connections passed to a service on Node.js, beside the same service by TCP, and beside relaying to it.

import { runLoad, runWrk } from '../load.ts'
import { cpuSeconds } from '../proc.ts'
import type { Case, Situation } from './case.ts'
import type { Measurement } from '../metrics.ts'
import { measureRequests } from './cpu.ts'

const MIB = 1024 * 1024
const MILLION = 1e6
/** Less than half of what either way can take. */
const CONNECTIONS_PER_SECOND = 3000

/** What `load` costs, and of that what it costs the gateway, for each of a million requests. */
async function measure(
  { running }: Situation,
  load: () => Promise<{ readonly requests: number; readonly seconds: number }>,
): Promise<Measurement> {
  const pids = running.gatewayPids ?? []
  const before = cpuSeconds(pids)
  let requests = 0
  const measured = await measureRequests(running.pids, async () => {
    const loaded = await load()
    requests = loaded.requests
    return loaded
  })
  if (pids.length === 0) return measured
  return { ...measured, gatewaySecondsPerMillion: (MILLION * (cpuSeconds(pids) - before)) / requests }
}

export const channelKeepAlive: Case = {
  name: 'channel',
  title: () => 'GET of 22 bytes from a service on Node.js, kept alive',
  how: 'The CPU is that of service and gateway, on one core. `wrk -t 1 -c 64`.',
  plots: ['requestsPerSecond'],
  async measure(situation) {
    const { bench, options, running } = situation
    await runLoad(bench, running, { seconds: 2 * options.warmSeconds })
    return measure(situation, () => runWrk(bench, running, options.seconds, {}))
  },
}

export const channelBulk: Case = {
  name: 'channel-bulk',
  title: ({ bulkBytes }) => `GET of ${bulkBytes / MIB} MiB from a service on Node.js`,
  how: 'One request at a time. `native/load.c -q 1 -c 1`.',
  plots: ['megabytesPerSecond'],
  async measure({ bench, options, running }) {
    const bulk = { path: `/bulk/${options.bulkBytes}`, count: 1, connections: 1 }
    await runLoad(bench, running, bulk)
    const before = cpuSeconds(running.pids)
    const { seconds } = await runLoad(bench, running, bulk)
    const cpu = cpuSeconds(running.pids) - before
    return {
      megabytesPerSecond: options.bulkBytes / seconds / 1e6,
      cpuSecondsPerGib: (cpu / options.bulkBytes) * 1024 * MIB,
      busy: (100 * cpu) / seconds,
    }
  },
}

export const channelConnections: Case = {
  name: 'channel-connections',
  title: () => 'GET of 22 bytes from a service on Node.js, a connection per request',
  how: 'The client ends each connection without having said that its request is the last, so that it is passed. Connections come at a fixed rate, the same for both, since what one costs depends on how many are taken in one turn. `native/load.c -N -r`, 64 connections.',
  plots: ['gatewaySecondsPerMillion'],
  async measure(situation) {
    const { bench, options, running } = situation
    const settings = { closes: 'unannounced', rate: CONNECTIONS_PER_SECOND } as const
    await runLoad(bench, running, { ...settings, seconds: 2 * options.warmSeconds })
    return measure(situation, () => runLoad(bench, running, { ...settings, seconds: options.seconds }))
  },
}

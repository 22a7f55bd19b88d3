// One big body at a time: throughput, CPU, and how much memory it takes.

import { type Load, type LoadSettings, runLoad } from '../load.ts'
import { cpuSeconds, peakBytes, resetPeak, residentBytes } from '../proc.ts'
import type { Case } from './case.ts'

const MIB = 1024 * 1024

function bulkCase(name: string, verb: string, settings: (bytes: number) => LoadSettings): Case {
  return {
    name,
    title: ({ bulkBytes }) => `${verb} of ${bulkBytes / MIB} MiB`,
    how: 'One request at a time. Memory growth is the peak of the resident memory of all processes of the peer during the transfer, less what it was before. `native/load.c -q 1 -c 1`.',
    plots: ['megabytesPerSecond', 'cpuSecondsPerGib', 'growthMib'],
    async measure({ bench, options, running }) {
      const { pids } = running
      // The peer is warm for small requests; what a first big body leaves in memory counts.
      await runLoad(bench, running, { seconds: options.warmSeconds })
      const before = { cpu: cpuSeconds(pids), resident: residentBytes(pids) }
      resetPeak(pids)
      const { seconds }: Load = await runLoad(bench, running, {
        ...settings(options.bulkBytes),
        count: 1,
        connections: 1,
      })
      const cpu = cpuSeconds(pids) - before.cpu
      return {
        megabytesPerSecond: options.bulkBytes / seconds / 1e6,
        cpuSecondsPerGib: (cpu / options.bulkBytes) * 1024 * MIB,
        growthMib: Math.max(0, peakBytes(pids) - before.resident) / MIB,
        busy: (100 * cpu) / seconds,
      }
    },
  }
}

export const bulkGet: Case = bulkCase('bulk-get', 'GET', (bytes) => ({ path: `/bulk/${bytes}` }))
export const bulkPut: Case = bulkCase('bulk-put', 'PUT', (bytes) => ({
  path: '/body',
  method: 'PUT',
  bodyBytes: bytes,
}))

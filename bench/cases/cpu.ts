// CPU of a peer while a load runs.

import { cpuSeconds } from '../proc.ts'
import type { Measurement } from '../metrics.ts'

/** Runs `load`, and says what it cost the processes `pids` and how fast it went. */
export async function measureRequests(
  pids: readonly number[],
  load: () => Promise<{ readonly requests: number; readonly seconds: number }>,
): Promise<Measurement> {
  const [beforeCpu, beforeMs] = [cpuSeconds(pids), performance.now()]
  const { requests, seconds } = await load()
  const [cpu, wallSeconds] = [cpuSeconds(pids) - beforeCpu, (performance.now() - beforeMs) / 1000]
  return {
    cpuUs: (1e6 * cpu) / requests,
    requestsPerSecond: requests / seconds,
    busy: (100 * cpu) / wallSeconds,
  }
}

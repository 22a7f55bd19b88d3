// What a peer takes of the host's memory and time when little is asked of it.

import { setTimeout as sleep } from 'node:timers/promises'
import { holdConnections } from '../load.ts'
import { privateBytes, runSeconds } from '../proc.ts'
import type { Case } from './case.ts'

const MIB = 1024 * 1024
const CONNECTIONS = 1000
/** How long a peer gets to put away what it needed for its start: V8 does so some seconds later. */
const SETTLE_MS = 15_000
/** V8 collects garbage once more when nothing has happened for half a minute. */
const REST_MS = 30_000
/** How long it is watched doing nothing. */
const IDLE_SECONDS = 20

export const memory: Case = {
  name: 'memory',
  title: () => 'Memory and CPU of a peer that is idle',
  how: "Private memory of all processes of the peer (`Private_Dirty` of smaps_rollup: what cannot be given back), 15 s after its start, and with 1,000 connections that have made a request each and wait, 15 s later; CPU by the scheduler's own counters over 20 s without a request, 45 s after the start. With --quick both are shorter.",
  plots: ['privateMib', 'connectedMib'],
  async measure({ bench, options, running }) {
    const { pids } = running
    const [settleMs, restMs, idleSeconds] = options.isQuick ? [500, 0, 1] : [SETTLE_MS, REST_MS, IDLE_SECONDS]
    await sleep(settleMs)
    const privateMib = privateBytes(pids) / MIB
    await sleep(restMs)
    const before = runSeconds(pids)
    await sleep(idleSeconds * 1000)
    const idlePercent = (100 * (runSeconds(pids) - before)) / idleSeconds
    const held = await holdConnections(bench, running, CONNECTIONS)
    await sleep(settleMs)
    const connectedMib = privateBytes(pids) / MIB
    await held.stop()
    return { privateMib, connectedMib, idlePercent }
  },
}

// Connections that were used once and then wait: memory for each.

import { setTimeout as sleep } from 'node:timers/promises'
import { holdConnections, runLoad } from '../load.ts'
import { residentBytes } from '../proc.ts'
import type { Case } from './case.ts'

/** Descriptors that a peer needs beside those of idle clients: connections to services, files, what it keeps in reserve. */
const DESCRIPTORS_SPARE = 2000

/** How long a peer gets to put away what it needed for the requests. */
const SETTLE_MS = 1000

export const idle: Case = {
  name: 'idle',
  title: ({ idleConnections }) => `${idleConnections.toLocaleString('en')} idle connections`,
  how: "Each makes one request and stays. Growth of the resident memory of all processes of the peer, divided by the connections; the kernel's own memory for sockets does not count. `native/load.c -I`.",
  plots: ['bytesPerConnection'],
  async measure({ bench, options, running }) {
    const connections = Math.min(options.idleConnections, bench.host.descriptorsMax - DESCRIPTORS_SPARE)
    await runLoad(bench, running, { seconds: options.warmSeconds })
    const before = residentBytes(running.pids)
    const held = await holdConnections(bench, running, connections)
    await sleep(SETTLE_MS)
    const bytesPerConnection = (residentBytes(running.pids) - before) / connections
    await held.stop()
    return { bytesPerConnection }
  },
}

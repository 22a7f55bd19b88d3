// How many descriptors the processes may have, and how many connections that is enough for.

import { readFileSync } from 'node:fs'

/** What a worker has beside connections: listeners, logs, timers, connections that are kept, or being refused. */
const RESERVED = 192
/** A relayed request takes one for the client and one for the service. */
const OF_A_CONNECTION = 2

/** The soft limit of this process, which Node.js has raised to the hard one; infinity where there is none, or nobody can tell. */
export function descriptorLimit(): number {
  try {
    const [, limit = ''] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
    return limit === '' ? Number.POSITIVE_INFINITY : Number(limit)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** How many connections of clients a worker can have under `limit`, at least one. */
export function connectionsWithin(limit: number): number {
  return Math.max(1, Math.floor((limit - RESERVED) / OF_A_CONNECTION))
}

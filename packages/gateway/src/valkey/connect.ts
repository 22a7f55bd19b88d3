// Finding the server that has a pool's keys, and one connection to it. All keys of a pool are in one slot, so that in a
// Cluster, too, one server has them all: its own connection is all that is needed, and what it pushes is complete.

import { readFile } from 'node:fs/promises'
import { createClient, type RedisClientType } from '@redis/client'
import type { ValkeySettings } from './url.ts'
import type { ValkeyServer } from './url.ts'

/** A connection that speaks RESP3. */
export type ValkeyClient = RedisClientType<Record<string, never>, Record<string, never>, Record<string, never>>

/** From the first packet to the end of the handshake. */
const CONNECT_TIMEOUT_MS = 2000
/** Commands that wait for their replies. */
const COMMANDS_MAX = 100_000

/** Valkey cannot be reached, or refuses to work. */
export class ValkeyUnavailableError extends Error {
  override readonly name = 'ValkeyUnavailableError'
}

/**
 * Connects to the server that has `key`. The client does not connect again by itself, and emits `invalidate` for keys that
 * were read after `CLIENT CACHING YES`.
 */
export async function connectValkey(config: ValkeySettings, key: string): Promise<ValkeyClient> {
  const server = await locate(config, key)
  const client = await open(config, server, await passwordOf(config), true)
  try {
    // The library has turned tracking on for all that is read.
    await Promise.all([
      client.sendCommand(['CLIENT', 'TRACKING', 'OFF']),
      client.sendCommand(['CLIENT', 'TRACKING', 'ON', 'OPTIN']),
    ])
    return client
  } catch (error) {
    client.destroy()
    throw error
  }
}

/** The server to connect to; asks the Sentinels or the Cluster, whichever answers first in their order. */
async function locate(config: ValkeySettings, key: string): Promise<ValkeyServer> {
  const { kind, servers, master } = config.url
  const [only] = servers
  if (only === undefined) throw new ValkeyUnavailableError('find Valkey: the URL names no server')
  if (kind === 'single') return only
  let last: unknown
  for (const server of servers) {
    try {
      return kind === 'sentinel' ? await askSentinel(config, server, master) : await askCluster(config, server, key)
    } catch (error) {
      last = error
    }
  }
  throw new ValkeyUnavailableError(`find Valkey: none of the servers knows it (${String(last)})`, { cause: last })
}

/** Sentinels are asked without user and password. */
async function askSentinel(config: ValkeySettings, sentinel: ValkeyServer, master: string): Promise<ValkeyServer> {
  const anonymous = { ...config, url: { ...config.url, user: null } }
  const answer = await ask(anonymous, sentinel, null, ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master])
  if (!Array.isArray(answer)) throw new ValkeyUnavailableError(`ask Sentinel: it does not know "${master}"`)
  return { host: String(answer[0]), port: Number(answer[1]) }
}

async function askCluster(config: ValkeySettings, seed: ValkeyServer, key: string): Promise<ValkeyServer> {
  const password = await passwordOf(config)
  const slot = Number(await ask(config, seed, password, ['CLUSTER', 'KEYSLOT', key]))
  const ranges = await ask(config, seed, password, ['CLUSTER', 'SLOTS'])
  for (const range of Array.isArray(ranges) ? (ranges as unknown[][]) : []) {
    const [first, last, node] = range
    if (slot < Number(first) || slot > Number(last) || !Array.isArray(node)) continue
    // A server that does not know its own address leaves it out: it is the one that was asked.
    const host = String(node[0] ?? '')
    return { host: host === '' && 'host' in seed ? seed.host : host, port: Number(node[1]) }
  }
  throw new ValkeyUnavailableError(`ask Cluster: no server has slot ${slot}`)
}

async function ask(
  config: ValkeySettings,
  server: ValkeyServer,
  password: string | null,
  command: string[],
): Promise<unknown> {
  const client = await open(config, server, password, false)
  try {
    return await client.sendCommand(command)
  } finally {
    client.destroy()
  }
}

async function open(
  { url, caFile }: ValkeySettings,
  server: ValkeyServer,
  password: string | null,
  emitInvalidate: boolean,
): Promise<ValkeyClient> {
  const ca = url.hasTls && caFile !== null ? await readFile(caFile) : undefined
  const base = { connectTimeout: CONNECT_TIMEOUT_MS, reconnectStrategy: false as const }
  const secure = url.hasTls ? { tls: true as const, ...(ca && { ca }) } : {}
  const client = createClient({
    RESP: 3,
    socket: 'path' in server ? { ...base, path: server.path } : { ...base, ...server, ...secure },
    ...(url.user !== null && { username: url.user }),
    ...(password !== null && { password }),
    database: url.database,
    disableOfflineQueue: true,
    commandsQueueMaxLength: COMMANDS_MAX,
    maintNotifications: 'disabled',
    emitInvalidate,
  }) as unknown as ValkeyClient
  // Whoever waits is told by what is rejected.
  client.on('error', () => {})
  const timer = setTimeout(() => client.destroy(), CONNECT_TIMEOUT_MS)
  try {
    await client.connect()
    return client
  } catch (cause) {
    throw new ValkeyUnavailableError(`connect to Valkey at ${nameOf(server)}: ${String(cause)}`, { cause })
  } finally {
    clearTimeout(timer)
  }
}

async function passwordOf({ url, passwordFile }: ValkeySettings): Promise<string | null> {
  if (passwordFile === null) return url.password
  return (await readFile(passwordFile, 'utf8')).replace(/\r?\n$/, '')
}

function nameOf(server: ValkeyServer): string {
  return 'path' in server ? server.path : `${server.host}:${server.port}`
}

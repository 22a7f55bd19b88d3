// What the server of the simulation says of itself.

import type { ValkeyClient } from '../../packages/gateway/src/valkey/connect.ts'

/** A look at the server: sums since its start, and what it holds now. */
export interface Look {
  readonly atMs: number
  /** Commands from clients and from scripts, by name. */
  readonly commands: Readonly<Record<string, number>>
  /** Of the one thread that runs commands, and of its helpers. */
  readonly cpuSeconds: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly memoryBytes: number
  /** Pairs of a key and a connection that is to be told of it. */
  readonly tracked: number
}

async function infoOf(client: ValkeyClient, section: string): Promise<string> {
  const info: unknown = await client.sendCommand(['INFO', section])
  if (typeof info !== 'string') throw new Error('ask the server about itself: the answer is no text')
  return info
}

/** Looks at the server. */
export async function look(client: ValkeyClient): Promise<Look> {
  const info = await infoOf(client, 'everything')
  const number = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1])
  const commands = [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
  return {
    atMs: performance.now(),
    commands: Object.fromEntries(commands.map(([, name, calls]) => [name, Number(calls)])),
    cpuSeconds: number('used_cpu_user') + number('used_cpu_sys'),
    bytesIn: number('total_net_input_bytes'),
    bytesOut: number('total_net_output_bytes'),
    memoryBytes: number('used_memory'),
    tracked: number('tracking_total_items'),
  }
}

/** The server's version. */
export async function versionOf(client: ValkeyClient): Promise<string> {
  const info = await infoOf(client, 'server')
  const valkey = /^valkey_version:(\S+)/m.exec(info)?.[1]
  return valkey === undefined ? `Redis ${/^redis_version:(\S+)/m.exec(info)?.[1]}` : `Valkey ${valkey}`
}

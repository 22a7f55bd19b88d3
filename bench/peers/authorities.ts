// Authorities outside of the gateway, on the load's core: what they cost is not the peer's.

import { join } from 'node:path'
import { startStandIn } from '../../packages/gateway/src/xapi/testing/stand-in/start.ts'
import type { Host } from '../host.ts'

/** An authority that runs. */
export interface Authority {
  /** `sessions.authority`. */
  readonly name: 'valkey' | 'xapi'
  /** The table that says where it is. */
  readonly table: string
  /** Logs in where the gateway has no XenAPI of its own; null where it has. */
  readonly login: ((user: string) => Promise<string>) | null
  readonly stop: () => Promise<void>
}

/** Starts what `name` stands for: a real server, or the stand-in for xapi. */
export function startAuthority(host: Host, name: Authority['name']): Promise<Authority> {
  return name === 'valkey' ? startValkey(host) : startXapi(host)
}

async function startValkey(host: Host): Promise<Authority> {
  const directory = host.makeDirectory('valkey')
  const path = join(directory, 'valkey.sock')
  const where = ['--port', '0', '--unixsocket', path, '--dir', directory]
  const server = host.start('load', 'redis-server', [...where, '--save', '', '--appendonly', 'yes'])
  await host.listens(server, { path })
  return { name: 'valkey', table: `[valkey]\nurl = "unix:${path}"\n`, login: null, stop: () => server.stop() }
}

/** It is pinned as this process is, and ends when its input does. */
async function startXapi(host: Host): Promise<Authority> {
  const standIn = await startStandIn(host.makeDirectory('xapi'))
  return {
    name: 'xapi',
    table: `[sessions.xapi]\nurl = "unix:${standIn.socketPath}"\n`,
    login: async (user) => {
      await standIn.order({ order: 'add-user', name: user, password: '', role: 'pool-admin' })
      return standIn.login(user)
    },
    stop: () => standIn.stop(),
  }
}

// The pool's record in xapi: by the gateway's own client over xapi's socket, and by `xe` on a member of a pool, where that socket
// leads to no session: `xe` is passed on to the coordinator, and needs no password on the host.

import { XapiClient } from '../xapi/client.ts'
import type { XapiSettings } from '../xapi/address.ts'
import { XapiEndpoint } from '../xapi/endpoint.ts'
import { XapiFailure } from '../xapi/errors.ts'
import type { Host } from './host.ts'
import { lastLine, runProgram } from './programs.ts'

/** The pool's record. Every method throws when xapi does not answer. */
export interface PoolRecord {
  /** Whether high availability is on. */
  readonly hasHa: () => Promise<boolean>
  /** The value of a key of `other_config`; null when there is none. */
  readonly get: (key: string) => Promise<string | null>
  /** Sets a key of `other_config`. When it throws, a value that was there before is there, or else the new one as `spareOf(key)`. */
  readonly set: (key: string, value: string) => Promise<void>
  readonly close: () => Promise<void>
}

/** The key that has the value while xapi changes `key`, which takes two calls: removing it, and adding it. */
export function spareOf(key: string): string {
  return `${key}-spare`
}

/** Longer than a request may wait: a person does. */
const CALL_TIMEOUT_MS = 20_000

/** xapi of this host, by its socket. */
export function localXapi({ xapiSocket }: Host): XapiSettings {
  return { address: { kind: 'unix', path: xapiSocket }, caFile: null, user: 'root', passwordFile: null }
}

/** The pool that xapi at `settings` is of. @throws when xapi does not answer, or says no */
export async function openPoolRecord(settings: XapiSettings, env: Readonly<NodeJS.ProcessEnv>): Promise<PoolRecord> {
  if (settings.address.kind === 'unix' && (await isMember(settings))) return openByXe(env)
  const client = new XapiClient(settings)
  try {
    const pools = (await client.own('pool.get_all', [], CALL_TIMEOUT_MS)) as readonly string[]
    return byClient(client, pools[0] ?? '')
  } catch (error) {
    await client.close()
    throw error
  }
}

function byClient(client: XapiClient, pool: string): PoolRecord {
  const call = (method: string, ...params: readonly string[]): Promise<unknown> =>
    client.own(`pool.${method}`, [pool, ...params], CALL_TIMEOUT_MS)
  const get = async (key: string): Promise<string | null> =>
    ((await call('get_other_config')) as Readonly<Record<string, string>>)[key] ?? null
  return {
    hasHa: async () => (await call('get_ha_enabled')) === true,
    get,
    set: async (key, value) => {
      const spare = spareOf(key)
      if ((await get(key)) !== null) {
        await call('remove_from_other_config', spare)
        await call('add_to_other_config', spare, value)
        await call('remove_from_other_config', key)
      }
      await call('add_to_other_config', key, value)
      await call('remove_from_other_config', spare)
    },
    close: () => client.close(),
  }
}

/** Whether xapi at its socket sends callers to a coordinator. */
async function isMember({ address, user }: XapiSettings): Promise<boolean> {
  const endpoint = new XapiEndpoint(address, null)
  try {
    const session = await endpoint.call('session.login_with_password', [user, '', '1.1', 'xengate'], CALL_TIMEOUT_MS)
    await endpoint.call('session.logout', [session], CALL_TIMEOUT_MS)
    return false
  } catch (error) {
    if (error instanceof XapiFailure && error.code === 'HOST_IS_SLAVE') return true
    throw error
  } finally {
    endpoint.close()
  }
}

async function openByXe(env: Readonly<NodeJS.ProcessEnv>): Promise<PoolRecord> {
  const xe = async (...argv: readonly string[]): Promise<string> => {
    const ran = await runProgram('xe', argv, { env })
    if (ran.code === 0) return ran.stdout.trim()
    throw new Error(`xe ${argv[0]}: ${lastLine(ran)}`)
  }
  const uuid = `uuid=${await xe('pool-list', 'params=uuid', '--minimal')}`
  return {
    hasHa: async () => (await xe('pool-param-get', uuid, 'param-name=ha-enabled')) === 'true',
    get: async (key) => {
      const all = await xe('pool-param-get', uuid, 'param-name=other-config')
      return (
        all
          .split('; ')
          .find((pair) => pair.startsWith(`${key}: `))
          ?.slice(key.length + 2) ?? null
      )
    },
    set: async (key, value) => {
      await xe('pool-param-set', uuid, `other-config:${key}=${value}`)
    },
    close: () => Promise.resolve(),
  }
}

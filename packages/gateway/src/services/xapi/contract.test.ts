import { localSettings, standInOf } from '../../sessions/xapi/testing/start.ts'
import { XapiClient } from '../../xapi/client.ts'
import { registryContract } from '../testing/contract.ts'
import { XapiRegistry } from './registry.ts'

const LEASE_MS = 1500

registryContract({
  name: 'xapi',
  capabilities: { isShared: true, forgetsWithinMs: LEASE_MS },
  start: async (t) => {
    const standIn = await standInOf(t)
    for (const hostname of ['host-a', 'host-b', 'host-c']) {
      await standIn.order({ order: 'add-host', hostname, address: '127.0.0.1' })
    }
    return {
      startHost: async (name, hear) => {
        const origin = `https://${name}.example`
        const client = new XapiClient(localSettings(standIn))
        const registry = new XapiRegistry({
          client,
          own: { name, origin },
          report: (error) => {
            throw error
          },
          ownHostKnown: () => {},
          times: { beatMs: 300, leaseMs: LEASE_MS },
        })
        hear(registry)
        registry.start()
        t.after(() => registry.close())
        return Promise.resolve({ registry, origin, die: () => client.close() })
      },
      takeAway: async (how) => {
        if (how === 'gone') await standIn.order({ order: 'close' })
        else await standIn.fault({ kind: 'hang' })
      },
      bringBack: async () => {
        await standIn.fault({ kind: 'none' })
        await standIn.order({ order: 'close' })
        await standIn.order({ order: 'open' })
      },
    }
  },
})

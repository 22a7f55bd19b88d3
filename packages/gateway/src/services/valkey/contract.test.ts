import { linkOf, POOL, serverOf } from '../../sessions/valkey/testing/start.ts'
import { registryContract } from '../testing/contract.ts'
import { ValkeyRegistry } from './registry.ts'

const LEASE_MS = 1500

registryContract({
  name: 'valkey',
  // The lease, and one heartbeat of another host.
  capabilities: { isShared: true, forgetsWithinMs: LEASE_MS + 200 },
  start: async (t) => {
    const server = await serverOf(t)
    let isGone = false
    return {
      startHost: async (host, hear) => {
        const link = linkOf(t, server.config)
        const origin = `https://${host}.example`
        const registry = new ValkeyRegistry({
          link,
          pool: POOL,
          own: { host, origin },
          report: (error) => {
            throw error
          },
          times: { beatMs: 200, leaseMs: LEASE_MS },
        })
        hear(registry)
        registry.start()
        t.after(() => registry.close())
        link.start()
        await link.whenCurrent(10_000)
        return { registry, origin, die: () => link.close() }
      },
      takeAway: async (how) => {
        isGone = how === 'gone'
        if (isGone) await server.stop('SIGKILL')
        else server.pause()
      },
      bringBack: async () => {
        if (isGone) await server.start()
        else server.resume()
      },
    }
  },
})

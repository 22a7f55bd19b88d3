import { staticRegistry } from './registry.ts'
import { registryContract, TABLE } from './testing/contract.ts'

const cannot = (): Promise<void> => Promise.reject(new Error('a table of the configuration is always there'))

registryContract({
  name: 'static',
  capabilities: { isShared: false, forgetsWithinMs: 0 },
  start: async () =>
    Promise.resolve({
      startHost: async (name, hear) => {
        const origin = `https://${name}.example`
        const registry = staticRegistry(TABLE, origin)
        hear(registry)
        registry.start()
        return Promise.resolve({ registry, origin, die: cannot })
      },
      takeAway: cannot,
      bringBack: cannot,
    }),
})

// Opens the registry valkey.

import type { OpenedRegistry, RegistryContext } from '../open.ts'
import { ValkeyRegistry } from './registry.ts'

/** The connection is the daemon's, and goes on after the registry. */
export function openValkeyRegistry({ config: { pool }, report, valkey }: RegistryContext): OpenedRegistry {
  const registry = new ValkeyRegistry({
    link: valkey(),
    pool: pool.name,
    own: { host: pool.host, origin: pool.address },
    report: (error) => report('registry-problem', error),
  })
  return { registry, isTold: true }
}

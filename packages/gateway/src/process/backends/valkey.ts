// The authority and the registry valkey, which share the connection of the daemon.

import { VALKEY_TIMES, ValkeyRegistry } from '../../services/valkey/registry.ts'
import { ValkeyAuthority } from '../../sessions/valkey/authority.ts'
import { uuidOf } from '../../uuid.ts'
import type { OpenContext, OpenedAuthority, OpenedRegistry } from './opened.ts'

/** Every gateway of a pool says the same of itself: the uuids come from the names. */
export function openValkeyAuthority({ config, report, limited, valkey }: OpenContext): OpenedAuthority {
  const { sessions, pool } = config
  const authority = new ValkeyAuthority({
    link: valkey(),
    pool: pool.name,
    settings: sessions,
    report: (error) => report('authority-failed', error),
    limited,
  })
  const identity = { poolUuid: uuidOf(`pool ${pool.name}`), hostUuid: uuidOf(`host ${pool.name} ${pool.host}`) }
  return {
    authority,
    xenapi: { authority, identity },
    configure: (reloaded) => authority.configure(reloaded.sessions),
    close: () => authority.close(),
  }
}

/** The connection is the daemon's, and goes on after the registry. */
export function openValkeyRegistry({ config: { pool }, report, valkey }: OpenContext): OpenedRegistry {
  const registry = new ValkeyRegistry({
    link: valkey(),
    pool: pool.name,
    own: { host: pool.host, origin: pool.address },
    report: (error) => report('registry-problem', error),
    times: VALKEY_TIMES,
  })
  return { registry, announces: true }
}

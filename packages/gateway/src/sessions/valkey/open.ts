// Opens the authority valkey.

import type { AuthorityContext, OpenedAuthority } from '../open.ts'
import { ValkeyAuthority } from './authority.ts'
import { uuidOf } from './session-rows.ts'

/** Every gateway of a pool says the same of itself: the uuids come from the names. */
export function openValkey({ config, report, valkey }: AuthorityContext): OpenedAuthority {
  const { sessions, pool } = config
  const authority = new ValkeyAuthority({
    link: valkey(),
    pool: pool.name,
    settings: sessions,
    report: (error) => report('authority-failed', error),
  })
  const identity = { poolUuid: uuidOf(`pool ${pool.name}`), hostUuid: uuidOf(`host ${pool.name} ${pool.host}`) }
  return {
    authority,
    xenapi: { authority, identity },
    configure: (reloaded) => authority.configure(reloaded.sessions),
    close: () => authority.close(),
  }
}

// The embedded authority, on the database in the state directory.

import { EmbeddedAuthority } from '../../sessions/embedded/authority.ts'
import { databasePath, openDatabase } from '../../sessions/embedded/database.ts'
import { identity } from '../../sessions/embedded/identity.ts'
import type { OpenContext, OpenedAuthority } from './opened.ts'

/** @throws {DatabaseError} */
export function openEmbedded({ config, report, limited }: OpenContext): OpenedAuthority {
  const db = openDatabase(databasePath(config.stateDir))
  // Before the authority: from then on this thread waits for no other process.
  const self = identity(db)
  const authority = new EmbeddedAuthority({
    db,
    settings: config.sessions,
    clock: Date.now,
    report: (error) => report('authority-failed', error),
    limited,
  })
  return {
    authority,
    xenapi: { authority, identity: self },
    configure: ({ sessions }) => authority.configure(sessions),
    close: async () => {
      await authority.close()
      if (db.isOpen) db.close()
    },
  }
}

// Opens the embedded authority on the database in the state directory.

import { join } from 'node:path'
import type { AuthorityContext, OpenedAuthority } from '../open.ts'
import { EmbeddedAuthority } from './authority.ts'
import { openDatabase } from './database.ts'
import { identity } from './identity.ts'

const DATABASE = 'xengate.db'

/** The database of users and sessions in a state directory. */
export function databasePath(stateDir: string): string {
  return join(stateDir, DATABASE)
}

/** @throws {DatabaseError} */
export function openEmbedded({ config, report }: AuthorityContext): OpenedAuthority {
  const db = openDatabase(databasePath(config.stateDir))
  // Before the authority: from then on this thread waits for no other process.
  const self = identity(db)
  const authority = new EmbeddedAuthority({
    db,
    settings: config.sessions,
    clock: Date.now,
    report: (error) => report('authority-failed', error),
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

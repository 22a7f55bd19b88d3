// Who this gateway is to XenAPI clients: uuids that stay the same over restarts.

import { randomUUID } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

import type { Identity } from '../accounts/identity.ts'
import { textOf } from './database.ts'

/** The identity kept in `db`; drawn at random the first time. */
export function identity(db: DatabaseSync): Identity {
  return { poolUuid: lastingUuid(db, 'pool-uuid'), hostUuid: lastingUuid(db, 'host-uuid') }
}

/** One statement writes and one reads, so that two processes that start at once agree. */
function lastingUuid(db: DatabaseSync, key: string): string {
  db.prepare('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING').run(key, randomUUID())
  return textOf(db.prepare('SELECT value FROM meta WHERE key = ?').get(key) ?? {}, 'value')
}

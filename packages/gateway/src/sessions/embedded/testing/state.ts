// What the tests of the embedded authority share: a fresh directory, a database in it, a clock set by hand.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import type { TestContext } from 'node:test'

import type { SessionRules } from '../../accounts/sign-in.ts'
import { EmbeddedAuthority } from '../authority.ts'
import { DatabaseError, openDatabase, troubleOf } from '../database.ts'

export const SETTINGS: SessionRules = { idleTimeoutMs: 86_400_000, maxPerUser: 500, maxPerOriginator: 500 }

/** A path in a directory that goes away with the test. */
export function freshPath(t: TestContext, name = 'xengate.db'): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return join(directory, name)
}

/** Another connection to the database at `path`, as another process has it. */
export function connect(t: TestContext, path: string): DatabaseSync {
  const db = openDatabase(path)
  t.after(() => {
    if (db.isOpen) db.close()
  })
  return db
}

/** A clock that stands until it is moved. */
export class HandClock {
  nowMs = 1_700_000_000_000
  readonly read = (): number => this.nowMs
}

export interface TestAuthority {
  readonly authority: EmbeddedAuthority
  /** Its own connection. */
  readonly db: DatabaseSync
  /** Failures of its background work. */
  readonly reported: unknown[]
  readonly clock: HandClock
  readonly uptime: HandClock
  readonly path: string
  /** What the listener was told, in order. */
  readonly told: string[]
  /** Resolves when the listener has been told of `uuid`. */
  readonly ended: (uuid: string) => Promise<void>
}

/** A started authority, with a listener that answers at once. */
export function startAuthority(
  t: TestContext,
  settings: Partial<SessionRules> = {},
  path: string = freshPath(t),
): TestAuthority {
  const clock = new HandClock()
  const uptime = new HandClock()
  const told: string[] = []
  const reported: unknown[] = []
  const waiting = new Map<string, () => void>()
  const db = openDatabase(path)
  const authority = new EmbeddedAuthority({
    db,
    settings: { ...SETTINGS, ...settings },
    clock: clock.read,
    uptime: uptime.read,
    report: (error) => {
      // What a full disk holds up is an operator's to see to, and some tests have it full.
      if (!isFull(error)) throw error
      reported.push(error)
    },
  })
  authority.onEnded((uuids) => {
    told.push(...uuids)
    for (const uuid of uuids) waiting.get(uuid)?.()
    return Promise.resolve()
  })
  authority.start()
  t.after(async () => {
    await authority.close()
    db.close()
  })
  const ended = (uuid: string): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.set(uuid, resolve)
    return told.includes(uuid) ? Promise.resolve() : promise
  }
  return { authority, db, reported, clock, uptime, path, told, ended }
}

/** Makes `db` refuse with SQLITE_FULL what ends a session or changes a user, by triggers that need more room than there is. Answers what makes room. */
export function fillUp(db: DatabaseSync): () => void {
  db.exec(`CREATE TABLE filler (bytes BLOB);
    CREATE TRIGGER fill AFTER DELETE ON sessions BEGIN INSERT INTO filler VALUES (zeroblob(1000000)); END;
    CREATE TRIGGER fill_too AFTER UPDATE ON users BEGIN INSERT INTO filler VALUES (zeroblob(1000000)); END`)
  const pages = db.prepare('PRAGMA page_count').get()?.['page_count']
  db.exec(`PRAGMA max_page_count = ${String(pages)}`)
  return () => db.exec('PRAGMA max_page_count = 1000000')
}

function isFull(error: unknown): boolean {
  return (
    troubleOf('', error)?.code === 'DATABASE_FULL' || (error instanceof DatabaseError && error.code === 'DATABASE_FULL')
  )
}

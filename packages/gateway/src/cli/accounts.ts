// Users and sessions where they are kept: a running daemon works on the same and sees what is changed here.

import { statSync } from 'node:fs'
import type { Config } from '../config/config.ts'
import type { SessionRecord } from '../sessions/accounts/sign-in.ts'
import { Users } from '../sessions/accounts/users.ts'
import { databasePath, openDatabase, troubleOf, whenFree } from '../sessions/embedded/database.ts'
import { SessionRows } from '../sessions/embedded/session-rows.ts'
import { UserStore } from '../sessions/embedded/users.ts'
import { SessionRows as ValkeySessionRows } from '../sessions/valkey/session-rows.ts'
import { ValkeyUserRows } from '../sessions/valkey/users.ts'
import { ValkeyUnavailableError } from '../valkey/connect.ts'
import { poolPrefix } from '../valkey/keys.ts'
import { ValkeyLink } from '../valkey/link.ts'
import { CliError } from './errors.ts'
import type { AccountPlace } from './state.ts'

/** How long Valkey may take to answer. */
const VALKEY_WAIT_MS = 5000

/** What commands work on. */
export interface Accounts {
  readonly users: Users
  readonly sessions: {
    /** Oldest first. */
    list(): Promise<SessionRecord[]>
    /** Ends sessions: at once in a running daemon too. Answers how many of these there were. */
    end(uuids: readonly string[]): Promise<number>
  }
}

type Use<Result> = (accounts: Accounts) => Promise<Result>

/** Opens what is at `place`, for as long as `use` takes. */
export async function withAccounts<Result>(place: AccountPlace, use: Use<Result>): Promise<Result> {
  return place.kind === 'valkey' ? withPool(place.config, use) : withDatabase(place.stateDir, use)
}

/** The place, if there is something: opening a database creates it, which only `user add` is meant to do. */
export function existing(place: AccountPlace): AccountPlace {
  if (place.kind === 'embedded' && isMissing(databasePath(place.stateDir))) {
    throw new CliError('state-empty', `there are no users in ${place.stateDir}`)
  }
  return place
}

/** Not so when nobody may look: opening then says why. */
function isMissing(path: string): boolean {
  try {
    statSync(path)
    return false
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ENOENT'
  }
}

async function withDatabase<Result>(stateDir: string, use: Use<Result>): Promise<Result> {
  const db = openDatabase(databasePath(stateDir))
  try {
    const rows = new SessionRows(db)
    const sessions: Accounts['sessions'] = {
      list: () => Promise.resolve(rows.latest()),
      end: (uuids) =>
        whenFree(() => rows.delete(uuids)).catch((error: unknown) => {
          throw troubleOf('end sessions', error) ?? error
        }),
    }
    return await use({ users: new UserStore(db), sessions })
  } finally {
    db.close()
  }
}

async function withPool<Result>({ valkey, pool }: Config, use: Use<Result>): Promise<Result> {
  let lost: unknown
  const key = `${poolPrefix(pool.name)}active`
  const link = new ValkeyLink({ config: valkey, key, noticed: (error) => (lost = error) })
  link.start()
  try {
    await link.whenCurrent(VALKEY_WAIT_MS)
    const rows = new ValkeySessionRows(link, pool.name)
    const sessions = { list: () => rows.latest(), end: (uuids: readonly string[]) => rows.endAll(uuids) }
    return await use({ users: new Users(new ValkeyUserRows(link, pool.name)), sessions })
  } catch (cause) {
    if (!(cause instanceof ValkeyUnavailableError)) throw cause
    const why = lost instanceof Error ? lost.message : cause.message
    const text = `the users of the pool "${pool.name}" are in Valkey: ${why}`
    throw new CliError('valkey-unavailable', text, { cause })
  } finally {
    await link.close()
  }
}

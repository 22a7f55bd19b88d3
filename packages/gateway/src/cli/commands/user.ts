// xengate user …: users of the embedded authority, in the database that a running daemon reads too, or of the authority
// valkey, in Valkey.

import { existsSync } from 'node:fs'
import type { Config } from '../../config/schema.ts'
import { Users } from '../../sessions/accounts/users.ts'
import { openDatabase } from '../../sessions/embedded/database.ts'
import { databasePath } from '../../sessions/embedded/open.ts'
import { UserStore } from '../../sessions/embedded/users.ts'
import { type Role } from '../../sessions/session.ts'
import { ValkeyUserRows } from '../../sessions/valkey/users.ts'
import { ValkeyUnavailableError } from '../../valkey/connect.ts'
import { poolPrefix } from '../../valkey/keys.ts'
import { ValkeyLink } from '../../valkey/link.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { readNewPassword } from '../password.ts'
import { type StateOptions, type UserPlace, userPlace } from '../state.ts'

/** How long Valkey may take to answer. */
const VALKEY_WAIT_MS = 5000

/** Options of `user add` and `user passwd`. */
export interface PasswordOptions extends StateOptions {
  readonly role?: Role
  readonly passwordStdin?: boolean
}

/** Role of a user that is added without one: it may do least. */
export const DEFAULT_ROLE: Role = 'read-only'

export async function addUser(name: string, options: PasswordOptions, io: Io): Promise<number> {
  const { role = DEFAULT_ROLE } = options
  const place = await userPlace(options, io)
  const password = await readNewPassword(options.passwordStdin === true, io)
  await withUsers(place, (users) => users.add(name, password, role))
  say(io, `added ${name} with the role ${role}`)
  return EXIT.ok
}

export async function setUserPassword(name: string, options: PasswordOptions, io: Io): Promise<number> {
  const place = existing(await userPlace(options, io))
  const password = await readNewPassword(options.passwordStdin === true, io)
  await withUsers(place, async (users) => {
    await users.setPassword(name, password)
    if (options.role !== undefined) await users.setRole(name, options.role)
  })
  say(io, `changed the password of ${name}`)
  return EXIT.ok
}

export async function removeUser(name: string, options: StateOptions, io: Io): Promise<number> {
  await withUsers(existing(await userPlace(options, io)), (users) => users.remove(name))
  say(io, `removed ${name}, and ended its sessions`)
  return EXIT.ok
}

export async function listUsers(options: StateOptions & { readonly json?: boolean }, io: Io): Promise<number> {
  const list = await withUsers(existing(await userPlace(options, io)), (users) => users.list())
  if (options.json === true) {
    const users = list.map(({ name, role, uuid, createdMs }) => ({
      name,
      role,
      uuid,
      created: new Date(createdMs).toISOString(),
    }))
    print(io, JSON.stringify(users, null, 2))
    return EXIT.ok
  }
  const width = Math.max(...list.map(({ name }) => name.length))
  for (const { name, role } of list) print(io, `${name.padEnd(width)}  ${role}`)
  return EXIT.ok
}

async function withUsers<Result>(place: UserPlace, use: (users: Users) => Result | Promise<Result>): Promise<Result> {
  return place.kind === 'valkey' ? withPoolUsers(place.config, use) : withDatabase(place.stateDir, use)
}

async function withDatabase<Result>(
  stateDir: string,
  use: (users: Users) => Result | Promise<Result>,
): Promise<Result> {
  const db = openDatabase(databasePath(stateDir))
  try {
    return await use(new UserStore(db))
  } finally {
    db.close()
  }
}

async function withPoolUsers<Result>(
  { valkey, pool }: Config,
  use: (users: Users) => Result | Promise<Result>,
): Promise<Result> {
  let lost: unknown
  const key = `${poolPrefix(pool.name)}active`
  const link = new ValkeyLink({ config: valkey, key, noticed: (error) => (lost = error) })
  link.start()
  try {
    await link.whenCurrent(VALKEY_WAIT_MS)
    return await use(new Users(new ValkeyUserRows(link, pool.name)))
  } catch (cause) {
    if (!(cause instanceof ValkeyUnavailableError)) throw cause
    const why = lost instanceof Error ? lost.message : cause.message
    throw new CliError('valkey-unavailable', `the users of the pool "${pool.name}" are in Valkey: ${why}`, { cause })
  } finally {
    await link.close()
  }
}

/** Opening a database creates it, which only `add` is meant to do. */
function existing(place: UserPlace): UserPlace {
  if (place.kind === 'embedded' && !existsSync(databasePath(place.stateDir))) {
    throw new CliError('state-empty', `there are no users in ${place.stateDir}`)
  }
  return place
}

// xengate user …: users of the embedded authority, in the database that a running daemon reads too.

import { existsSync } from 'node:fs'
import { openDatabase } from '../../sessions/embedded/database.ts'
import { UserStore } from '../../sessions/embedded/users.ts'
import { type Role } from '../../sessions/session.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { readNewPassword } from '../password.ts'
import { type StateOptions, databasePath, stateDirOf } from '../state.ts'

/** Options of `user add` and `user passwd`. */
export interface PasswordOptions extends StateOptions {
  readonly role?: Role
  readonly passwordStdin?: boolean
}

/** Role of a user that is added without one: it may do least. */
export const DEFAULT_ROLE: Role = 'read-only'

export async function addUser(name: string, options: PasswordOptions, io: Io): Promise<number> {
  const { role = DEFAULT_ROLE } = options
  const path = databasePath(await stateDirOf(options, io))
  const password = await readNewPassword(options.passwordStdin === true, io)
  await withUsers(path, (users) => users.add(name, password, role))
  say(io, `added ${name} with the role ${role}`)
  return EXIT.ok
}

export async function setUserPassword(name: string, options: PasswordOptions, io: Io): Promise<number> {
  const path = await existingDatabase(options, io)
  const password = await readNewPassword(options.passwordStdin === true, io)
  await withUsers(path, async (users) => {
    await users.setPassword(name, password)
    if (options.role !== undefined) users.setRole(name, options.role)
  })
  say(io, `changed the password of ${name}`)
  return EXIT.ok
}

export async function removeUser(name: string, options: StateOptions, io: Io): Promise<number> {
  await withUsers(await existingDatabase(options, io), (users) => users.remove(name))
  say(io, `removed ${name}, and ended its sessions`)
  return EXIT.ok
}

export async function listUsers(options: StateOptions & { readonly json?: boolean }, io: Io): Promise<number> {
  const list = await withUsers(await existingDatabase(options, io), (users) => users.list())
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

async function withUsers<Result>(path: string, use: (users: UserStore) => Result | Promise<Result>): Promise<Result> {
  const db = openDatabase(path)
  try {
    return await use(new UserStore(db))
  } finally {
    db.close()
  }
}

/** Opening a database creates it, which only `add` is meant to do. */
async function existingDatabase(options: StateOptions, io: Io): Promise<string> {
  const stateDir = await stateDirOf(options, io)
  const path = databasePath(stateDir)
  if (!existsSync(path)) throw new CliError('state-empty', `there are no users in ${stateDir}`)
  return path
}

// xengate user …: users of the embedded authority, in the database that a running daemon reads too, or of the authority
// valkey, in Valkey.

import type { UserRecord } from '../../sessions/accounts/users.ts'
import type { Role } from '../../model/role.ts'
import { type Accounts, existing, withAccounts } from '../accounts.ts'
import { tellDaemon } from '../daemon.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { confirm, readNewPassword } from '../password.ts'
import { accountPlace, type StateOptions } from '../state.ts'
import { columns } from '../table.ts'

/** Options of `user add` and `user passwd`. */
export interface PasswordOptions extends StateOptions {
  readonly role?: Role
  readonly passwordStdin?: boolean
  readonly endSessions?: boolean
}

/** Role of a user that is added without one: it may do least. */
export const DEFAULT_ROLE: Role = 'read-only'

export async function addUser(name: string, options: PasswordOptions, io: Io): Promise<number> {
  const { role = DEFAULT_ROLE } = options
  const place = await accountPlace(options, io)
  const password = await readNewPassword(options.passwordStdin === true, io)
  await withAccounts(place, ({ users }) => users.add(name, password, role))
  await tellDaemon(place, { event: 'user-added', user: name, role }, io)
  say(io, `added ${name} with the role ${role}`)
  return EXIT.ok
}

export async function setUserPassword(name: string, options: PasswordOptions, io: Io): Promise<number> {
  const place = existing(await accountPlace(options, io))
  const { role, endSessions = false } = options
  const password = await readNewPassword(options.passwordStdin === true, io)
  const ended = await withAccounts(place, async (accounts) => {
    await accounts.users.setPassword(name, password)
    if (role !== undefined) await accounts.users.setRole(name, role)
    return endSessions ? endSessionsOf(name, accounts) : []
  })
  await tellDaemon(place, { event: 'user-password-set', user: name, ...(role !== undefined && { role }) }, io)
  if (endSessions) await tellDaemon(place, { event: 'sessions-ended', user: name, sessions: ended }, io)
  say(io, `changed the password of ${name}${endSessions ? `, and ended ${ended.length} of its sessions` : ''}`)
  return EXIT.ok
}

async function endSessionsOf(name: string, { sessions }: Accounts): Promise<readonly string[]> {
  const uuids = (await sessions.list())
    .filter(({ session }) => session.user === name)
    .map(({ session }) => session.uuid)
  await sessions.end(uuids)
  return uuids
}

export async function setUserRole(name: string, role: Role, options: StateOptions, io: Io): Promise<number> {
  const place = existing(await accountPlace(options, io))
  await withAccounts(place, async ({ users }) => {
    if (role !== 'pool-admin') await warnOfLastAdmin(name, await users.list(), io)
    await users.setRole(name, role)
  })
  await tellDaemon(place, { event: 'user-role-set', user: name, role }, io)
  say(io, `${name} has the role ${role}; its sessions with another role have ended`)
  return EXIT.ok
}

export async function removeUser(name: string, options: StateOptions, io: Io): Promise<number> {
  const place = existing(await accountPlace(options, io))
  await withAccounts(place, async ({ users }) => {
    await warnOfLastAdmin(name, await users.list(), io)
    await users.remove(name)
  })
  await tellDaemon(place, { event: 'user-removed', user: name }, io)
  say(io, `removed ${name}, and ended its sessions`)
  return EXIT.ok
}

/** Asks, at a terminal, before nobody has the role pool-admin any more. @throws {CliError} `not-confirmed` */
async function warnOfLastAdmin(name: string, users: readonly UserRecord[], io: Io): Promise<void> {
  const admins = users.filter(({ role }) => role === 'pool-admin')
  if (admins.length !== 1 || admins[0]?.name !== name) return
  const said = `${name} is the last user with the role pool-admin`
  if (io.stdin.isTTY !== true) say(io, `warning: ${said}`)
  else if (!(await confirm(`${said}. Go on?`, io))) throw new CliError('not-confirmed', 'nothing was changed')
}

export async function listUsers(options: StateOptions & { readonly json?: boolean }, io: Io): Promise<number> {
  const list = await withAccounts(existing(await accountPlace(options, io)), async ({ users }) => users.list())
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
  if (list.length === 0) say(io, 'there are no users: add one with xengate user add')
  for (const line of columns(list.map(({ name, role }) => [name, role]))) print(io, line)
  return EXIT.ok
}

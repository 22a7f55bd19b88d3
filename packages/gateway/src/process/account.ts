// Users and groups of the host, by the tables of all that it has itself: a name service's would be a library of the host's.

import { readFileSync } from 'node:fs'

/** Whom a process runs as. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** There is no such user or group: the text says which. */
export class AccountUnknownError extends Error {
  override readonly name = 'AccountUnknownError'
}

/** The id of a user or a group, given by name or number. @throws {AccountUnknownError} when there is none of that name */
export function idOf(who: string | number, table: '/etc/passwd' | '/etc/group'): number {
  if (typeof who === 'number') return who
  const id = Number(entryOf(table, (fields) => fields[0] === who)?.[2])
  if (Number.isInteger(id)) return id
  throw new AccountUnknownError(`there is no ${who} in ${table}: name one that is there, or give its number`)
}

/** The user, given by name or number, with its own group. @throws {AccountUnknownError} when the table has none */
export function accountOf(who: string | number): Account {
  const entry = entryOf('/etc/passwd', (fields) => fields[typeof who === 'number' ? 2 : 0] === String(who))
  const [uid, gid] = [Number(entry?.[2]), Number(entry?.[3])]
  if (Number.isInteger(uid) && Number.isInteger(gid)) return { uid, gid }
  throw new AccountUnknownError(`there is no user ${who} in /etc/passwd: name one that is there`)
}

function entryOf(table: string, isIt: (fields: readonly string[]) => boolean): readonly string[] | undefined {
  return readFileSync(table, 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(isIt)
}

// The user of `xengate dev`: made at the first start with a generated password, and found again at the next.

import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { databasePath, openDatabase } from '../sessions/embedded/database.ts'
import { UserStore } from '../sessions/embedded/users.ts'

/** Name of the user; its role is pool-admin. */
export const DEV_USER = 'root'

/** Random bytes in a generated password. */
const PASSWORD_BYTES = 18

export interface DevUser {
  readonly passwordFile: string
  /** `undefined` when the file does not have the user's password (any more). */
  readonly password: string | undefined
}

/** Sees to it that the user is there, and that `password` in the state directory (mode 0600) has its first password. */
export async function prepareUser(stateDir: string): Promise<DevUser> {
  const passwordFile = join(stateDir, 'password')
  const db = openDatabase(databasePath(stateDir))
  try {
    const users = new UserStore(db)
    const kept = await readPassword(passwordFile)
    if (users.list().some(({ name }) => name === DEV_USER)) {
      const isRight = kept !== undefined && (await users.verify(DEV_USER, kept)) !== undefined
      return { passwordFile, password: isRight ? kept : undefined }
    }
    const password = kept ?? (await makePassword(passwordFile))
    await users.add(DEV_USER, password, 'pool-admin')
    return { passwordFile, password }
  } finally {
    db.close()
  }
}

async function makePassword(path: string): Promise<string> {
  const password = randomBytes(PASSWORD_BYTES).toString('base64url')
  await writeFile(path, `${password}\n`, { mode: 0o600 })
  return password
}

async function readPassword(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trimEnd() || undefined
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

// Users of the embedded authority. The daemon and the command line use it side by side on the same database.

import { randomUUID } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'

import { isRole, type Role } from '../session.ts'
import { integerOf, textOf, type Row } from './database.ts'
import { AccountError } from './errors.ts'
import { HashQueue } from './hash-queue.ts'
import { hashPassword, isOutdated, passwordMatches, wasteOneCheck } from './password.ts'

const NAME_CHARACTERS_MAX = 255
const PASSWORD_BYTES_MAX = 1024

/** A user, without the password's hash. */
export interface UserRecord {
  /** Lasting identity: a user removed and added again under the same name has another one. */
  readonly uuid: string
  readonly name: string
  readonly role: Role
  /** When the user was added, in ms since 1970. */
  readonly createdMs: number
}

/** Users in `db`. Several stores may work on one database, in several processes. */
export class UserStore {
  readonly #db: DatabaseSync
  readonly #hashes = new HashQueue()

  constructor(db: DatabaseSync) {
    this.#db = db
  }

  /**
   * Adds a user.
   *
   * @param name 1 to 255 characters, no control characters; compared exactly.
   * @param password 1 to 1,024 bytes of UTF-8.
   * @throws {AccountError} `USER_NAME_INVALID`, `PASSWORD_INVALID`, `ROLE_INVALID`, `USER_EXISTS`, `BUSY`.
   */
  async add(name: string, password: string, role: Role): Promise<void> {
    checkName(name)
    checkPassword(password)
    checkRole(role)
    if (this.#row(name) !== undefined) throw exists(name)
    const hash = await this.#hashes.run(() => hashPassword(password))
    const { changes } = this.#db
      .prepare(
        'INSERT INTO users (uuid, name, role, password, created_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
      )
      .run(randomUUID(), name, role, hash, Date.now())
    if (changes === 0) throw exists(name)
  }

  /**
   * Gives a user another password. The user's sessions go on, as in xapi.
   *
   * @throws {AccountError} `PASSWORD_INVALID`, `USER_UNKNOWN`, `BUSY`.
   */
  async setPassword(name: string, password: string): Promise<void> {
    checkPassword(password)
    if (this.#row(name) === undefined) throw unknown(name)
    const hash = await this.#hashes.run(() => hashPassword(password))
    const { changes } = this.#db.prepare('UPDATE users SET password = ? WHERE name = ?').run(hash, name)
    if (changes === 0) throw unknown(name)
  }

  /**
   * Gives a user another role; the user's sessions end. The same role again changes nothing.
   *
   * @throws {AccountError} `ROLE_INVALID`, `USER_UNKNOWN`.
   */
  setRole(name: string, role: Role): void {
    checkRole(role)
    const { changes } = this.#db.prepare('UPDATE users SET role = ? WHERE name = ?').run(role, name)
    if (changes === 0) throw unknown(name)
  }

  /**
   * Removes a user; the user's sessions end.
   *
   * @throws {AccountError} `USER_UNKNOWN`.
   */
  remove(name: string): void {
    const { changes } = this.#db.prepare('DELETE FROM users WHERE name = ?').run(name)
    if (changes === 0) throw unknown(name)
  }

  /** Every user, in the order of their names. */
  list(): UserRecord[] {
    return this.#db.prepare('SELECT uuid, name, role, created_ms FROM users ORDER BY name').all().map(userOf)
  }

  /** The user with this uuid, as the database has it now. */
  byUuid(uuid: string): UserRecord | undefined {
    const row = this.#db.prepare('SELECT uuid, name, role, created_ms FROM users WHERE uuid = ?').get(uuid)
    return row && userOf(row)
  }

  /**
   * The user with this name and password, or `undefined`.
   *
   * An unknown name costs the same work as a wrong password. A hash made with older parameters is made anew.
   *
   * @throws {AccountError} `BUSY` when too many checks are waiting.
   */
  async verify(name: string, password: string): Promise<UserRecord | undefined> {
    const row = isName(name) && isPassword(password) ? this.#row(name) : undefined
    if (row === undefined) {
      await this.#hashes.run(() => wasteOneCheck(password.slice(0, PASSWORD_BYTES_MAX)))
      return undefined
    }
    const stored = textOf(row, 'password')
    const matches = await this.#hashes.run(() => passwordMatches(stored, password))
    if (!matches) return undefined
    if (isOutdated(stored)) await this.#renew(name, password, stored)
    return userOf(row)
  }

  async #renew(name: string, password: string, stored: string): Promise<void> {
    const hash = await this.#hashes.run(() => hashPassword(password))
    // Only over the hash that was checked: the password may have been changed meanwhile.
    this.#db.prepare('UPDATE users SET password = ? WHERE name = ? AND password = ?').run(hash, name, stored)
  }

  #row(name: string): Row | undefined {
    return this.#db.prepare('SELECT uuid, name, role, password, created_ms FROM users WHERE name = ?').get(name)
  }
}

/** Whether `name` can be a user's name: 1 to 255 characters, none of them a control character. */
export function isName(name: string): boolean {
  // The cheap bound comes first: a client may send a megabyte.
  if (name === '' || name.length > 2 * NAME_CHARACTERS_MAX || !name.isWellFormed()) return false
  return Array.from(name).length <= NAME_CHARACTERS_MAX && !/\p{Cc}/u.test(name)
}

function isPassword(password: string): boolean {
  return password !== '' && password.isWellFormed() && Buffer.byteLength(password) <= PASSWORD_BYTES_MAX
}

function checkName(name: string): void {
  if (isName(name)) return
  const text = `add user: a name has 1 to ${NAME_CHARACTERS_MAX} characters and no control characters`
  throw new AccountError('USER_NAME_INVALID', text)
}

function checkPassword(password: string): void {
  if (isPassword(password)) return
  throw new AccountError('PASSWORD_INVALID', `set password: a password has 1 to ${PASSWORD_BYTES_MAX} bytes of UTF-8`)
}

function checkRole(role: string): void {
  if (!isRole(role)) throw new AccountError('ROLE_INVALID', `set role: "${role}" is not a role`)
}

function exists(name: string): AccountError {
  return new AccountError('USER_EXISTS', `add user "${name}": there is one already`)
}

function unknown(name: string): AccountError {
  return new AccountError('USER_UNKNOWN', `find user "${name}": there is none`)
}

function userOf(row: Row): UserRecord {
  const role = textOf(row, 'role')
  if (!isRole(role)) throw new TypeError(`read user: "${role}" is not a role`)
  return { uuid: textOf(row, 'uuid'), name: textOf(row, 'name'), role, createdMs: integerOf(row, 'created_ms') }
}

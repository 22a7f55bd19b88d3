// Users of the authorities that have some of their own: the rules for names, passwords and roles, over any storage.

import { randomUUID } from 'node:crypto'

import { isRole, type Role } from '../../model/role.ts'
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

/** A user as stored. */
export interface StoredUser extends UserRecord {
  /** PHC string. */
  readonly password: string
}

/**
 * Storage of users, by name. Each method is one step that nothing comes in between, also not from another process; those
 * that change something answer whether there was something to change.
 */
export interface UserRows {
  get(name: string): StoredUser | undefined | Promise<StoredUser | undefined>
  /** Every user, in the order of their names. */
  list(): UserRecord[] | Promise<UserRecord[]>
  /** Answers whether the name was free. */
  insert(user: StoredUser): boolean | Promise<boolean>
  setPassword(name: string, hash: string): boolean | Promise<boolean>
  /** As `setPassword`, if the hash is still `over`: it may have been changed meanwhile. */
  replacePassword(name: string, hash: string, over: string): boolean | Promise<boolean>
  /** Ends the user's sessions too, if it is another role. */
  setRole(name: string, role: Role): boolean | Promise<boolean>
  /** Ends the user's sessions too. */
  remove(name: string): boolean | Promise<boolean>
}

/** Users in some storage. Several may work on one, in several processes. */
export class Users {
  readonly #rows: UserRows
  readonly #hashes = new HashQueue()

  constructor(rows: UserRows) {
    this.#rows = rows
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
    if ((await this.#rows.get(name)) !== undefined) throw exists(name)
    const hash = await this.#hashes.run(() => hashPassword(password))
    const user = { uuid: randomUUID(), name, role, password: hash, createdMs: Date.now() }
    if (!(await this.#rows.insert(user))) throw exists(name)
  }

  /**
   * Gives a user another password. The user's sessions go on, as in xapi.
   *
   * @throws {AccountError} `PASSWORD_INVALID`, `USER_UNKNOWN`, `BUSY`.
   */
  async setPassword(name: string, password: string): Promise<void> {
    checkPassword(password)
    if ((await this.#rows.get(name)) === undefined) throw unknown(name)
    const hash = await this.#hashes.run(() => hashPassword(password))
    if (!(await this.#rows.setPassword(name, hash))) throw unknown(name)
  }

  /**
   * Gives a user another role; the user's sessions end. The same role again changes nothing.
   *
   * @throws {AccountError} `ROLE_INVALID`, `USER_UNKNOWN`.
   */
  async setRole(name: string, role: Role): Promise<void> {
    checkRole(role)
    if (!(await this.#rows.setRole(name, role))) throw unknown(name)
  }

  /**
   * Removes a user; the user's sessions end.
   *
   * @throws {AccountError} `USER_UNKNOWN`.
   */
  async remove(name: string): Promise<void> {
    if (!(await this.#rows.remove(name))) throw unknown(name)
  }

  /** Every user, in the order of their names. */
  list(): UserRecord[] | Promise<UserRecord[]> {
    return this.#rows.list()
  }

  /**
   * The user with this name and password, or `undefined`.
   *
   * An unknown name costs the same work as a wrong password. A hash made with older parameters is made anew.
   *
   * @throws {AccountError} `BUSY` when too many checks are waiting.
   */
  async verify(name: string, password: string): Promise<UserRecord | undefined> {
    const user = isName(name) && isPassword(password) ? await this.#rows.get(name) : undefined
    if (user === undefined) {
      await this.#hashes.run(() => wasteOneCheck(password.slice(0, PASSWORD_BYTES_MAX)))
      return undefined
    }
    const { password: stored, ...record } = user
    const matches = await this.#hashes.run(() => passwordMatches(stored, password))
    if (!matches) return undefined
    if (isOutdated(stored)) await this.#renew(name, password, stored)
    return record
  }

  async #renew(name: string, password: string, stored: string): Promise<void> {
    const hash = await this.#hashes.run(() => hashPassword(password))
    await this.#rows.replacePassword(name, hash, stored)
  }
}

/** Whether `name` can be a user's name: 1 to 255 characters, none of them a control character. */
export function isName(name: string): boolean {
  // The cheap bound comes first: a client may send a megabyte.
  if (name === '' || name.length > 2 * NAME_CHARACTERS_MAX || !name.isWellFormed()) return false
  return Array.from(name).length <= NAME_CHARACTERS_MAX && !/\p{Cc}/u.test(name)
}

/** The user who is the local superuser: with this name, and as long as it has this role. */
export const LOCAL_SUPERUSER = { name: 'root', role: 'pool-admin' } as const

/** Whether this user is the local superuser, whose sessions have every right and no subject. */
export function isLocalSuperuser(user: Pick<UserRecord, 'name' | 'role'>): boolean {
  return user.name === LOCAL_SUPERUSER.name && user.role === LOCAL_SUPERUSER.role
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

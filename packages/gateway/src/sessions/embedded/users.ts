// Users of the embedded authority. The daemon and the command line use it side by side on the same database.

import type { DatabaseSync } from 'node:sqlite'

import { type StoredUser, type UserRecord, type UserRows, Users } from '../accounts/users.ts'
import { isRole, type Role } from '../../model/role.ts'
import { integerOf, textOf, type Row, troubleOf, whenFree } from './database.ts'

/** Users in `db`. Several stores may work on one database, in several processes. */
export class UserStore extends Users {
  readonly #rows: SqliteUserRows

  constructor(db: DatabaseSync) {
    const rows = new SqliteUserRows(db)
    super(rows)
    this.#rows = rows
  }

  override list(): UserRecord[] {
    return this.#rows.list()
  }

  /** The user with this uuid, as the database has it now. It waits for nothing, so that a transaction can hold it. */
  byUuid(uuid: string): UserRecord | undefined {
    return this.#rows.byUuid(uuid)
  }
}

/** Rows of the table; triggers end the sessions of those that are removed or get another role. */
class SqliteUserRows implements UserRows {
  readonly #db: DatabaseSync

  constructor(db: DatabaseSync) {
    this.#db = db
  }

  get(name: string): StoredUser | undefined {
    const row = this.#db.prepare('SELECT uuid, name, role, password, created_ms FROM users WHERE name = ?').get(name)
    return row && { ...userOf(row), password: textOf(row, 'password') }
  }

  byUuid(uuid: string): UserRecord | undefined {
    const row = this.#db.prepare('SELECT uuid, name, role, created_ms FROM users WHERE uuid = ?').get(uuid)
    return row && userOf(row)
  }

  list(): UserRecord[] {
    return this.#db.prepare('SELECT uuid, name, role, created_ms FROM users ORDER BY name').all().map(userOf)
  }

  insert({ uuid, name, role, password, createdMs }: StoredUser): Promise<boolean> {
    const sql =
      'INSERT INTO users (uuid, name, role, password, created_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING'
    return this.#run(sql, uuid, name, role, password, createdMs)
  }

  setPassword(name: string, hash: string): Promise<boolean> {
    return this.#run('UPDATE users SET password = ? WHERE name = ?', hash, name)
  }

  replacePassword(name: string, hash: string, over: string): Promise<boolean> {
    return this.#run('UPDATE users SET password = ? WHERE name = ? AND password = ?', hash, name, over)
  }

  setRole(name: string, role: Role): Promise<boolean> {
    return this.#run('UPDATE users SET role = ? WHERE name = ?', role, name)
  }

  remove(name: string): Promise<boolean> {
    return this.#run('DELETE FROM users WHERE name = ?', name)
  }

  async #run(sql: string, ...values: (string | number)[]): Promise<boolean> {
    try {
      return await whenFree(() => this.#db.prepare(sql).run(...values).changes !== 0)
    } catch (error) {
      throw troubleOf('change users', error) ?? error
    }
  }
}

function userOf(row: Row): UserRecord {
  const role = textOf(row, 'role')
  if (!isRole(role)) throw new TypeError(`read user: "${role}" is not a role`)
  return { uuid: textOf(row, 'uuid'), name: textOf(row, 'name'), role, createdMs: integerOf(row, 'created_ms') }
}

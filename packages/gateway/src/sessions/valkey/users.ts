// Users of a pool, in Valkey. Every gateway and the command line use them side by side.

import { poolPrefix } from '../../valkey/keys.ts'
import type { Script, ValkeyLink } from '../../valkey/link.ts'
import type { StoredUser, UserRecord, UserRows } from '../accounts/users.ts'
import { isRole, type Role } from '../../model/role.ts'
import { ADD_USER, REMOVE_USER, SET_PASSWORD, SET_ROLE } from './scripts.ts'

/** Rows of the hash `users`; see scripts.ts. */
export class ValkeyUserRows implements UserRows {
  readonly #link: ValkeyLink
  readonly #prefix: string

  constructor(link: ValkeyLink, pool: string) {
    this.#link = link
    this.#prefix = poolPrefix(pool)
  }

  async get(name: string): Promise<StoredUser | undefined> {
    const text = await this.#link.run(['HGET', `${this.#prefix}users`, name])
    return typeof text === 'string' ? userOf(name, text) : undefined
  }

  async list(): Promise<UserRecord[]> {
    const names = await this.#link.run(['HVALS', `${this.#prefix}names`])
    const found = await Promise.all((names as string[]).map((name) => this.get(name)))
    const users = found
      .filter((user) => user !== undefined)
      .map(({ uuid, name, role, createdMs }) => ({ uuid, name, role, createdMs }))
    return users.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  insert({ uuid, name, role, password, createdMs }: StoredUser): Promise<boolean> {
    return this.#script(ADD_USER, name, uuid, JSON.stringify({ uuid, role, password, created_ms: String(createdMs) }))
  }

  setPassword(name: string, hash: string): Promise<boolean> {
    return this.#script(SET_PASSWORD, name, hash, '')
  }

  replacePassword(name: string, hash: string, over: string): Promise<boolean> {
    return this.#script(SET_PASSWORD, name, hash, over)
  }

  setRole(name: string, role: Role): Promise<boolean> {
    return this.#script(SET_ROLE, name, role)
  }

  remove(name: string): Promise<boolean> {
    return this.#script(REMOVE_USER, name)
  }

  async #script(script: Script, ...argv: string[]): Promise<boolean> {
    return (await this.#link.script(script, [`${this.#prefix}active`], [this.#prefix, ...argv])) === 1
  }
}

function userOf(name: string, text: string): StoredUser {
  const { uuid, role, password, created_ms: createdMs } = JSON.parse(text) as Readonly<Record<string, unknown>>
  if (typeof uuid !== 'string' || typeof role !== 'string' || typeof password !== 'string' || !isRole(role)) {
    throw new TypeError(`read user "${name}": what is stored is no user`)
  }
  return { uuid, name, role, password, createdMs: Number(createdMs) }
}

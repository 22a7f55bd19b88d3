// Sessions of a pool, in Valkey: rows in and out. No rules, no listener; those are the authority's.

import { hash } from 'node:crypto'
import { poolPrefix } from '../../valkey/keys.ts'
import type { Script, ValkeyLink } from '../../valkey/link.ts'
import type { Credentials, SessionRecord } from '../accounts/sign-in.ts'
import { isLocalSuperuser, type UserRecord } from '../accounts/users.ts'
import { isRole } from '../../model/role.ts'
import { uuidOf } from '../../uuid.ts'
import { END, END_ALL, END_OF_SUBJECT, OPEN, SWEEP, TOUCH } from './scripts.ts'

/** Keys in one command. */
const KEYS_MAX = 500
const FIELDS = ['id_hash', 'user', 'user_uuid', 'role', 'originator', 'client_address', 'created_ms']

/** See the head of this file. Every method rejects with `ValkeyUnavailableError`. */
export class SessionRows {
  readonly #link: ValkeyLink
  readonly #prefix: string

  constructor(link: ValkeyLink, pool: string) {
    this.#link = link
    this.#prefix = poolPrefix(pool)
  }

  /** The session with this id; the server will tell when it ends. */
  async byId(id: string): Promise<SessionRecord | undefined> {
    const uuid = uuidOf(id)
    const [, row, active] = await Promise.all([
      this.#link.run(['CLIENT', 'CACHING', 'YES']),
      this.#link.run(['HMGET', this.#key(uuid), ...FIELDS]),
      this.#link.run(['ZSCORE', `${this.#prefix}active`, uuid]),
    ])
    if (!Array.isArray(row) || row[0] !== sha256(id) || active === null) return undefined
    return recordOf(uuid, row.map(String), Number(active))
  }

  /** Which of these sessions are over. Of the others the server will tell. */
  async overOf(uuids: readonly string[]): Promise<string[]> {
    const over: string[] = []
    for (let from = 0; from < uuids.length; from += KEYS_MAX) {
      const some = uuids.slice(from, from + KEYS_MAX)
      const count = await this.#count(some)
      if (count === 0) over.push(...some)
      if (count === 0 || count === some.length) continue
      const counts = await Promise.all(some.map((uuid) => this.#count([uuid])))
      over.push(...some.filter((_, index) => counts[index] === 0))
    }
    return over
  }

  async #count(uuids: readonly string[]): Promise<number> {
    const [, count] = await Promise.all([
      this.#link.run(['CLIENT', 'CACHING', 'YES']),
      this.#link.run(['EXISTS', ...uuids.map((uuid) => this.#key(uuid))]),
    ])
    return Number(count)
  }

  /** The uuid that the key is of, if it is a session's. */
  uuidOfKey(key: string): string | undefined {
    const prefix = this.#key('')
    return key.startsWith(prefix) ? key.slice(prefix.length) : undefined
  }

  /** Opens a session. Answers its role and which others had to end for it; undefined when the user is gone. */
  async open(
    id: string,
    user: UserRecord,
    { originator, clientAddress }: Pick<Credentials, 'originator' | 'clientAddress'>,
    limits: { readonly maxPerUser: number; readonly maxPerOriginator: number },
  ): Promise<{ readonly role: string; readonly ended: readonly string[] } | undefined> {
    const session = [uuidOf(id), sha256(id), user.name, user.uuid, originator, sha256(originator), clientAddress]
    const answer = await this.#script(OPEN, ...session, limits.maxPerUser, limits.maxPerOriginator)
    if (!Array.isArray(answer)) return undefined
    const [role = '', ...ended] = answer.map(String)
    return { role, ended }
  }

  async end(id: string): Promise<boolean> {
    return (await this.#script(END, uuidOf(id), sha256(id))) === 1
  }

  /** Ends sessions, whoever's. Answers how many of these there were. */
  async endAll(uuids: readonly string[]): Promise<number> {
    let ended = 0
    for (let from = 0; from < uuids.length; from += KEYS_MAX) {
      ended += Number(await this.#script(END_ALL, ...uuids.slice(from, from + KEYS_MAX)))
    }
    return ended
  }

  /** How many there are. */
  async count(): Promise<number> {
    return Number(await this.#link.run(['ZCARD', `${this.#prefix}active`]))
  }

  /** The session with this uuid. */
  async byUuid(uuid: string): Promise<SessionRecord | undefined> {
    const [row, active] = await Promise.all([
      this.#link.run(['HMGET', this.#key(uuid), ...FIELDS]),
      this.#link.run(['ZSCORE', `${this.#prefix}active`, uuid]),
    ])
    if (!Array.isArray(row) || row[0] === null || active === null) return undefined
    return recordOf(uuid, row.map(String), Number(active))
  }

  /** Those that were active last, the very last at the end. @param max how many; default: all */
  async latest(max: number = 0): Promise<SessionRecord[]> {
    const active = await this.#link.run(['ZREVRANGE', `${this.#prefix}active`, '0', String(max - 1), 'WITHSCORES'])
    const records: SessionRecord[] = []
    const pairs = Array.isArray(active) ? (active as [unknown, unknown][]) : []
    for (let from = 0; from < pairs.length; from += KEYS_MAX) {
      const some = pairs.slice(from, from + KEYS_MAX)
      const rows = await Promise.all(
        some.map(([uuid]) => this.#link.run(['HMGET', this.#key(String(uuid)), ...FIELDS])),
      )
      for (const [index, row] of rows.entries()) {
        const [uuid, lastActiveMs] = some[index] ?? []
        if (Array.isArray(row) && row[0] !== null)
          records.push(recordOf(String(uuid), row.map(String), Number(lastActiveMs)))
      }
    }
    return records.toReversed()
  }

  async endOfSubject(userUuid: string, exceptUuid: string): Promise<string[]> {
    return texts(await this.#script(END_OF_SUBJECT, userUuid, exceptUuid))
  }

  /** Ends what was idle for so long. */
  async sweep(idleMs: number): Promise<string[]> {
    const ended: string[] = []
    for (;;) {
      const some = texts(await this.#script(SWEEP, Math.ceil(idleMs)))
      ended.push(...some)
      if (some.length < 100) return ended
    }
  }

  /** Notes activity, of each session at most once in `intervalMs`, whoever notes it. */
  async touch(uuids: readonly string[], intervalMs: number): Promise<void> {
    for (let from = 0; from < uuids.length; from += KEYS_MAX) {
      await this.#script(TOUCH, Math.floor(intervalMs), ...uuids.slice(from, from + KEYS_MAX))
    }
  }

  /** How many sessions the user with this uuid has. */
  async countOfUser(userUuid: string): Promise<number> {
    return Number(await this.#link.run(['SCARD', `${this.#prefix}by-user:${userUuid}`]))
  }

  #key(uuid: string): string {
    return `${this.#prefix}session:${uuid}`
  }

  #script(script: Script, ...argv: (string | number)[]): Promise<unknown> {
    return this.#link.script(script, [`${this.#prefix}active`], [this.#prefix, ...argv])
  }
}

function sha256(text: string): string {
  return hash('sha256', text, 'hex')
}

function texts(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.map(String) : []
}

function recordOf(uuid: string, row: readonly string[], lastActiveMs: number): SessionRecord {
  const [, user = '', userUuid = '', role = '', originator = '', clientAddress = '', createdMs] = row
  if (!isRole(role)) throw new TypeError(`read session: "${role}" is not a role`)
  const isSuperuser = isLocalSuperuser({ name: user, role })
  return {
    session: {
      uuid,
      user,
      subject: isSuperuser ? 'OpaqueRef:NULL' : `OpaqueRef:${userUuid}`,
      roles: [role],
      originator,
      isLocalSuperuser: isSuperuser,
    },
    userUuid,
    clientAddress,
    createdMs: Number(createdMs),
    lastActiveMs,
  }
}

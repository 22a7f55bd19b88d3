// The SQL of sessions: rows in and out. No rules, no clock, no listener; those are the authority's.

import { hash } from 'node:crypto'
import type { DatabaseSync, StatementSync } from 'node:sqlite'

import type { SessionRecord } from '../accounts/sign-in.ts'
import { isLocalSuperuser, LOCAL_SUPERUSER } from '../accounts/users.ts'
import { isRole } from '../../model/role.ts'
import { integerOf, textOf, type Row } from './database.ts'

/** A session to be stored. */
export interface NewSession {
  readonly id: string
  readonly uuid: string
  readonly userUuid: string
  readonly originator: string
  readonly clientAddress: string
  readonly nowMs: number
}

const SELECT = `
SELECT sessions.uuid, users.uuid AS user_uuid, users.name, users.role, originator, client_address,
  sessions.created_ms, last_active_ms
FROM sessions JOIN users ON users.uuid = user_uuid`

/** Deletes all but the most recently active sessions of a user. */
const DELETE_BEYOND_USER = `
DELETE FROM sessions WHERE seq IN (
  SELECT seq FROM sessions WHERE user_uuid = ? ORDER BY last_active_ms DESC, seq DESC LIMIT -1 OFFSET ?)`

/**
 * Deletes sessions of an originator: those of one user first, then of the user who has most, the least recently active before
 * others; a local superuser's only for itself. Parameters: originator, user, how many.
 */
const DELETE_OF_ORIGINATOR = `
DELETE FROM sessions WHERE seq IN (
  SELECT seq FROM sessions JOIN users ON users.uuid = user_uuid
  WHERE originator = ?1 AND (user_uuid = ?2 OR name <> '${LOCAL_SUPERUSER.name}' OR role <> '${LOCAL_SUPERUSER.role}')
  ORDER BY user_uuid = ?2 DESC, count(*) OVER (PARTITION BY user_uuid) DESC, last_active_ms, seq LIMIT ?3)`

/** Sessions in the database. Every method is one statement. */
export class SessionRows {
  readonly #byId: StatementSync
  readonly #byUuid: StatementSync
  readonly #latest: StatementSync
  readonly #count: StatementSync
  readonly #insert: StatementSync
  readonly #touch: StatementSync
  readonly #uuidsOfUser: StatementSync
  readonly #delete: StatementSync
  readonly #deleteIdle: StatementSync
  readonly #deleteBeyondUser: StatementSync
  readonly #countOfOriginator: StatementSync
  readonly #deleteOfOriginator: StatementSync
  readonly #takeEndings: StatementSync

  constructor(db: DatabaseSync) {
    this.#byId = db.prepare(`${SELECT} WHERE id_hash = ?`)
    this.#byUuid = db.prepare(`${SELECT} WHERE sessions.uuid = ?`)
    this.#latest = db.prepare(`${SELECT}
      WHERE seq IN (SELECT seq FROM sessions ORDER BY last_active_ms DESC, seq DESC LIMIT ?) ORDER BY seq`)
    this.#count = db.prepare('SELECT count(*) AS count FROM sessions')
    this.#insert = db.prepare(
      `INSERT INTO sessions (id_hash, uuid, user_uuid, originator, client_address, created_ms, last_active_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#touch = db.prepare(
      `UPDATE sessions SET last_active_ms = ?
      WHERE uuid IN (SELECT value FROM json_each(?)) AND last_active_ms > ? AND last_active_ms <> ?`,
    )
    this.#uuidsOfUser = db.prepare('SELECT uuid FROM sessions WHERE user_uuid = ? AND uuid <> ?')
    this.#delete = db.prepare('DELETE FROM sessions WHERE uuid IN (SELECT value FROM json_each(?))')
    this.#deleteIdle = db.prepare('DELETE FROM sessions WHERE last_active_ms <= ?')
    this.#deleteBeyondUser = db.prepare(DELETE_BEYOND_USER)
    this.#countOfOriginator = db.prepare('SELECT count(*) AS count FROM sessions WHERE originator = ?')
    this.#deleteOfOriginator = db.prepare(DELETE_OF_ORIGINATOR)
    this.#takeEndings = db.prepare('DELETE FROM endings RETURNING uuid')
  }

  byId(id: string): SessionRecord | undefined {
    const row = this.#byId.get(hashOf(id))
    return row && recordOf(row)
  }

  byUuid(uuid: string): SessionRecord | undefined {
    const row = this.#byUuid.get(uuid)
    return row && recordOf(row)
  }

  /** Those that were active last, oldest first. @param max how many; default: all */
  latest(max: number = -1): SessionRecord[] {
    return this.#latest.all(max).map(recordOf)
  }

  count(): number {
    return integerOf(this.#count.get() ?? {}, 'count')
  }

  insert({ id, uuid, userUuid, originator, clientAddress, nowMs }: NewSession): void {
    this.#insert.run(hashOf(id), uuid, userUuid, originator, clientAddress, nowMs, nowMs)
  }

  /** Sets the last activity of those that were active after `aliveAfterMs`. */
  touch(uuids: readonly string[], nowMs: number, aliveAfterMs: number): void {
    this.#touch.run(nowMs, JSON.stringify(uuids), aliveAfterMs, nowMs)
  }

  uuidsOfUser(userUuid: string, exceptUuid: string): string[] {
    return this.#uuidsOfUser.all(userUuid, exceptUuid).map((row) => textOf(row, 'uuid'))
  }

  /** Answers how many of these there were. */
  delete(uuids: readonly string[]): number {
    return Number(this.#delete.run(JSON.stringify(uuids)).changes)
  }

  /** Deletes those last active at `activeUntilMs` or before. */
  deleteIdle(activeUntilMs: number): void {
    this.#deleteIdle.run(activeUntilMs)
  }

  /** Deletes the user's least recently active sessions but `keep`. Answers how many. */
  deleteBeyondUser(userUuid: string, keep: number): number {
    return Number(this.#deleteBeyondUser.run(userUuid, keep).changes)
  }

  /** Deletes the originator's sessions but `keep`, those of `userUuid` first; see `DELETE_OF_ORIGINATOR`. Answers how many. */
  deleteBeyondOriginator(originator: string, userUuid: string, keep: number): number {
    const excess = integerOf(this.#countOfOriginator.get(originator) ?? {}, 'count') - keep
    return excess > 0 ? Number(this.#deleteOfOriginator.run(originator, userUuid, excess).changes) : 0
  }

  /** Uuids of sessions that were deleted, by any process, since this was last called; each is given once. */
  takeEndings(): string[] {
    return this.#takeEndings.all().map((row) => textOf(row, 'uuid'))
  }
}

function hashOf(id: string): Buffer {
  return hash('sha256', id, 'buffer')
}

function recordOf(row: Row): SessionRecord {
  const user = textOf(row, 'name')
  const role = textOf(row, 'role')
  const userUuid = textOf(row, 'user_uuid')
  if (!isRole(role)) throw new TypeError(`read session: "${role}" is not a role`)
  const isSuperuser = isLocalSuperuser({ name: user, role })
  return {
    session: {
      uuid: textOf(row, 'uuid'),
      user,
      subject: isSuperuser ? 'OpaqueRef:NULL' : `OpaqueRef:${userUuid}`,
      roles: [role],
      originator: textOf(row, 'originator'),
      isLocalSuperuser: isSuperuser,
    },
    userUuid,
    clientAddress: textOf(row, 'client_address'),
    createdMs: integerOf(row, 'created_ms'),
    lastActiveMs: integerOf(row, 'last_active_ms'),
  }
}

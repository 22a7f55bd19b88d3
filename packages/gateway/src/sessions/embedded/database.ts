// The embedded authority's SQLite file: users, sessions, and what ended. Opening it creates or checks the schema.
//
// Several processes have it open at once: the daemon and the command line. What must hold for all of them is in the
// schema, as triggers, so that no writer can forget it:
// - a user's sessions end when the user is removed or gets another role;
// - each session that goes away, for whatever reason, leaves its uuid in `endings`, which the daemon empties.

import { chmodSync, closeSync, constants, existsSync, fchownSync, fstatSync, openSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'

import { makeStateDirectory } from '../../state-directory.ts'

const DATABASE = 'xengate.db'

/** How long another process's transaction is waited for; those take well under a millisecond. */
const BUSY_TIMEOUT_MS = 2_000
const BUSY_RETRY_MS = 20

/** SQLite's codes for what passes by itself or with an operator's help. */
const SQLITE_BUSY = 5
const SQLITE_FULL = 13
const SQLITE_NOTADB = 26

/** Marks the file as Xengate's ("Xeng"), so that another program's database is never written to. */
const APPLICATION_ID = 0x58_65_6e_67

/** Version of the schema, in `user_version`. A newer one is refused. */
const SCHEMA_VERSION = 1

const SCHEMA = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE users (
  uuid TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  password TEXT NOT NULL,        -- PHC string
  created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id_hash BLOB NOT NULL UNIQUE,  -- SHA-256 of the session id, which is stored nowhere
  uuid TEXT NOT NULL UNIQUE,
  user_uuid TEXT NOT NULL REFERENCES users (uuid),
  originator TEXT NOT NULL,
  client_address TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  last_active_ms INTEGER NOT NULL
) STRICT;
-- No index holds last_active_ms, so that reporting activity writes one page of one tree.
CREATE INDEX sessions_user ON sessions (user_uuid);
CREATE INDEX sessions_originator ON sessions (originator);

CREATE TABLE endings (seq INTEGER PRIMARY KEY, uuid TEXT NOT NULL) STRICT;

CREATE TRIGGER user_removed BEFORE DELETE ON users
BEGIN DELETE FROM sessions WHERE user_uuid = OLD.uuid; END;

CREATE TRIGGER role_changed AFTER UPDATE OF role ON users WHEN OLD.role IS NOT NEW.role
BEGIN DELETE FROM sessions WHERE user_uuid = NEW.uuid; END;

CREATE TRIGGER session_ended AFTER DELETE ON sessions
BEGIN INSERT INTO endings (uuid) VALUES (OLD.uuid); END;
`

/** Code of a `DatabaseError`. */
export type DatabaseErrorCode =
  /** The file or its directory cannot be created, opened or protected. */
  | 'DATABASE_UNREADABLE'
  /** The file is damaged, or not a database of Xengate. */
  | 'DATABASE_FOREIGN'
  /** A newer Xengate wrote it. */
  | 'DATABASE_NEWER'
  /** There is no room on the disk. */
  | 'DATABASE_FULL'
  /** Another process has been writing for too long. */
  | 'DATABASE_BUSY'

/** The database cannot be used; `cause` holds what the system said. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  readonly code: DatabaseErrorCode

  constructor(code: DatabaseErrorCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}

/** The database of users and sessions in a state directory. */
export function databasePath(stateDir: string): string {
  return join(stateDir, DATABASE)
}

/**
 * Opens the database at `path`, and creates it (mode 0600, a missing directory 0711) when there is none.
 *
 * The caller closes it. Commits are durable when they return (`synchronous = FULL`): an ended session stays ended
 * after a power cut.
 *
 * @throws {DatabaseError} when it cannot be opened, or is not one of this version.
 */
export function openDatabase(path: string): DatabaseSync {
  protectFile(path)
  let db: DatabaseSync
  try {
    db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  } catch (error) {
    throw new DatabaseError('DATABASE_UNREADABLE', `open database "${path}": ${reasonOf(error)}`, error)
  }
  try {
    const opened = db
    patiently(() => {
      checkOwner(opened, path)
      opened.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
      transaction(opened, () => {
        migrate(opened, path)
      })
    })
  } catch (error) {
    db.close()
    if (error instanceof DatabaseError) throw error
    throw (
      troubleOf(`open database "${path}"`, error) ??
      new DatabaseError('DATABASE_FOREIGN', `read database "${path}": ${reasonOf(error)}`, error)
    )
  }
  return db
}

/** Looks whether the file at `path`, if there is one, is a database of this version. It changes nothing. @throws {DatabaseError} */
export function checkDatabase(path: string): void {
  if (!existsSync(path)) return
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path, { readOnly: true })
    checkOwner(db, path)
    checkVersion(db, path)
  } catch (error) {
    if (error instanceof DatabaseError) throw error
    // Anything else may come of looking without writing, and says nothing of opening it.
    if (sqliteCodeOf(error) !== SQLITE_NOTADB) return
    throw new DatabaseError('DATABASE_FOREIGN', `read database "${path}": ${reasonOf(error)}`, error)
  } finally {
    db?.close()
  }
}

/**
 * Runs `body` in one write transaction: all of it or nothing, and no other writer in between.
 *
 * `body` is synchronous, so nothing else of this process runs in between either.
 */
export function transaction<T>(db: DatabaseSync, body: () => T): T {
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = body()
    db.exec('COMMIT')
    return result
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/**
 * Runs `body` when no other process is writing. It is tried again from a timer, so that this thread waits for nobody.
 *
 * @throws what SQLite throws, after a while for being busy too
 */
export async function whenFree<T>(body: () => T): Promise<T> {
  const lastMs = performance.now() + BUSY_TIMEOUT_MS
  for (;;) {
    try {
      return body()
    } catch (error) {
      if (!isBusy(error) || performance.now() > lastMs) throw error
    }
    await pause(BUSY_RETRY_MS)
  }
}

/**
 * The same, within the call: for a start, when nothing else goes on. SQLite's own patience does not cover the change to WAL, in which
 * one of several processes that begin at once is refused without a wait.
 */
function patiently(body: () => void): void {
  const lastMs = performance.now() + BUSY_TIMEOUT_MS
  const nobodyWakes = new Int32Array(new SharedArrayBuffer(4))
  for (;;) {
    try {
      body()
      return
    } catch (error) {
      if (!isBusy(error) || performance.now() > lastMs) throw error
    }
    Atomics.wait(nobodyWakes, 0, 0, BUSY_RETRY_MS)
  }
}

/** Whether `error` says that another process is writing. */
export function isBusy(error: unknown): boolean {
  return sqliteCodeOf(error) === SQLITE_BUSY
}

/** `error` as one with a code of its own, when the disk is full or another process has the database. */
export function troubleOf(action: string, error: unknown): DatabaseError | undefined {
  switch (sqliteCodeOf(error)) {
    case SQLITE_FULL:
      return new DatabaseError('DATABASE_FULL', `${action}: the disk is full; nothing was changed`, error)
    case SQLITE_BUSY: {
      const text = `${action}: another process has been writing for ${BUSY_TIMEOUT_MS} ms; nothing was changed`
      return new DatabaseError('DATABASE_BUSY', text, error)
    }
    default:
      return undefined
  }
}

/** SQLite's code, without what it says beside it. */
function sqliteCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined
  return error.errcode & 0xff
}

/** One row as SQLite gives it; untrusted until `textOf` and `integerOf` have looked at it. */
export type Row = Record<string, SQLOutputValue>

/** The text in `column`. @throws {TypeError} when something else is there: the database is not what the schema says. */
export function textOf(row: Row, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new TypeError(`read column "${column}": not a text`)
  return value
}

/** The integer in `column`. @throws {TypeError} when something else is there. */
export function integerOf(row: Row, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new TypeError(`read column "${column}": not an integer`)
  return value
}

/** Creates the file before SQLite does, since SQLite would give it (and the files beside it) the umask's mode. */
function protectFile(path: string): void {
  try {
    makeStateDirectory(dirname(path))
    createFile(path)
    const descriptor = openSync(path, constants.O_RDWR)
    const mode = fstatSync(descriptor).mode
    closeSync(descriptor)
    if ((mode & 0o077) !== 0) chmodSync(path, 0o600)
  } catch (error) {
    throw new DatabaseError('DATABASE_UNREADABLE', `open database "${path}": ${reasonOf(error)}`, error)
  }
}

/**
 * Creates the file at `path` if it is not there. One that root creates is of the directory's owner: an administrator may add the
 * first user before the daemon, which is somebody else, has run.
 */
function createFile(path: string): void {
  let descriptor: number
  try {
    // Exclusively: what another put there, be it a link, is not given away.
    descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  try {
    const { uid, gid } = statSync(dirname(path))
    if (process.getuid?.() === 0) fchownSync(descriptor, uid, gid)
  } finally {
    closeSync(descriptor)
  }
}

/** Refuses another program's database before anything is written to it. An empty one is taken. */
function checkOwner(db: DatabaseSync, path: string): void {
  // One statement, one snapshot: another process may be creating the schema.
  const row = db
    .prepare('SELECT application_id, (SELECT count(*) FROM sqlite_schema) AS tables FROM pragma_application_id')
    .get()
  const applicationId = integerOf(row ?? {}, 'application_id')
  if (applicationId === APPLICATION_ID || (applicationId === 0 && row?.['tables'] === 0)) return
  throw new DatabaseError('DATABASE_FOREIGN', `open database "${path}": it belongs to another program`)
}

/** @returns the schema's version. @throws {DatabaseError} when a newer Xengate made it */
function checkVersion(db: DatabaseSync, path: string): number {
  const version = integerOf(db.prepare('PRAGMA user_version').get() ?? {}, 'user_version')
  if (version <= SCHEMA_VERSION) return version
  const text = `open database "${path}": its version is ${version}, this Xengate knows up to ${SCHEMA_VERSION}`
  throw new DatabaseError('DATABASE_NEWER', text)
}

/** Brings the schema to this version; runs in a transaction, since another process may be doing the same. */
function migrate(db: DatabaseSync, path: string): void {
  const version = checkVersion(db, path)
  if (version === SCHEMA_VERSION) return
  db.exec(SCHEMA)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`)
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

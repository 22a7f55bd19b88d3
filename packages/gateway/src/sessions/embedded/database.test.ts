import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, chownSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { DatabaseError, openDatabase, transaction, type DatabaseErrorCode } from './database.ts'
import { identity } from './identity.ts'
import { connect, freshPath } from './testing/state.ts'

const OPENER = fileURLToPath(new URL('testing/open.ts', import.meta.url))

function throwsCode(body: () => unknown, code: DatabaseErrorCode): void {
  assert.throws(body, (error) => error instanceof DatabaseError && error.code === code)
}

describe('openDatabase', { timeout: 300_000 }, () => {
  test('creates the file, and those beside it, for the owner only', (t) => {
    const path = join(dirname(freshPath(t)), 'state', 'xengate.db')
    connect(t, path).exec("INSERT INTO meta VALUES ('a', 'b')")
    const modes = readdirSync(dirname(path)).map((name) => statSync(join(dirname(path), name)).mode & 0o777)
    assert.equal(modes.length, 3)
    assert.deepEqual(new Set(modes), new Set([0o600]))
    assert.equal(statSync(dirname(path)).mode & 0o777, 0o711)
  })

  const skip = process.getuid?.() === 0 ? false : 'needs root: gives files to others'
  test("gives the files that root creates to the directory's owner", { skip }, (t) => {
    const path = freshPath(t)
    chownSync(dirname(path), 990, 991)
    connect(t, path).exec("INSERT INTO meta VALUES ('a', 'b')")
    const owners = readdirSync(dirname(path)).map((name) => statSync(join(dirname(path), name)))
    assert.equal(owners.length, 3)
    for (const { uid, gid } of owners) assert.deepEqual([uid, gid], [990, 991])
  })

  test('takes away rights that others had on the file', (t) => {
    const path = freshPath(t)
    openDatabase(path).close()
    chmodSync(path, 0o644)
    openDatabase(path).close()
    assert.equal(statSync(path).mode & 0o777, 0o600)
  })

  test('writes ahead, and waits for the disk', (t) => {
    const db = connect(t, freshPath(t))
    assert.equal(db.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'wal')
    assert.equal(db.prepare('PRAGMA synchronous').get()?.['synchronous'], 2)
  })

  test('keeps what was written', (t) => {
    const path = freshPath(t)
    const db = openDatabase(path)
    const first = identity(db)
    db.close()
    assert.deepEqual(identity(connect(t, path)), first)
    assert.notEqual(first.poolUuid, first.hostUuid)
  })

  test('refuses the database of a newer version, and leaves it alone', (t) => {
    const path = freshPath(t)
    const db = openDatabase(path)
    db.exec('PRAGMA user_version = 99')
    db.close()
    throwsCode(() => openDatabase(path), 'DATABASE_NEWER')
  })

  test("refuses another program's database, and writes nothing to it", (t) => {
    const path = freshPath(t)
    const other = new DatabaseSync(path)
    other.exec('CREATE TABLE theirs (a)')
    throwsCode(() => openDatabase(path), 'DATABASE_FOREIGN')
    assert.equal(other.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'delete')
    other.close()
  })

  test('refuses a file that is no database', (t) => {
    const path = freshPath(t)
    writeFileSync(path, 'a text that is long enough not to be taken for an empty file'.repeat(100))
    throwsCode(() => openDatabase(path), 'DATABASE_FOREIGN')
  })

  test('says why it cannot open', (t) => {
    const directory = dirname(freshPath(t))
    throwsCode(() => openDatabase(directory), 'DATABASE_UNREADABLE')
    writeFileSync(join(directory, 'file'), '')
    throwsCode(() => openDatabase(join(directory, 'file', 'xengate.db')), 'DATABASE_UNREADABLE')
  })

  test('is created once when processes start at once', async (t) => {
    const path = freshPath(t)
    const run = (): Promise<{ stdout: string }> => promisify(execFile)(process.execPath, [OPENER, path])
    const outputs = await Promise.all([run(), run(), run(), run()])
    assert.equal(new Set(outputs.map(({ stdout }) => stdout)).size, 1)
  })
})

test('a transaction that throws changes nothing', (t) => {
  const db = connect(t, freshPath(t))
  assert.throws(() => {
    transaction(db, () => {
      db.exec("INSERT INTO meta VALUES ('a', 'b')")
      throw new Error('no')
    })
  }, /^Error: no$/)
  assert.equal(db.prepare("SELECT * FROM meta WHERE key = 'a'").get(), undefined)
  assert.equal(db.isTransaction, false)
})

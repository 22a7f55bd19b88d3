import assert from 'node:assert/strict'
import { argon2Sync } from 'node:crypto'
import { describe, test } from 'node:test'

import type { Role } from '../../model/role.ts'
import { AccountError, type AccountErrorCode } from '../accounts/errors.ts'
import { HashQueue } from '../accounts/hash-queue.ts'
import { hashPassword, isOutdated, passwordMatches } from '../accounts/password.ts'
import { connect, freshPath } from './testing/state.ts'
import { UserStore } from './users.ts'

function withCode(code: AccountErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof AccountError && error.code === code
}

describe('users', { timeout: 300_000 }, () => {
  test('are added, listed by name, and verified by exact name and password', async (t) => {
    const users = new UserStore(connect(t, freshPath(t)))
    await users.add('root', 'secret', 'pool-admin')
    await users.add('Ådmin', 'pässword', 'vm-operator')
    assert.deepEqual(
      users.list().map(({ name, role }) => [name, role]),
      [
        ['root', 'pool-admin'],
        ['Ådmin', 'vm-operator'],
      ],
    )
    const root = await users.verify('root', 'secret')
    assert.match(root?.uuid ?? '', /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/)
    assert.equal((await users.verify('Ådmin', 'pässword'))?.role, 'vm-operator')
    assert.equal(await users.verify('root', 'Secret'), undefined)
    assert.equal(await users.verify('Root', 'secret'), undefined)
    assert.equal(await users.verify('root', ''), undefined)
    assert.equal(await users.verify('root\0', 'secret'), undefined)
  })

  test('are not added twice, even at once', async (t) => {
    const users = new UserStore(connect(t, freshPath(t)))
    const outcomes = await Promise.allSettled([users.add('a', 'b', 'read-only'), users.add('a', 'c', 'read-only')])
    assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected'])
    await assert.rejects(users.add('a', 'd', 'read-only'), withCode('USER_EXISTS'))
  })

  test('change their password and role, and go', async (t) => {
    const users = new UserStore(connect(t, freshPath(t)))
    await users.add('a', 'old', 'read-only')
    await users.setPassword('a', 'new')
    assert.equal(await users.verify('a', 'old'), undefined)
    await users.setRole('a', 'pool-operator')
    assert.equal((await users.verify('a', 'new'))?.role, 'pool-operator')
    await users.remove('a')
    assert.deepEqual(users.list(), [])
    assert.equal(await users.verify('a', 'new'), undefined)
  })

  test('that are unknown cannot be changed', async (t) => {
    const users = new UserStore(connect(t, freshPath(t)))
    await assert.rejects(users.setPassword('a', 'b'), withCode('USER_UNKNOWN'))
    await assert.rejects(users.setRole('a', 'read-only'), withCode('USER_UNKNOWN'))
    await assert.rejects(users.remove('a'), withCode('USER_UNKNOWN'))
  })

  test('have bounded names and passwords, and known roles', async (t) => {
    const users = new UserStore(connect(t, freshPath(t)))
    for (const name of ['', 'a\nb', 'a\u{7f}', 'a'.repeat(256), '\u{d800}']) {
      await assert.rejects(users.add(name, 'x', 'read-only'), withCode('USER_NAME_INVALID'))
    }
    for (const password of ['', 'ä'.repeat(513), '\u{d800}']) {
      await assert.rejects(users.add('a', password, 'read-only'), withCode('PASSWORD_INVALID'))
    }
    await assert.rejects(users.add('a', 'x', 'admin' as Role), withCode('ROLE_INVALID'))
    await users.add('😀'.repeat(255), 'ä'.repeat(512), 'read-only')
    assert.ok(await users.verify('😀'.repeat(255), 'ä'.repeat(512)))
  })
})

describe('hash queue', { timeout: 300_000 }, () => {
  test('runs two jobs at once and keeps 256 waiting; the next is told so', async () => {
    const queue = new HashQueue()
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    let started = 0
    const jobs = Array.from({ length: 258 }, () =>
      queue.run(() => {
        started += 1
        return released
      }),
    )
    assert.equal(started, 2)
    await assert.rejects(
      queue.run(() => released),
      withCode('BUSY'),
    )
    release()
    await Promise.all(jobs)
    assert.equal(started, 258)
  })

  test('goes on after a job that fails', async () => {
    const queue = new HashQueue()
    const failing = Array.from({ length: 5 }, () => queue.run(() => Promise.reject(new Error('no'))))
    assert.ok((await Promise.allSettled(failing)).every(({ status }) => status === 'rejected'))
    assert.equal(await queue.run(() => Promise.resolve(1)), 1)
  })
})

describe('password hashes', { timeout: 300_000 }, () => {
  test('are salted PHC strings with OWASP parameters', async () => {
    const one = await hashPassword('x')
    const other = await hashPassword('x')
    assert.match(one, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
    assert.notEqual(one, other)
    assert.equal(isOutdated(one), false)
    assert.equal(await passwordMatches(one, 'x'), true)
    assert.equal(await passwordMatches(one, 'y'), false)
  })

  test('of other parameters are understood, and renewed when they prove right', async (t) => {
    const db = connect(t, freshPath(t))
    const users = new UserStore(db)
    await users.add('a', 'first', 'read-only')
    const nonce = Buffer.alloc(16, 7)
    const tag = argon2Sync('argon2id', {
      message: 'older',
      nonce,
      memory: 64,
      passes: 1,
      parallelism: 1,
      tagLength: 32,
    })
    const older = `$argon2id$v=19$m=64,t=1,p=1$${unpadded(nonce)}$${unpadded(tag)}`
    db.prepare('UPDATE users SET password = ?').run(older)
    const stored = (): unknown => db.prepare('SELECT password FROM users').get()?.['password']
    assert.equal(await users.verify('a', 'wrong'), undefined)
    assert.equal(stored(), older)
    assert.ok(await users.verify('a', 'older'))
    assert.match(String(stored()), /\$m=19456,t=2,p=1\$/)
    assert.ok(await users.verify('a', 'older'))
  })

  test('that nobody here wrote are refused', async () => {
    for (const stored of ['', 'plain', '$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA']) {
      await assert.rejects(passwordMatches(stored, 'x'), RangeError)
    }
    const greedy = `$argon2id$v=19$m=99999999,t=1,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`
    await assert.rejects(passwordMatches(greedy, 'x'), RangeError)
  })
})

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}

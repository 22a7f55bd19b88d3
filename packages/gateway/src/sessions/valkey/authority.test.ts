import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { ValkeyServer } from '../../valkey/testing/server.ts'
import { AccountError } from '../accounts/errors.ts'
import { AuthorityUnavailableError } from '../authority.ts'
import type { ValkeyAuthority } from './authority.ts'
import { addUsers, authorityOn, freshDirectory, serverOf, signIn } from './testing/start.ts'

/** Resolves with the uuids that are told next. */
function nextEnding(authority: ValkeyAuthority): Promise<readonly string[]> {
  const { promise, resolve } = Promise.withResolvers<readonly string[]>()
  authority.onEnded(async (uuids) => resolve(uuids))
  return promise
}

async function pair(t: TestContext): Promise<[ValkeyAuthority, ValkeyAuthority]> {
  const server = await serverOf(t)
  const [a, b] = [await authorityOn(t, server), await authorityOn(t, server)]
  await addUsers(a)
  return [a, b]
}

describe('authority valkey', { timeout: 300_000 }, () => {
  test('a session made on one gateway holds on all, and its logout is felt on all', async (t) => {
    const [a, b] = await pair(t)
    let lateMs = 0
    for (let round = 0; round < 20; round++) {
      const { id, session } = await a.login({ user: 'olga', password: 'pw', originator: 'o', clientAddress: '' })
      assert.deepEqual(await b.find(id), session)
      const told = nextEnding(b)
      assert.equal(await a.logout(id), true)
      const answeredMs = performance.now()
      assert.deepEqual(await told, [session.uuid])
      lateMs = Math.max(lateMs, performance.now() - answeredMs)
      assert.equal(await b.find(id), undefined)
      assert.equal(await b.logout(id), false)
    }
    t.diagnostic(`felt ${Math.ceil(lateMs)} ms after the answer at the latest`)
  })

  test('answers a logout when the listener has', async (t) => {
    const [a] = await pair(t)
    const id = await signIn(a, 'root')
    const { uuid } = (await a.find(id)) ?? { uuid: '' }
    const { promise: everybodyKnows, resolve: confirm } = Promise.withResolvers<void>()
    const order: string[] = []
    a.onEnded((uuids) => {
      order.push(...uuids)
      return everybodyKnows
    })
    const loggedOut = a.logout(id).then(() => order.push('answered'))
    while (order.length === 0) await pause(1)
    order.push('confirmed')
    confirm()
    await loggedOut
    assert.deepEqual(order, [uuid, 'confirmed', 'answered'])
  })

  test('stores neither session ids nor passwords', async (t) => {
    const directory = freshDirectory(t)
    const server = new ValkeyServer(directory)
    t.after(() => server.stop())
    await server.start()
    const authority = await authorityOn(t, server)
    await authority.users.add('root', 'a long password', 'pool-admin')
    const { id } = await authority.login({
      user: 'root',
      password: 'a long password',
      originator: 'o',
      clientAddress: '192.0.2.1',
    })
    const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => join(directory, name))
    const bytes = files
      .filter((path) => statSync(path).isFile())
      .map((path) => readFileSync(path, 'latin1'))
      .join('')
    assert.ok(bytes.includes('$argon2id$'))
    assert.ok(!bytes.includes(id.slice('OpaqueRef:'.length)))
    assert.ok(!bytes.includes('a long password'))
  })

  test('ends the sessions of a user that is removed or gets another role, on every gateway', async (t) => {
    const [a, b] = await pair(t)
    for (const change of [() => a.users.setRole('olga', 'vm-admin'), () => a.users.remove('olga')]) {
      const id = await signIn(b, 'olga')
      const rita = await signIn(b, 'rita')
      const session = await b.find(id)
      const told = nextEnding(b)
      await change()
      assert.deepEqual(await told, [session?.uuid])
      assert.equal(await a.find(id), undefined)
      assert.ok(await b.find(rita))
    }
    await assert.rejects(
      signIn(b, 'olga'),
      (error) => error instanceof AccountError && error.code === 'SIGN_IN_REFUSED',
    )
  })

  test('keeps users as the embedded authority does', async (t) => {
    const [a, b] = await pair(t)
    assert.deepEqual(
      (await b.users.list()).map(({ name, role }) => [name, role]),
      [
        ['olga', 'pool-operator'],
        ['rita', 'read-only'],
        ['root', 'pool-admin'],
      ],
    )
    await assert.rejects(b.users.add('olga', 'x', 'read-only'), { code: 'USER_EXISTS' })
    await assert.rejects(b.users.remove('nobody'), { code: 'USER_UNKNOWN' })
    await assert.rejects(b.users.setRole('nobody', 'read-only'), { code: 'USER_UNKNOWN' })
    await assert.rejects(b.changePassword('rita', 'wrong', 'new', ''), { code: 'SIGN_IN_REFUSED' })
    const id = await signIn(a, 'rita')
    await b.changePassword('rita', 'pw', 'new', '')
    assert.ok(await a.find(id), 'sessions go on')
    await assert.rejects(signIn(a, 'rita'), { code: 'SIGN_IN_REFUSED' })
    assert.ok(await a.users.verify('rita', 'new'))
  })

  test('ends the least recently active session of a user, or an originator, beyond the limit', async (t) => {
    const server = await serverOf(t)
    const a = await authorityOn(t, server, { maxPerUser: 2, maxPerOriginator: 3 })
    await addUsers(a)
    const first = await signIn(a, 'olga', 'x')
    await pause(2)
    const second = await signIn(a, 'olga', 'y')
    const firstUuid = (await a.find(first))?.uuid
    const told = nextEnding(a)
    await signIn(a, 'olga', 'z')
    assert.deepEqual(await told, [firstUuid])
    assert.equal(await a.find(first), undefined)
    assert.ok(await a.find(second))
    const ofOriginator: string[] = []
    for (const user of ['root', 'rita', 'rita', 'root']) {
      ofOriginator.push(await signIn(a, user, 'tool'))
      await pause(2)
    }
    assert.equal(await a.find(ofOriginator[0] ?? ''), undefined)
    for (const id of ofOriginator.slice(1)) assert.ok(await a.find(id))
  })

  test("ends nobody's sessions of an originator but those of who signs in, or has most there, and never root’s", async (t) => {
    const a = await authorityOn(t, await serverOf(t), { maxPerOriginator: 4 })
    await addUsers(a)
    const [root, olga, first, second] = [
      await signIn(a, 'root', 'tool'),
      await signIn(a, 'olga', 'tool'),
      await signIn(a, 'rita', 'tool'),
      await signIn(a, 'rita', 'tool'),
    ]
    for (let count = 0; count < 5; count++) await signIn(a, 'rita', 'tool')
    for (const id of [root, olga]) assert.ok(await a.find(id ?? ''))
    for (const id of [first, second]) assert.equal(await a.find(id ?? ''), undefined)
    await signIn(a, 'root', 'tool')
    assert.ok(await a.find(olga ?? ''))
    assert.equal(await a.find(root ?? ''), undefined, 'it ends for its own user')
  })

  test('ends a session that nobody uses, and keeps one that is used on another gateway', async (t) => {
    const server = await serverOf(t)
    const rules = { idleTimeoutMs: 800 }
    const [a, b] = [await authorityOn(t, server, rules), await authorityOn(t, server, rules)]
    await addUsers(a)
    const [idle, used] = [await signIn(a, 'olga'), await signIn(a, 'olga')]
    const idleUuid = (await a.find(idle))?.uuid ?? ''
    const usedUuid = (await b.find(used))?.uuid ?? ''
    const told: string[] = []
    a.onEnded(async (uuids) => {
      told.push(...uuids)
    })
    const endMs = performance.now() + 2500
    while (performance.now() < endMs) {
      b.touch([usedUuid])
      await pause(20)
    }
    assert.deepEqual(told, [idleUuid])
    assert.equal(await b.find(idle), undefined)
    assert.ok(await a.find(used))
  })

  test('writes the activity of a session at most once a minute, whoever sees it', async (t) => {
    const server = await serverOf(t)
    const [a, b] = [await authorityOn(t, server), await authorityOn(t, server)]
    await addUsers(a)
    const id = await signIn(a, 'olga')
    const { uuid } = (await a.find(id)) ?? { uuid: '' }
    await b.find(id)
    const endMs = performance.now() + 1000
    while (performance.now() < endMs) {
      for (const authority of [a, b]) authority.touch([uuid])
      await pause(5)
    }
    const cli = spawnSync('redis-cli', ['-s', server.url.slice('unix:'.length), 'INFO', 'commandstats'], {
      encoding: 'utf8',
    })
    // The one is the login's.
    assert.equal(/cmdstat_zadd:calls=(\d+)/.exec(cli.stdout)?.[1], '1')
  })

  test('an ending costs each gateway that knows the session one look', async (t) => {
    const server = await serverOf(t)
    const [a, b] = [await authorityOn(t, server), await authorityOn(t, server)]
    await addUsers(a)
    const id = await signIn(a, 'olga')
    await b.find(id)
    const told = nextEnding(b)
    await a.logout(id)
    await told
    const cli = spawnSync('redis-cli', ['-s', server.url.slice('unix:'.length), 'INFO', 'commandstats'], {
      encoding: 'utf8',
    })
    assert.equal(/cmdstat_exists:calls=(\d+)/.exec(cli.stdout)?.[1], '2')
  })

  test('shows a record, and the subjects that have sessions', async (t) => {
    const [a, b] = await pair(t)
    const id = await signIn(a, 'olga', 'tests')
    await signIn(a, 'root')
    const record = await b.record(id)
    assert.equal(record?.clientAddress, '192.0.2.1')
    assert.ok(Math.abs(record.createdMs - Date.now()) < 5000 && record.lastActiveMs >= record.createdMs)
    assert.deepEqual(await b.subjectIdentifiers(), [record.userUuid])
    assert.equal((await b.records()).length, 2)
    assert.equal((await b.records(1)).length, 1)
    assert.deepEqual(await b.recordOf(record.session.uuid), record)
    assert.equal(await b.recordOf(id), undefined)
    const second = await signIn(b, 'olga')
    const { uuid } = (await b.find(second)) ?? { uuid: '' }
    assert.equal(await a.logoutSubject(record.userUuid, uuid), 1)
    assert.equal(await b.find(id), undefined)
    assert.ok(await b.find(second))
    const superuser = (await a.users.list()).find(({ name }) => name === 'root')
    assert.equal(await a.logoutSubject(superuser?.uuid ?? '', ''), 0)
  })

  test('a session that ended while nothing could be heard is ended here before anything is vouched for again', async (t) => {
    const directory = freshDirectory(t)
    const server = new ValkeyServer(directory)
    // The same data where the gateway does not see it.
    const hidden = new ValkeyServer(directory, { socketName: 'hidden.sock' })
    t.after(() => Promise.all([server.stop(), hidden.stop()]))
    await server.start()
    const authority = await authorityOn(t, server)
    await addUsers(authority)
    const [ending, staying] = [await signIn(authority, 'olga'), await signIn(authority, 'olga')]
    const { uuid } = (await authority.find(ending)) ?? { uuid: '' }
    await authority.find(staying)
    await server.stop()
    await assert.rejects(authority.find(staying), AuthorityUnavailableError)
    const staleBefore = authority.stalenessMs
    await hidden.start()
    const elsewhere = await authorityOn(t, hidden)
    assert.equal(await elsewhere.logout(ending), true)
    await hidden.stop()
    assert.ok(authority.stalenessMs > staleBefore, 'nothing was heard meanwhile')
    const told = nextEnding(authority)
    await server.start()
    assert.deepEqual(await told, [uuid])
    while (authority.stalenessMs > 1000) await pause(5)
    assert.equal(await authority.find(ending), undefined)
    assert.ok(await authority.find(staying))
  })

  test('a session of which the server tells something, and nobody can look, is to be asked for again', async (t) => {
    const server = await serverOf(t)
    const authority = await authorityOn(t, server)
    await addUsers(authority)
    const id = await signIn(authority, 'olga')
    const { uuid } = (await authority.find(id)) ?? { uuid: '' }
    const forgotten = Promise.withResolvers<readonly string[]>()
    authority.onForgotten(forgotten.resolve)
    const key = `xengate:{pool%20%7B1%7D}:session:${uuid}`
    const cli = spawnSync('redis-cli', ['-s', server.url.slice('unix:'.length)], {
      // The key is touched, and from then on nobody may look whether it is there.
      input: `ACL SETUSER default -exists\nHSET ${key} more 1\n`,
      encoding: 'utf8',
    })
    assert.equal(cli.stdout, 'OK\n1\n')
    assert.deepEqual(await forgotten.promise, [uuid])
  })

  test('pools with different names share nothing', async (t) => {
    const server = await serverOf(t)
    const a = await authorityOn(t, server)
    await addUsers(a)
    const id = await signIn(a, 'olga')
    const other = await authorityOn(t, server, {}, 'pool 2')
    assert.deepEqual(await other.users.list(), [])
    assert.equal(await other.find(id), undefined)
  })
})

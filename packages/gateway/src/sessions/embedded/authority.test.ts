import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'

import { AuthorityUnavailableError } from '../authority.ts'
import type { Role } from '../../model/role.ts'
import type { SignedIn } from '../accounts/sign-in.ts'
import { AccountError } from '../accounts/errors.ts'
import { connect, fillUp, freshPath, startAuthority, type TestAuthority } from './testing/state.ts'
import { UserStore } from './users.ts'

const REMOVER = fileURLToPath(new URL('testing/remove-user.ts', import.meta.url))

async function withUser(one: TestAuthority, name = 'root', role: Role = 'pool-admin'): Promise<TestAuthority> {
  await one.authority.users.add(name, `password of ${name}`, role)
  return one
}

function signIn({ authority }: TestAuthority, user = 'root', originator = ''): Promise<SignedIn> {
  return authority.login({ user, password: `password of ${user}`, originator, clientAddress: '192.0.2.1' })
}

describe('embedded authority', { timeout: 300_000 }, () => {
  test('signs in, finds the session, and logs out', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id, session } = await signIn(one, 'root', 'tests')
    assert.match(id, /^OpaqueRef:[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/)
    assert.deepEqual(session, {
      uuid: session.uuid,
      user: 'root',
      subject: 'OpaqueRef:NULL',
      roles: ['pool-admin'],
      originator: 'tests',
      isLocalSuperuser: true,
    })
    assert.deepEqual(await one.authority.find(id), session)
    assert.equal(await one.authority.find(session.uuid), undefined)
    assert.equal(await one.authority.logout(id), true)
    assert.equal(await one.authority.find(id), undefined)
    assert.equal(await one.authority.logout(id), false)
    assert.deepEqual(one.told, [session.uuid])
  })

  test('tells subjects from the local superuser', async (t) => {
    const one = await withUser(await withUser(startAuthority(t), 'alice'), 'root', 'read-only')
    const { session } = await signIn(one, 'alice')
    assert.equal(session.isLocalSuperuser, false)
    assert.equal(session.subject, `OpaqueRef:${one.authority.users.list()[0]?.uuid}`)
    assert.equal((await signIn(one, 'root')).session.isLocalSuperuser, false)
  })

  test('stores neither session ids nor passwords', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id } = await signIn(one)
    const bytes = ['', '-wal'].map((suffix) => readFileSync(one.path + suffix, 'latin1')).join('')
    assert.ok(bytes.includes('$argon2id$'))
    assert.ok(!bytes.includes(id) && !bytes.includes(id.slice('OpaqueRef:'.length)))
    assert.ok(!bytes.includes('password of root'))
  })

  test('keeps sessions over a restart, and tells nobody of what ended before', async (t) => {
    const path = freshPath(t)
    const before = await withUser(startAuthority(t, {}, path))
    const { id, session } = await signIn(before)
    const { id: other } = await signIn(before)
    await before.authority.close()
    connect(t, path).exec(`DELETE FROM sessions WHERE uuid <> '${session.uuid}'`)
    const after = startAuthority(t, {}, path)
    assert.deepEqual(await after.authority.find(id), session)
    assert.equal(await after.authority.find(other), undefined)
    await after.authority.logout(id)
    assert.deepEqual(after.told, [session.uuid])
  })

  test('refuses wrong credentials the same way, whether or not there is such a user', async (t) => {
    const { authority } = await withUser(startAuthority(t))
    const messages = await Promise.all(
      ['root', 'nobody', ''].map((user) =>
        authority.login({ user, password: 'wrong', originator: '', clientAddress: '' }).then(
          () => assert.fail('signed in'),
          (error: unknown) => (error instanceof AccountError ? [error.code, error.message] : error),
        ),
      ),
    )
    for (const message of messages) assert.deepEqual(message, ['SIGN_IN_REFUSED', 'Wrong user name or password'])
  })

  test('refuses to guess on after five failures, even with the right password', async (t) => {
    const one = await withUser(startAuthority(t))
    const guess = (password: string): Promise<unknown> =>
      one.authority.login({ user: 'root', password, originator: '', clientAddress: '192.0.2.1' })
    const guesses = await Promise.allSettled(Array.from({ length: 12 }, () => guess('wrong')))
    const texts = guesses.map((outcome) => (outcome.status === 'rejected' ? String(outcome.reason) : 'in'))
    assert.equal(texts.filter((text) => text.includes('Wrong user name')).length, 5)
    assert.equal(texts.filter((text) => text.includes('try again in 1 second')).length, 7)
    await assert.rejects(signIn(one), /try again in 1 second$/)
    // However the wall clock is set.
    one.clock.nowMs -= 3_600_000
    one.uptime.nowMs += 1_000
    await signIn(one)
  })

  test('lets many sign in at once', async (t) => {
    const one = await withUser(startAuthority(t))
    const signedIn = await Promise.all(Array.from({ length: 12 }, () => signIn(one)))
    assert.equal(new Set(signedIn.map(({ id }) => id)).size, 12)
  })

  test('refuses an originator that could not be passed on', async (t) => {
    const one = await withUser(startAuthority(t))
    for (const originator of ['a\r\nb', 'a'.repeat(256)]) {
      await assert.rejects(signIn(one, 'root', originator), { code: 'ORIGINATOR_INVALID' })
    }
  })

  test('answers a logout when the listener has', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id, session } = await signIn(one)
    const { promise: everybodyKnows, resolve: confirm } = Promise.withResolvers<void>()
    const order: string[] = []
    one.authority.onEnded((uuids) => {
      order.push(...uuids)
      return everybodyKnows
    })
    const loggedOut = one.authority.logout(id).then(() => order.push('answered'))
    assert.equal(await one.authority.find(id), undefined)
    order.push('confirmed')
    confirm()
    await loggedOut
    assert.deepEqual(order, [session.uuid, 'confirmed', 'answered'])
  })

  test('refuses an idle session before the sweep, and keeps one that is used', async (t) => {
    const one = await withUser(startAuthority(t, { idleTimeoutMs: 60_000 }))
    const idle = await signIn(one)
    const touched = await signIn(one)
    const found = await signIn(one)
    one.clock.nowMs += 59_999
    one.authority.touch([touched.session.uuid, 'no such uuid'])
    assert.ok(await one.authority.find(found.id))
    one.clock.nowMs += 1
    assert.equal(await one.authority.find(idle.id), undefined)
    one.authority.touch([idle.session.uuid])
    assert.equal(await one.authority.find(idle.id), undefined)
    assert.deepEqual(one.told, [])
    one.authority.sweep()
    assert.deepEqual(one.told, [idle.session.uuid])
    assert.ok(await one.authority.find(touched.id))
    assert.ok(await one.authority.find(found.id))
  })

  test('sweeps by itself', async (t) => {
    const one = await withUser(startAuthority(t, { idleTimeoutMs: 400 }))
    const { session } = await signIn(one)
    one.clock.nowMs += 400
    await one.ended(session.uuid)
  })

  test('shows a record without touching the session', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id } = await signIn(one)
    const createdMs = one.clock.nowMs
    one.clock.nowMs += 5_000
    const record = await one.authority.record(id)
    assert.deepEqual(
      [record?.createdMs, record?.lastActiveMs, record?.clientAddress],
      [createdMs, createdMs, '192.0.2.1'],
    )
    await one.authority.find(id)
    assert.equal((await one.authority.record(id))?.lastActiveMs, one.clock.nowMs)
    const other = await signIn(one)
    const uuids = async (max?: number): Promise<string[]> =>
      (await one.authority.records(max)).map((each) => each.session.uuid)
    assert.deepEqual(await uuids(), [record?.session.uuid, other.session.uuid])
    one.clock.nowMs += 70_000
    await one.authority.find(id)
    assert.deepEqual(await uuids(1), [record?.session.uuid])
    assert.deepEqual(await one.authority.recordOf(other.session.uuid), await one.authority.record(other.id))
    assert.equal(await one.authority.recordOf(other.id), undefined)
  })

  test('ends the least recently active session of a user beyond the limit', async (t) => {
    const one = await withUser(await withUser(startAuthority(t, { maxPerUser: 2 })), 'other', 'read-only')
    const others = await signIn(one, 'other')
    const first = await signIn(one)
    const second = await signIn(one)
    one.clock.nowMs += 1
    one.authority.touch([first.session.uuid])
    const third = await signIn(one)
    assert.deepEqual(one.told, [second.session.uuid])
    for (const { id } of [others, first, third]) assert.ok(await one.authority.find(id))
  })

  test("ends nobody's sessions of an originator but those of who signs in, or has most there, and never root’s", async (t) => {
    const one = startAuthority(t, { maxPerOriginator: 4 })
    for (const [user, role] of [
      ['root', 'pool-admin'],
      ['olga', 'read-only'],
      ['rita', 'read-only'],
      ['eve', 'read-only'],
    ] as const)
      await withUser(one, user, role)
    const [root, olga] = [await signIn(one, 'root', 'tool'), await signIn(one, 'olga', 'tool')]
    const ritas: SignedIn[] = []
    for (let count = 0; count < 4; count++) {
      one.clock.nowMs += 1
      ritas.push(await signIn(one, 'rita', 'tool'))
    }
    assert.deepEqual(one.told, [ritas[0]?.session.uuid, ritas[1]?.session.uuid])
    await signIn(one, 'eve', 'tool')
    assert.deepEqual(one.told.slice(2), [ritas[2]?.session.uuid], 'of the user who has most')
    for (const { id } of [root, olga]) assert.ok(await one.authority.find(id))
    await signIn(one, 'root', 'tool')
    assert.deepEqual(one.told.slice(3), [root.session.uuid], 'it ends for its own user')
  })

  test('ends the least recently active session of an originator beyond the limit, the empty one too', async (t) => {
    const one = await withUser(await withUser(startAuthority(t, { maxPerOriginator: 1 })), 'other', 'read-only')
    const empty = await signIn(one, 'other')
    const named = await signIn(one, 'other', 'tool')
    await signIn(one)
    assert.deepEqual(one.told, [empty.session.uuid])
    await signIn(one, 'root', 'tool')
    assert.deepEqual(one.told, [empty.session.uuid, named.session.uuid])
  })

  test('takes new settings while it runs', async (t) => {
    const one = await withUser(startAuthority(t))
    const first = await signIn(one)
    await signIn(one)
    one.authority.configure({ idleTimeoutMs: 1_000, maxPerUser: 1, maxPerOriginator: 1 })
    const { id } = await signIn(one)
    assert.equal(one.told.length, 2)
    assert.ok(one.told.includes(first.session.uuid))
    one.clock.nowMs += 1_000
    assert.equal(await one.authority.find(id), undefined)
  })

  test('ends one session, and those of a subject but for the caller and the superuser', async (t) => {
    const one = await withUser(await withUser(startAuthority(t)), 'alice', 'pool-operator')
    const root = await signIn(one)
    const alices = [await signIn(one, 'alice'), await signIn(one, 'alice'), await signIn(one, 'alice')] as const
    const [alice] = await one.authority.subjectIdentifiers()
    assert.ok(alice)
    assert.equal(alices[0].session.subject, `OpaqueRef:${alice}`)
    assert.equal(await one.authority.logout(alices[0].id), true)
    assert.equal(await one.authority.logoutSubject(alice, alices[1].session.uuid), 1)
    assert.deepEqual(one.told, [alices[0].session.uuid, alices[2].session.uuid])
    const superuser = one.authority.users.list().find(({ name }) => name === 'root')
    assert.equal(await one.authority.logoutSubject(superuser?.uuid ?? '', ''), 0)
    assert.equal(await one.authority.logoutSubject('nobody', ''), 0)
    assert.ok(await one.authority.find(root.id))
  })

  test('changes a password for who knows the old one; the sessions go on', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id } = await signIn(one)
    await assert.rejects(one.authority.changePassword('root', 'wrong', 'new', ''), { code: 'SIGN_IN_REFUSED' })
    await assert.rejects(one.authority.changePassword('root', 'password of root', '', ''), { code: 'PASSWORD_INVALID' })
    await one.authority.changePassword('root', 'password of root', 'new', '')
    await assert.rejects(signIn(one), { code: 'SIGN_IN_REFUSED' })
    assert.ok(await one.authority.find(id))
  })

  test('calls those who watch a session once, when it ends', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id, session } = await signIn(one)
    const calls: string[] = []
    one.authority.watch(session.uuid, () => calls.push('first'))
    one.authority.watch(session.uuid, () => calls.push('stopped'))()
    await one.authority.logout(id)
    await one.authority.logout(id)
    assert.deepEqual(calls, ['first'])
  })

  test('answers nothing once it is closed', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id, session } = await signIn(one)
    await one.authority.close()
    await one.authority.close()
    one.authority.touch([session.uuid])
    one.authority.sweep()
    for (const answer of [one.authority.find(id), one.authority.logout(id), one.authority.record(id), signIn(one)]) {
      await assert.rejects(answer, AuthorityUnavailableError)
    }
  })

  test('cannot tell when the database fails', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id } = await signIn(one)
    connect(t, one.path).exec('ALTER TABLE sessions RENAME COLUMN id_hash TO elsewhere')
    await assert.rejects(one.authority.find(id), AuthorityUnavailableError)
  })
})

describe('another process', { timeout: 300_000 }, () => {
  test('removes a user: the sessions end, and only those', async (t) => {
    const one = await withUser(await withUser(startAuthority(t)), 'alice', 'read-only')
    const root = await signIn(one)
    const alices = [await signIn(one, 'alice'), await signIn(one, 'alice')]
    const told = Promise.all(alices.map(({ session }) => one.ended(session.uuid)))
    await promisify(execFile)(process.execPath, [REMOVER, one.path, 'alice'])
    await told
    assert.equal(one.told.length, 2)
    for (const { id } of alices) assert.equal(await one.authority.find(id), undefined)
    assert.ok(await one.authority.find(root.id))
  })

  test('changes a role: noticed by itself', async (t) => {
    const one = await withUser(startAuthority(t))
    const { session } = await signIn(one)
    const users = new UserStore(connect(t, one.path))
    await users.setRole('root', 'pool-admin')
    await users.setRole('root', 'vm-admin')
    const startMs = performance.now()
    await one.ended(session.uuid)
    t.diagnostic(`noticed after ${Math.round(performance.now() - startMs)} ms`)
    assert.deepEqual((await signIn(one)).session.roles, ['vm-admin'])
  })

  test('removes the user while the password is being checked: nobody is signed in', async (t) => {
    const one = await withUser(startAuthority(t))
    const signingIn = signIn(one)
    await new UserStore(connect(t, one.path)).remove('root')
    await assert.rejects(signingIn, { code: 'SIGN_IN_REFUSED' })
  })

  test('holds the database: activity is written when it lets go', async (t) => {
    const one = await withUser(startAuthority(t))
    const { id, session } = await signIn(one)
    const other = connect(t, one.path)
    other.exec('BEGIN IMMEDIATE')
    one.clock.nowMs += 1_000
    const startMs = performance.now()
    one.authority.touch([session.uuid])
    assert.ok(performance.now() - startMs < 500, 'touching waits for the other process')
    other.exec('COMMIT')
    one.authority.touch([])
    assert.equal((await one.authority.record(id))?.lastActiveMs, one.clock.nowMs)
  })
})

describe('a logout that cannot be written', { timeout: 300_000 }, () => {
  test('holds on a full disk, says so, and is written when there is room', async (t) => {
    const one = await withUser(startAuthority(t))
    const [ending, staying] = [await signIn(one), await signIn(one)]
    const makeRoom = fillUp(one.db)
    await assert.rejects(one.authority.logout(ending.id), (error) => {
      assert.ok(error instanceof AuthorityUnavailableError)
      assert.match(error.clientText ?? '', /^The session has ended, but the disk is full: /)
      return true
    })
    assert.deepEqual(one.told, [ending.session.uuid])
    assert.equal(await one.authority.find(ending.id), undefined)
    assert.equal(await one.authority.logout(ending.id), false)
    assert.deepEqual(
      (await one.authority.records()).map(({ session }) => session.uuid),
      [staying.session.uuid],
    )
    assert.ok(one.reported.length > 0, 'the operator hears of it')
    assert.ok(await one.authority.find(staying.id))
    await assert.rejects(
      one.authority.changePassword('root', 'password of root', 'another password', '192.0.2.1'),
      (error) =>
        error instanceof AuthorityUnavailableError && /disk of the gateway is full/.test(error.clientText ?? ''),
    )
    makeRoom()
    const other = connect(t, one.path)
    const count = (): unknown => other.prepare('SELECT count(*) AS count FROM sessions').get()?.['count']
    while (count() !== 1) await pause(10)
    assert.deepEqual(one.told, [ending.session.uuid], 'told once')
  })

  test('does not keep endings by other processes from being told', async (t) => {
    const one = await withUser(startAuthority(t))
    const [ending, others] = [await signIn(one), await signIn(one)]
    const makeRoom = fillUp(one.db)
    await assert.rejects(one.authority.logout(ending.id), AuthorityUnavailableError)
    const other = connect(t, one.path)
    // The table that fills the disk grows with what this process deletes; the other has room.
    other.prepare('DELETE FROM sessions WHERE uuid = ?').run(others.session.uuid)
    while (one.told.length < 2) await pause(10)
    assert.deepEqual(one.told, [ending.session.uuid, others.session.uuid])
    makeRoom()
  })

  test('ends at once while another process writes, and is answered when that is done, six as soon as one', async (t) => {
    const one = await withUser(startAuthority(t))
    const sessions = await Promise.all(Array.from({ length: 6 }, () => signIn(one)))
    const other = connect(t, one.path)
    other.exec('BEGIN IMMEDIATE')
    let isAnswered = false
    const loggedOut = Promise.all(sessions.map(({ id }) => one.authority.logout(id))).finally(() => (isAnswered = true))
    assert.equal(one.told.length, 6)
    for (const { id } of sessions) assert.equal(await one.authority.find(id), undefined)
    await pause(100)
    assert.equal(isAnswered, false)
    other.exec('COMMIT')
    assert.deepEqual(new Set(await loggedOut), new Set([true]))
  })

  test('is answered in time while another process writes for ever', async (t) => {
    const one = await withUser(startAuthority(t))
    const sessions = await Promise.all(Array.from({ length: 6 }, () => signIn(one)))
    const other = connect(t, one.path)
    other.exec('BEGIN IMMEDIATE')
    const answers = await Promise.allSettled(sessions.map(({ id }) => one.authority.logout(id)))
    assert.ok(answers.every(({ status }) => status === 'rejected'))
    await assert.rejects(signIn(one), /another process has been writing/)
    other.exec('COMMIT')
    while (other.prepare('SELECT uuid FROM sessions').get() !== undefined) await pause(10)
  })
})

// What an operator does with users and sessions on the host, while the daemon runs and while it does not.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startValkey } from './harness/backends.ts'
import { type Daemon, Place, startDaemon, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.hello'
const DEADLINE = { timeout: 90_000 }

async function statusOf(daemon: Daemon, session: string): Promise<number> {
  const request = `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
  return (await exchange(daemon.url, request)).status
}

/** Runs `xengate …` with the configuration of `place`; it must succeed. */
async function command(place: Place, line: string, input = ''): Promise<{ stdout: string; stderr: string }> {
  const ran = await place.command(line.split(' '), input)
  assert.equal(ran.code, 0, ran.stderr)
  return ran
}

interface Listed {
  readonly id: string
  readonly user: string
  readonly originator: string
  readonly address: string
}

async function sessionsOf(place: Place): Promise<readonly Listed[]> {
  return JSON.parse((await command(place, 'sessions --json')).stdout) as Listed[]
}

const AUTHORITIES: Readonly<Record<string, (scope: Scope) => Promise<string>>> = {
  embedded: () => Promise.resolve(''),
  valkey: async (scope) => {
    const { url } = await startValkey(scope)
    return `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${url}"\n`
  },
}

for (const [name, tables] of Object.entries(AUTHORITIES)) {
  test(
    `${name}: sessions are listed and ended on the host, and no worker admits them any more`,
    DEADLINE,
    async (t) => {
      const scope = scopeOf(t)
      const place = await Place.make(scope, { workers: 2, tables: await tables(scope) })
      await place.addUser(USER.name, USER.password, USER.role)
      const daemon = await place.start()
      await serveHttp(scope, place.socket(NAME), (_, response) => void response.end('hello'))
      const [kept, ended] = [await daemon.login(), await daemon.login()]
      for (let count = 0; count < 8; count++) assert.equal(await statusOf(daemon, count % 2 ? kept : ended), 200)

      const [first, second, ...others] = await sessionsOf(place)
      assert.ok(first && second && others.length === 0)
      assert.deepEqual([second.user, second.originator, second.address], [USER.name, 'test', '127.0.0.1'])
      assert.equal((await command(place, 'sessions --minimal')).stdout, `${first.id},${second.id}\n`)
      assert.match(
        (await command(place, 'sessions')).stdout,
        /^ID +USER +ORIGINATOR +ADDRESS +SIGNED IN \(UTC\) +IDLE\n/,
      )

      await command(place, `session end ${second.id.slice(0, 13)}`)
      // A worker that has not seen the session asks, and is told at once; one that has is told within 100 ms.
      const refusing = (): unknown[] =>
        daemon.events.filter(({ event, status }) => event === 'request' && status === 403).map(({ pid }) => pid)
      await until(async () => {
        await statusOf(daemon, ended)
        return daemon.workerPids.every((pid) => refusing().includes(pid))
      }, 'the end of the session on every worker')
      for (let count = 0; count < 8; count++) assert.equal(await statusOf(daemon, ended), 403)
      assert.equal(await statusOf(daemon, kept), 200)
      assert.deepEqual(
        (await sessionsOf(place)).map(({ id }) => id),
        [first.id],
      )
      const logged = await daemon.event(({ event }) => event === 'sessions-ended', 'the end')
      assert.deepEqual(
        [logged['user'], logged['sessions'], logged['uid']],
        [USER.name, [second.id], process.getuid?.()],
      )

      const again = await place.command(['session', 'end', second.id])
      assert.equal(again.code, 1)
      assert.match(again.stderr, /\[session-unknown\]\ntry: see xengate sessions/)

      await daemon.stop()
      const listed = await command(place, 'sessions --minimal')
      assert.equal(listed.stdout, `${first.id}\n`)
      const socket = join(place.state, 'control.sock')
      assert.equal(
        listed.stderr,
        `the daemon at ${socket} (from --config ${place.configuration}) is not running: these are the sessions that are kept\n`,
      )
    },
  )

  test(
    `${name}: another role or password, and the end of sessions with it, is logged by the daemon`,
    DEADLINE,
    async (t) => {
      const scope = scopeOf(t)
      const daemon = await startDaemon(scope, { tables: await tables(scope) })
      const { place } = daemon
      await serveHttp(scope, place.socket(NAME), (_, response) => void response.end('hello'))
      await place.addUser('bob', 'secret', 'read-only')
      const first = await daemon.login('bob', 'secret')
      assert.equal(await statusOf(daemon, first), 200)
      await command(place, 'user set-role bob vm-admin')
      await until(async () => (await statusOf(daemon, first)) === 403, 'the end of sessions with another role')

      const second = await daemon.login('bob', 'secret')
      assert.equal(await statusOf(daemon, second), 200)
      await command(place, 'user passwd bob --password-stdin', 'other')
      assert.equal(await statusOf(daemon, second), 200)
      const changed = await command(place, 'user passwd bob --end-sessions --password-stdin', 'third')
      assert.match(changed.stderr, /ended 1 of its sessions/)
      await until(async () => (await statusOf(daemon, second)) === 403, 'the end of sessions')
      await daemon.login('bob', 'third')
      await command(place, 'user remove bob')

      await daemon.event(({ event }) => event === 'user-removed', 'the removal')
      const changes = daemon.events.filter(({ event, user }) => /^user-|^sessions-/.test(event) && user === 'bob')
      assert.deepEqual(
        changes.map(({ event, role }) => [event, role]),
        [
          ['user-added', 'read-only'],
          ['user-role-set', 'vm-admin'],
          ['user-password-set', undefined],
          ['user-password-set', undefined],
          ['sessions-ended', undefined],
          ['user-removed', undefined],
        ],
      )
      assert.ok(changes.every(({ uid }) => uid === process.getuid?.()))
    },
  )
}

test('a session is ended while the daemon does not run, and has ended when it does', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const before = await startDaemon(scope)
  const { place } = before
  await serveHttp(scope, place.socket(NAME), (_, response) => void response.end('hello'))
  const [kept, ended] = [await before.login(), await before.login()]
  await before.stop()
  const [, second] = await sessionsOf(place)
  await command(place, `session end ${second?.id}`)
  const daemon = await place.start()
  assert.equal(await statusOf(daemon, kept), 200)
  assert.equal(await statusOf(daemon, ended), 403)
})

test('who is held up by wrong passwords is listed, and let in again', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const { place } = daemon
  assert.match((await command(place, 'blocked')).stderr, /^nobody is held up\n$/)
  for (let time = 0; time < 5; time++) await assert.rejects(daemon.login(USER.name, 'wrong'))
  assert.match((await command(place, 'blocked')).stdout, /\n\(any\) +127\.0\.0\.1 +5 /)
  const { length } = JSON.parse((await command(place, 'blocked --json')).stdout) as unknown[]
  assert.equal(length, 3)
  assert.match((await command(place, 'unblock --all')).stderr, /held up now: nobody/)
  await daemon.login()
  await daemon.stop()
  for (const line of ['blocked', 'unblock --user root'])
    assert.match(
      (await command(place, line)).stderr,
      /^the daemon at \S+control\.sock \(from --config \S+\) is not running: nobody is held up/,
    )
})

test("xapi's users and sessions are not the gateway's to change", DEADLINE, async (t) => {
  const place = await Place.make(scopeOf(t), { tables: '[sessions]\nauthority = "xapi"\n' })
  for (const line of [
    'sessions',
    'session end 1',
    'user list',
    'blocked',
    'unblock --all',
    'user set-role a read-only',
  ]) {
    const ran = await place.command(line.split(' '))
    assert.equal(ran.code, 1, line)
    assert.match(ran.stderr, /the authority is "xapi" \[users-elsewhere\]\ntry: /)
  }
})

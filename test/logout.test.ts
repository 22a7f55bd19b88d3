// The end of sessions: on connections that are kept, on every worker, and across restarts.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.hello'
const TARGET = `/services/plugin/${NAME}`
/** Connections that are opened at most until both workers have some. */
const CONNECTIONS_MAX = 200

function asked(session: string): string {
  return `GET ${TARGET} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

async function startHello(scope: Scope): Promise<Daemon> {
  const daemon = await startDaemon(scope, { workers: 2 })
  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => {
    response.end('hello')
  })
  return daemon
}

/** Kept connections, of which both workers have some, and each of which has seen `session` admitted. */
async function connectToBothWorkers(scope: Scope, daemon: Daemon, session: string): Promise<RawClient[]> {
  const clients: RawClient[] = []
  const pidsSeen = new Set<unknown>()
  while (pidsSeen.size < 2) {
    assert.ok(clients.length < CONNECTIONS_MAX, `one of two workers got all of ${clients.length} connections`)
    const client = await RawClient.connect(daemon.url)
    scope.defer(() => client.destroy())
    clients.push(client)
    assert.equal((await client.exchange(asked(session))).status, 200)
    const { length } = clients
    await until(() => requestsOf(daemon).length >= length, `${length} requests in the log`)
    for (const { pid } of requestsOf(daemon)) pidsSeen.add(pid)
  }
  return clients
}

function requestsOf(daemon: Daemon): Daemon['events'] {
  return daemon.events.filter(({ event, path, status }) => event === 'request' && path === TARGET && status === 200)
}

test('logout refuses the next request on every kept connection of every worker', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startHello(scope)
  const session = await daemon.login()
  const clients = await connectToBothWorkers(scope, daemon, session)
  await daemon.logout(session)
  // Logout has been answered: from here on nobody may admit the session.
  const statuses = await Promise.all(clients.map(async (client) => (await client.exchange(asked(session))).status))
  assert.deepEqual(new Set(statuses), new Set([403]))
  assert.equal((await exchange(daemon.url, asked(session))).status, 403)
  assert.equal((await daemon.call('session.logout', [session])).error?.message, 'SESSION_INVALID')
})

test('logout ends no session but its own', { timeout: 60_000 }, async (t) => {
  const daemon = await startHello(scopeOf(t))
  const [ending, staying] = [await daemon.login(), await daemon.login()]
  using client = await RawClient.connect(daemon.url)
  for (const session of [ending, staying]) assert.equal((await client.exchange(asked(session))).status, 200)
  await daemon.logout(ending)
  assert.equal((await client.exchange(asked(ending))).status, 403)
  assert.equal((await client.exchange(asked(staying))).status, 200)
})

for (const [what, services, text] of [
  ['is refused', '', null],
  ['is completed with cut-transfers = false', `[services.policy."${NAME}"]\ncut-transfers = false`, 'after the logout'],
] as const) {
  test(`a request that is under way when its session ends ${what}`, { timeout: 60_000 }, async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope, { services })
    const arrived = Promise.withResolvers<void>()
    const answer = Promise.withResolvers<void>()
    await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => {
      arrived.resolve()
      void answer.promise.then(() => response.end('after the logout'))
    })
    const session = await daemon.login()
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session))
    await arrived.promise
    await daemon.logout(session)
    answer.resolve()
    const response = await client.response()
    if (text === null) assert.equal(response.status, 403)
    else assert.equal(response.text, text)
    assert.equal((await client.exchange(asked(session))).status, 403)
  })
}

test('a user that is removed while the daemon runs has no session any more', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startHello(scope)
  await daemon.place.addUser('bob', 'bob has a password', 'read-only')
  const session = await daemon.login('bob', 'bob has a password')
  const others = await daemon.login()
  const clients = await connectToBothWorkers(scope, daemon, session)
  const ran = await daemon.place.command(['user', 'remove', 'bob'])
  assert.equal(ran.code, 0, ran.stderr)
  // The command works on the database; the daemon looks there now and then.
  for (const client of clients) {
    await until(async () => (await client.exchange(asked(session))).status === 403, 'the end of the session')
  }
  assert.equal((await clients[0]?.exchange(asked(others)))?.status, 200)
  const answer = await daemon.call('session.login_with_password', ['bob', 'bob has a password'])
  assert.equal(answer.error?.message, 'SESSION_AUTHENTICATION_FAILED')
})

test('a session survives a restart of the daemon, and one that ended does not', { timeout: 60_000 }, async (t) => {
  const daemon = await startHello(scopeOf(t))
  const [ending, staying] = [await daemon.login(), await daemon.login()]
  await daemon.logout(ending)
  assert.equal((await daemon.stop()).code, 0)
  const again = await daemon.place.start()
  assert.equal((await exchange(again.url, asked(ending))).status, 403)
  const response = await exchange(again.url, asked(staying))
  assert.deepEqual([response.status, response.text], [200, 'hello'])
  await again.logout(staying)
  assert.equal((await exchange(again.url, asked(staying))).status, 403)
})

test('a session that is not used for the idle timeout ends', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { tables: '[sessions]\nidle-timeout = "1s"' })
  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => {
    response.end('hello')
  })
  const session = await daemon.login()
  assert.equal((await exchange(daemon.url, asked(session))).status, 200)
  // Asking with it would keep it alive, so another session looks whether it is still there.
  await until(async () => {
    const own = await daemon.login()
    const { error } = await daemon.call('session.get_record', [own, session])
    return error?.message === 'HANDLE_INVALID'
  }, 'the end of the session')
  await until(async () => (await exchange(daemon.url, asked(session))).status === 403, 'the workers to hear of it')
})

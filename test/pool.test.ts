// Two and more daemons that share sessions and tell each other which services they have.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { startValkey, startXapi } from './harness/backends.ts'
import { childrenOf } from './harness/child.ts'
import { type Daemon, Place, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient, type RawResponse } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'
import { xenApiClient } from './harness/xen-api.ts'

const NAME = 'com.example.moves'
const DEADLINE = { timeout: 90_000 }
const HOSTS = ['host-a', 'host-b', 'host-c'] as const

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Starts a daemon for each host; `tables` is what they share. */
async function startPool(scope: Scope, tables: string, registry: string): Promise<Daemon[]> {
  const daemons: Daemon[] = []
  for (const host of HOSTS) {
    const port = await freePort()
    const pool = `[pool]\nname = "p"\nhost = "${host}"\naddress = "http://127.0.0.1:${port}"\nregistry = "${registry}"\n`
    const place = await Place.make(scope, { listen: [`127.0.0.1:${port}`], tables: tables + pool })
    if (daemons.length === 0 && registry === 'valkey') await place.addUser(USER.name, USER.password, USER.role)
    daemons.push(await place.start())
  }
  return daemons
}

function ask(daemon: Daemon, session: string, target = `/services/plugin/${NAME}/a%20b?x=%0d&y`): Promise<RawResponse> {
  return exchange(daemon.url, `GET ${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`)
}

async function sendsTo(from: Daemon, to: Daemon, session: string): Promise<boolean> {
  const response = await ask(from, session)
  return response.status === 302 && response.header('location') === `${to.url}/services/plugin/${NAME}/a%20b?x=%0d&y`
}

/** Starts the service on a daemon's host; answers what stops it. */
async function run(scope: Scope, daemon: Daemon, text: string): Promise<() => Promise<void>> {
  const server = await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
    request.pipe(response.writeHead(200, { 'x-host': text }))
  })
  return async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
}

async function followsTheService(scope: Scope, daemons: readonly Daemon[], session: string): Promise<void> {
  const [a, b, c] = daemons
  assert.ok(a && b && c)
  for (const daemon of daemons) assert.equal((await ask(daemon, session)).status, 404)
  const stop = await run(scope, b, 'b')
  const startedMs = performance.now()
  for (const other of [a, c]) await until(() => sendsTo(other, b, session), 'a 302 to B', 5000)
  assert.ok(performance.now() - startedMs < 1000)
  assert.equal((await ask(b, session)).header('x-host'), 'b')
  await run(scope, c, 'c')
  await stop()
  for (const other of [a, b]) await until(() => sendsTo(other, c, session), 'a 302 to C', 5000)
  assert.equal((await ask(c, session)).header('x-host'), 'c')
}

test('valkey: a session of one host holds on all, and every host sends clients to the service', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const server = await startValkey(scope)
  const tables = `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${server.url}"\n`
  const daemons = await startPool(scope, tables, 'valkey')
  const [a, b, c] = daemons
  assert.ok(a && b && c)
  const session = await a.login()
  await followsTheService(scope, daemons, session)

  // Xen Orchestra's client asks where to put, and follows.
  const client = xenApiClient(a.url, { user: USER.name, password: USER.password })
  await client.connect()
  const got = await client.getResource(`/services/plugin/${NAME}`)
  assert.deepEqual([got.headers['x-host'], await got.body.text()], ['c', ''])
  await client.putResource(Buffer.from('some bytes'), `/services/plugin/${NAME}/put`)
  await client.disconnect()

  // The end of a session is felt everywhere.
  using kept = await RawClient.connect(c.url)
  const request = `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
  assert.equal((await kept.exchange(request)).status, 200)
  await a.logout(session)
  const answeredMs = performance.now()
  await until(async () => (await kept.exchange(request)).status === 403, 'the end of the session', 5000)
  assert.ok(performance.now() - answeredMs < 100)

  // A host that stops takes back what it said; one that dies is forgotten with its lease.
  kept.destroy()
  const again = await b.login()
  assert.equal((await c.stop()).code, 0)
  for (const other of [a, b])
    await until(async () => (await ask(other, again)).status === 404, 'C to be forgotten', 5000)
  await run(scope, b, 'b again')
  await until(() => sendsTo(a, b, again), 'a 302 to B', 5000)
  b.child.signal('SIGKILL')
  await until(async () => (await ask(a, again)).status === 404, 'B to be forgotten', 15_000)
})

test(
  'xapi: a session of the pool holds on all hosts, and every host sends clients to the service',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const standIn = await startXapi(scope)
    for (const hostname of HOSTS) await standIn.order({ order: 'add-host', hostname, address: '127.0.0.1' })
    const tables = `[sessions]\nauthority = "xapi"\n[sessions.xapi]\nurl = "unix:${standIn.socketPath}"\n`
    const daemons = await startPool(scope, tables, 'xapi')
    const session = await standIn.login('olga')
    await followsTheService(scope, daemons, session)
    const [a, , c] = daemons
    assert.ok(a && c)

    // Events are lost, and xapi is restarted: sessions are gone with it, and what the hosts said is not.
    await standIn.order({ order: 'lose-events' })
    await standIn.order({ order: 'restart' })
    await until(async () => (await ask(a, session)).status === 403, 'the end of the session', 5000)
    const after = await standIn.login('olga')
    await until(() => sendsTo(a, c, after), 'a 302 to C', 10_000)

    // A host that xapi gives up is no longer sent to, and is again when it lives.
    await standIn.order({ order: 'set-live', hostname: 'host-c', live: false })
    await until(async () => (await ask(a, after)).status === 404, 'C to be forgotten', 5000)
    await standIn.order({ order: 'set-live', hostname: 'host-c', live: true })
    await until(() => sendsTo(a, c, after), 'a 302 to C again', 5000)
  },
)

test(
  'valkey: an upgrade of the host of a service sends nobody elsewhere, one that fails neither',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const { url } = await startValkey(scope)
    const tables = `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${url}"\n`
    const [a, b] = await startPool(scope, tables, 'valkey')
    assert.ok(a && b)
    const session = await a.login()
    await run(scope, b, 'b')
    await until(() => sendsTo(a, b, session), 'a 302 to B', 5000)
    const statuses: number[] = []
    const asking = new AbortController()
    scope.defer(() => asking.abort())
    const asked = (async () => {
      while (!asking.signal.aborted) statuses.push((await ask(a, session)).status)
    })()
    const workers = childrenOf(b.child.pid)
    const refused = b.place.command(['upgrade'])
    const [successor, started] = await until(() => {
      const other = childrenOf(b.child.pid).find((pid) => !workers.includes(pid))
      const [worker] = childrenOf(other)
      return other !== undefined && worker !== undefined && ([other, worker] as const)
    }, 'a worker of the other version')
    process.kill(started, 'SIGSTOP')
    await b.event(({ event, pid }) => event === 'valkey-connected' && pid === successor, 'its connection')
    process.kill(started, 'SIGKILL')
    assert.match((await refused).stderr, /a worker died before it was ready.* \[upgrade-refused\]/)
    assert.deepEqual([...new Set([...statuses, (await ask(a, session)).status])], [302])
    const { code, stdout, stderr } = await b.place.command(['upgrade'])
    assert.equal(code, 0, stderr)
    const [, pid = ''] = /process (\d+)/.exec(stdout) ?? []
    scope.defer(() => void process.kill(Number(pid), 'SIGTERM'))
    await until(() => b.child.hasEnded, 'the end of the first')
    const seen = statuses.length
    await until(() => statuses.length > seen + 100, 'more answers')
    asking.abort()
    await asked
    assert.deepEqual([...new Set(statuses)], [302])
    assert.equal((await ask(b, session)).header('x-host'), 'b')
  },
)

// The daemon with sessions that others keep: Valkey, and the host's xapi.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { startValkey, startXapi, ValkeyServer } from './harness/backends.ts'
import { Child, run } from './harness/child.ts'
import { type Daemon, Place, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.hello'
const DEADLINE = { timeout: 90_000 }
/** `stale-grace` of the daemons here, for tests that wait for its end and for those that must not see it. */
const GRACE_MS = 2000
const LONG_GRACE_MS = 60_000
const LOAD_SOURCE = join(import.meta.dirname, '../bench/native/load.c')
/** Requests in a second, and for how long. */
const LOAD_RATE = 5000
const LOAD_SECONDS = 8

function asked(session: string): string {
  return `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

async function statusOf(daemon: Daemon, session: string): Promise<number> {
  return (await exchange(daemon.url, asked(session))).status
}

/** A daemon, and the means to make, end and take away its sessions as clients and disasters do. */
interface System {
  readonly daemon: Daemon
  readonly login: () => Promise<string>
  readonly logout: (session: string) => Promise<void>
  readonly takeAway: () => Promise<void>
  readonly bringBack: () => Promise<void>
}

async function startDaemonWith(scope: Scope, tables: string, withUser: boolean): Promise<Daemon> {
  const place = await Place.make(scope, { workers: 2, tables })
  if (withUser) await place.addUser(USER.name, USER.password, USER.role)
  const daemon = await place.start()
  await serveHttp(scope, place.socket(NAME), (request, response) => {
    response.end(`hello ${String(request.headers['x-xen-session-user'])}`)
  })
  return daemon
}

const SYSTEMS: Readonly<Record<string, (scope: Scope, graceMs: number) => Promise<System>>> = {
  valkey: async (scope, graceMs) => {
    const server = await startValkey(scope)
    const sessions = `[sessions]\nauthority = "valkey"\nstale-grace = "${graceMs}ms"\n`
    const daemon = await startDaemonWith(scope, `${sessions}[valkey]\nurl = "${server.url}"\n`, true)
    return {
      daemon,
      login: () => daemon.login(),
      logout: (session) => daemon.logout(session),
      takeAway: () => server.stop('SIGKILL'),
      bringBack: () => server.start(),
    }
  },
  xapi: async (scope, graceMs) => {
    const standIn = await startXapi(scope)
    const sessions = `[sessions]\nauthority = "xapi"\nstale-grace = "${graceMs}ms"\n`
    const xapi = `[sessions.xapi]\nurl = "unix:${standIn.socketPath}"\nrecheck = "200ms"\n`
    return {
      daemon: await startDaemonWith(scope, sessions + xapi, false),
      login: () => standIn.login('olga'),
      logout: async (session) => {
        await standIn.order({ order: 'logout', session })
      },
      takeAway: async () => {
        await standIn.order({ order: 'close' })
      },
      bringBack: async () => {
        await standIn.order({ order: 'open' })
      },
    }
  },
}

async function start(t: TestContext, name: string, graceMs: number = LONG_GRACE_MS): Promise<System> {
  const system = await SYSTEMS[name]?.(scopeOf(t), graceMs)
  assert.ok(system)
  return system
}

for (const name of Object.keys(SYSTEMS)) {
  test(`${name}: a session is admitted from its login to its logout`, DEADLINE, async (t) => {
    const { daemon, login, logout } = await start(t, name)
    assert.equal(await statusOf(daemon, 'OpaqueRef:nobody'), 403)
    const session = await login()
    const response = await exchange(daemon.url, asked(session))
    assert.match(`${response.status} ${response.text}`, /^200 hello (alice|olga)$/)
    using client = await RawClient.connect(daemon.url)
    assert.equal((await client.exchange(asked(session))).status, 200)
    await logout(session)
    await until(async () => (await client.exchange(asked(session))).status === 403, 'the end of the session')
    assert.equal(await statusOf(daemon, session), 403)
  })

  test(`${name}: without it known sessions have a grace, and others get 503`, DEADLINE, async (t) => {
    const { daemon, login, takeAway } = await start(t, name)
    const [known, unknown] = [await login(), await login()]
    using client = await RawClient.connect(daemon.url)
    assert.equal((await client.exchange(asked(known))).status, 200)
    await takeAway()
    const refused = await exchange(daemon.url, asked(unknown))
    assert.equal(refused.status, 503)
    assert.ok(refused.header('retry-after') !== undefined)
    for (let count = 0; count < 20; count++) assert.equal((await client.exchange(asked(known))).status, 200)
  })

  test(`${name}: the grace is over when it says so, and all are well again after`, DEADLINE, async (t) => {
    const { daemon, login, logout, takeAway, bringBack } = await start(t, name, GRACE_MS)
    const [known, ending] = [await login(), await login()]
    using client = await RawClient.connect(daemon.url)
    const statusWith = async (session: string): Promise<number> => (await client.exchange(asked(session))).status
    assert.equal(await statusWith(known), 200)
    assert.equal(await statusWith(ending), 200)
    await takeAway()
    const awayMs = performance.now()
    await until(async () => (await statusWith(known)) === 503, 'the end of the grace')
    t.diagnostic(`503 after ${Math.round(performance.now() - awayMs)} ms with a grace of ${GRACE_MS}`)
    await bringBack()
    const hasLoggedOut = (): Promise<boolean> =>
      logout(ending).then(
        () => true,
        () => false,
      )
    await until(hasLoggedOut, 'the logout')
    await until(async () => (await statusWith(known)) === 200, 'known sessions')
    await until(async () => (await statusWith(ending)) === 403, 'the end of the session')
  })
}

test('xapi: the gateway has no XenAPI of its own, and its command line no users', DEADLINE, async (t) => {
  const { daemon } = await start(t, 'xapi')
  for (const path of ['/', '/jsonrpc', '/RPC2']) {
    const response = await exchange(daemon.url, `POST ${path} HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n`)
    assert.equal(response.status, 404, path)
  }
  const ran = await daemon.place.command(['user', 'list'])
  assert.equal(ran.code, 1)
  assert.match(ran.stderr, /the users are those of the host.*\[users-elsewhere\]/)
})

/** The benchmark's load, compiled, as a child: requests at a fixed rate, each with one of `sessions`. */
async function startLoad(scope: Scope, daemon: Daemon, sessions: readonly string[]): Promise<Child> {
  const directory = await scope.directory()
  const [program, ids] = [join(directory, 'load'), join(directory, 'sessions')]
  const compiled = await run(scope, 'gcc', ['-O2', '-o', program, LOAD_SOURCE, '-lm'])
  assert.equal(compiled.code, 0, compiled.stderr)
  await writeFile(ids, `${sessions.join('\n')}\n`)
  const settings = ['-r', String(LOAD_RATE), '-d', String(LOAD_SECONDS), '-c', '64']
  const target = ['-a', new URL(daemon.url).port, '-p', `/services/plugin/${NAME}`, '-s', ids]
  return new Child(scope, program, [...target, ...settings])
}

test(
  'valkey: a restart under load refuses no request of a known session, and what ended meanwhile is over',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const directory = await scope.directory()
    const server = new ValkeyServer(directory)
    // The same data where the daemon does not see it.
    const hidden = new ValkeyServer(directory, { socketName: 'hidden.sock' })
    scope.defer(async () => {
      await Promise.all([server.stop(), hidden.stop()])
    })
    await server.start()
    // A worker that is late on a busy machine would refuse requests for that alone.
    const tables = (url: string): string =>
      `[sessions]\nauthority = "valkey"\nstale-grace = "15s"\n[valkey]\nurl = "${url}"\n[overload]\nevent-loop-delay = "20s"\n`
    const place = await Place.make(scope, { workers: 2, tables: tables(server.url) })
    await place.addUser(USER.name, USER.password, USER.role)
    await place.addUser('bob', 'bob has a password', 'read-only')
    const daemon = await place.start()
    let served = 0
    await serveHttp(scope, place.socket(NAME), (_request, response) => {
      served += 1
      response.end('hello')
    })
    const connected = (): number => daemon.events.filter(({ event }) => event === 'valkey-connected').length
    const sessions = [await daemon.login(), await daemon.login(), await daemon.login()]
    const ending = await daemon.login('bob', 'bob has a password')
    // One connection for each worker at least.
    const clients = await Promise.all(Array.from({ length: 8 }, () => RawClient.connect(daemon.url)))
    scope.defer(() => clients.forEach((client) => client.destroy()))
    const statusesOf = (session: string): Promise<number[]> =>
      Promise.all(clients.map(async (client) => (await client.exchange(asked(session))).status))
    for (const session of [...sessions, ending]) assert.deepEqual(new Set(await statusesOf(session)), new Set([200]))
    const load = await startLoad(scope, daemon, sessions)
    await until(() => served > LOAD_RATE, 'requests before')

    await server.stop('SIGKILL')
    const { error } = await daemon.event(({ event }) => event === 'valkey-lost', 'the loss')
    assert.equal(typeof (error as { message: unknown }).message, 'string')
    const servedBefore = served
    await hidden.start()
    const elsewhere = await Place.make(scope, { tables: tables(hidden.url) })
    const removed = await elsewhere.command(['user', 'remove', 'bob'])
    assert.equal(removed.code, 0, removed.stderr)
    await hidden.stop()
    assert.ok(served > servedBefore, 'requests while it is away')
    assert.equal(connected(), 1, 'it was away all the time')
    await server.start()
    await until(() => connected() === 2, 'the daemon to be connected again')
    assert.ok(!load.hasEnded, 'the load went on all the time')

    await until(
      async () => (await statusesOf(ending)).every((status) => status === 403),
      'the end of the session',
      1000,
    )
    for (let count = 0; count < 20; count++) {
      assert.deepEqual(new Set(await statusesOf(ending)), new Set([403]))
      assert.deepEqual(new Set(await statusesOf(sessions[0] ?? '')), new Set([200]))
    }
    assert.deepEqual(await load.exited, { code: 0, signal: null }, load.stderr)
    const { requests, seconds, errors } = JSON.parse(load.stdout) as Record<string, number>
    assert.equal(errors, 0, load.stderr)
    assert.ok(Number(requests) / Number(seconds) > 0.8 * LOAD_RATE, `${requests} requests in ${seconds} s`)
    await daemon.logout(sessions[0] ?? '')
    assert.deepEqual(new Set(await statusesOf(sessions[0] ?? '')), new Set([403]))
  },
)

test('valkey: a reload takes what can change, and refuses another place of sessions', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const server = await startValkey(scope)
  const tables = (url: string, level: string): string =>
    `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${url}"\n[log]\nlevel = "${level}"\n`
  const daemon = await startDaemonWith(scope, tables(server.url, 'info'), true)
  const session = await daemon.login()
  assert.equal(await statusOf(daemon, session), 200)
  const reload = async (url: string, level: string, event: string): Promise<unknown> => {
    await daemon.place.configure({ workers: 2, tables: tables(url, level) })
    daemon.child.signal('SIGHUP')
    return (await daemon.event((each) => each.event === event, event))['problem']
  }
  const problem = await reload('redis://127.0.0.1:1', 'info', 'reload-refused')
  assert.equal(problem, '[valkey] cannot be changed by a reload: restart the daemon')
  await reload(server.url, 'debug', 'reloaded')
  assert.equal(await statusOf(daemon, session), 200)
  await daemon.logout(session)
  assert.equal(await statusOf(daemon, session), 403)
})

test(
  'valkey: the command line has the users of the pool, and says so when it cannot reach them',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const server = await startValkey(scope)
    const tables = `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${server.url}"\n`
    const place = await Place.make(scope, { tables })
    await place.addUser('bob', 'bob has a password', 'read-only')
    const daemon = await place.start()
    await serveHttp(scope, place.socket(NAME), (_request, response) => {
      response.end('hello')
    })
    const session = await daemon.login('bob', 'bob has a password')
    assert.equal(await statusOf(daemon, session), 200)
    const { stdout } = await place.command(['user', 'list'])
    assert.equal(stdout, 'bob  read-only\n')
    assert.equal((await place.command(['user', 'remove', 'bob'])).code, 0)
    await until(async () => (await statusOf(daemon, session)) === 403, 'the end of the session', 1000)
    await server.stop()
    const ran = await place.command(['user', 'list'])
    assert.equal(ran.code, 1)
    assert.match(
      ran.stderr,
      /the users of the pool "pool" are in Valkey: connect to Valkey at .*\[valkey-unavailable\]/,
    )
  },
)

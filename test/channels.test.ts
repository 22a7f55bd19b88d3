// Channels through the real daemon to services on @xengate/service, in processes of their own.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import { Child, run } from './harness/child.ts'
import { type Daemon, type DaemonSettings, type LogEvent, startDaemon, USER } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 90_000 }
const NAME = 'com.example.one'
const OTHER = 'com.example.two'
const PATH = `/services/plugin/${NAME}`

const SERVICE = join(import.meta.dirname, 'services/node_service.ts')

interface Setting {
  readonly scope: Scope
  readonly daemon: Daemon
  readonly service: Child
  readonly session: string
}

async function start(t: TestContext, settings: DaemonSettings = {}): Promise<Setting> {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, settings)
  const service = await startService(scope, daemon)
  return { scope, daemon, service, session: await daemon.login() }
}

async function startService(scope: Scope, daemon: Daemon): Promise<Child> {
  const service = new Child(scope, process.execPath, [
    '-C',
    '@xengate/source',
    SERVICE,
    daemon.place.plugin,
    NAME,
    OTHER,
  ])
  await service.printed(({ stdout }) => (stdout.includes('ready\n') ? true : undefined), 'its start')
  return service
}

function asked(session: string, path: string, lines = '', method = 'GET'): string {
  return `${method} ${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
}

async function connect(scope: Scope, daemon: Daemon): Promise<RawClient> {
  const client = await RawClient.connect(daemon.url)
  scope.defer(() => client.destroy())
  return client
}

interface Who {
  readonly name: string
  readonly url: string
  readonly user: string
  readonly sessionId: string
  readonly channel: boolean
  readonly address: string
}

function who(text: string): Who {
  return JSON.parse(text) as Who
}

/** Waits until the connection is gone, be it by a reset. */
function isGone(client: RawClient): Promise<void> {
  return new Promise((resolve) => client.socket.once('close', () => resolve()))
}

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

test('a request is answered alike whether its connection was passed or not', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t)
  const passed = await connect(scope, daemon)
  const forged = 'X-Xen-Session-User: mallory\r\nX_Xen_Session_User: mallory\r\n'
  const first = who((await passed.exchange(asked(session, `${PATH}/who`, forged))).text)
  const second = who((await passed.exchange(asked(session, `${PATH}/who`, forged))).text)
  const relayed = who(
    (await exchange(daemon.url, asked(session, `${PATH}/who`, `${forged}Connection: close\r\n`))).text,
  )
  assert.equal(first.channel, true)
  assert.equal(relayed.channel, false)
  assert.deepEqual(second, first)
  assert.deepEqual({ ...first, channel: false }, relayed)
  assert.equal(first.user, USER.name)
})

test('a request that a service brings back has the address of its client, at any worker', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t, { workers: 2 })
  for (let round = 0; round < 4; round++) {
    const client = await connect(scope, daemon)
    assert.equal(who((await client.exchange(asked(session, `${PATH}/who`))).text).channel, true)
    const other = await client.exchange(asked(session, `/services/plugin/${OTHER}/who`))
    const { name, channel, address } = who(other.text)
    assert.deepEqual([name, channel, address], [OTHER, false, '127.0.0.1'])
  }
  const line = await daemon.event(({ service }) => service === OTHER, 'the line of such a request')
  assert.equal(line['client'], '127.0.0.1')
})

test('use of a channel is in the log, and keeps its session alive', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t)
  const client = await connect(scope, daemon)
  for (const text of ['one', 'three']) {
    const put = await client.exchange(`${asked(session, PATH, `Content-Length: ${text.length}\r\n`, 'PUT')}${text}`)
    assert.equal(put.text, text)
  }
  client.destroy()
  const line = await daemon.event(({ event }) => event === 'channel', 'the end of the channel')
  assert.deepEqual(
    [line['service'], line['outcome'], line['requests'], line['user'], line['client']],
    [NAME, 'complete', 2, USER.name, '127.0.0.1'],
  )
  assert.ok(Number(line['bytesIn']) > 200 && Number(line['bytesOut']) > 100)
})

test('a channel ends when its user is removed', DEADLINE, async (t) => {
  const { scope, daemon } = await start(t)
  await daemon.place.addUser('bob', 'correct horse battery', 'read-only')
  const client = await connect(scope, daemon)
  const session = await daemon.login('bob', 'correct horse battery')
  assert.equal(who((await client.exchange(asked(session, `${PATH}/who`))).text).channel, true)
  const over = isGone(client)
  assert.equal((await daemon.place.command(['user', 'remove', 'bob'])).code, 0)
  await within(over, 'the end of the channel')
})

test('a channel ends when its session times out', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t, { tables: '[sessions]\nidle-timeout = "1s"\n' })
  const client = await connect(scope, daemon)
  assert.equal(who((await client.exchange(asked(session, `${PATH}/who`))).text).channel, true)
  await within(isGone(client), 'the end of the channel')
  assert.equal((await exchange(daemon.url, asked(session, `${PATH}/who`))).status, 403)
})

describe('a logout ends a channel', () => {
  for (const [when, target] of [
    ['in the midst of a download', `${PATH}/hang`],
    ['between two requests', `${PATH}/who`],
  ] as const) {
    test(when, DEADLINE, async (t) => {
      const { scope, daemon, session } = await start(t)
      const client = await connect(scope, daemon)
      await client.send(asked(session, target))
      await client.until(target.endsWith('hang') ? 'begun' : '}')
      const over = isGone(client)
      await daemon.logout(session)
      const answeredMs = performance.now()
      await within(over, 'the end of the connection')
      t.diagnostic(`ended ${(performance.now() - answeredMs).toFixed(1)} ms after the logout was answered`)
      const line = await daemon.event(({ event }) => event === 'channel', 'the end of the channel')
      assert.equal(line['outcome'], 'cut')
    })
  }

  test('that a WebSocket goes through', DEADLINE, async (t) => {
    const { scope, daemon, session } = await start(t)
    const socket = await openSocket(scope, daemon, session)
    socket.send('there?')
    assert.equal(String((await once(socket, 'message'))[0]), 'there?')
    const closed = once(socket, 'close')
    await daemon.logout(session)
    const answeredMs = performance.now()
    await within(closed, 'the end of the WebSocket')
    t.diagnostic(`ended ${(performance.now() - answeredMs).toFixed(1)} ms after the logout was answered`)
  })
})

async function openSocket(scope: Scope, daemon: Daemon, session: string): Promise<WebSocket> {
  const url = `${daemon.url.replace('http:', 'ws:')}${PATH}`
  const socket = new WebSocket(url, { headers: { cookie: `session_id=${session}` } })
  socket.on('error', () => {}) // 'close' follows
  scope.defer(() => socket.terminate())
  await within(once(socket, 'open'), 'a WebSocket')
  return socket
}

test('a WebSocket through a channel and one through the relay behave alike', DEADLINE, async (t) => {
  for (const services of ['channels = true', 'channels = false']) {
    const { scope, daemon, session } = await start(t, { services })
    const socket = await openSocket(scope, daemon, session)
    const big = 'x'.repeat(300_000)
    for (const text of ['', 'short', big]) {
      socket.send(text)
      assert.equal(String((await once(socket, 'message'))[0]), text)
    }
    socket.send(Buffer.from([0, 255, 10]))
    assert.deepEqual((await once(socket, 'message'))[0], Buffer.from([0, 255, 10]))
    socket.close(1000, 'enough')
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
    assert.deepEqual([code, String(reason)], [1000, 'enough'])
    const isPassed = services === 'channels = true'
    const line = await daemon.event(({ event }) => event === (isPassed ? 'channel' : 'request'), 'its end')
    assert.equal(line['outcome'], 'complete')
  }
})

test('one pool of connections serves two users, two services and the XenAPI, pipelined', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t)
  await daemon.place.addUser('bob', 'correct horse battery', 'read-only')
  const sessions = { [USER.name]: session, bob: await daemon.login('bob') }
  const rpc = JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'system.listMethods', params: [] })
  const kinds: readonly ((number: number) => { readonly text: string; readonly check: (text: string) => void })[] = [
    ...Object.entries(sessions).flatMap(([user, id]) =>
      [NAME, OTHER].map((name) => (number: number) => ({
        text: asked(id, `/services/plugin/${name}/who?n=${number}`),
        check: (text: string) => {
          const got = who(text)
          assert.deepEqual([got.name, got.user, got.url], [name, user, `/services/plugin/${name}/who?n=${number}`])
        },
      })),
    ),
    () => ({
      text: `POST /jsonrpc HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: ${rpc.length}\r\n\r\n${rpc}`,
      check: (text) => assert.match(text, /"id":7/),
    }),
    () => ({
      text: asked('OpaqueRef:nobody', `${PATH}/who`),
      check: (text) => assert.match(text, /session_id names no live session/),
    }),
    (number) => ({
      text: `${asked(session, PATH, 'Transfer-Encoding: chunked\r\n', 'POST')}3\r\nabc\r\n5;x=y\r\n${String(number).padStart(5, '0')}\r\n0\r\n\r\n`,
      check: (text) => assert.equal(text, `abc${String(number).padStart(5, '0')}`),
    }),
  ]
  let seed = 1
  const dice = (sides: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff
    return (seed >>> 8) % sides
  }
  const pool = await Promise.all(Array.from({ length: 8 }, () => connect(scope, daemon)))
  await Promise.all(
    pool.map(async (client) => {
      for (let left = 200; left > 0;) {
        const count = 1 + dice(6)
        left -= count
        const batch = Array.from({ length: count }, (_, index) => {
          const make = kinds[dice(kinds.length)] ?? kinds[0]
          return make?.(left + index) ?? { text: '', check: () => {} }
        })
        await client.send(batch.map(({ text }) => text).join(''))
        for (const { check } of batch) check((await client.response()).text)
      }
    }),
  )
  assert.ok(pool.every((client) => client.unread === '' && !client.hasEnded))
})

describe('in the middle of 200 channels', () => {
  const COUNT = 200

  /** 200 channels: half of them wait for the end of an answer, half are idle. */
  async function open(setting: Setting): Promise<RawClient[]> {
    return Promise.all(
      Array.from({ length: COUNT }, async (_, number) => {
        const client = await connect(setting.scope, setting.daemon)
        const path = number % 2 === 0 ? 'hang' : 'who'
        await client.send(asked(setting.session, `${PATH}/${path}`))
        await client.until(path === 'hang' ? 'begun' : '}')
        return client
      }),
    )
  }

  test('the service is killed: clients see the end, the worker keeps nothing', DEADLINE, async (t) => {
    const setting = await start(t)
    const [worker = 0] = setting.daemon.workerPids
    const before = descriptorsOf(worker)
    const clients = await open(setting)
    setting.service.signal('SIGKILL')
    await Promise.all(clients.map((client) => client.end()))
    for (const client of clients) client.destroy()
    await until(() => descriptorsOf(worker) <= before, `descriptors of the worker to be ${before} again`)
    // A request is relayed where a service is too busy to take its channel.
    const isEnd = ({ event, service }: LogEvent): boolean =>
      event === 'channel' || (event === 'request' && service !== 'xenapi')
    await until(() => setting.daemon.events.filter(isEnd).length === COUNT, `${COUNT} ends in the log`)
    await startService(setting.scope, setting.daemon)
    const [fresh] = await open(setting)
    assert.ok(fresh)
  })

  test('the worker is killed: clients see the end, the service keeps nothing', DEADLINE, async (t) => {
    const setting = await start(t)
    const before = descriptorsOf(setting.service.pid)
    const clients = await open(setting)
    process.kill(setting.daemon.workerPids[0] ?? 0, 'SIGKILL')
    await Promise.all(clients.map((client) => client.end()))
    for (const client of clients) client.destroy()
    await until(() => descriptorsOf(setting.service.pid) <= before, `descriptors of the service to be ${before} again`)
    await until(() => setting.daemon.workerPids.length === 2, 'a new worker')
    assert.equal((await open(setting)).length, COUNT)
  })

  test('the clients are gone: neither the worker nor the service keeps anything', DEADLINE, async (t) => {
    const setting = await start(t)
    const [worker = 0] = setting.daemon.workerPids
    const before = [descriptorsOf(worker), descriptorsOf(setting.service.pid)]
    for (const client of await open(setting)) client.socket.resetAndDestroy()
    await until(
      () => descriptorsOf(worker) <= (before[0] ?? 0) && descriptorsOf(setting.service.pid) <= (before[1] ?? 0),
      `descriptors to be ${before.join(' and ')} again`,
    )
  })
})

test('channels one after another leave no descriptor behind', DEADLINE, async (t) => {
  const count = Number(process.env['CHANNELS'] ?? 3000)
  const setting = await start(t, { tables: '[log]\naccess = false\n' })
  const [worker = 0] = setting.daemon.workerPids
  const one = async (): Promise<void> => {
    using client = await RawClient.connect(setting.daemon.url)
    assert.equal((await client.exchange(asked(setting.session, `${PATH}/who`))).status, 200)
  }
  for (let number = 0; number < 100; number++) await one()
  const before = [descriptorsOf(worker), descriptorsOf(setting.service.pid)]
  for (let number = 0; number < count; number++) await one()
  await until(
    () => descriptorsOf(worker) <= (before[0] ?? 0) && descriptorsOf(setting.service.pid) <= (before[1] ?? 0),
    `descriptors to be ${before.join(' and ')} again`,
  )
})

test('a reload that forbids channels ends those there are, and relays from then on', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t)
  const client = await connect(scope, daemon)
  assert.equal(who((await client.exchange(asked(session, `${PATH}/who`))).text).channel, true)
  await daemon.place.configure({ services: 'channels = false' })
  daemon.child.signal('SIGHUP')
  await within(isGone(client), 'the end of the channel')
  const answer = await exchange(daemon.url, asked(session, `${PATH}/who`))
  assert.equal(who(answer.text).channel, false)
})

test('a stop cuts channels at the deadline of the drain', DEADLINE, async (t) => {
  const { scope, daemon, session } = await start(t, { tables: '[limits]\ndrain-timeout = "200ms"\n' })
  const client = await connect(scope, daemon)
  assert.equal((await client.exchange(asked(session, `${PATH}/who`))).status, 200)
  const over = isGone(client)
  assert.equal((await daemon.stop()).code, 0)
  await within(over, 'the end of the channel')
})

describe('the example in', () => {
  const ROOT = dirname(import.meta.dirname)

  for (const language of ['Python', 'C'] as const) {
    test(`${language} takes channels of the real gateway`, DEADLINE, async (t) => {
      const scope = scopeOf(t)
      const daemon = await startDaemon(scope)
      const argv = [daemon.place.plugin, NAME]
      const example = language === 'C' ? [await compiled(scope, ROOT)] : pythonExample(ROOT)
      const [command = '', ...first] = example
      const child = new Child(scope, command, [...first, ...argv])
      const session = await daemon.login()
      await until(() => readdirSync(daemon.place.plugin).some((name) => name.endsWith('.channel')), 'its socket')
      const client = await connect(scope, daemon)
      for (let number = 0; number < 3; number++) {
        const { status, text } = await client.exchange(asked(session, PATH))
        assert.equal(status, 200, text)
        assert.match(text, new RegExp(USER.name))
      }
      // What it must not answer, it brings back: another session, and the XenAPI.
      assert.equal((await client.exchange(asked('OpaqueRef:nobody', PATH))).status, 403)
      const over = isGone(client)
      await daemon.logout(session)
      await within(over, 'the end of the channel')
      assert.equal(child.hasEnded, false)
    })
  }

  async function compiled(scope: Scope, root: string): Promise<string> {
    const program = join(await scope.directory(), 'service')
    const source = join(root, 'examples/channel-service-c/service.c')
    const { code, stderr } = await run(scope, 'cc', ['-O2', '-pthread', '-o', program, source])
    assert.equal(code, 0, stderr)
    return program
  }

  function pythonExample(root: string): string[] {
    return ['python3', join(root, 'examples/channel-service-python/service.py')]
  }
})

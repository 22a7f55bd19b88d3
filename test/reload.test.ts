// A reload touches only what changed: whatever it does not concern lives on, in the workers that run.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import {
  type Daemon,
  type DaemonSettings,
  type ListenSettings,
  type LogEvent,
  OTHER_TRANSPORT,
  startDaemon,
} from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp, startChannelServices } from './harness/services.ts'
import { freePort } from './harness/tls.ts'
import { openWebSocket } from './harness/web-socket.ts'

const NAME = 'com.example.work'
const SOCKET = 'com.example.socket'
const [ONE, TWO] = ['com.example.one', 'com.example.two']

function asked(session: string, name = NAME, path = '', lines = ''): string {
  return `GET /services/plugin/${name}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
}

/** Reloads, and answers what the log says of it. */
async function reload(daemon: Daemon, settings: DaemonSettings): Promise<LogEvent> {
  await daemon.place.configure(settings)
  const seen = reloads(daemon).length
  daemon.child.signal('SIGHUP')
  return until(() => reloads(daemon)[seen], 'the reload')
}

function reloads(daemon: Daemon): readonly LogEvent[] {
  return daemon.events.filter(({ event }) => event === 'reloaded' || event === 'reload-refused')
}

/** A service whose answer to `/long` goes on as long as it is told to, and to all else is `done`. */
async function serveWork(scope: Scope, daemon: Daemon): Promise<{ write: (text: string) => void; end: () => void }> {
  const long = Promise.withResolvers<{ write: (text: string) => void; end: () => void }>()
  await serveHttp(scope, daemon.place.socket(NAME), ({ url = '' }, response) => {
    if (!url.endsWith('/long')) {
      response.end('done')
      return
    }
    response.flushHeaders()
    long.resolve({ write: (text) => void response.write(text), end: () => void response.end() })
  })
  return {
    write: (text) => void long.promise.then(({ write }) => write(text)),
    end: () => void long.promise.then(({ end }) => end()),
  }
}

/** A connection that the service `name` has. */
async function openChannel(scope: Scope, daemon: Daemon, session: string, name: string): Promise<RawClient> {
  const client = await RawClient.connect(daemon.url)
  scope.defer(() => client.destroy())
  await expectChannel(client, session, name)
  return client
}

async function expectChannel(client: RawClient, session: string, name: string): Promise<void> {
  const { text } = await client.exchange(asked(session, name, '/who'))
  assert.equal((JSON.parse(text) as { channel: boolean }).channel, true)
}

/** Keys that concern nothing of what runs, each round others. */
function unrelated(round: number): DaemonSettings {
  const tables = `
[services.policy."com.example.rest${round % 7}"]
roles = ["pool-admin"]
strip-session = ${round % 2 === 0}
[limits]
head-bytes = ${16_384 + round}
connections = ${10_000 - round}
response-timeout = "${300 + round}s"
[log]
level = "${round % 2 === 0 ? 'info' : 'debug'}"
access = ${round % 3 === 0}
[sessions]
idle-timeout = "${24 + round}h"
stale-grace = "${5 + (round % 3)}s"
[control]
health = ${round % 2 === 0}
[pool]
registry = "static"
[pool.static]
"com.example.far${round % 5}" = "https://far.example"
`
  const methods = round % 2 === 0 ? '["GET", "PUT", "POST"]' : '["GET", "PUT", "POST", "DELETE"]'
  return { workers: 2, tables, services: `methods = ${methods}` }
}

const ROUNDS = 100
/** Of listeners and workers, on each transport: four times every way in which they change. */
const LISTENER_ROUNDS = 16

/** Listeners that come and go, one in each round. */
function listenersToTry({ place }: Daemon, port: number): readonly ListenerToTry[] {
  const tcp = { address: `127.0.0.1:${port}`, url: `http://127.0.0.1:${port}` }
  const path = join(place.directory, 'b.sock')
  return [
    { listen: { address: tcp.address, keys: '' }, url: tcp.url, greeting: '' },
    {
      listen: { address: tcp.address, keys: 'proxy-protocol = true' },
      url: tcp.url,
      greeting: 'PROXY TCP4 203.0.113.9 127.0.0.1 4444 80\r\n',
    },
    { listen: { address: 'unix:b.sock', keys: '' }, url: `unix:${path}`, greeting: '' },
  ]
}

interface ListenerToTry {
  readonly listen: ListenSettings
  readonly url: string
  readonly greeting: string
}

describe('a reload', { timeout: 120_000 }, () => {
  test('to an equal configuration touches nothing, and says so', async (t) => {
    const daemon = await startDaemon(scopeOf(t), { workers: 2 })
    const line = await reload(daemon, { workers: 2 })
    assert.deepEqual([line['changed'], line['workers']], [[], 'untouched'])
    assert.equal(daemon.workerPids.length, 2)
  })

  test(`of what does not concern them leaves a download, a WebSocket, channels and requests alone, ${ROUNDS} times`, async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope, { workers: 2 })
    const session = await daemon.login()
    const work = await serveWork(scope, daemon)
    await startChannelServices(scope, daemon.place.plugin, ONE, TWO)
    const webSocket = await openWebSocket(scope, daemon, SOCKET, session)
    using channel = await openChannel(scope, daemon, session, ONE)
    using download = await RawClient.connect(daemon.url)
    await download.send(asked(session, NAME, '/long'))
    await download.until('\r\n\r\n')
    using kept = await RawClient.connect(daemon.url)
    for (let round = 1; round <= ROUNDS; round++) {
      const line = await reload(daemon, unrelated(round))
      assert.equal(line.event, 'reloaded', JSON.stringify(line))
      assert.equal(line['workers'], 'told')
      const answer = await kept.exchange(asked(session))
      assert.deepEqual([answer.text, answer.header('connection')], ['done', undefined])
      assert.equal((await exchange(daemon.url, asked(session, NAME, '', 'Connection: close\r\n'))).text, 'done')
      await expectChannel(channel, session, ONE)
      webSocket.send(`round ${round}`)
      const [data] = (await within(once(webSocket, 'message'), 'an echo')) as [Buffer]
      assert.equal(data.toString(), `round ${round}`)
      work.write(`round ${round};`)
      await download.until(`round ${round};`)
    }
    work.end()
    await download.until('0\r\n\r\n')
    assert.equal(daemon.workerPids.length, 2)
  })

  for (const transport of ['net', 'ring'])
    test(`that adds, changes and removes listeners and workers leaves all else alone, ${LISTENER_ROUNDS} times, on ${transport}`, async (t) => {
      const scope = scopeOf(t)
      const daemon = await startDaemon(scope, { workers: 2, transport })
      const session = await daemon.login()
      const work = await serveWork(scope, daemon)
      await startChannelServices(scope, daemon.place.plugin, ONE, TWO)
      const webSocket = await openWebSocket(scope, daemon, SOCKET, session)
      using channel = await openChannel(scope, daemon, session, ONE)
      using download = await RawClient.connect(daemon.url)
      await download.send(asked(session, NAME, '/long'))
      await download.until('\r\n\r\n')
      using kept = await RawClient.connect(daemon.url)
      const extra = listenersToTry(daemon, await freePort())
      for (let round = 1; round <= LISTENER_ROUNDS; round++) {
        const added = extra[round % (extra.length + 1)]
        const listeners = ['127.0.0.1:0', ...(added === undefined ? [] : [added.listen])]
        // The channel and the download may be in any of the first two, which stay.
        const line = await reload(daemon, { workers: 2 + (round % 2), transport, listen: listeners })
        assert.partialDeepStrictEqual(line, { event: 'reloaded', workers: 'told' }, JSON.stringify(line))
        const answer = await kept.exchange(asked(session))
        assert.deepEqual([answer.text, answer.header('connection')], ['done', undefined])
        if (added !== undefined) {
          const request = added.greeting + asked(session, NAME, '', 'Connection: close\r\n')
          assert.equal((await exchange(added.url, request)).text, 'done')
        }
        for (const { url } of extra) if (url !== added?.url) await assert.rejects(RawClient.connect(url), url)
        await expectChannel(channel, session, ONE)
        webSocket.send(`round ${round}`)
        const [data] = (await within(once(webSocket, 'message'), 'an echo')) as [Buffer]
        assert.equal(data.toString(), `round ${round}`)
        work.write(`round ${round};`)
        await download.until(`round ${round};`)
      }
      work.end()
      await download.until('0\r\n\r\n')
      const { workers } = (await daemon.place.ask('/status')) as { workers: unknown }
      assert.partialDeepStrictEqual(workers, { wanted: 2, ready: 2 })
    })

  for (const transport of ['net', 'ring'])
    for (const what of ['a reload that removes its listener', 'a stop'])
      test(`what waits to be accepted is answered before ${what}, on ${transport}`, async (t) => {
        const scope = scopeOf(t)
        const daemon = await startDaemon(scope, { transport, listen: ['127.0.0.1:0', 'unix:a.sock'] })
        const session = await daemon.login()
        await serveWork(scope, daemon)
        const [worker = 0] = daemon.workerPids
        const path = join(daemon.place.directory, 'a.sock')
        process.kill(worker, 'SIGSTOP')
        const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(`unix:${path}`)))
        scope.defer(() => clients.forEach((client) => client.destroy()))
        await Promise.all(clients.map((client) => client.send(asked(session))))
        await daemon.place.configure({ transport })
        daemon.child.signal(what === 'a stop' ? 'SIGTERM' : 'SIGHUP')
        await until(() => !existsSync(path), 'the primary to give up the listener')
        process.kill(worker, 'SIGCONT')
        for (const client of clients) {
          const answer = await client.response()
          assert.deepEqual([answer.text, answer.header('connection')], ['done', 'close'])
        }
      })

  test('that forbids channels for one service ends those, and no others', async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    const session = await daemon.login()
    await startChannelServices(scope, daemon.place.plugin, ONE, TWO)
    const [one, two] = [await openChannel(scope, daemon, session, ONE), await openChannel(scope, daemon, session, TWO)]
    const over = new Promise((resolve) => one.socket.once('close', resolve))
    const line = await reload(daemon, { tables: `[services.policy."${ONE}"]\nchannels = false\n` })
    assert.deepEqual([line['changed'], line['workers']], [['services.policy'], 'told'])
    await within(over, 'the end of the channel')
    await expectChannel(two, session, TWO)
  })

  test('puts limits, methods, directories, health and the log in force in the workers that run', async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    const session = await daemon.login()
    await serveWork(scope, daemon)
    using kept = await RawClient.connect(daemon.url)
    const long = asked(session, NAME, '', `X-Long: ${'x'.repeat(3000)}\r\n`)
    const health = 'GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n'
    assert.equal((await kept.exchange(long)).status, 200)
    assert.equal((await kept.exchange(health)).status, 404)
    const tables = '[control]\nhealth = true\n[log]\naccess = false\n[limits]\nidle-timeout = "300ms"\n'
    await reload(daemon, { services: 'methods = ["PUT"]', tables })
    assert.equal((await kept.exchange(health)).status, 200)
    assert.equal((await kept.exchange(asked(session))).status, 405)
    await within(kept.end(), 'the end of a connection that is idle')
    await reload(daemon, { tables: '[limits]\nhead-bytes = 2000\n[log]\nlevel = "debug"' })
    assert.equal((await exchange(daemon.url, long)).status, 431)
    assert.equal((await exchange(daemon.url, asked(session, 'com.example.none'))).status, 404)
    await daemon.event(({ event }) => event === 'service-connect', 'an event of the level debug')
    const statuses = daemon.events.filter(({ event }) => event === 'request').map(({ status }) => status)
    assert.deepEqual(statuses.slice(-3), [404, 431, 404])
    assert.equal(daemon.workerPids.length, 1)
  })

  test('puts names in force in the workers that run, and at the listener of metrics', async (t) => {
    const scope = scopeOf(t)
    const tables = '[control]\nhealth = true\nmetrics = "127.0.0.1:0"\n'
    const daemon = await startDaemon(scope, { tables })
    const metrics = String(daemon.events.find(({ event }) => event === 'started')?.['metrics'])
    const health = 'GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n'
    for (const url of [daemon.url, metrics]) assert.equal((await exchange(url, health)).status, 200)
    const taken = await reload(daemon, { top: 'host-names = ["Xen.Example.com"]', tables })
    assert.deepEqual([taken['changed'], taken['workers']], [['host-names'], 'told'])
    for (const url of [daemon.url, metrics]) {
      assert.equal((await exchange(url, health)).status, 421)
      assert.equal((await exchange(url, health.replace('gate', 'xen.example.com'))).status, 200)
    }
  })

  test('by xengate reload returns when it is in force, or says why it is not', async (t) => {
    const daemon = await startDaemon(scopeOf(t))
    const { place } = daemon
    await place.configure({ tables: '[control]\nhealth = true\n' })
    const taken = await place.command(['reload'])
    assert.deepEqual(
      [taken.code, taken.stdout],
      [0, 'in force: control.health (in the workers that run)\n'],
      taken.stderr,
    )
    const health = 'GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n'
    assert.equal((await exchange(daemon.url, health)).status, 200)
    assert.equal((await place.command(['reload'])).stdout, 'the configuration has not changed\n')
    const told: unknown = JSON.parse((await place.command(['reload', '--json'])).stdout)
    assert.deepEqual(told, { schema: 1, changed: [], workers: 'untouched', certificates: [] })

    await place.configure({ tables: '[control]\nmetrics = "127.0.0.1:1"\nhealth = false\n[host]\nalerts = false\n' })
    const refused = await place.command(['reload'])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /host\.alerts cannot be changed by a reload.*\[reload-refused\]/)
    assert.equal((await exchange(daemon.url, health)).status, 200)

    await place.configure({ tables: '[limits]\nhead-bites = 3' })
    const invalid = await place.command(['reload'])
    assert.equal(invalid.code, 1)
    assert.match(invalid.stderr, /head-bites/)
    const status = await place.command(['status'])
    assert.equal(status.code, 0, 'the daemon that runs is asked all the same')
    await appendFile(place.configuration, 'foo = [\n')
    assert.equal((await place.command(['status'])).code, 0)
    const broken = await place.command(['reload'])
    assert.equal(broken.code, 1)
    assert.match(broken.stderr, /not TOML.*\[reload-refused\]/s)
    await daemon.event(({ event }) => event === 'reload-refused', 'the refusal in the log')
    assert.equal((await exchange(daemon.url, health)).status, 200)

    await place.configure({})
    assert.equal((await daemon.stop()).code, 0)
    const absent = await place.command(['reload'])
    assert.equal(absent.code, 1)
    assert.match(absent.stderr, /\[daemon-absent\]/)
  })

  test('that workers cannot take starts others, and says so', async (t) => {
    const daemon = await startDaemon(scopeOf(t))
    const line = await reload(daemon, { transport: OTHER_TRANSPORT })
    assert.deepEqual([line['changed'], line['workers']], [['transport'], 'new'])
    assert.equal(daemon.workerPids.length, 2)
  })
})

// `xengate drain` takes the daemon out of service and cuts nothing, and `--undo` puts it in service again.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp, startChannelServices } from './harness/services.ts'

const NAME = 'com.example.work'
const ONE = 'com.example.one'
const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n'

function asked(session: string, name = NAME, path = '', lines = ''): string {
  return `GET /services/plugin/${name}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
}

interface Started {
  readonly daemon: Daemon
  readonly session: string
  /** Where health is read without a listener. */
  readonly metrics: string
  /** Ends the answers to `/held`. */
  readonly release: () => void
}

async function start(scope: Scope, transport: string, limits = ''): Promise<Started> {
  const metrics = `unix:${join(await scope.directory(), 'metrics.sock')}`
  const tables = `[control]\nmetrics = "${metrics}"\nhealth = true\n${limits}`
  const daemon = await startDaemon(scope, { workers: 2, transport, tables })
  const release = Promise.withResolvers<void>()
  await serveHttp(scope, daemon.place.socket(NAME), ({ url = '' }, response) => {
    if (!url.endsWith('/held')) {
      response.end('done')
      return
    }
    response.write('begun ')
    void release.promise.then(() => response.end('and done'))
  })
  return { daemon, session: await daemon.login(), metrics, release: () => release.resolve() }
}

async function hold(daemon: Daemon, session: string): Promise<RawClient> {
  const client = await RawClient.connect(daemon.url)
  await client.send(asked(session, NAME, '/held'))
  await client.until('begun ')
  return client
}

for (const transport of ['net', 'ring'])
  describe(`xengate drain, on ${transport}`, { timeout: 120_000 }, () => {
    test('waits for what runs, while health is 503, idle connections end, and what comes is served once more', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, metrics, release } = await start(scope, transport)
      using idle = await RawClient.connect(daemon.url)
      assert.equal((await idle.exchange(asked(session))).header('connection'), undefined)
      using held = await hold(daemon, session)
      let hasReturned = false
      const drained = daemon.place.command(['drain']).finally(() => (hasReturned = true))
      await daemon.event(({ event }) => event === 'out-of-service', 'the drain')
      for (const url of [metrics, daemon.url]) assert.equal((await exchange(url, HEALTH)).status, 503)
      await idle.end()
      using other = await RawClient.connect(daemon.url)
      const last = await other.exchange(asked(session))
      assert.deepEqual([last.text, last.header('connection')], ['done', 'close'])
      await other.end()
      assert.equal(hasReturned, false)
      release()
      await held.until('and done')
      const { code, stdout, stderr } = await drained
      assert.deepEqual([code, stdout, stderr], [0, 'out of service, and nothing runs any more\n', ''])
      assert.equal(((await daemon.place.ask('/status')) as { outOfService: boolean }).outOfService, true)
      assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    })

    test('lists what still runs when drain-timeout is over, cuts nothing, and is undone', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, metrics, release } = await start(scope, transport, '[limits]\ndrain-timeout = "300ms"\n')
      using held = await hold(daemon, session)
      const { code, stdout } = await daemon.place.command(['drain', '--json'])
      const { drained, running } = JSON.parse(stdout) as { drained: boolean; running: { request: unknown }[] }
      assert.deepEqual([code, drained, running.length], [1, false, 1])
      assert.partialDeepStrictEqual(running[0]?.request, { service: NAME, user: 'alice', way: 'relay' })
      const listed = await daemon.place.command(['drain'])
      assert.equal(listed.code, 1)
      assert.match(listed.stdout, /com\.example\.work +alice +GET \/services/)
      const undone = await daemon.place.command(['drain', '--undo'])
      assert.deepEqual([undone.code, undone.stdout], [0, 'in service again\n'])
      release()
      const text = await held.until('and done\r\n0\r\n\r\n')
      assert.match(text, /and done/)
      for (const url of [metrics, daemon.url]) assert.equal((await exchange(url, HEALTH)).status, 200)
      using kept = await RawClient.connect(daemon.url)
      assert.equal((await kept.exchange(asked(session))).header('connection'), undefined)
    })

    test('does not wait for who waits for events of the XenAPI', async (t) => {
      const { daemon, session } = await start(scopeOf(t), transport)
      using client = await RawClient.connect(daemon.url)
      const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'event.from', params: [session, ['task'], '', 30] })
      const { result } = await daemon.call('event.from', [session, ['task'], '', 0])
      const waits = body.replace('""', JSON.stringify((result as { token: string }).token))
      const lines = `Host: gate\r\nContent-Type: application/json\r\nContent-Length: ${waits.length}\r\n`
      await client.send(`POST /jsonrpc HTTP/1.1\r\n${lines}\r\n${waits}`)
      await until(async () => {
        const { connections } = (await daemon.place.ask('/control/connections')) as { connections: { state: string }[] }
        return connections.some(({ state }) => state === 'active')
      }, 'the call')
      assert.equal((await daemon.place.command(['drain'])).code, 0)
      assert.equal(client.unread, '')
    })

    test('waits for channels, and lets no other connection become one', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session } = await start(scope, transport)
      await startChannelServices(scope, daemon.place.plugin, ONE)
      const isChannel = async (client: RawClient): Promise<boolean> => {
        const { text } = await client.exchange(asked(session, ONE, '/who'))
        return (JSON.parse(text) as { channel: boolean }).channel
      }
      using channel = await RawClient.connect(daemon.url)
      assert.equal(await isChannel(channel), true)
      const drained = daemon.place.command(['drain'])
      await daemon.event(({ event }) => event === 'out-of-service', 'the drain')
      using other = await RawClient.connect(daemon.url)
      assert.equal(await isChannel(other), false)
      assert.equal(await isChannel(channel), true)
      channel.destroy()
      assert.equal((await drained).code, 0)
    })

    test('holds for workers that take the place of others, and ends a wait that is undone', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, release } = await start(scope, transport)
      using held = await hold(daemon, session)
      const drained = daemon.place.command(['drain'])
      await daemon.event(({ event }) => event === 'out-of-service', 'the drain')
      const [before = 0, ...more] = daemon.workerPids
      for (const pid of [before, ...more]) if (await hasNoRequest(daemon, pid)) process.kill(pid, 'SIGKILL')
      await until(() => daemon.workerPids.length > 2, 'another worker')
      assert.equal((await exchange(daemon.url, HEALTH)).status, 503)
      assert.equal((await daemon.place.command(['drain', '--undo'])).code, 0)
      const { code, stderr } = await drained
      assert.equal(code, 1)
      assert.match(stderr, /put in service again meanwhile \[drain-refused\]/)
      release()
      await held.until('and done')
    })
  })

/** Whether no request is under way in this worker. */
async function hasNoRequest(daemon: Daemon, pid: number): Promise<boolean> {
  const { connections } = (await daemon.place.ask('/control/connections')) as {
    connections: { id: string; request: unknown }[]
  }
  return !connections.some(({ id, request }) => id.startsWith(`${pid}-`) && request !== null)
}

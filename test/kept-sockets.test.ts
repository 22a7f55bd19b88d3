// The service manager keeps the listening sockets: when the primary is killed nobody is refused, and the next one answers who waits, and who
// was connected.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Daemon, type DaemonSettings, Place } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp, startChannelServices } from './harness/services.ts'
import { freePort } from './harness/tls.ts'
import { openWebSocket } from './harness/web-socket.ts'

const NAME = 'com.example.work'
const HELD = 'com.example.held'
const CHANNEL = 'com.example.passed'
const SOCKET = 'com.example.socket'
/** More than one pair of sockets has room for, of each of two workers. */
const KEPT = 700
const SYSTEMD = join(import.meta.dirname, 'harness/systemd.py')

function asked(session: string, service = NAME): string {
  return `GET /services/plugin/${service} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

interface Started {
  readonly daemon: Daemon
  readonly session: string
  readonly urls: readonly string[]
  readonly settings: DaemonSettings & { readonly listen: readonly [tcp: string, unix: string] }
  readonly path: string
}

/** A daemon with two listeners below a service manager. */
async function start(scope: Scope, transport: string): Promise<Started> {
  const port = await freePort()
  const settings = { transport, workers: 2, listen: [`127.0.0.1:${port}`, 'unix:a.sock'] as const }
  const place = await Place.make(scope, settings)
  await place.addDefaultUser()
  await serveHttp(scope, place.socket(NAME), (_, response) => void response.end('done'))
  const daemon = await place.start(['python3', SYSTEMD, join(place.directory, 'notify')])
  const path = join(place.directory, 'a.sock')
  await keeps(daemon, [`xengate=${path}`, `xengate=127.0.0.1 ${port}`])
  const urls = [`http://127.0.0.1:${port}`, `unix:${path}`]
  return { daemon, session: await daemon.login(), urls, settings, path }
}

/** Waits until the manager keeps what has these names. */
async function keeps({ child }: Daemon, names: readonly string[]): Promise<void> {
  const passage = names.length === 0 ? [] : ['xengate=passage give', 'xengate=passage take']
  const all = [...names, ...passage].toSorted()
  const wanted = `kept [${all.map((name) => `'${name}'`).join(', ')}]`
  await until(() => child.stdout.split('\n').findLast((line) => line.startsWith('kept ')) === wanted, wanted)
}

async function pidOf({ place }: Daemon): Promise<number> {
  return ((await place.ask('/status')) as { pid: number }).pid
}

function starts({ events }: Daemon): number {
  return events.filter(({ event }) => event === 'started').length
}

/** Kills the primary, and has the manager start another one once `meanwhile` is over. */
async function crash(daemon: Daemon, meanwhile: () => Promise<void>): Promise<void> {
  const seen = starts(daemon)
  const pid = await pidOf(daemon)
  const pids = ((await daemon.place.ask('/status')) as { workers: { pids: readonly number[] } }).workers.pids
  process.kill(pid, 'SIGKILL')
  await until(() => pids.every((one) => !existsSync(`/proc/${one}`)), 'the end of the workers')
  await meanwhile()
  daemon.child.process.stdin?.write('again\n')
  await until(() => starts(daemon) > seen, 'another daemon')
}

for (const transport of ['net', 'ring'])
  describe(`a service manager that keeps sockets, on ${transport}`, { timeout: 120_000 }, () => {
    test('has nobody refused when the primary is killed, again and again', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, urls } = await start(scope, transport)
      for (let round = 0; round < 2; round++) {
        const clients: RawClient[] = []
        await crash(daemon, async () => {
          for (const url of urls) {
            const client = await RawClient.connect(url)
            scope.defer(() => client.destroy())
            clients.push(client)
            await client.send(asked(session))
          }
        })
        for (const client of clients) assert.equal((await client.response()).text, 'done')
      }
    })

    test('has kept connections go on when the primary is killed, with what is asked on them meanwhile', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, urls } = await start(scope, transport)
      const ids = async (): Promise<readonly string[]> => {
        const { connections } = (await daemon.place.ask('/control/connections')) as { connections: { id: string }[] }
        return connections.map(({ id }) => id).toSorted()
      }
      const clients = await Promise.all(
        Array.from({ length: KEPT }, (_, index) => RawClient.connect(urls[index % urls.length] ?? '')),
      )
      for (const client of clients) {
        scope.defer(() => client.destroy())
        assert.equal((await client.exchange(asked(session))).text, 'done')
      }
      const before = await ids()
      assert.equal(before.length, KEPT)
      for (let round = 0; round < 2; round++) {
        const some = clients.slice(0, 10)
        await crash(daemon, async () => {
          for (const client of some) await client.send(asked(session))
        })
        for (const client of some) assert.equal((await client.response()).text, 'done')
        assert.deepEqual(await ids(), before)
      }
      for (const client of clients) assert.equal((await client.exchange(asked(session))).text, 'done')
    })

    test('has channels, WebSockets and requests under way end when the primary is killed', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, urls } = await start(scope, transport)
      await startChannelServices(scope, daemon.place.plugin, CHANNEL)
      await serveHttp(scope, daemon.place.socket(HELD), (_, response) => void response.write('begun'))
      const begin = async (service: string, begun: string): Promise<RawClient> => {
        const client = await RawClient.connect(urls[0] ?? '')
        scope.defer(() => client.destroy())
        await client.send(asked(session, service))
        await client.until(begun)
        return client
      }
      const [channel, held] = [await begin(CHANNEL, '\r\n\r\n'), await begin(HELD, 'begun')]
      const closed = once(await openWebSocket(scope, daemon, SOCKET, session), 'close')
      await crash(daemon, async () => {
        await Promise.all([channel.end(), held.end(), within(closed, 'the end of the WebSocket')])
      })
    })

    test('keeps what a reload adds, and not what it removes, nor anything after a stop', async (t) => {
      const { daemon, session, settings, urls, path } = await start(scopeOf(t), transport)
      const [tcp] = settings.listen
      const other = join(daemon.place.directory, 'b.sock')
      await daemon.place.configure({ ...settings, listen: [tcp, 'unix:b.sock'] })
      const { code, stderr } = await daemon.place.command(['reload'])
      assert.equal(code, 0, stderr)
      await keeps(daemon, [`xengate=${other}`, `xengate=${tcp.replace(':', ' ')}`])
      assert.ok(!existsSync(path))
      let waiting: RawClient | undefined
      await crash(daemon, async () => {
        waiting = await RawClient.connect(`unix:${other}`)
        await waiting.send(asked(session))
      })
      assert.equal((await waiting?.response())?.text, 'done')
      waiting?.destroy()
      process.kill(await pidOf(daemon), 'SIGTERM')
      await daemon.event(({ event }) => event === 'stopped', 'the stop')
      await keeps(daemon, [])
      for (const url of [...urls, `unix:${other}`]) await assert.rejects(RawClient.connect(url), url)
      assert.ok(!existsSync(other), 'the file is the daemon’s own')
    })

    test('keeps those of the process that takes the place of another', async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, settings, path } = await start(scope, transport)
      const [tcp] = settings.listen
      await daemon.place.configure({ ...settings, listen: [tcp] })
      const { code, stderr } = await daemon.place.command(['upgrade'])
      assert.equal(code, 0, stderr)
      scope.defer(async () => void process.kill(await pidOf(daemon), 'SIGKILL'))
      await keeps(daemon, [`xengate=${tcp.replace(':', ' ')}`])
      assert.ok(!existsSync(path))
      using client = await RawClient.connect(`http://${tcp}`)
      await client.send(asked(session))
      assert.equal((await client.response()).text, 'done')
    })

    test('gives back what the configuration does not have any more, and then keeps it no longer', async (t) => {
      const { daemon, settings, urls, path } = await start(scopeOf(t), transport)
      const [tcp] = settings.listen
      await crash(daemon, () => daemon.place.configure({ ...settings, listen: [tcp] }))
      await keeps(daemon, [`xengate=${tcp.replace(':', ' ')}`])
      await assert.rejects(RawClient.connect(urls[1] ?? ''))
      assert.ok(!existsSync(path))
    })
  })

// Channels and WebSockets go on in other workers and in another process of the gateway: at an upgrade, at a reload that needs new workers, and
// when there are to be fewer.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { WebSocket } from 'ws'
import { isAlive } from './harness/child.ts'
import { type Daemon, type DaemonSettings, type LogEvent, startDaemon, successors } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { Scrape } from './harness/metrics.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { echoUpgrades, startChannelServices } from './harness/services.ts'
import { openWebSocket } from './harness/web-socket.ts'

const SOCKET = 'com.example.socket'
const ECHO = 'com.example.echo'
const ONE = 'com.example.one'
/** Far longer than any test: nothing may have to be cut at its end. */
const LIMITS = '[limits]\ndrain-timeout = "10m"\n'

/** What is streamed again and again; its length divides by nothing that is read or written at a time. */
const PATTERN = randomBytes(1_000_003)

/** Bytes to and fro without a pause, at a service that says back what it hears. */
class Stream {
  readonly #socket: Socket
  #sentBytes = 0
  #heardBytes = 0
  /** What went wrong; null as long as nothing did. */
  wrong: string | null = null

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#heard(chunk))
    socket.on('error', (error) => (this.wrong ??= error.message))
    socket.on('close', () => (this.wrong ??= 'the end of the connection'))
    socket.on('drain', () => this.#send())
    this.#send()
  }

  #send(): void {
    for (let goesOn = true; goesOn;) {
      const at = this.#sentBytes % PATTERN.length
      const piece = PATTERN.subarray(at, at + 65_536)
      this.#sentBytes += piece.length
      goesOn = this.#socket.write(piece)
    }
  }

  #heard(chunk: Buffer): void {
    for (let from = 0; from < chunk.length;) {
      const at = this.#heardBytes % PATTERN.length
      const piece = chunk.subarray(from, from + PATTERN.length - at)
      if (!PATTERN.subarray(at, at + piece.length).equals(piece)) this.wrong ??= `other bytes after ${this.#heardBytes}`
      this.#heardBytes += piece.length
      from += piece.length
    }
  }

  /** Waits until much more has come back. */
  async more(): Promise<void> {
    const wanted = this.#heardBytes + 5 * PATTERN.length
    await until(() => this.wrong !== null || this.#heardBytes >= wanted, 'more of the stream')
  }
}

async function openStream(scope: Scope, daemon: Daemon, session: string): Promise<Stream> {
  const client = await RawClient.connect(daemon.url)
  scope.defer(() => client.destroy())
  const lines = `Host: gate\r\nCookie: session_id=${session}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
  await client.send(`GET /services/plugin/${ECHO} HTTP/1.1\r\n${lines}\r\n`)
  assert.match(await client.until('\r\n\r\n'), /^HTTP\/1\.1 101 /)
  client.socket.removeAllListeners('data')
  return new Stream(client.socket)
}

interface Shown {
  readonly id: string
  readonly since: string
  readonly state: string
  readonly request: {
    readonly channel: string | null
    readonly service: string
    readonly user: string
    readonly since: string
    readonly bytesIn: number
    readonly bytesOut: number
  }
}

interface Started {
  readonly daemon: Daemon
  readonly session: string
  readonly settings: DaemonSettings
  readonly metrics: string
  readonly channel: RawClient
  readonly webSocket: WebSocket
}

/** A daemon with a channel and a WebSocket. */
async function start(scope: Scope, transport: string): Promise<Started> {
  const metrics = `unix:${join(await scope.directory(), 'metrics.sock')}`
  const settings = { workers: 2, transport, tables: `${LIMITS}[control]\nmetrics = "${metrics}"\n` }
  const daemon = await startDaemon(scope, settings)
  scope.defer(async () => {
    for (const pid of successors(daemon)) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
    await until(() => successors(daemon).every((pid) => !isAlive(pid)), 'the end of all that took its place')
  })
  await startChannelServices(scope, daemon.place.plugin, ONE)
  const session = await daemon.login()
  const channel = await RawClient.connect(daemon.url)
  scope.defer(() => channel.destroy())
  await useChannel(channel, session)
  return { daemon, session, settings, metrics, channel, webSocket: await openWebSocket(scope, daemon, SOCKET, session) }
}

async function useChannel(client: RawClient, session: string): Promise<void> {
  const request = `GET /services/plugin/${ONE}/who HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
  const { text } = await client.exchange(request)
  assert.equal((JSON.parse(text) as { channel: boolean }).channel, true)
}

async function useWebSocket(socket: WebSocket): Promise<void> {
  const text = `message ${Math.random()}`
  socket.send(text)
  const [data] = (await within(once(socket, 'message'), 'an echo')) as [Buffer]
  assert.equal(data.toString(), text)
}

async function connections(daemon: Daemon): Promise<readonly Shown[]> {
  const { connections: all } = (await daemon.place.ask('/control/connections')) as { connections: readonly Shown[] }
  return all
    .filter(({ state }) => state === 'channel' || state === 'tunnel')
    .toSorted((one, other) => (one.state < other.state ? -1 : 1))
}

/** What changes the workers of the daemon; the earlier ones are gone when it resolves. */
type Change = (started: Started) => Promise<void>

async function gone(daemon: Daemon, pids: readonly number[]): Promise<void> {
  assert.ok(pids.length > 0)
  await until(() => pids.every((pid) => !isAlive(pid)), `the end of the earlier processes of ${daemon.child.pid}`)
}

const upgrade: Change = async ({ daemon }) => {
  const before = successors(daemon).at(-1) ?? daemon.child.pid
  const { code, stderr } = await daemon.place.command(['upgrade'])
  assert.equal(code, 0, stderr)
  await gone(daemon, [before])
}

async function reload({ daemon }: Started, settings: DaemonSettings): Promise<LogEvent> {
  await daemon.place.configure(settings)
  const seen = daemon.events.filter(({ event }) => event === 'reloaded').length
  const { code, stderr } = await daemon.place.command(['reload'])
  assert.equal(code, 0, stderr)
  return until(() => daemon.events.filter(({ event }) => event === 'reloaded')[seen], 'the reload')
}

const toOtherTransportAndBack: Change = async (started) => {
  const { daemon, settings } = started
  for (const transport of [settings.transport === 'net' ? 'ring' : 'net', settings.transport ?? '']) {
    const pids = daemon.workerPids.filter(isAlive)
    const line = await reload(started, { ...settings, transport })
    assert.equal(line['workers'], 'new')
    await gone(daemon, pids)
  }
}

const toFewerAndBack: Change = async (started) => {
  const { daemon, settings } = started
  for (const [workers, left] of [
    [1, 1],
    [3, 3],
    [1, 1],
  ] as const) {
    await reload(started, { ...settings, workers })
    await until(async () => {
      const status = (await daemon.place.ask('/status')) as { workers: { pids: readonly number[] } }
      return status.workers.pids.length === left
    }, `${left} workers`)
  }
}

const CHANGES: readonly (readonly [string, Change])[] = [
  ['an upgrade', upgrade],
  ['a reload that needs new workers', toOtherTransportAndBack],
  ['a reload to fewer workers', toFewerAndBack],
]

for (const transport of ['net', 'ring'])
  describe(`channels and WebSockets, on ${transport}`, { timeout: 180_000 }, () => {
    for (const [what, change] of CHANGES) {
      test(`go on after ${what}, as what they were`, async (t) => {
        const started = await start(scopeOf(t), transport)
        const { daemon, session, channel, webSocket, metrics } = started
        const before = await connections(daemon)
        assert.equal(before.length, 2)
        for (let round = 0; round < 2; round++) {
          await change(started)
          await useChannel(channel, session)
          await useWebSocket(webSocket)
        }
        const isMore = ({ request }: Shown, index: number): boolean => {
          const { bytesIn = 0, bytesOut = 0 } = before[index]?.request ?? {}
          return request.bytesIn > bytesIn && request.bytesOut > bytesOut
        }
        // A service tells now and then what it has counted.
        const after = await until(async () => {
          const all = await connections(daemon)
          return all.length > 0 && all.every(isMore) && all
        }, 'counts that go on')
        assert.deepEqual(
          after.map(({ id, state, request: { channel: name, service, user } }) => [id, state, name, service, user]),
          before.map(({ id, state, request: { channel: name, service, user } }) => [id, state, name, service, user]),
        )
        for (const [index, { since, request }] of after.entries()) {
          const was = before[index]
          assert.ok(was !== undefined)
          assert.ok(Math.abs(Date.parse(since) - Date.parse(was.since)) < 100, 'it is as old as it was')
          assert.ok(Math.abs(Date.parse(request.since) - Date.parse(was.request.since)) < 100, 'what is under way, too')
        }
        const scrape = await Scrape.of(metrics)
        assert.equal(scrape.sum('xengate_channels', { service: ONE }), 1)
        assert.equal(scrape.sum('xengate_channels_passed_total', { service: ONE }), 1)
        assert.equal(scrape.sum('xengate_requests_in_flight', { service: SOCKET }), 1)
        channel.destroy()
        webSocket.close()
        const line = await daemon.event(({ event }) => event === 'channel', 'the end of the channel')
        assert.partialDeepStrictEqual(line, { service: ONE, user: 'alice', outcome: 'complete', requests: 3 })
        const tunnel = await daemon.event(
          ({ event, status }) => event === 'request' && status === 101,
          'that of the WebSocket',
        )
        assert.partialDeepStrictEqual(tunnel, { service: SOCKET, user: 'alice', outcome: 'complete' })
      })

      test(`end with their session after ${what}`, async (t) => {
        const started = await start(scopeOf(t), transport)
        const { daemon, session, channel, webSocket } = started
        await change(started)
        const closed = once(webSocket, 'close')
        await daemon.logout(session)
        await Promise.all([channel.end(), within(closed, 'the end of the WebSocket')])
        await until(async () => (await connections(daemon)).length === 0, 'the end of both')
      })
    }

    for (const [what, change] of CHANGES)
      test(`lose no byte of a stream both ways in ${what}`, async (t) => {
        const scope = scopeOf(t)
        const started = await start(scope, transport)
        const { daemon, session } = started
        await echoUpgrades(scope, daemon.place.socket(ECHO))
        const stream = await openStream(scope, daemon, session)
        await stream.more()
        await change(started)
        await stream.more()
        assert.equal(stream.wrong, null)
      })

    test('end after a reload with new workers that forbids them', async (t) => {
      const started = await start(scopeOf(t), transport)
      const { channel, webSocket, settings } = started
      const closed = once(webSocket, 'close')
      const tables = `${settings.tables}[services.policy."${ONE}"]\nchannels = false\n[services.policy."${SOCKET}"]\nroles = { PUT = ["pool-admin"] }\n`
      await reload(started, { ...settings, transport: transport === 'net' ? 'ring' : 'net', tables })
      await Promise.all([channel.end(), within(closed, 'the end of the WebSocket')])
    })

    test('end with a session that ends while they are on their way', async (t) => {
      const started = await start(scopeOf(t), transport)
      const { daemon, session, settings, channel, webSocket } = started
      const closed = once(webSocket, 'close')
      await daemon.place.configure({ ...settings, transport: transport === 'net' ? 'ring' : 'net' })
      await Promise.all([
        daemon.place.command(['reload']),
        daemon.event(({ event }) => event === 'reloaded', 'it').then(() => daemon.logout(session)),
      ])
      await Promise.all([channel.end(), within(closed, 'the end of the WebSocket')])
    })
  })

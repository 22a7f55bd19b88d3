// The metrics are what happened, to the last request: over deaths of workers, reloads, and whatever clients send.

import assert from 'node:assert/strict'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { serve } from '@xengate/service'
import { type Daemon, type DaemonSettings, startDaemon, OTHER_TRANSPORT } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { Scrape } from './harness/metrics.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.work'
const CHANNELS = 'com.example.channels'
const METRICS = '[control]\nmetrics = "127.0.0.1:0"\n'

function metricsUrl(daemon: Daemon): string {
  return String(daemon.events.find(({ event }) => event === 'started')?.['metrics'])
}

function head(method: string, target: string, session: string, more = ''): string {
  return `${method} ${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${more}\r\n`
}

async function startWithService(scope: Scope, settings: DaemonSettings = {}): Promise<Daemon> {
  const daemon = await startDaemon(scope, { tables: METRICS, ...settings })
  await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
    request.resume()
    response.writeHead(request.url?.endsWith('/broken') === true ? 500 : 200).end('done')
  })
  return daemon
}

/** What one load adds, by labels that tell it apart. */
const EXPECTED: readonly (readonly [name: string, labels: Readonly<Record<string, string>>, count: number])[] = [
  ['xengate_requests_total', { service: NAME, method: 'GET', code: '2xx', way: 'relay' }, 5],
  ['xengate_requests_total', { service: NAME, method: 'POST', code: '2xx', way: 'relay' }, 3],
  ['xengate_requests_total', { service: NAME, method: 'GET', code: '5xx', way: 'relay' }, 2],
  ['xengate_requests_total', { service: '', method: 'GET', code: '4xx', way: 'refused' }, 4],
  ['xengate_requests_total', { service: '_other', method: 'GET', code: '4xx', way: 'refused' }, 2],
  ['xengate_requests_total', { service: NAME, method: 'DELETE', code: '4xx', way: 'refused' }, 1],
  ['xengate_requests_total', { service: '_other', method: 'GET', code: '3xx', way: 'redirect' }, 0],
  ['xengate_requests_total', { service: 'com.example.elsewhere', method: 'GET', code: '3xx', way: 'redirect' }, 1],
  ['xengate_requests_total', { service: '', method: '_OTHER', code: '4xx', way: 'refused' }, 1],
  ['xengate_refused_total', { reason: 'session-missing' }, 4],
  ['xengate_refused_total', { reason: 'service-unknown' }, 2],
  ['xengate_refused_total', { reason: 'method-not-allowed' }, 1],
  ['xengate_refused_total', { reason: 'service-elsewhere' }, 1],
  ['xengate_refused_total', { reason: 'start-line-invalid' }, 1],
  ['xengate_redirects_total', { host: 'other.example' }, 1],
  ['xengate_request_bytes_total', { service: NAME }, 3 * 7],
  ['xengate_response_bytes_total', { service: NAME }, 10 * 4],
  ['xengate_request_duration_seconds_count', { service: NAME }, 10],
  ['xengate_request_duration_seconds_bucket', { service: NAME, le: '+Inf' }, 10],
  ['xengate_time_to_first_byte_seconds_count', { service: NAME }, 10],
  ['xengate_gateway_duration_seconds_count', { phase: 'admit' }, 10],
  ['xengate_connections_closed_total', { reason: 'start-line-invalid' }, 1],
]

async function load(daemon: Daemon, session: string): Promise<void> {
  using client = await RawClient.connect(daemon.url)
  const path = `/services/plugin/${NAME}`
  for (let count = 0; count < 5; count++) await client.exchange(head('GET', path, session))
  for (let count = 0; count < 3; count++) {
    await client.exchange(`${head('POST', path, session, 'Content-Length: 7\r\n')}1234567`)
  }
  for (let count = 0; count < 2; count++) await client.exchange(head('GET', `${path}/broken`, session))
  for (let count = 0; count < 4; count++) await client.exchange(`GET ${path} HTTP/1.1\r\nHost: gate\r\n\r\n`)
  for (let count = 0; count < 2; count++) await client.exchange(head('GET', `${path}.none`, session))
  await client.exchange(head('DELETE', path, session))
  await client.exchange(head('GET', '/services/plugin/com.example.elsewhere', session))
  await client.exchange('GET /x\r\n\r\n')
}

async function expectLoads(daemon: Daemon, loads: number, since: Scrape): Promise<void> {
  const url = metricsUrl(daemon)
  // A response may be read just before it is counted.
  await until(async () => {
    const now = await Scrape.of(url)
    return now.sum('xengate_connections_closed_total') - since.sum('xengate_connections_closed_total') >= loads
  }, 'the end of the loads')
  const now = await Scrape.of(url)
  for (const [name, labels, count] of EXPECTED) {
    const what = `${name} ${JSON.stringify(labels)}`
    assert.equal(now.sum(name, labels) - since.sum(name, labels), count * loads, what)
  }
  assert.equal(now.sum('xengate_requests_in_flight'), 0)
  assert.equal(now.sum('xengate_connections'), 0)
}

const ELSEWHERE = '[pool]\nregistry = "static"\n[pool.static]\n"com.example.elsewhere" = "https://other.example:8443"\n'

test('counts every request once, also when its worker is killed, and over reloads', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startWithService(scope, { tables: METRICS + ELSEWHERE })
  const session = await daemon.login()
  const before = await Scrape.of(metricsUrl(daemon))
  await load(daemon, session)
  await expectLoads(daemon, 1, before)

  const [worker = 0] = daemon.workerPids
  process.kill(worker, 'SIGKILL')
  await until(() => daemon.workerPids.length === 2, 'another worker')
  await expectLoads(daemon, 1, before)
  await load(daemon, session)
  await expectLoads(daemon, 2, before)

  await daemon.place.configure({ tables: METRICS + ELSEWHERE, transport: OTHER_TRANSPORT })
  process.kill(daemon.child.pid, 'SIGHUP')
  await daemon.event(({ event }) => event === 'worker-stopped', 'the end of the earlier worker')
  await expectLoads(daemon, 2, before)
  await load(daemon, session)
  await expectLoads(daemon, 3, before)
  const now = await Scrape.of(metricsUrl(daemon))
  assert.equal(now.sum('xengate_config_reloads_total', { result: 'taken' }), 1)
  assert.equal(now.sum('xengate_config_last_reload_successful'), 1)
  assert.equal(now.sum('xengate_sign_ins_total', { authority: 'embedded', result: 'ok' }), 1)
  assert.equal(now.sum('xengate_sessions', { authority: 'embedded' }), 1)
  assert.equal(now.sum('xengate_session_lookups_total', { result: 'session' }), 3)
  assert.equal(now.sum('xengate_workers', { state: 'ready' }), 1)
  assert.equal(now.sum('xengate_log_events_total', { event: 'worker-died' }), 1)
  assert.ok(now.sum('process_resident_memory_bytes', { process: 'worker-1' }) > 1_000_000)
  assert.ok(now.sum('process_open_fds', { process: 'primary' }) > 3)
})

test('of a worker that is killed at work nothing is lost that was answered', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startWithService(scope)
  const session = await daemon.login()
  const [worker = 0] = daemon.workerPids
  let [sent, received] = [0, 0]
  const work = async (): Promise<void> => {
    using client = await RawClient.connect(daemon.url)
    for (;;) {
      sent++
      await client.exchange(head('GET', `/services/plugin/${NAME}`, session))
      if (++received === 200) process.kill(worker, 'SIGKILL')
    }
  }
  const ends = await Promise.allSettled([work(), work(), work(), work()])
  assert.ok(ends.every(({ status }) => status === 'rejected'))
  await daemon.event(({ event }) => event === 'worker-died', 'the end of the worker')
  const counted = (await Scrape.of(metricsUrl(daemon))).sum('xengate_requests_total', { service: NAME, code: '2xx' })
  assert.ok(received >= 200 && counted >= received && counted <= sent, `${received} ≤ ${counted} ≤ ${sent}`)
})

test('counts what services tell of channels, and connections to services', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { tables: METRICS })
  const service = await serve({
    name: CHANNELS,
    directory: daemon.place.plugin,
    handler: (_request, response) => response.end('from the service'),
  })
  scope.defer(() => service.close())
  const session = await daemon.login()
  using client = await RawClient.connect(daemon.url)
  for (let count = 0; count < 7; count++) {
    await client.exchange(head('GET', `/services/plugin/${CHANNELS}`, session))
  }
  const during = await Scrape.of(metricsUrl(daemon))
  assert.equal(during.sum('xengate_channels', { service: CHANNELS }), 1)
  assert.equal(during.sum('xengate_connections', { state: 'channel' }), 1)
  client.destroy()
  const url = metricsUrl(daemon)
  const after = await until(async () => {
    const scrape = await Scrape.of(url)
    return scrape.sum('xengate_channels', { service: CHANNELS }) === 0 ? scrape : undefined
  }, 'the end of the channel')
  assert.equal(after.sum('xengate_requests_total', { service: CHANNELS, way: 'channel' }), 7)
  assert.equal(after.sum('xengate_channels_passed_total', { service: CHANNELS }), 1)
  assert.ok(after.sum('xengate_response_bytes_total', { service: CHANNELS }) >= 7 * 16)
})

test('adds no series for what clients make up', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startWithService(scope)
  const session = await daemon.login()
  const hostile = (index: number): string =>
    [
      head(`M${index}`, `/services/plugin/${NAME}/${index}`, session),
      head('GET', `/services/plugin/name-${index}/x`, session),
      `GET /${index}?${index} HTTP/1.1\r\nHost: host-${index}\r\n\r\n`,
      head('GET', '/services/plugin/a', `OpaqueRef:${index}`),
    ][index % 4] ?? ''
  const url = metricsUrl(daemon)
  const send = async (from: number, to: number): Promise<void> => {
    using client = await RawClient.connect(daemon.url)
    const requests = Array.from({ length: to - from }, (_, index) => hostile(from + index))
    await client.send(requests.join(''))
    for (const _ of requests) await client.response()
  }
  await send(0, 40)
  const before = await Scrape.of(url)
  for (let from = 0; from < 10_000; from += 2000) await send(from, from + 2000)
  const after = await Scrape.of(url)
  assert.deepEqual(
    [...after.series].filter((one) => !before.series.has(one)),
    [],
  )
  assert.equal(after.sum('xengate_requests_total') - before.sum('xengate_requests_total'), 10_000)
})

test('says whether the gateway serves, and not while it stops', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startWithService(scope, { tables: `${METRICS}health = true\n` })
  const url = metricsUrl(daemon)
  const healthz = 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
  assert.equal((await exchange(url, healthz)).status, 200)
  assert.equal((await exchange(url, healthz.replace('healthz', 'nothing'))).status, 404)
  assert.equal((await exchange(url, healthz.replace('GET', 'POST'))).status, 405)
  assert.equal((await exchange(daemon.url, healthz)).text, 'ok\n')

  // Something that takes its time is under way.
  await serveHttp(scope, daemon.place.socket('com.example.slow'), (_request, response) => {
    response.writeHead(200)
    response.write('begun')
  })
  const session = await daemon.login()
  using client = await RawClient.connect(daemon.url)
  await client.send(head('GET', '/services/plugin/com.example.slow', session))
  await client.until('begun')
  process.kill(daemon.child.pid, 'SIGTERM')
  await daemon.event(({ event }) => event === 'stopping', 'the stop')
  const stopping = await exchange(url, healthz)
  assert.deepEqual([stopping.status, stopping.text], [503, 'draining\n'])
})

test('without the option a listener has no /healthz', async (t) => {
  const daemon = await startDaemon(scopeOf(t))
  assert.equal(
    (await exchange(daemon.url, 'GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).status,
    404,
  )
})

test('where metrics are read may be a Unix socket, and moves with a reload', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { tables: '[control]\nmetrics = "unix:metrics.sock"\n' })
  const socket = `unix:${join(daemon.place.directory, 'metrics.sock')}`
  assert.equal(metricsUrl(daemon), socket)
  assert.equal((await Scrape.of(socket)).sum('xengate_build_info', { node: process.version }), 1)

  await daemon.place.configure({ tables: '[control]\nmetrics = "unix:other.sock"\n' })
  process.kill(daemon.child.pid, 'SIGHUP')
  await daemon.event(({ event }) => event === 'reloaded', 'the reload')
  await Scrape.of(`unix:${join(daemon.place.directory, 'other.sock')}`)
  await assert.rejects(Scrape.of(socket))
})

test('a metrics listener that cannot be had is refused: at the start, by check-config, and at a reload', async (t) => {
  const scope = scopeOf(t)
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  scope.defer(() => void taken.close())
  const address = taken.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const daemon = await startDaemon(scope, { tables: METRICS })
  const url = metricsUrl(daemon)
  await daemon.place.configure({ tables: `[control]\nmetrics = "127.0.0.1:${port}"\n` })
  process.kill(daemon.child.pid, 'SIGHUP')
  const { problem } = await daemon.event(({ event }) => event === 'reload-refused', 'the refusal')
  assert.match(String(problem), new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}: the address is in use`))
  assert.equal((await Scrape.of(url)).sum('xengate_config_reloads_total', { result: 'refused' }), 1)
  await daemon.stop()

  const child = daemon.place.spawn()
  assert.equal((await child.exited).code, 1)
  assert.match(
    child.stderr,
    /cannot listen on 127\.0\.0\.1:\d+: the address is in use by another program \[listen-failed\]/,
  )

  const file = join(daemon.place.directory, 'a-file')
  await writeFile(file, '')
  await daemon.place.configure({ tables: '[control]\nmetrics = "unix:a-file"\n' })
  const { code, stderr } = await daemon.place.command(['check-config'])
  assert.equal(code, 1)
  assert.match(stderr, /`control\.metrics` must be free for a socket: a file that is no socket is there/)
})

const isRoot = process.getuid?.() === 0

test(
  'workers of another user count, too, and reach the control service',
  { skip: isRoot ? false : 'not root' },
  async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    await daemon.stop()
    const { configuration, directory, plugin } = daemon.place
    for (const path of [directory, plugin]) await chmod(path, 0o755)
    await writeFile(configuration, `worker-user = "nobody"\n${await readFile(configuration, 'utf8')}${METRICS}`)
    const again = await daemon.place.start()
    const url = String(again.events.find(({ event }) => event === 'started')?.['metrics'])
    const session = await again.login()
    const status = await exchange(
      again.url,
      head('GET', '/services/plugin/org.xengate.control/status', session, 'Connection: close\r\n'),
    )
    assert.equal(status.status, 200, status.text)
    const counted = { service: 'org.xengate.control', code: '2xx' }
    await until(async () => (await Scrape.of(url)).sum('xengate_requests_total', counted) === 1, 'that it is counted')
    assert.ok((await Scrape.of(url)).sum('process_open_fds', { process: 'worker-1' }) > 3)
  },
)

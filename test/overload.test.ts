// When there is too much, at a running daemon: stages of overload, limits of services, breakers, and what an operator sees of them.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { type Daemon, Place, startDaemon, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { Scrape } from './harness/metrics.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.work'

type Fields = Readonly<Record<string, unknown>>

function get(session: string, path = '/'): string {
  return `GET /services/plugin/${NAME}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

async function run(daemon: Daemon, ...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await daemon.place.command(argv)
  assert.equal(code, 0, `${argv.join(' ')}: ${stderr}`)
  return stdout + stderr
}

async function statusOf(daemon: Daemon, session: string): Promise<number> {
  return (await exchange(daemon.url, get(session).replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))).status
}

test('a worker that has few descriptors says so, does less, and is as before when there are more', async (t) => {
  const scope = scopeOf(t)
  const settings = { tables: '[control]\nmetrics = "127.0.0.1:0"\n' }
  const place = await Place.make(scope, settings)
  await place.addDefaultUser()
  const daemon = await place.start(['sh', '-c', 'ulimit -n 1000; exec "$@"', 'sh'])
  await serveHttp(scope, place.socket(NAME), (_request, response) => response.end('ok'))
  const session = await daemon.login()
  const [worker = 0] = daemon.workerPids
  const own = readdirSync(`/proc/${worker}/fd`).length
  const percent = Math.ceil((own + 60) / 10)
  await place.configure({ tables: `${settings.tables}[overload]\ndescriptors = ${percent}\n` })
  assert.match(await run(daemon, 'reload'), /^in force: overload\.descriptors/)

  // Beyond the stage that is waited for nothing may be accepted.
  using early = await RawClient.connect(daemon.url)
  const clients: RawClient[] = []
  scope.defer(() => {
    for (const client of clients) client[Symbol.dispose]()
  })
  const isAt = (stage: number) => (): boolean =>
    daemon.events.some(({ event, stage: reached }) => event === 'overload' && reached === stage)
  await until(async () => {
    clients.push(await RawClient.connect(daemon.url))
    return isAt(3)()
  }, 'stage 3')
  const refused = await early.exchange(get(session))
  assert.deepEqual([refused.status, refused.header('connection'), refused.header('retry-after')], [503, 'close', '1'])
  const { level, resource, key, means } = await daemon.event(
    ({ event, stage }) => event === 'overload' && Number(stage) === 3,
    'the stage',
  )
  assert.deepEqual([level, resource, means], ['warn', 'descriptors', 'new requests get 503'])
  assert.match(String(key), /LimitNOFILE.*overload\.descriptors/)
  assert.match(
    await run(daemon, 'status'),
    /^overload +stage [34] of 4 in worker \d+: .*descriptors \d+ of 1000: .*LimitNOFILE/m,
  )
  const url = String(daemon.events.find(({ event }) => event === 'started')?.['metrics'])
  assert.ok((await Scrape.of(url)).sum('xengate_overload_stage', { process: 'worker-1' }) >= 3)

  await place.configure({ tables: `${settings.tables}[overload]\ndescriptors = 90\n` })
  await run(daemon, 'reload')
  await until(isAt(0), 'stage 0')
  assert.equal(await statusOf(daemon, session), 200)
  assert.doesNotMatch(await run(daemon, 'status'), /^overload/m)
  assert.equal((await Scrape.of(url)).sum('xengate_overload_stage', { process: 'worker-1' }), 0)
})

test('a breaker is seen, and closed in every worker by one command', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, {
    workers: 2,
    services: `[services.policy."${NAME}"]\nlimits = { breaker-failures = 2, breaker-pause = "1h" }\n`,
    tables: '[control]\nmetrics = "127.0.0.1:0"\n',
  })
  let isWell = false
  await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
    if (isWell) response.end('well')
    else request.socket.destroy()
  })
  const session = await daemon.login()
  const opened = (): number => daemon.events.filter(({ event }) => event === 'breaker-opened').length
  // Either worker has one of its own.
  await until(async () => {
    await statusOf(daemon, session)
    return opened() === 2
  }, 'both breakers')
  assert.equal(await statusOf(daemon, session), 503)
  assert.match(await run(daemon, 'services'), new RegExp(`^${NAME} +breaker open`, 'm'))
  const { services } = (await daemon.place.ask('/control/services')) as { services: readonly Fields[] }
  assert.equal(services.find(({ name }) => name === NAME)?.['breakerOpen'], 2)
  const url = String(daemon.events.find(({ event }) => event === 'started')?.['metrics'])
  const scrape = await Scrape.of(url)
  assert.equal(scrape.sum('xengate_breaker_open', { service: NAME }), 2)
  assert.ok(scrape.sum('xengate_service_overflow_total', { service: NAME, reason: 'breaker-open' }) > 0)

  isWell = true
  assert.match(await run(daemon, 'service', 'close-breaker', NAME), /is asked again, by 2 workers more/)
  for (let count = 0; count < 10; count++) assert.equal(await statusOf(daemon, session), 200)
  const { by } = await daemon.event(({ event }) => event === 'breaker-overridden', 'the act')
  assert.equal(by, 'control-socket')
  const again = await daemon.place.command(['service', 'close-breaker', NAME])
  assert.equal(again.code, 1)
  assert.match(again.stderr, /the breaker of com\.example\.work is not open \[breaker-closed\]/)
  assert.equal((await Scrape.of(url)).sum('xengate_breaker_open'), 0)
})

test('a reload limits a service where it is in use, and lets go of it, without touching who is there', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => {
    response.writeHead(200)
    response.write('begun')
  })
  const session = await daemon.login()
  const begin = async (): Promise<RawClient> => {
    const client = await RawClient.connect(daemon.url)
    await client.send(get(session))
    return client
  }
  using first = await begin()
  await first.until('begun')
  await daemon.place.configure({ services: `[services.limits]\nrequests = 1\nqueue = 1\n` })
  assert.match(await run(daemon, 'reload'), /services\.limits/)
  // The one that was there before the limit is not counted.
  using second = await begin()
  await second.until('begun')
  using third = await begin()
  await until(async () => / running, 1 waiting /.test(await run(daemon, 'services')), 'one that waits')
  using fourth = await begin()
  assert.match(await fourth.until('wait for their turn'), /^HTTP\/1\.1 503 /)
  await daemon.event(({ event, key }) => event === 'limit-reached' && String(key).endsWith('limits.queue'), 'the limit')
  await daemon.place.configure({})
  await run(daemon, 'reload')
  await third.until('begun')
})

test('limits of sessions and of signing in are told, with the key to change', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, {
    tables: '[sessions]\nmax-per-user = 1\n[control]\nmetrics = "127.0.0.1:0"\n',
  })
  await daemon.login()
  await daemon.login()
  const { level, key } = await daemon.event(({ limit }) => limit === 'sessions', 'the limit of sessions')
  assert.equal(level, 'warn')
  assert.match(String(key), /sessions\.max-per-user/)
  const isTold = (): boolean => daemon.events.some(({ limit }) => limit === 'sign-in-attempts')
  await until(async () => {
    await daemon.call('session.login_with_password', [USER.name, 'wrong', '1.0', 'test'])
    return isTold()
  }, 'the limit of attempts')
  const url = String(daemon.events.find(({ event }) => event === 'started')?.['metrics'])
  const scrape = await Scrape.of(url)
  assert.equal(scrape.sum('xengate_limit_hits_total', { limit: 'sessions' }), 1)
  assert.ok(scrape.sum('xengate_limit_hits_total', { limit: 'sign-in-attempts' }) > 0)
})

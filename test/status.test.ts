// What the control socket says of the daemon and of services.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Daemon, startDaemon, OTHER_TRANSPORT } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.work'

interface Counts {
  readonly requests: number
  readonly refusals: number
  readonly errors: number
  readonly latencyMs: number | null
}

interface Status extends Counts {
  readonly [name: string]: unknown
  readonly workers: { readonly wanted: number; readonly ready: number; readonly pids: readonly number[] }
  readonly warnings: readonly { readonly event: string; readonly count: number }[]
}

interface ServiceStatus extends Counts {
  readonly name: string
  readonly socket: string | null
  readonly accepts: boolean
}

const statusOf = async ({ place }: Daemon): Promise<Status> => (await place.ask('/status')) as Status

function get(session: string, name = NAME): string {
  return `GET /services/plugin/${name} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\nConnection: close\r\n\r\n`
}

test('counts requests, refusals, errors and latency, of all and of each service, also of a worker that ends', async (t) => {
  const scope = scopeOf(t)
  const tables = '[host]\nexpected-services = ["com.example.missing"]\n'
  const daemon = await startDaemon(scope, { tables })
  const before = await statusOf(daemon)
  assert.deepEqual([before.requests, before.latencyMs, before.workers.ready], [0, null, 1])
  assert.deepEqual(before['authority'], { kind: 'embedded', isHeard: true })
  assert.deepEqual(before['listen'], daemon.urls)
  assert.equal(before['pid'], daemon.child.pid)
  assert.ok(Math.abs(Date.parse(String(before['since'])) - Date.now()) < 60_000)
  assert.ok((before['memoryBytes'] as { primary: number }).primary > 1_000_000)

  await serveHttp(scope, daemon.place.socket(NAME), ({ url = '' }, response) => {
    response.writeHead(url.endsWith('/broken') ? 500 : 200).end('done')
  })
  await serveHttp(scope, daemon.place.socket('com.example.other'), (_request, response) => response.end())
  const session = await daemon.login()
  for (let count = 0; count < 3; count++) assert.equal((await exchange(daemon.url, get(session))).text, 'done')
  assert.equal((await exchange(daemon.url, get(session, `${NAME}/broken`))).status, 500)
  assert.equal((await exchange(daemon.url, get('OpaqueRef:nobody'))).status, 403)
  assert.equal((await exchange(daemon.url, get(session, 'com.example.none'))).status, 404)
  // The sign-in is a request as well.
  const after = await until(async () => {
    const status = await statusOf(daemon)
    return status.requests === 7 ? status : undefined
  }, 'that all is counted')
  assert.deepEqual([after.refusals, after.errors], [2, 1])
  assert.ok(after.latencyMs !== null && after.latencyMs > 0)

  const services = (await daemon.place.ask('/services')) as ServiceStatus[]
  assert.deepEqual(
    services.map(({ name, accepts, requests, refusals, errors }) => [name, accepts, requests, refusals, errors]),
    [
      ['com.example.missing', false, 0, 0, 0],
      ['com.example.other', true, 0, 0, 0],
      // Whoever is nobody is not told what is here, and not counted as a service's.
      [NAME, true, 4, 0, 1],
    ],
  )
  assert.equal(services[2]?.socket, daemon.place.socket(NAME))

  // Workers of an earlier configuration tell what they have counted before they end.
  assert.equal((await exchange(daemon.url, get(session))).text, 'done')
  await daemon.place.configure({ tables, transport: OTHER_TRANSPORT })
  process.kill(daemon.child.pid, 'SIGHUP')
  await daemon.event(({ event }) => event === 'worker-stopped', 'the end of the earlier worker')
  await until(async () => (await statusOf(daemon)).requests === 8, 'what the earlier worker said last')

  const [worker = 0] = (await statusOf(daemon)).workers.pids
  process.kill(worker, 'SIGKILL')
  await daemon.event(({ event }) => event === 'worker-died', 'the end of the worker')
  const { requests, warnings } = await statusOf(daemon)
  assert.equal(requests, 8)
  assert.deepEqual(
    warnings.filter(({ event }) => event === 'worker-died').map(({ count }) => count),
    [1],
  )
})

// Limits of one service: requests at once, the queue in front of it, the rate of a session; and its breaker.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { duplicateDescriptor } from '@xengate/channel'
import { HISTOGRAM_VALUES } from '../metrics/families.ts'
import { OPEN_POLICY, Policies, type PolicySetting } from '../model/policy.ts'
import { NO_LIMITS, type ServiceLimits } from '../model/service-limits.ts'
import { until } from '../transport/testing/peers.ts'
import type { GivenConnection } from './client/connection.ts'
import { test } from './testing/each-transport.ts'
import {
  COOKIE,
  type Fixture,
  fixture,
  type RawService,
  READER_ID,
  request,
  response,
  ROOT_ID,
  statusOf,
} from './testing/fixture.ts'
import { Arrivals, type Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
const METHODS = ['GET', 'PUT', 'POST']

function limited(limits: Partial<ServiceLimits>): Readonly<Record<string, PolicySetting>> {
  return { svc: { ...OPEN_POLICY, limits: { ...NO_LIMITS, queue: 100, queueTimeoutMs: 10_000, ...limits } } }
}

/** A request of the other session. */
function readers(path: string): string {
  return request('GET', path).replace(COOKIE, `Cookie: session_id=${READER_ID}\r\n`)
}

function ask({ client }: Fixture, text: string): Peer {
  const peer = client()
  peer.write(text)
  return peer
}

/** Waits until so many requests wait for a turn. */
function queued({ counters }: Fixture, count: number): Promise<void> {
  return until(() => counters.cells[counters.place('xengate_queued', 'svc')] === count, `${count} that wait`)
}

/** What was counted of requests that the limits of the service refused. */
function overflowed({ counters }: Fixture, why: string): number {
  return counters.cells[counters.place('xengate_service_overflow_total', 'svc', why)] ?? 0
}

/** A request that a service has got, whole. */
interface Got {
  readonly path: string
  readonly body: string
  readonly connection: Peer
}

/** The requests that a service gets, on whatever connection each comes. */
function requestsOf({ connections }: RawService): Arrivals<Got> {
  const got = new Arrivals<Got>()
  const readAll = async (connection: Peer): Promise<void> => {
    for (;;) {
      const text = await connection.message()
      const path = /^\w+ \/services\/plugin\/\w+(\S*) /.exec(text)?.[1] ?? ''
      got.push({ path, body: text.slice(text.indexOf('\r\n\r\n') + 4), connection })
    }
  }
  const acceptAll = async (): Promise<void> => {
    for (;;) readAll(await connections.next()).catch(() => {})
  }
  // Nothing comes any more when the test is over.
  acceptAll().catch(() => {})
  return got
}

/** Starts the service, and a request that it has from then on. */
async function busy(all: Fixture): Promise<{ readonly got: Arrivals<Got>; readonly first: Peer; readonly begun: Got }> {
  const got = requestsOf(await all.service('svc'))
  const first = ask(all, request('GET', '/0'))
  return { got, first, begun: await got.next() }
}

/** Answers each request until so many more have come, and says in which order they came. */
async function ordered({ got, begun }: { got: Arrivals<Got>; begun: Got }, count: number): Promise<readonly string[]> {
  const paths: string[] = []
  for (let current = begun; paths.length < count;) {
    current.connection.write(response('x'))
    current = await got.next()
    paths.push(current.path)
    if (paths.length === count) current.connection.write(response('x'))
  }
  return paths
}

/** A socket at `path` that listens, and whose queue of connections is full. */
async function fullSocket(t: TestContext, path: string): Promise<void> {
  const script =
    'import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(0); print(flush=True)'
  const listener = spawn('python3', ['-c', `${script}; sys.stdin.read()`, path])
  t.after(() => listener.kill())
  await once(listener.stdout, 'data')
  const first = net.connect(path)
  t.after(() => first.destroy())
  await once(first, 'connect')
}

test(
  'a request that waits for its turn is told as one, and its wait is no time of the service',
  DEADLINE,
  async (t) => {
    const all = await fixture(t, { policies: limited({ requests: 1 }), listener: { name: 'here' } })
    const { counters, gateway } = all
    const { cells } = counters
    const startedMs = performance.now()
    const { got, first, begun } = await busy(all)
    const second = ask(all, request('GET', '/1'))
    await queued(all, 1)
    const states = (): readonly string[] => gateway.connectionRecords.map(({ state }) => state)
    const counted = (state: string): number | undefined => cells[counters.place('xengate_connections', 'here', state)]
    assert.deepEqual(states(), ['active', 'waiting'])
    assert.deepEqual([counted('active'), counted('waiting')], [1, 1])
    // Longer than all else takes.
    const elseMs = performance.now() - startedMs
    await until(() => performance.now() - startedMs > 5 * elseMs, 'a long wait')
    begun.connection.write(response('x'))
    await first.message()
    const next = await got.next()
    assert.equal(states()[1], 'active')
    assert.equal(counted('waiting'), 0)
    next.connection.write(response('x'))
    await second.message()
    // The two were with the service one after the other.
    const secondsOf = (...[name, ...labels]: Parameters<typeof counters.place>): number =>
      cells[counters.place(name, ...labels) + HISTOGRAM_VALUES - 1] ?? 0
    const serviceMs = secondsOf('xengate_time_to_first_byte_seconds', 'svc') * 1000
    assert.ok(serviceMs > 0 && serviceMs <= performance.now() - startedMs, `${serviceMs}`)
    assert.ok(secondsOf('xengate_gateway_duration_seconds', 'admit') > 0)
  },
)

test('a service has as many requests at once as it may, and the next when one is over', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 2 }) })
  const got = requestsOf(await all.service('svc'))
  const peers = ['/1', '/2'].map((each) => ask(all, request('GET', each)))
  const [one, two] = [await got.next(), await got.next()]
  peers.push(ask(all, request('GET', '/3')))
  await queued(all, 1)
  assert.equal(got.count, 0)
  one.connection.write(response(one.path))
  const three = await got.next()
  for (const each of [two, three]) each.connection.write(response(each.path))
  const answers = await Promise.all(peers.map((peer) => peer.message()))
  assert.deepEqual(
    answers.map((text) => text.slice(-2)),
    ['/1', '/2', '/3'],
  )
  await queued(all, 0)
  assert.equal((await all.said.next())['limit'], 'service-requests')
})

test('those who wait take turns by session: who asks much waits for its own', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }) })
  const service = await busy(all)
  for (let index = 1; index <= 5; index++) {
    ask(all, request('GET', `/hog-${index}`))
    await queued(all, index)
  }
  for (let index = 1; index <= 2; index++) {
    ask(all, readers(`/reader-${index}`))
    await queued(all, 5 + index)
  }
  assert.deepEqual(await ordered(service, 7), [
    '/hog-1',
    '/reader-1',
    '/hog-2',
    '/reader-2',
    '/hog-3',
    '/hog-4',
    '/hog-5',
  ])
})

test('a full queue refuses, and makes room for a session that has less in it', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1, queue: 2 }) })
  const service = await busy(all)
  const first = ask(all, request('GET', '/1'))
  await queued(all, 1)
  const second = ask(all, request('GET', '/2'))
  await queued(all, 2)
  const refused = await ask(all, request('GET', '/3')).message()
  assert.equal(statusOf(refused), 503)
  assert.match(refused, /\r\nRetry-After: 1\r\n/)
  assert.match(refused, /as many wait for their turn/)
  const reader = ask(all, readers('/reader'))
  assert.equal(statusOf(await second.message()), 503)
  await queued(all, 2)
  assert.equal(overflowed(all, 'queue-full'), 2)
  assert.deepEqual(await ordered(service, 2), ['/1', '/reader'])
  for (const peer of [first, reader]) assert.equal(statusOf(await peer.message()), 200)
  assert.deepEqual(
    [await all.said.next(), await all.said.next()].map(({ event, limit, service: of, key }) => [event, limit, of, key]),
    [
      ['limit-reached', 'service-requests', 'svc', 'services.policy."svc".limits.requests'],
      ['limit-reached', 'service-queue', 'svc', 'services.policy."svc".limits.queue'],
    ],
  )
})

test('a turn that does not come in time is a 503, and the connection goes on', DEADLINE, async (t) => {
  const policies = limited({ requests: 1, queueTimeoutMs: 50 })
  const all = await fixture(t, { policies, limits: { idleTimeoutMs: 2000 } })
  const { got, begun } = await busy(all)
  const late = ask(all, request('PUT', '/late', 'Content-Length: 3\r\n', 'abc'))
  assert.equal(statusOf(await late.message()), 503)
  assert.equal(overflowed(all, 'queue-timeout'), 1)
  begun.connection.write(response('x'))
  late.write(request('GET', '/again'))
  const again = await got.next()
  assert.equal(again.path, '/again')
  again.connection.write(response('y'))
  assert.equal(statusOf(await late.message()), 200)
})

test('a client that leaves, leaves the queue; one that ends its side is told', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }) })
  const service = await busy(all)
  const gone = ask(all, request('GET', '/gone'))
  await queued(all, 1)
  gone.socket.resetAndDestroy()
  await queued(all, 0)
  const ending = ask(all, request('PUT', '/ending', 'Content-Length: 5\r\n', 'hello'))
  await queued(all, 1)
  ending.end()
  assert.equal(statusOf(await ending.ended()), 503)
  await queued(all, 0)
  ask(all, request('GET', '/last'))
  await queued(all, 1)
  assert.deepEqual(await ordered(service, 1), ['/last'])
})

test('whoever waits keeps its body and what it pipelines, and gets its answers in order', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }) })
  const { got, begun } = await busy(all)
  const body = 'b'.repeat(300_000)
  const peer = ask(all, request('PUT', '/body', `Content-Length: ${body.length}\r\n`, body) + request('GET', '/next'))
  await queued(all, 1)
  begun.connection.write(response('x'))
  const put = await got.next()
  assert.equal(put.body, body)
  put.connection.write(response('whole'))
  const next = await got.next()
  assert.equal(next.path, '/next')
  next.connection.write(response('next'))
  await peer.until('whole')
  await peer.until('next')
})

test(
  'a session that ends while its request waits is refused at its turn, which the next one gets',
  DEADLINE,
  async (t) => {
    const all = await fixture(t, { policies: limited({ requests: 1 }) })
    const service = await busy(all)
    const ended = ask(all, readers('/ended'))
    await queued(all, 1)
    ask(all, request('GET', '/next'))
    await queued(all, 2)
    all.live.delete(READER_ID)
    all.sessions.ended(['22222222'])
    assert.deepEqual(await ordered(service, 1), ['/next'])
    assert.equal(statusOf(await ended.message()), 403)
  },
)

test('when the service goes, all who wait get 404', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1, queue: 1000 }) })
  const svc = await all.service('svc')
  const got = requestsOf(svc)
  const first = ask(all, request('GET', '/0'))
  const { connection } = await got.next()
  const waiting = Array.from({ length: 300 }, () => ask(all, request('GET', '/wait')))
  await queued(all, 300)
  rmSync(svc.path)
  connection.end(response('x', 'Connection: close\r\n'))
  assert.equal(statusOf(await first.message()), 200)
  for (const peer of waiting) assert.equal(statusOf(await peer.message()), 404)
  await queued(all, 0)
})

test('a reload changes limits where requests are under way, and touches none', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }) })
  const { got, first, begun } = await busy(all)
  const waiting = [ask(all, request('GET', '/1')), ask(all, request('GET', '/2'))]
  await queued(all, 2)
  all.gateway.useServices(new Policies(limited({ requests: 2 }), true), METHODS)
  const second = await got.next()
  await queued(all, 1)
  all.gateway.useServices(new Policies({}, true), METHODS)
  const third = await got.next()
  await queued(all, 0)
  for (const { connection } of [begun, second, third]) connection.write(response('x'))
  for (const peer of [first, ...waiting]) assert.equal(statusOf(await peer.message()), 200)
})

test('a WebSocket has its turn as long as it is open', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }) })
  const got = requestsOf(await all.service('svc'))
  const socket = ask(all, request('GET', '/ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
  const { connection } = await got.next()
  connection.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await socket.until('\r\n\r\n')
  const waiting = ask(all, request('GET', '/1'))
  await queued(all, 1)
  socket.socket.resetAndDestroy()
  const next = await got.next()
  next.connection.write(response('x'))
  assert.equal(statusOf(await waiting.message()), 200)
})

test('a WebSocket that goes on in another process gives its turn back', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }), listener: { name: 'plain' } })
  const got = requestsOf(await all.service('svc'))
  const socket = ask(all, request('GET', '/ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
  const { connection } = await got.next()
  connection.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await socket.until('\r\n\r\n')
  const waiting = ask(all, request('GET', '/1'))
  await queued(all, 1)
  void all.gateway.drain(false, { listeners: new Set(['plain']), give: () => true, takesUnderWay: true })
  const next = await got.next()
  next.connection.write(response('x'))
  assert.equal(statusOf(await waiting.message()), 200)
})

test('a request that fails is taken to its end alone, whoever has its turn next', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1 }), limits: { connectTimeoutMs: 500 } })
  await fullSocket(t, join(all.directory, 'svc'))
  const second = readers('/2')
  // The head of the second is as long as the part of this one before what looks like a request.
  const start = `GET /services/plugin/svc HTTP/1.1\r\n${COOKIE}Host: h\r\nX:`
  const first = ask(all, `${start.padEnd(second.length)}GET /healthz HTTP/1.0\r\n\r\n`)
  const underWay = (count: number): Promise<void> =>
    until(
      () => all.gateway.connectionRecords.filter((one) => one.request !== null).length === count,
      `${count} requests`,
    )
  await underWay(1)
  const other = ask(all, second)
  await underWay(2)
  assert.equal(statusOf(await first.message()), 504)
  assert.equal(statusOf(await other.message()), 504)
  first.write('GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.doesNotMatch(await first.message(), /Connection: close/)
})

test('a session makes as many requests a second as it may, and is told when it may again', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ sessionRate: 2 }) })
  const got = requestsOf(await all.service('svc'))
  answerAll(got)
  const peer = all.client()
  let text = ''
  for (let count = 0; count < 50 && statusOf(text) !== 503; count++) {
    peer.write(request('GET', '/more'))
    text = await peer.message()
    if (statusOf(text) === 200) assert.ok(count < 40)
  }
  assert.match(text, /\r\nRetry-After: 1\r\n/)
  assert.ok(overflowed(all, 'session-rate') > 0)
  assert.equal((await all.said.next())['key'], 'services.policy."svc".limits.session-rate')
  // The other session has not asked.
  peer.write(readers('/other'))
  assert.equal(statusOf(await peer.message()), 200)
})

test('whatever becomes of requests, no turn is lost', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 2, queue: 1000 }) })
  const got = requestsOf(await all.service('svc'))
  const serve = async (): Promise<void> => {
    for (;;) {
      const { path, connection } = await got.next()
      if (path === '/die') connection.destroy()
      else if (path === '/half') connection.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal')
      else if (path === '/none') connection.write('HTTP/1.1 nonsense\r\n\r\n')
      else if (path === '/ws')
        connection.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ws\r\n\r\n')
      else if (path !== '/last') connection.write(response('x'))
    }
  }
  serve().catch(() => {})
  const paths = ['/answer', '/die', '/half', '/none', '/ws']
  const peers: Peer[] = []
  // Node.js cannot reset what it has ended.
  const leave = (index: number): void => {
    if (index % 9 === 0) peers[index]?.destroy()
    else peers[index]?.socket.resetAndDestroy()
  }
  for (let index = 0; index < 400; index++) {
    const path = paths[index % paths.length] ?? ''
    const upgrade = path === '/ws' ? 'Connection: Upgrade\r\nUpgrade: ws\r\n' : ''
    const peer = ask(all, index % 3 === 0 ? readers(path) : request('GET', path, upgrade))
    peers.push(peer)
    // Some leave before, some while, and some after they are served.
    if (index % 7 === 0) await nextTurn()
    if (index % 4 === 0) leave(index >> 1)
    if (index % 9 === 0) peer.end()
  }
  for (let index = 0; index < peers.length; index++) {
    if (index % 5 === 0) await nextTurn()
    leave(index)
  }
  const inFlight = all.counters.place('xengate_requests_in_flight', 'svc')
  await until(() => all.gateway.connections === 0 && all.counters.cells[inFlight] === 0, 'the end of all')
  await queued(all, 0)
  assert.equal(all.sessions.find(ROOT_ID, all.gateway.clock.nowMs)?.underWay, 0)
  const last = [ask(all, request('GET', '/last')), ask(all, request('GET', '/last'))]
  await until(() => all.counters.cells[inFlight] === 2, 'both turns')
  ask(all, request('GET', '/last'))
  await queued(all, 1)
  for (const peer of last) assert.equal(peer.pending, '')
})

// ── the breaker ──

const BREAKER = { breakerFailures: 3, breakerPauseMs: 60_000 }

/** Answers whatever comes. */
function answerAll(got: Arrivals<Got>): void {
  const answer = async (): Promise<void> => {
    for (;;) (await got.next()).connection.write(response('x'))
  }
  answer().catch(() => {})
}

/** Has the next request fail. @returns the status that the client gets */
async function fail(all: Fixture, got: Arrivals<Got>): Promise<number> {
  const peer = ask(all, request('POST', '/fail', 'Content-Length: 0\r\n'))
  const { connection } = await got.next()
  connection.destroy()
  return statusOf(await peer.message())
}

/** Asks on one connection until the service is asked. */
async function tried(all: Fixture, got: Arrivals<Got>): Promise<{ readonly peer: Peer; readonly begun: Got }> {
  const peer = all.client()
  for (;;) {
    const connections = all.accessLines.count
    peer.write(request('GET', '/try'))
    await until(() => got.count > 0 || peer.pending.includes('\r\n\r\n'), 'an answer, or a try')
    if (got.count > 0) return { peer, begun: await got.next() }
    assert.equal(statusOf(await peer.message()), 503)
    assert.ok(all.accessLines.count > connections)
  }
}

test('a service that fails again and again is not asked for a moment; an answer begins anew', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited(BREAKER) })
  const svc = await all.service('svc')
  const got = requestsOf(svc)
  for (let count = 0; count < 2; count++) assert.equal(await fail(all, got), 502)
  // What a service answers is no failure.
  const bad = 'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n'
  const well = all.client()
  for (let count = 0; count < 4; count++) {
    well.write(request('GET', '/well'))
    ;(await got.next()).connection.write(bad)
    assert.equal(statusOf(await well.message()), 500)
  }
  // The third failure is neither the third in a row, nor half of all; the fourth is.
  assert.equal(await fail(all, got), 502)
  assert.equal(all.said.count, 0)
  assert.equal(await fail(all, got), 502)
  const { event, service } = await all.said.next()
  assert.deepEqual([event, service], ['breaker-opened', 'svc'])
  const refused = await ask(all, request('GET', '/refused')).message()
  assert.equal(statusOf(refused), 503)
  assert.match(refused, /\r\nRetry-After: (?:59|60)\r\n/)
  assert.match(refused, /has failed again and again/)
  assert.equal(got.count, 0)
  assert.equal(all.counters.cells[all.counters.place('xengate_breaker_open', 'svc')], 1)
  // Who has no session is told that first.
  const nobody = await ask(all, request('GET', '/x').replace(COOKIE, '')).message()
  assert.equal(statusOf(nobody), 403)
})

test('an operator has a service asked again', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ ...BREAKER, breakerFailures: 1 }) })
  const got = requestsOf(await all.service('svc'))
  await fail(all, got)
  assert.equal(statusOf(await ask(all, request('GET')).message()), 503)
  assert.equal(all.gateway.closeBreaker('svc'), true)
  assert.equal(all.gateway.closeBreaker('svc'), false)
  const peer = ask(all, request('GET'))
  ;(await got.next()).connection.write(response('x'))
  assert.equal(statusOf(await peer.message()), 200)
  assert.deepEqual(
    [await all.said.next(), await all.said.next()].map(({ event, by }) => [event, by]),
    [
      ['breaker-opened', undefined],
      ['breaker-closed', 'operator'],
    ],
  )
  assert.equal(all.counters.cells[all.counters.place('xengate_breaker_open', 'svc')], 0)
})

test('after the pause one request tries the service, and its answer has all others let in', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ breakerFailures: 1, breakerPauseMs: 1 }) })
  const got = requestsOf(await all.service('svc'))
  await fail(all, got)
  const failing = await tried(all, got)
  failing.begun.connection.destroy()
  assert.equal(statusOf(await failing.peer.message()), 502)
  const gone = await tried(all, got)
  gone.peer.socket.resetAndDestroy()
  const { peer, begun } = await tried(all, got)
  begun.connection.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
  await peer.until('\r\n\r\n')
  // It has answered, although it goes on.
  const other = ask(all, request('GET', '/other'))
  ;(await got.next()).connection.write(response('x'))
  assert.equal(statusOf(await other.message()), 200)
  begun.connection.write('whole')
  await peer.until('whole')
})

test('whoever waits when the breaker opens is told at once', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ requests: 1, ...BREAKER, breakerFailures: 1 }) })
  const got = requestsOf(await all.service('svc'))
  const first = ask(all, request('POST', '/0', 'Content-Length: 0\r\n'))
  const { connection } = await got.next()
  const waiting = ask(all, request('GET', '/1'))
  await queued(all, 1)
  connection.destroy()
  assert.equal(statusOf(await first.message()), 502)
  assert.equal(statusOf(await waiting.message()), 503)
  await queued(all, 0)
})

test('a socket that is missing is no failure, and closes the breaker', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ breakerFailures: 2, breakerPauseMs: 1 }) })
  const peer = all.client()
  const statusNow = async (): Promise<number> => {
    peer.write(request('GET'))
    return statusOf(await peer.message())
  }
  for (let count = 0; count < 5; count++) assert.equal(await statusNow(), 404)
  const svc = await all.service('svc')
  const got = requestsOf(svc)
  for (let count = 0; count < 2; count++) assert.equal(await fail(all, got), 502)
  assert.equal((await all.said.next())['event'], 'breaker-opened')
  rmSync(svc.path)
  let status = 503
  while (status === 503) status = await statusNow()
  assert.equal(status, 404)
  assert.equal((await all.said.next())['event'], 'breaker-closed')
})

test('a try that is long in coming to its end keeps nobody from a service that is well', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ breakerFailures: 1, breakerPauseMs: 1 }) })
  const got = requestsOf(await all.service('svc'))
  await fail(all, got)
  await tried(all, got)
  const other = await tried(all, got)
  other.begun.connection.write(response('x'))
  assert.equal(statusOf(await other.peer.message()), 200)
})

test('a WebSocket that goes on here has its turn here', DEADLINE, async (t) => {
  const policies = limited({ requests: 1, queue: 0 })
  const [old, young] = [
    await fixture(t, { policies, listener: { name: 'plain' } }),
    await fixture(t, { policies, listener: { name: 'plain' } }),
  ]
  const svc = await old.service('svc')
  const socket = ask(old, request('GET', '/ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
  const service = await svc.connections.next()
  await service.until('\r\n\r\n')
  service.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await socket.until('\r\n\r\n')
  const give = (given: GivenConnection): boolean => {
    const { fd, underWay } = given
    const serviceFd = duplicateDescriptor(underWay?.serviceFd ?? -1)
    young.gateway.adopt({ ...given, fd: duplicateDescriptor(fd), underWay: underWay && { ...underWay, serviceFd } })
    return true
  }
  void old.gateway.drain(false, { listeners: new Set(['plain']), give, takesUnderWay: true })
  await until(() => young.gateway.connectionRecords.some(({ state }) => state === 'tunnel'), 'the WebSocket')
  const got = requestsOf(await young.service('svc'))
  assert.equal(statusOf(await ask(young, request('GET', '/2')).message()), 503)
  socket.destroy()
  service.destroy()
  ;(await tried(young, got)).begun.connection.destroy()
})

test('a breaker that a reload turns off is closed', DEADLINE, async (t) => {
  const all = await fixture(t, { policies: limited({ ...BREAKER, breakerFailures: 1 }) })
  const got = requestsOf(await all.service('svc'))
  await fail(all, got)
  assert.equal(statusOf(await ask(all, request('GET')).message()), 503)
  all.gateway.useServices(new Policies(limited({ breakerFailures: 0 }), true), METHODS)
  for (let count = 0; count < 5; count++) assert.equal(await fail(all, got), 502)
})

// What one client, or one session, may take of all that there is; and what is said of limits that are hit.

import assert from 'node:assert/strict'
import { Counters } from '../metrics/counters.ts'
import { LimitHits } from '../metrics/limit-hits.ts'
import type { LogEvent } from '../logging/event.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, type Fixture, fixture, READER_ID, request, response, statusOf } from './testing/fixture.ts'
import type { Peer } from './testing/peer.ts'
import nodeTest from 'node:test'

const DEADLINE = { timeout: 60_000 }
const UNKNOWN = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n'

/** A client at `address`, as a proxy in front tells, and what it is answered. */
async function from(all: Fixture, address: string): Promise<{ readonly peer: Peer; readonly status: number }> {
  const peer = all.client()
  const family = address.includes(':') ? 'TCP6' : 'TCP4'
  const own = address.includes(':') ? '::2' : '127.0.0.1'
  peer.write(`PROXY ${family} ${address} ${own} 1000 80\r\n${UNKNOWN}`)
  return { peer, status: statusOf(await peer.message()) }
}

test('an address has its share of all connections, and others get theirs', DEADLINE, async (t) => {
  const all = await fixture(t, { limits: { connections: 8, share: 50 }, listener: { hasProxyHeader: true } })
  const hog = []
  for (let count = 0; count < 4; count++) hog.push(await from(all, '192.0.2.1'))
  assert.deepEqual(
    hog.map(({ status }) => status),
    [404, 404, 404, 404],
  )
  assert.equal((await from(all, '192.0.2.1')).status, 503)
  assert.equal((await from(all, '::ffff:192.0.2.1')).status, 503)
  assert.equal((await from(all, '192.0.2.2')).status, 404)
  const { event, limit, key } = await all.said.next()
  assert.deepEqual([event, limit, key], ['limit-reached', 'connections-of-address', 'limits.share'])
  // The loopback is whoever is in front.
  assert.equal((await from(all, '127.0.0.1')).status, 404)
  hog[0]!.peer.socket.resetAndDestroy()
  while ((await from(all, '192.0.2.1')).status !== 404);
})

test('all of a network of IPv6 is one client', DEADLINE, async (t) => {
  const all = await fixture(t, { limits: { connections: 4, share: 50 }, listener: { hasProxyHeader: true } })
  assert.equal((await from(all, '2001:db8::1')).status, 404)
  assert.equal((await from(all, '2001:db8::2')).status, 404)
  assert.equal((await from(all, '2001:db8::3')).status, 503)
  assert.equal((await from(all, '2001:db8:0:1::1')).status, 404)
})

test('requests of a session take their share, whatever the service, and others get theirs', DEADLINE, async (t) => {
  const all = await fixture(t, { limits: { connections: 12, share: 25 } })
  const services = [await all.service('svc'), await all.service('other'), await all.service('last')]
  const ask = (name: string, cookie = COOKIE): Peer => {
    const peer = all.client()
    peer.write(request('GET').replace('/svc/', `/${name}/`).replace(COOKIE, cookie))
    return peer
  }
  const peers = ['svc', 'other', 'last'].map((name) => ask(name))
  const connections = [
    await services[0]!.connections.next(),
    await services[1]!.connections.next(),
    await services[2]!.connections.next(),
  ]
  for (const connection of connections) await connection.until('\r\n\r\n')
  const refused = await ask('svc').message()
  assert.equal(statusOf(refused), 503)
  assert.match(refused, /\r\nRetry-After: 1\r\n/)
  assert.equal((await all.said.next())['limit'], 'requests-of-session')
  const reader = ask('svc', `Cookie: session_id=${READER_ID}\r\n`)
  const another = await services[0]!.connections.next()
  await another.until('\r\n\r\n')
  another.write(response('x'))
  assert.equal(statusOf(await reader.message()), 200)
  // One is answered, one is cut on either side; all are over.
  connections[0]!.write(response('x'))
  connections[1]!.destroy()
  assert.equal(statusOf(await peers[0]!.message()), 200)
  await peers[1]!.message()
  peers[2]!.socket.resetAndDestroy()
  await connections[2]!.ended()
  const again = await all.service('again')
  const more = Array.from({ length: 3 }, () => ask('again'))
  for (const peer of more) {
    const connection = await again.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('x', 'Connection: close\r\n'))
    assert.equal(peer.hasEnded, false)
  }
  for (const peer of more) assert.equal(statusOf(await peer.message()), 200)
})

test('limits that a message hits are counted, with the key to change', DEADLINE, async (t) => {
  const all = await fixture(t, { limits: { headBytes: 1024, targetBytes: 100 } })
  for (const [text, limit, key] of [
    [`GET / HTTP/1.1\r\nHost: h\r\nX: ${'x'.repeat(2000)}\r\n\r\n`, 'head-bytes', 'limits.head-bytes'],
    [`GET /${'x'.repeat(200)} HTTP/1.1\r\nHost: h\r\n\r\n`, 'target-bytes', 'limits.target-bytes'],
    ['POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n', 'call-bytes', null],
  ] as const) {
    const peer = all.client()
    peer.write(text)
    await peer.message()
    const said = await all.said.next()
    assert.deepEqual([said['event'], said['limit'], said['hits'], said['key']], ['limit-reached', limit, 1, key])
    assert.equal(all.counters.cells[all.counters.place('xengate_limit_hits_total', limit)], 1)
  }
})

nodeTest('a limit is logged once a minute, with how often it was hit', () => {
  let nowMs = 0
  const said: LogEvent[] = []
  const counters = Counters.private()
  const hits = new LimitHits(
    counters,
    (event) => said.push(event),
    () => nowMs,
  )
  for (let second = 0; second < 130; second++) {
    nowMs = second * 1000
    hits.hit('connections')
    hits.hit('service-queue', 'svc')
  }
  assert.deepEqual(
    said.filter(({ limit }) => limit === 'connections').map(({ hits: count }) => count),
    [1, 60, 60],
  )
  assert.equal(said.length, 6)
  assert.equal(counters.cells[counters.place('xengate_limit_hits_total', 'connections')], 130)
})

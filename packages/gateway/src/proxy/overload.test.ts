// What the gateway does, stage by stage, when it has too little of something: driven by descriptors, of which it is told that there are few.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { AccessFields } from '../logging/access.ts'
import type { OverloadState } from '../model/overload.ts'
import { until } from '../transport/testing/peers.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, type Fixture, fixture, type FixtureOptions, request, response, statusOf } from './testing/fixture.ts'
import { Arrivals, type Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
/** So many connections lead to stage 3. */
const REFUSING = 60

/** A gateway that has few descriptors, and how many connections lead to each stage, from 1 on; each with some more than that. */
async function small(
  t: Parameters<typeof fixture>[0],
  options: FixtureOptions = {},
): Promise<Fixture & { readonly counts: readonly number[] }> {
  const others = readdirSync('/proc/self/fd').length - 1
  const all = await fixture(t, { ...options, overload: { descriptors: 50 }, descriptorsMax: 2 * (others + REFUSING) })
  const counts = [0.8, 0.9, 1, 1.1].map((part) => Math.ceil((others + REFUSING) * part) - others + 3)
  return { ...all, counts }
}

const UNKNOWN = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n'

/** Connects clients until the gateway has so many, most of which ask nothing. @returns those that have had an answer */
async function connect(all: Fixture, count: number): Promise<Peer[]> {
  const peers: Peer[] = []
  for (let made = all.gateway.connections; made < count; made++) {
    const peer = all.client()
    if (peers.length < 10 && all.gateway.overloadStage === 0) {
      peers.push(peer)
      peer.write(UNKNOWN)
      await peer.message()
    }
  }
  await until(() => all.gateway.connections >= count, `${count} connections`)
  return peers
}

/** Waits for a stage; those between are passed. */
async function reach(all: Fixture, stage: number): Promise<void> {
  for (;;) if ((await all.stages.next()).stage === stage) return
}

test('stage 1: idle connections end sooner than they would', DEADLINE, async (t) => {
  // A tenth of it is less than a test waits.
  const all = await small(t, { limits: { idleTimeoutMs: 30_000, headTimeoutMs: 30_000 } })
  const peers = await connect(all, all.counts[0]!)
  await reach(all, 1)
  assert.equal(await peers[0]!.ended(), '')
  for (const peer of all.peers) peer.destroy()
  await reach(all, 0)
  // Then it is as it was.
  const peer = all.client()
  peer.write(UNKNOWN)
  assert.match(await peer.message(), /^HTTP\/1\.1 404 [^]*\r\n\r\n/)
  assert.equal(all.gateway.overloadStage, 0)
})

test('stage 2: answers end their connection', DEADLINE, async (t) => {
  const all = await small(t, { limits: { idleTimeoutMs: 1_000_000, headTimeoutMs: 1_000_000 } })
  const svc = await all.service('svc')
  const peers = await connect(all, all.counts[0]!)
  await reach(all, 1)
  const [first, second] = peers as [Peer, Peer]
  first.write(UNKNOWN)
  assert.doesNotMatch(await first.message(), /Connection: close/)
  await connect(all, all.counts[1]!)
  await reach(all, 2)
  first.write(UNKNOWN)
  assert.match(await first.message(), /\r\nConnection: close\r\n/)
  await first.ended()
  second.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('x'))
  assert.match(await second.message(), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n\r\nx$/)
})

test('stage 3: new requests get 503 in the order of decisions; what is under way goes on', DEADLINE, async (t) => {
  const all = await small(t, { limits: { idleTimeoutMs: 1_000_000, headTimeoutMs: 1_000_000 } })
  const svc = await all.service('svc')
  const control = await all.service('org.xengate.control')
  const begun = all.client()
  begun.write(request('GET', '/long'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  const peers = await connect(all, all.counts[2]!)
  await reach(all, 3)
  const ask = async (text: string): Promise<string> => {
    const peer = peers.pop()!
    peer.write(text)
    return peer.message()
  }
  const refused = await ask(request('GET'))
  assert.match(refused, /^HTTP\/1\.1 503 [^]*\r\nRetry-After: 1\r\nConnection: close\r\n\r\nThe gateway has more to do/)
  assert.equal((await lineOf(all, 503)).reason, 'overloaded')
  for (const [text, status] of [
    ['bad\r\n\r\n', 400],
    [request('GET').replace(COOKIE, ''), 403],
    [request('GET').replace('/svc/', '/none/'), 503],
    [request('GET').replace('/svc/', '/.x/'), 404],
    ['GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n', 200],
  ] as const) {
    assert.equal(statusOf(await ask(text)), status, text)
  }
  assert.equal(svc.connections.count, 0)
  // Who looks for what is wrong is let in.
  const operator = peers.pop()!
  operator.write(request('GET', '/status').replace('/svc/', '/org.xengate.control/'))
  const asked = await control.connections.next()
  await asked.until('\r\n\r\n')
  asked.write(response('ok'))
  assert.equal(statusOf(await operator.message()), 200)
  connection.write(response('long'))
  assert.match(await begun.message(), /long$/)
})

test('stage 4: nothing is accepted, until there is room again', DEADLINE, async (t) => {
  const all = await small(t, { limits: { idleTimeoutMs: 1_000_000, headTimeoutMs: 1_000_000 } })
  const peers = await connect(all, all.counts[2]!)
  const silent: Peer[] = []
  while (all.gateway.overloadStage < 4) {
    silent.push(all.client())
    await once(silent.at(-1)!.socket, 'connect')
    await nextTurn()
  }
  const { resource, used, limit } = await last(all)
  assert.equal(resource, 'descriptors')
  assert.ok(used > limit / 2)
  const waiting = all.client()
  waiting.write(UNKNOWN)
  await once(waiting.socket, 'connect')
  const before = all.gateway.connections
  // What is there is served: an answer later than the connection that waits.
  peers[0]!.write(UNKNOWN)
  assert.equal(statusOf(await peers[0]!.message()), 404)
  assert.ok(all.gateway.connections <= before)
  assert.equal(waiting.pending, '')
  for (const peer of all.peers) if (peer !== waiting) peer.destroy()
  assert.equal(statusOf(await waiting.message()), 404)
  await reach(all, 0)
})

test(
  'a worker whose event loop is late again and again notices it, and when it is not any more',
  DEADLINE,
  async (t) => {
    const all = await fixture(t, { limits: { connectTimeoutMs: 400 }, overload: { eventLoopDelayMs: 20 } })
    const peer = all.client()
    peer.write('GET')
    while (all.gateway.overloadStage < 3) {
      const endMs = performance.now() + 150
      while (performance.now() < endMs);
      await nextTurn()
    }
    const { resource, limit } = await last(all)
    assert.deepEqual([resource, limit], ['event-loop-delay', 20])
    while (all.gateway.overloadStage > 0) await all.stages.next()
  },
)

test('where memory is short it is given back first, and not at each look', DEADLINE, async (t) => {
  const given = new Arrivals<string>()
  const all = await fixture(t, {
    limits: { connectTimeoutMs: 100 },
    overload: { memory: 1e-6 },
    burstOver: () => given.push('back'),
  })
  const peer = all.client()
  peer.write(UNKNOWN)
  assert.match(await peer.message(), /^HTTP\/1\.1 404 /)
  assert.equal(await given.next(), 'back')
  assert.equal((await last(all)).resource, 'memory')
  assert.equal(all.gateway.overloadStage, 4)
  assert.equal(given.count, 0)
})

/** The line of the next request that had this status. */
async function lineOf(all: Fixture, status: number): Promise<AccessFields> {
  for (;;) {
    const line = await all.accessLines.next()
    if (line.status === status) return line
  }
}

/** The last stage that was told of by now. */
async function last(all: Fixture): Promise<OverloadState> {
  let state = await all.stages.next()
  while (all.stages.count > 0) state = await all.stages.next()
  return state
}

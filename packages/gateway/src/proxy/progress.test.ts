// What is slow and what stands still: a peer that takes or sends something is not late, unless a least rate is set.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { OPEN_POLICY } from '../model/policy.ts'
import { test } from './testing/each-transport.ts'
import { fixture, READER_ID, request, response, statusOf } from './testing/fixture.ts'
import type { Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
/** More than the sockets between the two hold. */
const BIG = 3 * 1024 * 1024

/** A connection that is read only by `drink`. */
function lazy(peer: Peer): Peer {
  peer.socket.removeAllListeners('data')
  peer.socket.pause()
  return peer
}

/** Reads slowly, a piece each `pauseMs`, until `bytes` are there. @returns how many came before the end or the close */
async function drink(peer: Peer, bytes: number, pauseMs: number): Promise<number> {
  const { socket } = peer
  let total = 0
  const { promise: isOver, resolve } = Promise.withResolvers<void>()
  socket.once('close', resolve).once('end', resolve)
  socket.on('data', (chunk: Buffer) => {
    total += chunk.length
    if (total >= bytes) resolve()
    socket.pause()
    setTimeout(() => socket.resume(), pauseMs)
  })
  socket.resume()
  await isOver
  return total
}

test('a client or a service that reads slowly, but steadily, gets all that is sent to it', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { limits: { bodyIdleTimeoutMs: 1500 } })
  const svc = await service('svc')
  // A block of what waits in the gateway takes longer than the timeout; a piece of it is well within.
  const slowly = (peer: Peer): Promise<number> => drink(peer, BIG, 250)
  const [kept, ending, up] = [lazy(client()), lazy(client()), client()]
  kept.write(request('GET'))
  ending.write(request('GET', '/', 'Connection: close\r\n'))
  for (let count = 0; count < 2; count++) {
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('x'.repeat(BIG)))
  }
  up.write(request('PUT', '/', `Content-Length: ${BIG}\r\n`, 'x'.repeat(BIG)))
  const upServed = await svc.connections.next()
  const counts = await Promise.all([slowly(kept), slowly(ending), slowly(upServed)])
  assert.ok(
    counts.every((count) => count >= BIG),
    String(counts),
  )
  upServed.write(response('done'))
  assert.match(await up.message(), /done$/)
})

test('a client that stops reading is cut, and it is said to be the client', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t, { limits: { bodyIdleTimeoutMs: 1500 } })
  const svc = await service('svc')
  const peer = lazy(client())
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('x'.repeat(4 * BIG)))
  const { outcome, reason } = await accessLines.next()
  assert.deepEqual([outcome, reason], ['client-failed', 'response-unread'])
})

test('a service that stops in the middle of a response is said to be slow', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t, { limits: { bodyIdleTimeoutMs: 1500 } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc')
  await peer.closed()
  const { outcome, reason } = await accessLines.next()
  assert.deepEqual([outcome, reason], ['service-failed', 'service-slow'])
})

test('interim responses do not put off the time by which a service has to answer', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { limits: { responseTimeoutMs: 1000 } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  const timer = setInterval(() => connection.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 100)
  t.after(() => clearInterval(timer))
  assert.match(await peer.until('504 Gateway Timeout\r\n'), /^HTTP\/1\.1 103 /)
})

test(
  'a response below response-min-rate is cut, also when all of it is written, one above it is not',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t, {
      limits: { responseMinRate: 250_000, bodyIdleTimeoutMs: 60_000, idleTimeoutMs: 60_000 },
    })
    const svc = await service('svc')
    const [slow, fast] = [lazy(client()), lazy(client())]
    for (const peer of [slow, fast]) {
      peer.write(request('GET'))
      const connection = await svc.connections.next()
      await connection.until('\r\n\r\n')
      connection.write(response('x'.repeat(BIG + 2_000_000)))
    }
    const [slowCount, fastCount] = await Promise.all([
      drink(slow, BIG + 2_000_000, 1000),
      drink(fast, BIG + 2_000_000, 100),
    ])
    assert.ok(slowCount < BIG)
    assert.ok(fastCount >= BIG + 2_000_000)
  },
)

test('a body below request-min-rate is refused after 10 s, one above it is not', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { limits: { requestMinRate: 1000, bodyIdleTimeoutMs: 60_000 } })
  const svc = await service('svc')
  const send = (bytes: number): Peer => {
    const peer = client()
    peer.write(request('PUT', '/', 'Content-Length: 10000000\r\n', 'x'))
    const timer = setInterval(() => peer.write('x'.repeat(bytes)), 100)
    peer.socket.once('close', () => clearInterval(timer))
    return peer
  }
  const fast = send(1000)
  const slow = send(1)
  slow.socket.setTimeout(0)
  const started = performance.now()
  const [first, second] = [await svc.connections.next(), await svc.connections.next()]
  await Promise.all([first.until('\r\n\r\n'), second.until('\r\n\r\n')])
  // Each wait of a peer is 5 s at most.
  await slow
    .until('408 ')
    .catch(() => slow.until('408 '))
    .catch(() => slow.until('408 '))
  assert.ok(performance.now() - started >= 9000)
  assert.equal(fast.pending, '')
})

for (const [what, cutTransfers] of [
  ['are cut when their session ends', true],
  ['outlive their session with cut-transfers = false', false],
] as const) {
  test(`transfers ${what}`, DEADLINE, async (t) => {
    const { client, service, sessions } = await fixture(t, { policies: { svc: { ...OPEN_POLICY, cutTransfers } } })
    const svc = await service('svc')
    const [down, up, early, other] = [client(), client(), client(), client()]
    down.write(request('GET', '/down'))
    const downServed = await svc.connections.next()
    await downServed.until('\r\n\r\n')
    downServed.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n')
    await down.until('data: 1\n\n')
    up.write(request('PUT', '/up', 'Content-Length: 10\r\n', 'abc'))
    const upServed = await svc.connections.next()
    await upServed.until('abc')
    early.write(request('GET', '/early'))
    const earlyServed = await svc.connections.next()
    await earlyServed.until('\r\n\r\n')
    other.write(`GET /services/plugin/svc?session_id=${READER_ID} HTTP/1.1\r\nHost: h\r\n\r\n`)
    const otherServed = await svc.connections.next()
    await otherServed.until('\r\n\r\n')

    const isReset = once(down.socket, 'error')
    isReset.catch(() => {})
    sessions.ended(['11111111'])
    if (cutTransfers) {
      await Promise.all([isReset, downServed.ended()])
      assert.equal(statusOf(await up.message()), 403)
      assert.equal(statusOf(await early.message()), 403)
      await Promise.all([upServed.ended(), earlyServed.ended()])
    } else {
      downServed.write('data: 2\n\n')
      await down.until('data: 2\n\n')
      up.write('defghij')
      await upServed.until('defghij')
      upServed.write(response('kept'))
      assert.match(await up.message(), /kept$/)
    }
    otherServed.write(response('other'))
    assert.match(await other.message(), /other$/)
  })
}

test(
  'a client stays connected when its body ends in a piece that its service, which has answered, is slow to take',
  DEADLINE,
  async (t) => {
    const { client, service, accessLines } = await fixture(t, {
      policies: { svc: { ...OPEN_POLICY, reuse: 'always' } },
    })
    const svc = await service('svc')
    // Around the sizes at which the last piece just does not fit into the service's socket any more.
    for (let bytes = 900_000; bytes <= 1_500_000; bytes += 16_384) {
      const peer = client()
      peer.write(request('PUT', '/', `Content-Length: ${bytes}\r\n`, 'x'))
      const connection = await svc.connections.next()
      await connection.until('\r\n\r\nx')
      connection.socket.pause()
      connection.write(response('early'))
      await peer.until('early')
      peer.write('x'.repeat(bytes - 1))
      // The exchange can be over before the service reads on, as long as all fits between the two; beyond that it has to.
      const timer = setTimeout(() => connection.socket.resume(), 100)
      await accessLines.next()
      peer.write('GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n')
      assert.equal(statusOf(await peer.message()), 404)
      await accessLines.next()
      clearTimeout(timer)
      connection.socket.resume()
      assert.equal((await connection.bytes(bytes - 1)).length, bytes - 1)
      peer.destroy()
      connection.destroy()
    }
  },
)

// What happens between the reads of a turn and its writes, which are at its end: nothing is lost, passed on, or taken for something else.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { descriptorOf } from '@xengate/channel'
import { ChannelSockets } from './exchange/channel-sockets.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, type Fixture, request, response, statusOf } from './testing/fixture.ts'
import type { Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
/** Turns after which everything that has come in this process has been handled. */
const TURNS = 50

async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await nextTurn()
}

/** A service that takes channels, in a process of its own. */
async function channelService(t: TestContext, { directory }: Fixture): Promise<void> {
  const child = fork(join(import.meta.dirname, 'testing/channel-service.ts'), [join(directory, 'svc.channel')], {
    execArgv: process.execArgv.filter((argument) => argument !== '--test'),
  })
  t.after(() => child.kill())
  await once(child, 'message')
}

/** A client whose first request the service has answered, so that the connection to the service is idle. */
async function served({ client, service }: Fixture): Promise<{ peer: Peer; first: Peer; next: () => Promise<Peer> }> {
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const first = await svc.connections.next()
  await first.until('\r\n\r\n')
  first.write(response('one'))
  await peer.message()
  await settle()
  return { peer, first, next: () => svc.connections.next() }
}

test('the answer before goes out before the connection is passed', DEADLINE, async (t) => {
  const f = await fixture(t)
  await channelService(t, f)
  const plain = await f.service('plain')
  // The worker is busy for the rest of the turn, so that the service's answer is there first.
  const real = Object.getOwnPropertyDescriptor(ChannelSockets.prototype, 'open')
  assert.ok(real !== undefined)
  Object.defineProperty(ChannelSockets.prototype, 'open', {
    ...real,
    value(this: ChannelSockets, ...given: Parameters<ChannelSockets['open']>) {
      const opened = Reflect.apply(real.value as ChannelSockets['open'], this, given)
      if (opened !== null) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
      return opened
    },
  })
  t.after(() => Object.defineProperty(ChannelSockets.prototype, 'open', real))
  const peer = f.client()
  const get = (name: string): string => `GET /services/plugin/${name}/ HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`
  peer.write(get('plain') + get('svc'))
  const connection = await plain.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('FIRST'))
  assert.match(await peer.message(), /FIRST$/)
  assert.match(await peer.message(), /CHANNEL$/)
})

test('what comes in the turn in which a connection is taken is no answer', DEADLINE, async (t) => {
  const f = await fixture(t)
  const { peer, first, next } = await served(f)
  // Time passes between the moment in which the connection is taken and the end of the turn: others are served in it.
  const { pool } = f.gateway
  const take = pool.take.bind(pool)
  t.mock.method(pool, 'take', (...given: Parameters<typeof take>) => {
    const taken = take(...given)
    t.mock.restoreAll()
    writeSync(descriptorOf(first.socket), response('unasked'))
    return taken
  })
  peer.write(request('GET', '/2'))
  const second = await next()
  await second.until('\r\n\r\n')
  second.write(response('two'))
  assert.match(await peer.message(), /two$/)
})

test('a connection that was given up in this turn is given to no request', DEADLINE, async (t) => {
  const { peer, first, next } = await served(await fixture(t))
  // Both within one turn: first what nobody asked for, then a request that cannot be sent twice.
  writeSync(descriptorOf(first.socket), response('unasked'))
  writeSync(descriptorOf(peer.socket), request('POST', '/2', 'Content-Length: 1\r\n', 'x'))
  const second = await next()
  await second.until('x')
  second.write(response('two'))
  const answer = await peer.message()
  assert.equal(statusOf(answer), 200, answer)
  assert.match(answer, /two$/)
})

test('the beginning of an answer that fails in the same turn goes out before the reset', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  // A length of a chunk that is none.
  connection.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n')
  assert.match(await peer.closed(), /abc/)
  const { status, bytesOut, outcome } = await accessLines.next()
  assert.deepEqual([status, bytesOut, outcome], [200, 3, 'service-failed'])
})

test('a client that resets while more of it is kept ends an endless answer', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  // With the beginning of another request nothing more is read from the client.
  peer.write(`${request('GET', '/endless')}G`)
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n')
  await peer.until('a')
  peer.socket.resetAndDestroy()
  const timer = setInterval(() => connection.write('1\r\na\r\n'), 10)
  t.after(() => clearInterval(timer))
  await connection.closed()
  assert.equal((await accessLines.next()).outcome, 'client-gone')
})

test('a tunnel ends when the client is gone while the service takes nothing', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/t', 'Connection: Upgrade\r\nUpgrade: x\r\n'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
  await peer.until('\r\n\r\n')
  connection.socket.pause()
  // More than the service's connection holds, so that nothing more is read from the client.
  peer.write('z'.repeat(4_000_000))
  await settle()
  peer.socket.resetAndDestroy()
  const timer = setInterval(() => connection.write('x'), 10)
  t.after(() => clearInterval(timer))
  await connection.closed()
})

test('no connection is passed with a part of the answer before left behind', DEADLINE, async (t) => {
  const f = await fixture(t)
  await channelService(t, f)
  const plain = await f.service('plain')
  const get = (name: string): string => `GET /services/plugin/${name}/ HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`
  const chunk = `7d0\r\n${'z'.repeat(2000)}\r\n`
  // One of these fills the kernel's room for the client but for a part of what follows.
  for (let count = 1900; count < 2500; count += 30) {
    const peer = f.client()
    peer.socket.pause()
    peer.write(get('plain') + get('svc'))
    const connection = await plain.connections.next()
    await connection.until('\r\n\r\n')
    const head = 'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n'
    connection.write(`${head}${chunk.repeat(count)}0\r\n\r\n`)
    for (let times = 0; times < 20; times++) await settle()
    peer.socket.resume()
    await peer.until('\r\n\r\n')
    const body = await peer.until('CHANNEL')
    const data = body.slice(0, body.indexOf('HTTP/1.1 ')).match(/z/g)?.length
    assert.equal(data, count * 2000)
    peer.destroy()
  }
})

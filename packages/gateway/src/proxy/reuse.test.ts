// When a connection to a service, or to xapi, is used again: never when a body may lie unread in it, which would be taken for the
// next request.

import assert from 'node:assert/strict'
import { chmodSync, writeSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { descriptorOf } from '@xengate/channel'
import { OPEN_POLICY } from '../model/policy.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, type Fixture, rawService, request, response, statusOf } from './testing/fixture.ts'
import type { Arrivals, Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }

/** A request that another one hides in its body. */
const HIDDEN =
  'GET /services/plugin/svc/admin HTTP/1.1\r\nHost: h\r\nX-Xen-Session-User: root\r\nX-Xen-Session-Roles: pool-admin\r\n\r\n'

for (const method of ['GET', 'POST', 'PUT'] as const) {
  for (const framing of ['length', 'chunks'] as const) {
    test(`a body that a service leaves unread is no request: ${method} with ${framing}`, DEADLINE, async (t) => {
      const { client, service } = await fixture(t)
      const svc = await service('svc')
      const peer = client()
      const [line, body] =
        framing === 'length'
          ? [`Content-Length: ${HIDDEN.length}\r\n`, HIDDEN]
          : ['Transfer-Encoding: chunked\r\n', `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`]
      peer.write(request(method, '/x', line, body))
      const first = await svc.connections.next()
      assert.match(await first.until('\r\n\r\n'), /\r\nConnection: close\r\n\r\n$/)
      // It answers as if there were no body, and would read on.
      first.write(response('x'))
      assert.match(await peer.message(), /\r\n\r\nx$/)
      await first.ended()
      peer.write(request('GET', '/next'))
      const second = await svc.connections.next()
      assert.match(await second.until('\r\n\r\n'), /^GET \/services\/plugin\/svc\/next /)
      second.write(response('next'))
      assert.match(await peer.message(), /\r\n\r\nnext$/)
    })
  }
}

test('with reuse = "always" the connection goes on after a body, and is not said to end', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { policies: { svc: { ...OPEN_POLICY, reuse: 'always' } } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('POST', '/1', 'Content-Length: 3\r\n', 'abc'))
  const connection = await svc.connections.next()
  assert.doesNotMatch(await connection.until('abc'), /Connection/)
  connection.write(response('one'))
  await peer.message()
  peer.write(request('GET', '/2'))
  assert.match(await connection.until('\r\n\r\n'), /^GET \/services\/plugin\/svc\/2 /)
})

test('a service that marks its socket is believed, by each connection anew', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  chmodSync(svc.path, 0o1660)
  const peer = client()
  peer.write(request('POST', '/1', 'Content-Length: 3\r\n', 'abc'))
  const connection = await svc.connections.next()
  assert.doesNotMatch(await connection.until('abc'), /Connection/)
  connection.write(response('one'))
  await peer.message()
  // Another service in its place has a file of its own.
  chmodSync(svc.path, 0o660)
  peer.write(request('POST', '/2', 'Content-Length: 3\r\n', 'def'))
  assert.match(await connection.until('def'), /^POST \/services\/plugin\/svc\/2 /)
  connection.end(response('two', 'Connection: close\r\n'))
  await peer.message()
  peer.write(request('POST', '/3', 'Content-Length: 3\r\n', 'ghi'))
  const other = await svc.connections.next()
  assert.match(await other.until('ghi'), /\r\nConnection: close\r\n/)
})

test('a service that answers and then reads the body gets all of it', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('PUT', '/', 'Content-Length: 2000000\r\n', 'a'.repeat(1000)))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly')
  assert.match(await peer.until('early'), /\r\nConnection: close\r\n/)
  peer.write('b'.repeat(1_999_000))
  assert.equal(await connection.bytes(2_000_000), 'a'.repeat(1000) + 'b'.repeat(1_999_000))
  await peer.ended()
})

interface Fronted extends Fixture {
  readonly xapi: Arrivals<Peer>
}

async function fronted(t: TestContext): Promise<Fronted> {
  const upstream = await rawService({ port: 0 })
  t.after(() => upstream.close())
  const address = upstream.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const f = await fixture(t, { front: { upstream: { host: '127.0.0.1', port }, proxyProtocol: false } })
  return { ...f, xapi: upstream.connections }
}

const EVIL = 'POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: 170\r\n\r\nEVIL'

for (const [what, head] of [
  ['GET', `GET / HTTP/1.1\r\nHost: h\r\nContent-Length: ${EVIL.length}\r\n\r\n`],
  ['OPTIONS', `OPTIONS / HTTP/1.1\r\nHost: h\r\nContent-Length: ${EVIL.length}\r\n\r\n`],
  ['PUT', `PUT /import HTTP/1.1\r\nHost: h\r\nContent-Length: ${EVIL.length}\r\n\r\n`],
  ['POST that is no call', `POST /remote_db HTTP/1.1\r\nHost: h\r\nContent-Length: ${EVIL.length}\r\n\r\n`],
  ['GET in HTTP/1.0', `GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: ${EVIL.length}\r\n\r\n`],
] as const) {
  test(`what xapi leaves unread of one client's ${what} is not before another's request`, DEADLINE, async (t) => {
    const { client, xapi } = await fronted(t)
    const eve = client()
    eve.write(head + EVIL)
    const first = await xapi.next()
    assert.match(await first.until('\r\n\r\n'), /\r\nConnection: close\r\n\r\n$/)
    first.write('HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\npage')
    assert.match(await eve.until('page'), /^HTTP\/1\.1 200 /)
    await first.ended()
    const alice = client()
    alice.write(`POST /jsonrpc HTTP/1.1\r\nHost: h\r\n${COOKIE}Content-Length: 2\r\n\r\n{}`)
    const second = await xapi.next()
    assert.match(await second.until('{}'), /^POST \/jsonrpc /)
    second.write(response('answer'))
    assert.match(await alice.message(), /answer$/)
  })
}

test('a call that xapi refuses leaves no connection behind, one that it answers does', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  const call = 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}'
  peer.write(call)
  const first = await xapi.next()
  assert.doesNotMatch(await first.until('{}'), /Connection/)
  first.write('HTTP/1.1 500 Internal Error\r\nContent-Length: 2\r\n\r\nno')
  assert.equal(statusOf(await peer.message()), 500)
  await first.ended()
  peer.write(call)
  const second = await xapi.next()
  await second.until('{}')
  second.write(response('yes'))
  await peer.message()
  peer.write('GET /page HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.match(await second.until('\r\n\r\n'), /^GET \/page /)
})

test('a client is told that its connection ends when a service refuses a long body and closes', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  for (const [lines, isLong] of [
    ['Content-Length: 1073741824\r\n', true],
    ['Content-Length: 60000\r\n', false],
  ] as const) {
    const peer = client()
    peer.write(request('POST', '/', lines, 'begin'))
    const connection = await svc.connections.next()
    await connection.until('begin')
    connection.end('HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong')
    const text = await peer.message()
    assert.equal(text.includes('\r\nConnection: close\r\n'), isLong)
    if (isLong) await peer.ended()
    else {
      peer.write(`${'x'.repeat(60_000 - 5)}GET /next HTTP/1.1\r\nHost: h\r\n\r\n`)
      assert.equal(statusOf(await peer.message()), 404)
    }
  }
})

test(
  'an answer that nobody asked for, and that came while the worker was busy, is not the next answer',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET', '/1'))
    const first = await svc.connections.next()
    await first.until('/1')
    await first.until('\r\n\r\n')
    first.write(response('one'))
    await peer.message()
    // Both within one turn of the event loop, and the client's first.
    writeSync(descriptorOf(peer.socket), request('GET', '/2'))
    writeSync(descriptorOf(first.socket), response('unasked'))
    const second = await svc.connections.next()
    await second.until('/2')
    second.write(response('two'))
    assert.match(await peer.message(), /two$/)
  },
)

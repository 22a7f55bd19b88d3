// In front of xapi, in literal bytes on both sides.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { test } from './testing/each-transport.ts'
import {
  COOKIE,
  fixture,
  type Fixture,
  type FixtureOptions,
  rawService,
  request,
  response,
  statusOf,
} from './testing/fixture.ts'
import type { Arrivals, Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }

interface Fronted extends Fixture {
  /** Connections to xapi. */
  readonly xapi: Arrivals<Peer>
  readonly stopXapi: () => Promise<void>
}

/** A gateway in front of a server in literal bytes. */
async function fronted(
  t: TestContext,
  options: FixtureOptions & { readonly proxyProtocol?: boolean } = {},
): Promise<Fronted> {
  const upstream = await rawService({ port: 0 })
  t.after(() => upstream.close())
  const address = upstream.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const { proxyProtocol = false, ...rest } = options
  const f = await fixture(t, { ...rest, front: { upstream: { host: '127.0.0.1', port }, proxyProtocol } })
  return { ...f, xapi: upstream.connections, stopXapi: () => upstream.close() }
}

test('a request that is not for a service reaches xapi as it came, with nothing added', DEADLINE, async (t) => {
  const { client, xapi, accessLines } = await fronted(t)
  const peer = client()
  peer.write(
    'POST /jsonrpc?a=%20b HTTP/1.1\r\nHost: host-a\r\nContent-Type: application/json\r\nx-forwarded-for: 1.2.3.4\r\n' +
      'X-Xen-Session-User: x\r\nTask_Id: 7\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\n{}',
  )
  const connection = await xapi.next()
  assert.equal(
    await connection.until('{}'),
    'POST /jsonrpc?a=%20b HTTP/1.1\r\nHost: host-a\r\nContent-Type: application/json\r\nx-forwarded-for: 1.2.3.4\r\n' +
      'X-Xen-Session-User: x\r\nTask_Id: 7\r\nContent-Length: 2\r\n\r\n{}',
  )
  connection.write('HTTP/1.1 200 OK\r\ncontent-length: 3\r\nX-Own: 1\r\n\r\nabc')
  assert.equal(await peer.message(), 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\nX-Own: 1\r\n\r\nabc')
  const { service, path, caller, status } = await accessLines.next()
  assert.deepEqual([service, path, caller, status], ['xapi', '/jsonrpc', null, 200])
})

test('on one connection requests for services and for xapi follow each other', DEADLINE, async (t) => {
  const { client, service, xapi } = await fronted(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(`GET /rrd_updates HTTP/1.1\r\nHost: h\r\n\r\n${request('GET', '/1')}GET /2 HTTP/1.1\r\nHost: h\r\n\r\n`)
  const connection = await xapi.next()
  await connection.until('GET /rrd_updates HTTP/1.1\r\nHost: h\r\n\r\n')
  connection.write(response('of xapi'))
  assert.match(await peer.message(), /of xapi$/)
  const served = await svc.connections.next()
  assert.match(await served.until('\r\n\r\n'), /\/svc\/1 HTTP\/1\.1\r\n[^]*X-Xen-Session-User: root\r\n/)
  served.write(response('of svc'))
  assert.match(await peer.message(), /of svc$/)
  await connection.until('GET /2 HTTP/1.1')
  connection.write(response('of xapi again'))
  assert.match(await peer.message(), /of xapi again$/)
  assert.equal(xapi.count, 0)
})

test('HTTP/1.0 with keep-alive stays HTTP/1.0, and the connection goes on as xapi says', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.write('POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx')
  const connection = await xapi.next()
  assert.equal(
    await connection.until('\r\n\r\nx'),
    'POST / HTTP/1.0\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx',
  )
  connection.write('HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\none')
  assert.match(await peer.message(), /\r\nConnection: keep-alive\r\n\r\none$/)
  peer.write('POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\ny')
  await connection.until('\r\n\r\ny')
  connection.write('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\ntwo')
  assert.match(await peer.ended(), /\r\nConnection: close\r\n\r\ntwo$/)
})

test('an answer that ends with the connection of xapi ends with the client’s, without chunks', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.write('GET /export?uuid=1 HTTP/1.1\r\nHost: h\r\n\r\n')
  const connection = await xapi.next()
  await connection.until('\r\n\r\n')
  connection.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it')
  assert.equal(await peer.ended(), 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it')
})

for (const [who, head, sent] of [
  [
    'XenCenter',
    'CONNECT /console?ref=1 HTTP/1.0\r\nHost: h\r\nCookie: session_id=s\r\n\r\n',
    '1.0\r\nHost: h\r\nCookie: session_id=s\r\n\r\n',
  ],
  ['a script without Host', 'CONNECT /console?ref=1 HTTP/1.1\r\n\r\n', '1.1\r\nConnection: close\r\n\r\n'],
] as const) {
  test(
    `CONNECT with a path, as of ${who}, becomes a tunnel, and xapi’s answer arrives byte for byte`,
    DEADLINE,
    async (t) => {
      const { client, xapi, accessLines } = await fronted(t)
      const peer = client()
      peer.write(head)
      const connection = await xapi.next()
      assert.equal(await connection.until('\r\n\r\n'), `CONNECT /console?ref=1 HTTP/${sent}`)
      const answer =
        'HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nCache-Control: no-cache, no-store\r\n\r\nRFB 003.003\n'
      connection.write(answer)
      assert.equal(await peer.bytes(answer.length), answer)
      peer.write('\0\x01RFB\xff')
      assert.equal(await connection.bytes(6), '\0\x01RFB\xff')
      connection.end('bye')
      assert.equal(await peer.ended(), 'bye')
      const { path, status, service, outcome, reason } = await accessLines.next()
      assert.deepEqual([path, status, service, outcome, reason], ['/console', 200, 'xapi', 'complete', null])
    },
  )
}

test('CONNECT to another host is refused', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.write(`CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n${request('GET')}`)
  const answer = await peer.ended()
  assert.match(answer, /^HTTP\/1\.1 400 [^]*\r\nConnection: close\r\n/)
  assert.ok(!answer.slice(1).includes('HTTP/1.1 '))
  assert.equal(xapi.count, 0)
})

test('the thin protocol of xe, which is no HTTP behind its request, passes both ways', DEADLINE, async (t) => {
  const { client, xapi, accessLines } = await fronted(t)
  const peer = client()
  peer.write('POST /cli HTTP/1.0\r\nUser-agent: xe-cli\r\ncontent-length: 7\r\n\r\nvm-list')
  const connection = await xapi.next()
  assert.match(await connection.until('vm-list'), /^POST \/cli HTTP\/1\.0\r\n[^]*content-length: 7\r\n/)
  connection.write('XenSource thin CLI protocol')
  await peer.until('XenSource thin CLI protocol')
  peer.write('XenSource thin CLI protocol')
  await connection.until('XenSource thin CLI protocol')
  connection.end('exit')
  assert.equal(await peer.ended(), 'exit')
  assert.equal((await accessLines.next()).status, 0)
})

test('an upload without a length ends with the client’s side, and is answered after that', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.end('PUT /import?session_id=s HTTP/1.0\r\n\r\nan image of a disk')
  const connection = await xapi.next()
  assert.match(await connection.ended(), /^PUT \/import\?session_id=s HTTP\/1\.0\r\n\r\nan image of a disk$/)
  connection.end('HTTP/1.1 200 OK\r\n\r\ndone')
  assert.equal(await peer.ended(), 'HTTP/1.1 200 OK\r\n\r\ndone')
})

for (const [title, head] of [
  ['with a length', 'PUT /import HTTP/1.0\r\nContent-Length: 1000000000\r\n\r\n'],
  ['without one', 'PUT /import HTTP/1.0\r\n\r\n'],
  [
    'in chunks',
    'PUT /import HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3b9aca00\r\n',
  ],
  ['on a kept connection', 'PUT /import HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n'],
] as const) {
  test(`xapi that refuses an upload ${title} early, and closes without reading on, is heard`, DEADLINE, async (t) => {
    const { client, xapi } = await fronted(t)
    const peer = client()
    peer.write(head)
    const connection = await xapi.next()
    await connection.until('\r\n\r\n')
    connection.socket.pause()
    peer.write('x'.repeat(4_000_000))
    await once(connection.socket, 'readable')
    connection.write('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 6\r\n\r\nno way')
    connection.destroy()
    assert.match(await peer.ended(), /^HTTP\/1\.1 403 Forbidden\r\n[^]*\r\n\r\nno way$/)
  })
}

test('what follows the last request of a connection is not taken for another one', DEADLINE, async (t) => {
  const { client, service, xapi } = await fronted(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(`GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n${request('GET')}`)
  const connection = await xapi.next()
  await connection.until(`\r\nConnection: close\r\n\r\n${request('GET')}`)
  connection.end(response('one', 'Connection: close\r\n'))
  assert.match(await peer.ended(), /one$/)
  assert.equal(svc.connections.count, 0)
})

test('a call that waits for events, and a body that stands still, are not cut by a timeout', DEADLINE, async (t) => {
  const limits = { responseTimeoutMs: 50, bodyIdleTimeoutMs: 50, idleTimeoutMs: 50 }
  const { client, xapi } = await fronted(t, { limits })
  const polling = client()
  polling.write('POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}')
  const held = await xapi.next()
  await held.until('{}')
  const uploading = client()
  uploading.write('PUT /import HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc')
  const importing = await xapi.next()
  await importing.until('abc')
  // One that began to wait after these has reached a timeout of the same length.
  const idle = client()
  idle.write('GET /idle HTTP/1.1\r\nHost: h\r\n\r\n')
  const answering = await xapi.next()
  await answering.until('\r\n\r\n')
  answering.write(response(''))
  await idle.message()
  await idle.ended()
  held.write(response('an event'))
  assert.match(await polling.message(), /an event$/)
  uploading.write('def')
  await importing.until('def')
  importing.write(response('imported'))
  assert.match(await uploading.message(), /imported$/)
})

test('a websocket console is passed on, and is a tunnel after 101', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.write(
    'GET /console?ref=1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n',
  )
  const connection = await xapi.next()
  assert.match(
    await connection.until('\r\n\r\n'),
    /\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/,
  )
  connection.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n\x82\x01a')
  assert.match(await peer.until('\x82\x01a'), /^HTTP\/1\.1 101 /)
  peer.write('\x82\x81')
  await connection.until('\x82\x81')
})

test('the gateway’s own XenAPI is not reachable, and sessions are asked for at services alone', DEADLINE, async (t) => {
  const { client, xapi, service } = await fronted(t, { onQuestion: () => assert.fail('nobody is asked') })
  const own = await service('xenapi.sock')
  for (const target of ['/', '/RPC2', '/xmlrpc', '/jsonrpc']) {
    const peer = client()
    peer.write(`POST ${target} HTTP/1.1\r\nHost: h\r\n${COOKIE}Content-Length: 0\r\n\r\n`)
    const connection = await xapi.next()
    await connection.until(`POST ${target} HTTP/1.1`)
    connection.end(response('', 'Connection: close\r\n'))
    await peer.ended()
  }
  assert.equal(own.connections.count, 0)
})

test('a service in disguise, and one without Host, do not reach xapi', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  for (const [target, lines, status] of [
    ['/services%2fplugin/svc', 'Host: h\r\n', 404],
    ['/%73ervices/plugin/svc', 'Host: h\r\n', 404],
    ['/services%2Fplugin', 'Host: h\r\n', 404],
    ['/services/plugin%2fsvc', 'Host: h\r\n', 404],
    ['/services/plugin%2Fsvc/%0d%0a', 'Host: h\r\n', 404],
    ['//h/services/plugin%2fsvc', 'Host: h\r\n', 404],
    ['//h/services/plugin/svc', 'Host: h\r\n', 404],
    ['///services/%70lugin/svc?a', 'Host: h\r\n', 404],
    ['http://h//h/services/plugin/svc', 'Host: h\r\n', 404],
    ['http://h/services/plugin/svc', 'Host: h\r\n', 403],
    ['/services/plugin/svc', '', 400],
    ['/services/plugin', 'Host: h\r\n', 403],
  ] as const) {
    const peer = client()
    peer.write(`GET ${target} HTTP/1.1\r\n${lines}\r\n`)
    assert.equal(statusOf(await peer.message()), status, target)
  }
  assert.equal(xapi.count, 0)
})

test('xapi is told of each client by PROXY, once on each connection, and none is shared', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t, { proxyProtocol: true, listener: { hasProxyHeader: true } })
  const one = client()
  one.write('PROXY TCP4 10.1.2.3 192.0.2.1 1111 443\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\n')
  const first = await xapi.next()
  assert.equal(
    await first.until('\r\n\r\n'),
    'PROXY TCP6 ::ffff:10.1.2.3 ::ffff:192.0.2.1 1111 443\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\n',
  )
  first.write(response('1'))
  await one.message()
  one.write('GET /2 HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.equal(await first.until('\r\n\r\n'), 'GET /2 HTTP/1.1\r\nHost: h\r\n\r\n')
  first.write(response('2'))
  await one.message()
  const two = client()
  two.write('PROXY TCP6 2001:db8::7 ::1 2222 443\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.match(await (await xapi.next()).until('\r\n\r\n'), /^PROXY TCP6 2001:db8::7 ::1 2222 443\r\nGET \/3 /)
})

test('without xapi, requests for it get 503, and services are served', DEADLINE, async (t) => {
  const { client, service, stopXapi } = await fronted(t)
  const svc = await service('svc')
  await stopXapi()
  const peer = client()
  peer.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  const answer = await peer.message()
  assert.equal(statusOf(answer), 503)
  assert.match(answer, /\r\nRetry-After: 1\r\n[^]*xapi does not answer/)
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('ok'))
  assert.match(await peer.message(), /ok$/)
})

test('xapi that dies before its answer is 502, and in the middle of one a reset', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.write('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n')
  ;(await xapi.next()).destroy()
  assert.equal(statusOf(await peer.message()), 502)
  const last = client()
  const reset = once(last.socket, 'error')
  last.write('GET /export HTTP/1.0\r\n\r\n')
  const connection = await xapi.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 200 OK\r\n\r\nhalf')
  await last.until('half')
  connection.socket.resetAndDestroy()
  const [error] = await reset
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
})

test('a slow reader of what xapi sends holds back xapi, and gets all of it', DEADLINE, async (t) => {
  const { client, xapi } = await fronted(t)
  const peer = client()
  peer.socket.pause()
  peer.write('GET /export HTTP/1.0\r\n\r\n')
  const connection = await xapi.next()
  await connection.until('\r\n\r\n')
  const bytes = 64 * 1024 * 1024
  assert.equal(connection.socket.write(Buffer.alloc(bytes)), false)
  connection.end()
  let received = 0
  peer.socket.removeAllListeners('data')
  peer.socket.on('data', (chunk: Buffer) => {
    received += chunk.length
  })
  peer.socket.resume()
  await once(peer.socket, 'end')
  assert.equal(received, bytes)
})

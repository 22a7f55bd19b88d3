// Against DNS rebinding: a request that names the gateway otherwise than it is called gets nothing of it.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, rawService, request, response, statusOf } from './testing/fixture.ts'
import { Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
const hostNames = ['xen.example.com']

for (const [what, start, lines] of [
  ['a service', 'GET /services/plugin/svc', COOKIE],
  ['a service without a session', 'GET /services/plugin/svc', ''],
  ['the XenAPI', 'POST /jsonrpc', 'Content-Length: 2\r\n'],
  ['the health', 'GET /healthz', ''],
  ['the dashboard', 'GET /', ''],
  ['a file of the dashboard', 'GET /assets/index.js', ''],
  ['the documentation', 'GET /docs/', ''],
  ['nothing', 'GET /nothing', ''],
] as const) {
  test(`a request for ${what} under another name is 421, and reaches nobody`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t, { hostNames })
    const svc = await service('svc')
    const peer = client()
    const body = lines.startsWith('Content-Length') ? '{}' : ''
    peer.write(`${start} HTTP/1.1\r\nHost: rebound.example:8080\r\nAccept: application/json\r\n${lines}\r\n${body}`)
    const refused = await peer.message()
    assert.match(refused, /^HTTP\/1\.1 421 Misdirected Request\r\n/)
    assert.match(refused, /\{"error":\{"code":"host-unknown",/)
    assert.equal(svc.connections.count, 0)
  })
}

test(
  'its own name, an address and no name at all are served, and each request of a connection is looked at',
  DEADLINE,
  async (t) => {
    const { client } = await fixture(t, { hostNames })
    const peer = client()
    for (const [host, status] of [
      ['Host: xen.example.com\r\n', 200],
      ['Host: XEN.EXAMPLE.COM:443\r\n', 200],
      ['Host: rebound.example\r\n', 421],
      ['Host: 127.0.0.1:8080\r\n', 200],
      ['Host: [::1]:8080\r\n', 200],
      ['Host: xen.example.com.rebound.example\r\n', 421],
      ['Host:\r\n', 200],
    ] as const) {
      peer.write(`GET /healthz HTTP/1.1\r\n${host}\r\n`)
      assert.equal(statusOf(await peer.message()), status, host)
    }
    // As load balancers ask.
    peer.write('GET /healthz HTTP/1.0\r\n\r\n')
    assert.equal(statusOf(await peer.message()), 200)
  },
)

test('the name in an absolute target is the one that counts', DEADLINE, async (t) => {
  const { client } = await fixture(t, { hostNames })
  const peer = client()
  peer.write('GET http://rebound.example/healthz HTTP/1.1\r\nHost: xen.example.com\r\n\r\n')
  assert.equal(statusOf(await peer.message()), 421)
  peer.write('GET http://xen.example.com/healthz HTTP/1.1\r\nHost: rebound.example\r\n\r\n')
  assert.equal(statusOf(await peer.message()), 200)
})

test('a request that comes byte by byte is judged alike', DEADLINE, async (t) => {
  const { client } = await fixture(t, { hostNames })
  const peer = client()
  for (const byte of 'GET /healthz HTTP/1.1\r\nHost: rebound.example\r\n\r\n') {
    peer.write(byte)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(statusOf(await peer.message()), 421)
})

test('what a channel brings back is looked at, too', DEADLINE, async (t) => {
  const { directory } = await fixture(t, { hostNames })
  const back = Peer.connect({ path: join(directory, 'gateway.sock') })
  t.after(() => back.destroy())
  back.write(request('GET', '/1').replace('Host: h', 'Host: rebound.example'))
  assert.equal(statusOf(await back.message()), 421)
})

test('in front of xapi nothing of it gets there', DEADLINE, async (t) => {
  const upstream = await rawService({ port: 0 })
  t.after(() => upstream.close())
  const address = upstream.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const front = { upstream: { host: '127.0.0.1', port }, proxyProtocol: false }
  const { client } = await fixture(t, { hostNames, front })
  const peer = client()
  peer.write('POST /jsonrpc HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: 2\r\n\r\n{}')
  assert.equal(statusOf(await peer.message()), 421)
  assert.equal(upstream.connections.count, 0)
  // The pool's hosts name nobody.
  const host = client()
  host.write('GET /rrd_updates HTTP/1.1\r\n\r\n')
  const connection = await upstream.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('of xapi'))
  assert.match(await host.message(), /of xapi$/)
})

test('without a list any name is served', DEADLINE, async (t) => {
  const peer = (await fixture(t)).client()
  peer.write('GET /healthz HTTP/1.1\r\nHost: rebound.example\r\n\r\n')
  assert.equal(statusOf(await peer.message()), 200)
})

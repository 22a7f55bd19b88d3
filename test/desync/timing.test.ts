// The families of desync that are about time and ends rather than bytes: pauses, half-closed connections, headers in front.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from '../../packages/gateway/src/proxy/testing/each-transport.ts'
import { COOKIE, fixture, request, response, statusOf } from '../../packages/gateway/src/proxy/testing/fixture.ts'
import { FOLLOWER } from './rig.ts'
import { StrictService } from './strict-service.ts'

const DEADLINE = { timeout: 60_000 }
const SHORT = { limits: { headTimeoutMs: 50, bodyIdleTimeoutMs: 50 } }

test('family 21: what follows a pause in a body is not a request', DEADLINE, async (t) => {
  const { client, directory } = await fixture(t, SHORT)
  const service = new StrictService()
  await service.listen(join(directory, 'svc'), false)
  t.after(() => service.close())
  const peer = client()
  peer.write(request('POST', '/', `Content-Length: ${FOLLOWER.length}\r\n`))
  assert.equal(statusOf(await peer.until('\r\n\r\n')), 408)
  peer.end(FOLLOWER)
  assert.ok(!(await peer.closed()).includes('HTTP/1.1'))
  assert.deepEqual(service.seen, [])
})

test('family 21: a pause in a head is 408, and its end is not a request', DEADLINE, async (t) => {
  const { client } = await fixture(t, SHORT)
  const peer = client()
  peer.write(`GET /services/plugin/svc HTTP/1.1\r\nHost: h\r\n${COOKIE}`)
  assert.equal(statusOf(await peer.until('\r\n\r\n')), 408)
  peer.end('\r\n')
  assert.ok(!(await peer.closed()).includes('HTTP/1.1'))
})

test('family 22: a pause in a chunk is 408, and the service sees no end', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, SHORT)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('POST', '/', 'Transfer-Encoding: chunked\r\n', '5\r\nhel'))
  const connection = await svc.connections.next()
  assert.equal(statusOf(await peer.until('\r\n\r\n')), 408)
  assert.match(await connection.ended(), /\r\n\r\n3\r\nhel\r\n$/)
  peer.end(`lo\r\n0\r\n\r\n${FOLLOWER}`)
  await peer.closed()
  assert.equal(svc.connections.count, 0)
})

test('family 81: a client that is gone in its body leaves a request without an end', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  for (const lines of ['Content-Length: 9\r\n', 'Transfer-Encoding: chunked\r\n']) {
    const peer = client()
    peer.write(request('POST', '/', lines, '5\r\nhe'))
    const connection = await svc.connections.next()
    await connection.until('he')
    peer.socket.resetAndDestroy()
    assert.ok(!(await connection.ended()).includes('0\r\n\r\n'))
  }
})

test('family 82: a client that has ended its side is answered, and its body is not', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.end(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('ok'))
  assert.match(await peer.ended(), /ok$/)
  const other = client()
  other.end(request('POST', '/', 'Content-Length: 9\r\n', 'half'))
  assert.equal(statusOf(await other.ended()), 400)
})

const V2 = '\r\n\r\n\0\r\nQUIT\n'
for (const [family, name, header] of [
  [85, 'two headers', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nPROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n'],
  [85, 'a bare LF', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n'],
  [85, 'two spaces', 'PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n'],
  [85, 'a zero in front of a port', 'PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n'],
  [85, 'an address of octal digits', 'PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n'],
  [85, 'an address of the other family', 'PROXY TCP4 ::1 ::1 1 2\r\n'],
  [85, 'lower case', 'proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n'],
  [86, 'another version', `${V2}\x31\x11\0\x0c${'\0'.repeat(12)}`],
  [86, 'another command', `${V2}\x22\x11\0\x0c${'\0'.repeat(12)}`],
  [86, 'another family', `${V2}\x21\x41\0\x0c${'\0'.repeat(12)}`],
  [86, 'datagrams', `${V2}\x21\x12\0\x0c${'\0'.repeat(12)}`],
  [86, 'addresses that are cut short', `${V2}\x21\x11\0\x04${'\0'.repeat(4)}`],
  [86, 'an entry that is longer than the header', `${V2}\x21\x11\0\x0f${'\0'.repeat(12)}\x04\0\x09`],
] as const) {
  test(`family ${family}: behind a PROXY header with ${name} nothing is read`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t, { listener: { hasProxyHeader: true } })
    const svc = await service('svc')
    const peer = client()
    peer.write(header + request('GET'))
    const text = await peer.ended()
    // A second header is a request, and none that can be read.
    if (name === 'two headers') assert.equal(statusOf(text), 400)
    else assert.equal(text, '')
    assert.equal(svc.connections.count, 0)
  })
}

test('family 85: a PROXY header that nobody asked for is no request', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  for (const header of ['PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n', `${V2}\x20\0\0\0`]) {
    const peer = client()
    peer.write(header + request('GET'))
    assert.equal(statusOf(await peer.ended()), 400)
  }
  assert.equal(svc.connections.count, 0)
})

// Calls of the XenAPI, which the primary gets whole or not at all.

import assert from 'node:assert/strict'
import { test } from './testing/each-transport.ts'
import { fixture, response, statusOf } from './testing/fixture.ts'

const DEADLINE = { timeout: 60_000 }

const CALL = 'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n'

test('a call in many chunks reaches the primary as one message of known length', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t)
  const primary = await service('xenapi.sock')
  const peer = client()
  const body = `{"method":"${'m'.repeat(5000)}\xe9"}`
  peer.write(`${CALL}Transfer-Encoding: chunked\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n`)
  for (const byte of body) peer.write(`1\r\n${byte}\r\n`)
  peer.write('0\r\nX-Trailer: 1\r\n\r\n')
  const connection = await primary.connections.next()
  assert.equal(
    await connection.until(body),
    'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-Forwarded-For: 127.0.0.1\r\n' +
      `X-Forwarded-Proto: http\r\nX-Request-Id: test-0\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  connection.write(response('{}'))
  assert.equal(statusOf(await peer.message()), 200)
  const { service: name, bytesIn } = await accessLines.next()
  assert.deepEqual([name, bytesIn], ['xenapi', body.length])
  // The connection goes on.
  peer.write(`${CALL}Content-Length: 2\r\n\r\n{}${CALL}Content-Length: 0\r\n\r\n`)
  assert.ok((await connection.until('\r\n\r\n{}')).endsWith('Content-Length: 2\r\n\r\n{}'))
  connection.write(response('two'))
  assert.match(await peer.message(), /two$/)
  assert.ok((await connection.until('\r\n\r\n')).endsWith('Content-Length: 0\r\n\r\n'))
})

test('a client that waits to be told to send its call is told', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const primary = await service('xenapi.sock')
  const peer = client()
  peer.write(`${CALL}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n`)
  assert.equal(await peer.until('\r\n\r\n'), 'HTTP/1.1 100 Continue\r\n\r\n')
  peer.write('{}')
  const connection = await primary.connections.next()
  assert.doesNotMatch(await connection.until('{}'), /Expect/)
})

for (const [what, text] of [
  ['by its length, before it is sent', 'Content-Length: 65537\r\n\r\n'],
  ['in chunks', `Transfer-Encoding: chunked\r\n\r\n10000\r\n${'x'.repeat(65_536)}\r\n1\r\nx\r\n`],
] as const) {
  test(`a call that is too long ${what} is refused, and the primary sees nothing of it`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t)
    const primary = await service('xenapi.sock')
    const peer = client()
    peer.write(CALL + text)
    assert.equal(statusOf(await peer.ended()), 413)
    assert.equal(primary.connections.count, 0)
  })
}

test('calls that are held are bounded together, and what was held is given back', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const primary = await service('xenapi.sock')
  const part = `${CALL}Content-Length: 65536\r\n\r\n${'x'.repeat(60_000)}`
  const held = Array.from({ length: 350 }, () => client())
  for (const peer of held) peer.write(part)
  const refused = await Promise.any(held.map(async (peer) => ({ peer, status: statusOf(await peer.message()) })))
  assert.equal(refused.status, 503)
  assert.equal(primary.connections.count, 0)
  for (const peer of held) peer.destroy()
  const peer = client()
  // Until the gateway has seen that they are gone.
  for (let status = 503; status === 503;) {
    const next = client()
    next.write(`${part}${'y'.repeat(5536)}`)
    status = await Promise.race([
      primary.connections.next().then(
        () => 0,
        () => 503,
      ),
      next.message().then(statusOf),
    ])
  }
  peer.destroy()
})

test('a call that ends too early is refused', DEADLINE, async (t) => {
  const { client } = await fixture(t)
  const peer = client()
  peer.end(`${CALL}Content-Length: 10\r\n\r\n{}`)
  assert.equal(statusOf(await peer.ended()), 400)
})

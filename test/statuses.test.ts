// Every status that a service may answer with arrives as it was sent.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startDaemon } from './harness/daemon.ts'
import { RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveSockets } from './harness/services.ts'

const NAME = 'com.example.statuses'
const STATUSES = Array.from({ length: 400 }, (_, index) => index + 200)

/** Statuses whose responses have no body. */
function isWithoutBody(status: number): boolean {
  return status === 204 || status === 304
}

for (const framing of ['with a length', 'in chunks'] as const) {
  test(`every status from 200 to 599 arrives whole ${framing}, on one connection`, { timeout: 60_000 }, async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    let connections = 0
    await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
      connections++
      socket.on('data', (chunk: Buffer) => {
        const [, status = ''] = /\/(\d{3}) HTTP/.exec(chunk.toString('latin1')) ?? []
        socket.write(answerOf(Number(status), framing), 'latin1')
      })
    })
    const session = await daemon.login()
    using client = await RawClient.connect(daemon.url)
    for (const status of STATUSES) {
      const target = `/services/plugin/${NAME}/${status}`
      await client.send(`GET ${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`)
      const response = await client.response()
      assert.equal(response.status, status)
      assert.equal(response.reason, `Reason ${status}, \xe9`)
      assert.equal(response.header('x-status'), `${status}: a "value"`)
      assert.equal(response.header('www-authenticate'), 'Basic realm="x:y"')
      assert.equal(response.header('date'), 'Thu, 01 Jan 1970 00:00:00 GMT')
      assert.equal(response.text, isWithoutBody(status) ? '' : `body of ${status}`)
      assert.equal(client.unread, '')
    }
    assert.equal(connections, 1)
  })
}

function answerOf(status: number, framing: 'with a length' | 'in chunks'): string {
  const head =
    `HTTP/1.1 ${status} Reason ${status}, \xe9\r\nX-Status: ${status}: a "value"\r\n` +
    'WWW-Authenticate: Basic realm="x:y"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n'
  if (isWithoutBody(status)) return `${head}\r\n`
  if (framing === 'with a length') return `${head}Content-Length: 11\r\n\r\nbody of ${status}`
  return `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nbody \r\n6\r\nof ${status}\r\n0\r\n\r\n`
}

test('no reason phrase arrives as none', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
    socket.on('data', () => socket.write('HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok'))
  })
  const session = await daemon.login()
  using client = await RawClient.connect(daemon.url)
  await client.send(`GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`)
  const response = await client.response()
  assert.deepEqual([response.status, response.reason, response.text], [200, '', 'ok'])
})

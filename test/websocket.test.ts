// WebSocket, with a real client and a real server (npm's ws), and other upgrades as literal bytes.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { before, describe, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { type Daemon, startDaemon, USER } from './harness/daemon.ts'
import { within } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'
import { listen, serveSockets } from './harness/services.ts'

const NAME = 'com.example.socket'
const PATH = `/services/plugin/${NAME}`

const suite = scopeOfSuite()
let daemon: Daemon
let session: string
before(async () => {
  daemon = await startDaemon(suite)
  session = await daemon.login()
})

/** A service that gives each of its WebSockets to `onConnection`. */
async function serveWebSockets(
  scope: Scope,
  onConnection: (socket: WebSocket, request: IncomingMessage) => void,
): Promise<void> {
  const server = createServer()
  const webSockets = new WebSocketServer({ server, maxPayload: 8 * 1024 * 1024 })
  webSockets.on('connection', (socket, request) => {
    socket.on('error', () => {})
    onConnection(socket, request)
  })
  await listen(server, daemon.place.socket(NAME))
  scope.defer(() => {
    for (const socket of webSockets.clients) socket.terminate()
    server.close()
    server.closeAllConnections()
  })
}

function echo(socket: WebSocket): void {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
}

/** An open WebSocket through the gateway. */
async function open(scope: Scope, cookie = session, protocols: string[] = []): Promise<WebSocket> {
  const url = `${daemon.url.replace('http:', 'ws:')}${PATH}`
  const socket = new WebSocket(url, protocols, { headers: { Cookie: `session_id=${cookie}` } })
  scope.defer(() => socket.terminate())
  await within(once(socket, 'open'), 'the WebSocket to open')
  return socket
}

/** The next message of `socket`. */
async function message(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = await within(once(socket, 'message'), 'a message')
  return { data: data as Buffer, isBinary: Boolean(isBinary) }
}

describe('a WebSocket', { timeout: 300_000 }, () => {
  test('carries text and bytes both ways, small and large', async (t) => {
    const scope = scopeOf(t)
    await serveWebSockets(scope, echo)
    const socket = await open(scope)
    for (const text of ['hello', '', 'grüße \u{1f600}']) {
      const answer = message(socket)
      socket.send(text)
      assert.deepEqual(await answer, { data: Buffer.from(text), isBinary: false })
    }
    for (const bytes of [1, 125, 126, 65_535, 65_536, 1024 * 1024]) {
      const data = randomBytes(bytes)
      const answer = message(socket)
      socket.send(data)
      const { data: echoed, isBinary } = await answer
      assert.ok(isBinary)
      assert.ok(echoed.equals(data))
    }
  })

  test('carries a message in fragments, and pings', async (t) => {
    const scope = scopeOf(t)
    await serveWebSockets(scope, echo)
    const socket = await open(scope)
    const answer = message(socket)
    const pong = once(socket, 'pong')
    socket.send('one ', { fin: false })
    socket.ping('between')
    socket.send('two ', { fin: false })
    socket.send('three', { fin: true })
    assert.equal((await answer).data.toString(), 'one two three')
    assert.equal(String((await within(pong, 'the pong'))[0]), 'between')
  })

  test('sends many messages in their order', async (t) => {
    const scope = scopeOf(t)
    await serveWebSockets(scope, echo)
    const socket = await open(scope)
    const numbers = Array.from({ length: 2000 }, (_, index) => String(index))
    const received: string[] = []
    const all = Promise.withResolvers<void>()
    socket.on('message', (data: Buffer) => {
      received.push(data.toString())
      if (received.length === numbers.length) all.resolve()
    })
    for (const number of numbers) socket.send(number)
    await within(all.promise, 'all of them')
    assert.deepEqual(received, numbers)
  })

  test('agrees on a protocol, and the service sees who asks', async (t) => {
    const scope = scopeOf(t)
    await serveWebSockets(scope, (socket, request) => socket.send(String(request.headers['x-xen-session-user'])))
    const url = `${daemon.url.replace('http:', 'ws:')}${PATH}?session_id=${encodeURIComponent(session)}`
    const socket = new WebSocket(url, ['chat', 'other'])
    scope.defer(() => socket.terminate())
    assert.equal((await message(socket)).data.toString(), USER.name)
    assert.equal(socket.protocol, 'chat')
  })

  test('closes with the code and reason of the client', async (t) => {
    const scope = scopeOf(t)
    const closed = Promise.withResolvers<unknown[]>()
    await serveWebSockets(scope, (socket) => {
      socket.on('close', (code, reason) => closed.resolve([code, reason.toString()]))
    })
    const socket = await open(scope)
    const own = once(socket, 'close')
    socket.close(4001, 'client is done')
    assert.deepEqual(await within(closed.promise, 'the service to hear'), [4001, 'client is done'])
    assert.equal((await within(own, 'the close'))[0], 4001)
  })

  test('closes with the code and reason of the service', async (t) => {
    const scope = scopeOf(t)
    await serveWebSockets(scope, (socket) => socket.close(4002, 'service is done'))
    const socket = await open(scope)
    const [code, reason] = await within(once(socket, 'close'), 'the close')
    assert.deepEqual([code, String(reason)], [4002, 'service is done'])
  })

  test('breaks off when either side does', async (t) => {
    const scope = scopeOf(t)
    const opened = Promise.withResolvers<WebSocket>()
    await serveWebSockets(scope, (socket) => opened.resolve(socket))
    const first = await open(scope)
    const service = await opened.promise
    const [heard] = [once(service, 'close')]
    first.terminate()
    assert.equal((await within(heard, 'the service to hear'))[0], 1006)
  })

  test('is closed when its session ends, and others go on', async (t) => {
    const scope = scopeOf(t)
    const serviceClosed = Promise.withResolvers<void>()
    await serveWebSockets(scope, (socket, request) => {
      echo(socket)
      if (request.headers.cookie?.includes(session) !== true) socket.on('close', () => serviceClosed.resolve())
    })
    const ending = await daemon.login()
    const socket = await open(scope, ending)
    const other = await open(scope)
    const closed = once(socket, 'close')
    await daemon.logout(ending)
    assert.equal((await within(closed, 'the close'))[0], 1006)
    await within(serviceClosed.promise, 'the service to hear')
    const answer = message(other)
    other.send('still here')
    assert.equal((await answer).data.toString(), 'still here')
  })

  test('is not opened without a session', async () => {
    const socket = new WebSocket(`${daemon.url.replace('http:', 'ws:')}${PATH}`)
    socket.on('error', () => {})
    const [, response] = await within(once(socket, 'unexpected-response'), 'the refusal')
    assert.equal((response as IncomingMessage).statusCode, 403)
    socket.terminate()
  })
})

describe('an upgrade', { timeout: 300_000 }, () => {
  const asked = (lines: string): string =>
    `GET ${PATH} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`

  /** A service that keeps the head it is asked with, and answers with `answer`. */
  async function serveOnce(scope: Scope, answer: string): Promise<{ head: string }> {
    const seen = { head: '' }
    await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
      socket.once('data', (chunk: Buffer) => {
        seen.head = chunk.toString('latin1')
        socket.write(answer, 'latin1')
      })
    })
    return seen
  }

  const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

  for (const protocol of ['h2c', 'HTTP/2.0', 'TLS/1.3', 'websocket, h2c']) {
    test(`to ${protocol} is not passed on: the request is answered without`, async (t) => {
      const seen = await serveOnce(scopeOf(t), OK)
      const lines = `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocol}\r\nHTTP2-Settings: AAMAAABk\r\n`
      assert.equal((await exchange(daemon.url, asked(lines))).text, 'ok')
      assert.doesNotMatch(seen.head, /upgrade|http2-settings/i)
    })
  }

  test('to another protocol is passed on, and carries bytes as they are', async (t) => {
    const seen = await serveOnce(
      scopeOf(t),
      'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: raw/1\r\nX-More: yes\r\n\r\nfirst bytes',
    )
    using client = await RawClient.connect(daemon.url)
    await client.send(asked('Connection: Upgrade\r\nUpgrade: raw/1\r\n'))
    const head = await client.until('\r\n\r\n')
    assert.match(head, /^HTTP\/1\.1 101 Go\r\n/)
    assert.match(head, /\r\nConnection: Upgrade\r\n/)
    assert.match(head, /\r\nUpgrade: raw\/1\r\n/)
    assert.match(head, /\r\nX-More: yes\r\n/)
    assert.equal((await client.bytes(11)).toString(), 'first bytes')
    assert.match(seen.head, /\r\nConnection: Upgrade\r\nUpgrade: raw\/1\r\n/)
  })

  test('that the service does not take is answered as any request, and the connection goes on', async (t) => {
    await serveSockets(scopeOf(t), daemon.place.socket(NAME), (socket) => {
      socket.on('data', () => socket.write(OK))
    })
    using client = await RawClient.connect(daemon.url)
    assert.equal((await client.exchange(asked('Connection: Upgrade\r\nUpgrade: raw/1\r\n'))).text, 'ok')
    assert.equal((await client.exchange(asked(''))).text, 'ok')
  })

  for (const [what, lines] of [
    ['nobody asked for', ''],
    ['is to another protocol', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'],
    ['was asked for without Connection', 'Upgrade: raw/1\r\n'],
  ] as const) {
    test(`that ${what} is refused with 502`, async (t) => {
      await serveOnce(scopeOf(t), 'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: raw/1\r\n\r\nevil')
      const response = await exchange(daemon.url, asked(lines))
      assert.equal(response.status, 502)
      assert.doesNotMatch(response.text, /evil/)
    })
  }
})

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import net, { Socket } from 'node:net'
import { createServer, IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { test } from 'node:test'
import fastify from 'fastify'
import { WebSocket, WebSocketServer } from 'ws'
import { openChannel, ReportReader, type Report } from '@xengate/channel'
import { until, within } from '../../../test/harness/deadline.ts'
import { socketPair } from '../../channel/src/testing/raw.ts'
import { Channel } from './channel.ts'
import { fixture, IDENTITY_LINES, requestText } from './testing/fixture.ts'
import { COOKIE, SERVICE_NAME, SESSION_ID, TARGET, totalOf } from './testing/gateway.ts'

const DEADLINE = { timeout: 60_000 }

/** Says what it got. */
const echo: RequestListener = (request, response) => {
  const { method, url, headers, rawHeaders, xen } = request
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    response.end(JSON.stringify({ method, url, headers, rawHeaders, xen, body, trailers: request.trailers }))
  })
}

test('a request on a channel is answered as the same one relayed, but for `channel`', DEADLINE, async (t) => {
  const { client, relayed } = await fixture(t, { handler: echo })
  const lines = 'Accept: a/b\r\nX-Own: 1\r\nX-Own: 2\r\nTransfer-Encoding: chunked\r\n'
  const body = '3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n'
  const passed = await (await client()).exchange(requestText('PUT', '/a%20b?x=1', lines, body))
  const plain = await (await relayed()).exchange(requestText('PUT', '/a%20b?x=1', lines + IDENTITY_LINES, body))
  const [one, two] = [JSON.parse(passed.text), JSON.parse(plain.text)]
  assert.equal(one.xen.channel, true)
  assert.deepEqual({ ...one, xen: { ...one.xen, channel: false } }, two)
  assert.deepEqual(two.xen, {
    user: 'zoë',
    subject: 'OpaqueRef:1',
    roles: ['vm-admin'],
    originator: 'tests',
    sessionId: SESSION_ID,
    channel: false,
  })
  assert.equal(one.body, 'abc')
})

test('what a client forges is taken out, in every spelling, in heads and trailers', DEADLINE, async (t) => {
  const { client } = await fixture(t, { handler: echo })
  const forged =
    'x-xen-session-user: root\r\nX_Xen_Session_User: root\r\nX-XEN-SESSION-ROLES: pool-admin\r\nx-xen-session-subject: s\r\n' +
    'X-Xen-Session_Originator: o\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\n' +
    'X-Request-Id: forged\r\nContent_Length: 7\r\nX-Own_Field: stays\r\n'
  const one = await client()
  // The second request is recognised by its fields, and is to be treated alike.
  for (const id of ['w0-1-0', 'w0-1-1']) {
    const answer = JSON.parse((await one.exchange(requestText('GET', '', forged))).text)
    assert.deepEqual(answer.headers, {
      host: 'h',
      cookie: `session_id=${SESSION_ID}`,
      'x-own_field': 'stays',
      'x-xen-session-user': 'zo%C3%AB',
      'x-xen-session-subject': 'OpaqueRef:1',
      'x-xen-session-roles': 'vm-admin',
      'x-xen-session-originator': 'tests',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'h',
      'x-request-id': id,
    })
    assert.ok(!JSON.stringify(answer.rawHeaders).match(/root|pool-admin|1\.2\.3\.4|evil|https|forged/))
    assert.equal(answer.xen.user, 'zoë')
  }
  const chunked = 'Transfer-Encoding: chunked\r\n'
  const trailers = '0\r\nX-Xen-Session-User: root\r\nX-T: t\r\n\r\n'
  assert.deepEqual(JSON.parse((await one.exchange(requestText('POST', '', chunked, trailers))).text).trailers, {
    'x-t': 't',
  })
})

test('headers of one request are not those of the next, though both are the same', DEADLINE, async (t) => {
  const { client } = await fixture(t, {
    handler: (request, response) => {
      const text = JSON.stringify([request.headers, request.rawHeaders, request.headersDistinct])
      request.headers['x-own'] = 'changed'
      request.rawHeaders.fill('changed')
      response.end(text)
    },
  })
  const one = await client()
  const texts: string[] = []
  for (let round = 0; round < 3; round++) texts.push((await one.exchange(requestText('GET', '', 'X-Own: 1\r\n'))).text)
  const expected = texts[0] ?? ''
  assert.ok(!expected.includes('changed'))
  assert.deepEqual(texts, [expected, expected.replaceAll('w0-1-0', 'w0-1-1'), expected.replaceAll('w0-1-0', 'w0-1-2')])
})

test('the session may be in the query; then each target is looked at', DEADLINE, async (t) => {
  const { client, gateway } = await fixture(t, { handler: echo })
  gateway.onForwarded = (socket) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
  const one = await client()
  const text = (query: string): string => `GET ${TARGET}${query} HTTP/1.1\r\nHost: h\r\n\r\n`
  const id = SESSION_ID.replace(':', '%3A')
  for (let round = 0; round < 2; round++) {
    assert.equal((await one.exchange(text(`?session_id=${id}`))).status, 200)
    assert.equal((await one.exchange(text('?session_id=other'))).status, 403)
    assert.equal((await one.exchange(text(''))).status, 403)
  }
})

test('usage is told at the end, and the control connection ends with the client', DEADLINE, async (t) => {
  const { client, gateway } = await fixture(t, { handler: (_request, response) => response.end('0123456789') })
  const one = await client()
  const request = requestText('GET')
  let bytesOut = 0
  for (let round = 0; round < 3; round++) {
    const response = await one.exchange(request)
    bytesOut += response.head.length + 4 + response.body.length
  }
  one.destroy()
  const [channel] = gateway.channels
  assert.ok(channel !== undefined)
  await within(channel.ended, 'the end of the channel')
  assert.deepEqual(channel.reports[0], { kind: 'accepted' })
  assert.deepEqual(totalOf(channel.reports), { requests: 3, bytesIn: 3 * request.length, bytesOut })
})

test('the end of the control connection ends a download, a pause and a WebSocket at once', DEADLINE, async (t) => {
  const webSockets = new WebSocketServer({ noServer: true })
  webSockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  const { client, gateway } = await fixture(t, {
    handler: (request, response) => {
      if (request.url !== `${TARGET}/endless`) response.end('x')
      else for (let count = 0; count < 100; count++) response.write(Buffer.alloc(100_000))
    },
    upgrade: (request, socket, head) =>
      webSockets.handleUpgrade(request, socket, head, (made) => made.send(request.xen.user)),
  })
  const download = await client()
  await download.send(requestText('GET', '/endless'))
  await download.bytes(200_000)
  const pause = await client()
  await pause.exchange(requestText('GET'))
  const webSocket = new WebSocket(`ws://127.0.0.1:${gateway.port}${TARGET}`, {
    headers: { Cookie: `session_id=${SESSION_ID}` },
  })
  const greeting = Promise.withResolvers<string>()
  webSocket.on('message', (data: Buffer) => greeting.resolve(data.toString()))
  const over = new Promise<void>((resolve) => {
    webSocket.on('close', () => resolve())
  })
  assert.equal(await greeting.promise, 'zoë')
  const startMs = performance.now()
  for (const { control } of gateway.channels) control.destroy()
  await Promise.all([download.end(), pause.end(), within(over, 'the end of the WebSocket')])
  assert.ok(performance.now() - startMs < 1000)
})

test('no channel leaves a descriptor behind, whoever ends it', DEADLINE, async (t) => {
  const { client, gateway } = await fixture(t, { handler: (_request, response) => response.end('x') })
  await (await client()).exchange(requestText('GET'))
  const count = (): number => readdirSync('/proc/self/fd').length
  const before = count()
  for (let round = 0; round < 200; round++) {
    const one = await client()
    await one.exchange(requestText('GET'))
    const channel = gateway.channels.at(-1)
    assert.ok(channel !== undefined)
    if (round % 2 === 0) one.destroy()
    else channel.control.destroy()
    await within(channel.ended, 'the end of a channel')
    one.destroy()
    if (!one.socket.closed) await within(new Promise((resolve) => one.socket.on('close', resolve)), 'a close')
  }
  await until(() => count() <= before, 'descriptors to be closed')
})

test('a channel for another service, or without a connection, is refused with the reason', DEADLINE, async (t) => {
  const { gateway, path, errors } = await fixture(t, { handler: echo })
  const refusal = async (send: () => Socket): Promise<string> => {
    const control = send()
    const reader = new ReportReader()
    const reports: Report[] = []
    control.on('data', (chunk) => reports.push(...reader.write(chunk as Buffer)))
    await within(new Promise((resolve) => control.on('close', resolve)), 'the end of the control connection')
    const [report] = reports
    return report?.kind === 'refused' ? report.why : JSON.stringify(report)
  }
  const server = net.createServer(() => {})
  await new Promise<void>((resolve) => server.listen(0, resolve))
  t.after(() => server.close())
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  const other = { ...gateway.offerFor('', 0), service: 'com.example.other' }
  const why = await refusal(() => {
    const opened = openChannel(`${path}.channel`, fd, other, Buffer.alloc(0))
    assert.ok(opened.kind === 'opened')
    return new Socket({ fd: opened.fd })
  })
  assert.equal(why, `this is ${SERVICE_NAME}, and not com.example.other`)
  const without = await refusal(() => net.connect(`${path}.channel`).end(Buffer.from([0, 0, 0, 2, 0x7b, 0x7d])))
  assert.equal(without, 'no descriptor came with the first byte')
  assert.deepEqual(
    errors.map(({ message }) => message),
    ['cannot take a channel: no descriptor came with the first byte'],
  )
})

test('a client that ends its side after its request gets the answer', DEADLINE, async (t) => {
  const { client } = await fixture(t, {
    handler: (request, response) => {
      request.resume().on('end', () => setImmediate(() => response.end('late')))
    },
  })
  const one = await client()
  one.socket.end(requestText('GET'))
  assert.equal((await one.response()).text, 'late')
})

test('Expect: 100-continue and HTTP/1.0 work on a channel', DEADLINE, async (t) => {
  const { client } = await fixture(t, { handler: echo })
  const one = await client()
  await one.send(requestText('PUT', '', 'Expect: 100-continue\r\nContent-Length: 3\r\n'))
  assert.equal((await one.response()).status, 100)
  await one.send('abc')
  assert.equal(JSON.parse((await one.response()).text).body, 'abc')
  const old = await client()
  await old.send(`GET ${TARGET} HTTP/1.0\r\n${COOKIE}\r\n`)
  assert.match((await old.end()).toString(), /^HTTP\/1\.1 200 OK\r\n[^]*"channel":true/)
})

test('Fastify serves channels', DEADLINE, async (t) => {
  const app = fastify()
  app.get(TARGET, (request) => ({ user: request.raw.xen.user, header: request.headers['x-xen-session-user'] }))
  await app.ready()
  t.after(() => app.close())
  const { client, relayed } = await fixture(t, { handler: (request, response) => app.routing(request, response) })
  for (const [one, lines] of [
    [await client(), ''],
    [await relayed(), IDENTITY_LINES],
  ] as const) {
    const { text } = await one.exchange(requestText('GET', '', lines))
    assert.equal(text, '{"user":"zoë","header":"zo%C3%AB"}')
  }
})

test('a framework that gives requests another prototype, as Express does, sees the same', DEADLINE, async (t) => {
  const prototype = Object.create(IncomingMessage.prototype)
  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    Object.setPrototypeOf(request, prototype)
    response.end(
      `${request.xen.user} ${String(request.headers['x-xen-session-user'])} ${request.rawHeaders.includes('zo%C3%AB')}`,
    )
  }
  const { client } = await fixture(t, { handler })
  const one = await client()
  for (let round = 0; round < 2; round++) {
    assert.equal((await one.exchange(requestText('GET'))).text, 'zoë zo%C3%AB true')
  }
})

test('a fetch handler gets a Request and the caller', DEADLINE, async (t) => {
  const { client, relayed, errors } = await fixture(t, {
    fetch: async (request, caller) => {
      if (request.url.endsWith('/fail')) throw new Error('of the handler')
      const body = await request.text()
      const headers = new Headers({ 'X-Url': request.url, 'X-User': request.headers.get('x-xen-session-user') ?? '' })
      headers.append('Set-Cookie', 'a=1')
      headers.append('Set-Cookie', 'b=2')
      return new Response(`${request.method} ${caller.user} ${body}`, { status: 201, headers })
    },
  })
  for (const [one, lines] of [
    [await client(), ''],
    [await relayed(), IDENTITY_LINES],
  ] as const) {
    const response = await one.exchange(requestText('POST', '/x?y', `Content-Length: 4\r\n${lines}`, 'body'))
    assert.equal(response.status, 201)
    assert.equal(response.text, 'POST zoë body')
    assert.equal(response.header('x-url'), `http://h${TARGET}/x?y`)
    assert.equal(response.header('x-user'), 'zo%C3%AB')
    assert.match(response.head, /set-cookie: a=1\r\nset-cookie: b=2/i)
    assert.equal((await one.exchange(requestText('GET', '/fail', lines))).status, 500)
  }
  assert.deepEqual(
    errors.map(({ message }) => message),
    Array(2).fill(`cannot answer GET ${TARGET}/fail`),
  )
})

test('the URL of a Request is https where the client came by it', DEADLINE, async (t) => {
  const { client, relayed, gateway } = await fixture(t, { fetch: (request) => new Response(request.url) })
  const secure = IDENTITY_LINES.replace('Proto: http', 'Proto: https')
  assert.equal((await (await relayed()).exchange(requestText('GET', '', secure))).text, `https://h${TARGET}`)
  gateway.offer = { proto: 'https' }
  const forged = await (await client()).exchange(requestText('GET', '/x', 'X-Forwarded-Proto: http\r\n'))
  assert.equal(forged.text, `https://h${TARGET}/x`)
  gateway.offer = { proto: 'http' }
  const other = await (await client()).exchange(requestText('GET', '/x', 'X-Forwarded-Proto: https\r\n'))
  assert.equal(other.text, `http://h${TARGET}/x`)
})

test('reports tell of the channel’s own use alone, while it goes on and once after it', DEADLINE, async (t) => {
  const { gateway } = await fixture(t, { handler: echo })
  const [clientFd, peerFd] = socketPair()
  const [controlFd, gatewayFd] = socketPair()
  const [peer, told] = [new Socket({ fd: peerFd }).resume(), new Socket({ fd: gatewayFd })]
  const channel = new Channel(clientFd, gateway.offerFor('', 0), 0, new Socket({ fd: controlFd }), () => {})
  t.after(() => {
    for (const socket of [peer, told, channel.socket]) socket.destroy()
  })
  const reader = new ReportReader()
  const reports: Report[] = []
  told.on('data', (chunk) => reports.push(...reader.write(chunk as Buffer)))
  const own = { isAdmitted: true, method: 'GET' }
  const foreign = { isAdmitted: false, method: 'GET' }
  /** Writes to the client while an answer to `request` is under way, and has the channel looked at. */
  const answering = (request: object | null, bytes: number): void => {
    Object.assign(channel.socket, { _httpMessage: request === null ? null : { req: request } })
    if (bytes > 0) channel.socket.write(Buffer.alloc(bytes))
    channel.look()
  }
  channel.requests++
  answering(own, 10)
  answering(own, 20)
  answering(own, 0)
  answering(null, 40) // the end of the answer, written since
  answering(foreign, 80)
  channel.forwardedOut += 80
  answering(foreign, 0)
  answering(null, 0)
  channel.requests++
  answering(null, 1)
  await until(() => reports.length === 5, 'four reports')
  const [accepted, ...usage] = reports
  assert.equal(accepted?.kind, 'accepted')
  assert.deepEqual(
    usage.map((report) => report.kind === 'usage' && [report.requests, report.bytesOut]),
    [
      [1, 10],
      [0, 20],
      [0, 40],
      [1, 1],
    ],
  )
})

test('thousands of requests, pipelined, are answered in order', DEADLINE, async (t) => {
  const { client, gateway } = await fixture(t, { handler: (request, response) => response.end(request.url) })
  gateway.onForwarded = (socket) => {
    createServer((request, response) => response.end(`gateway ${request.url}`)).emit('connection', socket)
  }
  const one = await client()
  const paths = Array.from({ length: 3000 }, (_, index) => `/${index}`)
  const other = (path: string): string => `GET ${TARGET}${path} HTTP/1.1\r\nHost: h\r\nCookie: session_id=other\r\n\r\n`
  void one.send(paths.map((path, index) => (index % 3 === 0 ? other(path) : requestText('GET', path))).join(''))
  for (const [index, path] of paths.entries()) {
    const expected = index % 3 === 0 ? `gateway ${TARGET}${path}` : `${TARGET}${path}`
    assert.equal((await one.response()).text, expected)
  }
})

test(
  'a connection that is quiet between requests is ended after a while, an upgraded one is not',
  DEADLINE,
  async (t) => {
    const { gateway } = await fixture(t, { handler: echo })
    const made = (): { channel: Channel; peer: Socket; ended: Promise<unknown> } => {
      const [client, peerFd] = socketPair()
      const [service, gatewaySide] = socketPair()
      const peer = new Socket({ fd: peerFd })
      const ended = Promise.withResolvers<unknown>()
      const channel = new Channel(client, gateway.offerFor('', 0), 0, new Socket({ fd: service }), ended.resolve)
      const control = new Socket({ fd: gatewaySide }).resume()
      t.after(() => {
        for (const socket of [peer, control, channel.socket]) socket.destroy()
      })
      return { channel, peer, ended: ended.promise }
    }
    const [quiet, upgraded] = [made(), made()]
    upgraded.channel.isUpgraded = true
    for (let look = 0; look < 15; look++) {
      assert.ok(!quiet.channel.socket.destroyed)
      quiet.channel.look()
      upgraded.channel.look()
    }
    assert.equal(await within(quiet.ended, 'the end'), quiet.channel)
    assert.ok(!upgraded.channel.socket.destroyed)
  },
)

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net, { Socket } from 'node:net'
import { IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { test } from 'node:test'
import fastify from 'fastify'
import { ReportReader, type Report } from '@xengate/channel'
import { until, within } from '../../../test/harness/deadline.ts'
import { socketPair } from '../../channel/src/testing/raw.ts'
import { Channel } from './channel.ts'
import { fixture, IDENTITY_LINES, requestText } from './testing/fixture.ts'
import { TARGET } from './testing/gateway.ts'

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

test('a channel that cannot be taken is told to `onError`', DEADLINE, async (t) => {
  const { path, errors } = await fixture(t, { handler: echo })
  const control = net.connect(`${path}.channel`).end(Buffer.from([0, 0, 0, 2, 0x7b, 0x7d]))
  await within(once(control.resume(), 'close'), 'the end of the control connection')
  assert.deepEqual(
    errors.map(({ message }) => message),
    ['cannot take a channel: no descriptor came with the first byte'],
  )
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

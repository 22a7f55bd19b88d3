import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { test, type TestContext } from 'node:test'
import { within } from '../../../test/harness/deadline.ts'
import { Arrivals, Peer } from '../../gateway/src/proxy/testing/peer.ts'
import { type Fixture, fixture, requestText } from './testing/fixture.ts'
import { COOKIE, SESSION_ID, TARGET, totalOf } from './testing/gateway.ts'

const DEADLINE = { timeout: 60_000 }

const handler: RequestListener = (request, response) => {
  request.resume()
  response.end('of the service')
}

/** A service whose forwarded requests arrive in literal bytes. */
async function forwarding(t: TestContext): Promise<Fixture & { readonly forwarded: Arrivals<Peer> }> {
  const made = await fixture(t, { handler })
  const forwarded = new Arrivals<Peer>()
  made.gateway.onForwarded = (socket) => forwarded.push(new Peer(socket))
  return { ...made, forwarded }
}

const OTHER_SESSION = 'Cookie: session_id=other\r\n'

test('a request of another session goes to the gateway as it came, and its answer as it comes', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  assert.equal((await one.exchange(requestText('GET'))).text, 'of the service')
  const head =
    `PUT ${TARGET}/a%20b HTTP/1.1\r\nhOsT: h\r\n${OTHER_SESSION}X-A: 1\r\nX-B: b\r\nX-A: 2\r\n` +
    'X-Xen-Session-User: forged\r\nTransfer-Encoding: chunked\r\n'
  await one.send(`${head}\r\n3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n`)
  const gateway = await forwarded.next()
  // The connection between the two stays open: that is Node.js's one line more.
  assert.equal(await gateway.until('\r\n\r\n'), `${head}Connection: keep-alive\r\n\r\n`)
  assert.equal(await gateway.until('\r\n\r\n'), '3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n')
  const answer =
    'HTTP/1.1 418 I am\r\nX-One: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n' +
    '2\r\nhi\r\n0\r\nX-T: 7\r\n\r\n'
  gateway.write(answer)
  assert.equal((await one.bytes(answer.length)).toString(), answer)
  assert.equal((await one.exchange(requestText('GET'))).text, 'of the service')
})

test('what is not the channel’s is forwarded: paths, methods, cross-site cookies, no session', DEADLINE, async (t) => {
  const { client, forwarded, gateway } = await forwarding(t)
  gateway.offer = { methods: ['GET', 'DELETE'] }
  const one = await client()
  await one.exchange(requestText('GET'))
  const session = SESSION_ID
  const requests = [
    `GET ${TARGET}x HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
    `GET /services/plugin/other HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
    `GET http://h${TARGET} HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
    `GET /services/plugin/com.example%2esvc HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
    'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n',
    requestText('POST', '', 'Content-Length: 0\r\n'),
    requestText('GET', '', 'Sec-Fetch-Site: cross-site\r\n'),
    `GET ${TARGET} HTTP/1.1\r\nHost: h\r\n\r\n`,
    // A cookie that is wrong is not rescued, neither by a later one nor by the query.
    `GET ${TARGET}?session_id=${session} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}${COOKIE}\r\n`,
    `GET ${TARGET} HTTP/1.1\r\nHost: h\r\nCookie: session_id=${session}x\r\n\r\n`,
  ]
  let peer: Peer | undefined
  for (const request of requests) {
    await one.send(request)
    peer ??= await forwarded.next()
    const lines = (await peer.until('\r\n\r\n')).replace('Connection: keep-alive\r\n', '')
    assert.equal(lines, request)
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngateway')
    assert.equal((await one.response()).text, 'gateway')
  }
  assert.equal((await one.exchange(requestText('DELETE', ''))).text, 'of the service')
})

test('100 Continue is the gateway’s to say', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  await one.send(
    `PUT ${TARGET} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`,
  )
  const gateway = await forwarded.next()
  assert.match(await gateway.until('\r\n\r\n'), /Expect: 100-continue\r\n/)
  assert.equal(one.unread, '')
  gateway.write('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n')
  assert.equal(
    await one.until('100 Continue\r\n\r\n'),
    'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n',
  )
  await one.send('abc')
  assert.equal(await gateway.bytes(3), 'abc')
  gateway.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  assert.equal((await one.response()).status, 200)
})

test('an upgrade is forwarded with the whole connection', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  const head = `GET ${TARGET} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}Connection: Upgrade\r\nUpgrade: x\r\n\r\n`
  await one.send(`${head}more`)
  const gateway = await forwarded.next()
  assert.equal(await gateway.bytes(head.length + 4), `${head}more`)
  gateway.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nback')
  await one.until('\r\n\r\nback')
  await one.send('and on')
  assert.equal(await gateway.bytes(6), 'and on')
  gateway.end('last')
  assert.equal((await one.end()).toString(), 'last')
  one.destroy()
  await gateway.closed()
})

test('HTTP that hides behind an upgrade is the gateway’s, on the channel’s own session too', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  const request = requestText('GET', '', 'Connection: Upgrade\r\nUpgrade: h2c\r\n')
  await one.send(request)
  const gateway = await forwarded.next()
  assert.equal(await gateway.until('\r\n\r\n'), request)
  gateway.end()
  await one.end()
})

test('a client that vanishes ends the request that was forwarded', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  await one.send(`PUT ${TARGET} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}Content-Length: 10\r\n\r\nabc`)
  const gateway = await forwarded.next()
  await gateway.until('abc')
  one.destroy()
  assert.equal(await gateway.ended(), '')
})

test('an answer of which the end is missing ends the client’s connection', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  await one.send(`GET /x HTTP/1.1\r\nHost: h\r\n\r\n`)
  const gateway = await forwarded.next()
  await gateway.until('\r\n\r\n')
  gateway.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc')
  await one.until('abc')
  gateway.destroy()
  assert.equal((await one.end()).length, 0)
})

test('a gateway that is not there is 503, and the connection goes on', DEADLINE, async (t) => {
  const { client, gateway } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  rmSync(gateway.path)
  const response = await one.exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.equal(response.status, 503)
  assert.equal(response.header('retry-after'), '1')
  assert.equal((await one.exchange(requestText('GET'))).text, 'of the service')
  const upgrade = 'GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
  assert.equal((await one.exchange(upgrade)).status, 503)
  await one.end()
})

test('an answer whose head is larger than 64 KiB comes through', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  const gateway = await forwarded.next()
  await gateway.until('\r\n\r\n')
  gateway.write(`HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(200_000)}\r\nContent-Length: 2\r\n\r\nok`)
  const response = await one.response()
  assert.deepEqual([response.status, response.header('x-long')?.length, response.text], [200, 200_000, 'ok'])
})

test('a failure to forward is told for what it is', DEADLINE, async (t) => {
  const { client, forwarded, gateway, errors } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  const made = await forwarded.next()
  await made.until('\r\n\r\n')
  made.write('this is no HTTP\r\n\r\n')
  assert.equal((await one.response()).status, 502)
  rmSync(gateway.path)
  assert.equal((await one.exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')).status, 503)
  assert.deepEqual(
    errors.map(({ message, cause }) => [message, (cause as NodeJS.ErrnoException).code?.replace(/^HPE_.*/, 'HPE')]),
    ['HPE', 'ENOENT'].map((code) => [`cannot forward a request to ${gateway.path}`, code]),
  )
})

test('each connection to the gateway begins with the greeting of the offer', DEADLINE, async (t) => {
  const { client, forwarded, gateway } = await forwarding(t)
  for (const lines of ['', 'Connection: Upgrade\r\nUpgrade: x\r\n']) {
    for (const greeting of ['GREETING one\r\n', 'GREETING two\r\n']) {
      gateway.offer = { greeting }
      const one = await client()
      await one.exchange(requestText('GET'))
      await one.send(`GET /x HTTP/1.1\r\nHost: h\r\n${lines}\r\n`)
      const made = await forwarded.next()
      assert.match(await made.until('\r\n\r\n'), new RegExp(`^${greeting}GET /x HTTP`))
      made.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      assert.equal((await one.response()).status, 200)
      if (lines !== '') {
        // The whole connection was turned over, and would be waited for.
        made.destroy()
        await one.end()
        continue
      }
      // The connection is kept, and the greeting said once.
      await one.send('GET /y HTTP/1.1\r\nHost: h\r\n\r\n')
      assert.match(await made.until('\r\n\r\n'), /^GET \/y HTTP/)
      made.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      assert.equal((await one.response()).status, 200)
    }
  }
})

test('what is forwarded is not told as use of the channel', DEADLINE, async (t) => {
  const { client, forwarded, gateway } = await forwarding(t)
  const one = await client()
  const own = requestText('GET', '/own')
  let bytesOut = 0
  const ask = async (): Promise<void> => {
    const response = await one.exchange(own)
    bytesOut += response.head.length + 4 + response.body.length
  }
  await ask()
  await one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(100_000)}`)
  const made = await forwarded.next()
  await made.until('\r\n\r\n')
  await made.bytes(100_000)
  made.write(`HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n${'y'.repeat(50_000)}`)
  assert.equal((await one.response()).body.length, 50_000)
  await ask()
  // The last request turns the whole connection over.
  const upgrade = 'GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
  await one.send(upgrade)
  const taken = await forwarded.next()
  await taken.until('\r\n\r\n')
  taken.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
  await one.until('\r\n\r\n')
  await one.send('x'.repeat(10_000))
  await taken.bytes(10_000)
  one.destroy()
  taken.end()
  const [channel] = gateway.channels
  assert.ok(channel !== undefined)
  await within(channel.ended, 'the end of the channel')
  const total = totalOf(channel.reports)
  assert.deepEqual({ ...total, bytesIn: 0 }, { requests: 2, bytesIn: 0, bytesOut })
  assert.ok(total.bytesIn >= 2 * own.length && total.bytesIn <= 2 * own.length + upgrade.length, String(total.bytesIn))
})

test('a kept connection that has just ended is not the client’s trouble', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  const ask = (): Promise<void> => one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  await ask()
  const first = await forwarded.next()
  await first.until('\r\n\r\n')
  first.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1')
  assert.equal((await one.response()).text, '1')
  await ask()
  await first.until('\r\n\r\n')
  first.destroy()
  const second = await within(forwarded.next(), 'a second connection')
  await second.until('\r\n\r\n')
  second.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2')
  assert.equal((await one.response()).text, '2')
})

test('a large body waits for who reads it, in both directions', DEADLINE, async (t) => {
  const { client, forwarded } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  const size = 20_000_000
  await one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n`)
  const gateway = await forwarded.next()
  await gateway.until('\r\n\r\n')
  gateway.socket.pause()
  const sent = one.send(Buffer.alloc(size, 'x'))
  await new Promise((resolve) => setImmediate(resolve))
  gateway.socket.resume()
  await sent
  assert.equal((await gateway.bytes(size)).length, size)
  gateway.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
  gateway.socket.write(Buffer.alloc(size, 'y'))
  assert.equal((await one.response()).body.length, size)
})

test(
  'Trailer without chunks, which Node.js does not send, ends no process: neither asked with nor answered',
  DEADLINE,
  async (t) => {
    const { client, forwarded } = await forwarding(t)
    const one = await client()
    await one.exchange(requestText('GET'))
    await one.send('GET /anything HTTP/1.1\r\nHost: h\r\nTrailer: x\r\n\r\n')
    const gateway = await forwarded.next()
    assert.doesNotMatch(await gateway.until('\r\n\r\n'), /trailer/i)
    gateway.write('HTTP/1.1 200 OK\r\nTrailer: x\r\nContent-Length: 7\r\n\r\ngateway')
    assert.equal((await one.response()).text, 'gateway')
    assert.equal((await one.exchange(requestText('GET'))).text, 'of the service')
  },
)

test(
  'an upload that the gateway answers early does not keep the next request from being answered',
  DEADLINE,
  async (t) => {
    const { client, forwarded } = await forwarding(t)
    const one = await client()
    await one.exchange(requestText('GET'))
    const bytes = 1_000_000
    await one.send(`PUT /elsewhere HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n`)
    const gateway = await forwarded.next()
    await gateway.until('\r\n\r\n')
    gateway.write('HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge')
    assert.equal((await one.response()).status, 413)
    await one.send(Buffer.alloc(bytes, 'x'))
    assert.equal((await one.exchange(requestText('GET'))).text, 'of the service')
  },
)

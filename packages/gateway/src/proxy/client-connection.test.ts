import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { test } from './testing/each-transport.ts'
import { fixture, request, response, ROOT_ID, statusOf } from './testing/fixture.ts'
import { Arrivals, Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }

for (const [what, text, status] of [
  ['malformed request', 'GET / HTTP/1.1\nHost: h\n\n', 400],
  ['target over its limit', `GET /${'x'.repeat(9000)} HTTP/1.1\r\nHost: h\r\n\r\n`, 414],
  ['head over its limit', `GET / HTTP/1.1\r\nHost: h\r\nA: ${'x'.repeat(17_000)}\r\n\r\n`, 431],
  ['other version', 'GET / HTTP/2.0\r\nHost: h\r\n\r\n', 505],
] as const) {
  test(`a ${what} gets ${status}, and its connection closes`, DEADLINE, async (t) => {
    const { client } = await fixture(t)
    const peer = client()
    peer.write(`${text}${request('GET')}`)
    const answer = await peer.ended()
    assert.equal(statusOf(answer), status)
    assert.match(answer, /\r\nConnection: close\r\n/)
    assert.equal(answer.match(/HTTP\/1\.1/g)?.length, 1)
  })
}

test('a refusal does not wait for the body; a short one is dropped and the connection goes on', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  const refused = 'PUT /services/plugin/svc HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n'
  peer.write(`${refused}abc`)
  const answer = await peer.message()
  assert.equal(statusOf(answer), 403)
  assert.doesNotMatch(answer, /Connection: close/)
  peer.write(`def${refused}ghijkl${request('GET')}`)
  assert.equal(statusOf(await peer.message()), 403)
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('ok'))
  assert.ok((await peer.message()).endsWith('ok'))
})

for (const [what, lines] of [
  ['long', 'Content-Length: 1000000000\r\n'],
  ['chunked', 'Transfer-Encoding: chunked\r\n'],
  ['expected', 'Content-Length: 6\r\nExpect: 100-continue\r\n'],
] as const) {
  test(
    `a refusal of a request whose body is ${what} closes the connection, and can be read by a client that still sends`,
    DEADLINE,
    async (t) => {
      const { client } = await fixture(t)
      const peer = client()
      peer.write(`PUT /services/plugin/svc HTTP/1.1\r\nHost: h\r\n${lines}\r\n`)
      const answer = await peer.message()
      assert.equal(statusOf(answer), 403)
      assert.match(answer, /\r\nConnection: close\r\n/)
      for (let sent = 0; sent < 20; sent++) peer.write('x'.repeat(65_536))
      assert.equal(await peer.ended(), '')
      peer.end()
      await peer.closed()
    },
  )
}

test('a client that sends without end after a refusal is cut off', DEADLINE, async (t) => {
  const { client } = await fixture(t)
  const peer = client()
  peer.write('PUT /services/plugin/svc HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n')
  await peer.message()
  const piece = Buffer.alloc(1_000_000, 'x')
  const more = (): void => void peer.socket.write(piece, (error) => (error ? undefined : more()))
  more()
  await peer.closed()
})

test('pipelined refusals to a client that does not read are held back', DEADLINE, async (t) => {
  const { client } = await fixture(t)
  const peer = client()
  const count = 20_000
  const text = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n'
  let seen = 0
  peer.socket.removeAllListeners('data')
  peer.socket.pause()
  const done = new Promise<void>((resolve) => {
    let rest = ''
    peer.socket.on('data', (chunk: Buffer) => {
      rest += chunk.toString('latin1')
      const parts = rest.split('HTTP/1.1 404')
      seen += parts.length - 1
      rest = parts.at(-1)?.slice(-12) ?? ''
      if (seen === count) resolve()
    })
  })
  peer.socket.pause()
  peer.write(text.repeat(count))
  peer.socket.resume()
  await done
})

test(
  'a client that reads nothing is soon read from no more, however many refusals it asks for',
  DEADLINE,
  async (t) => {
    const { client, accessLines } = await fixture(t)
    const peer = client()
    peer.socket.removeAllListeners('data').pause()
    peer.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n'.repeat(1_000_000))
    let refused = 0
    let sameTimes = 0
    while (sameTimes < 5) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      sameTimes = refused === accessLines.count && refused > 0 ? sameTimes + 1 : 0
      refused = accessLines.count
    }
    // Some 300 bytes each: what the system holds of them for one connection is a few megabytes.
    assert.ok(refused < 100_000, `${refused} refusals`)
    assert.ok(peer.socket.writableLength > 0)
  },
)

for (const [what, text, status] of [
  ['before its head is complete', 'GET /x HTTP/1.1\r\nHo', 408],
  ['before its body is complete', request('PUT', '/', 'Content-Length: 6\r\n', 'abc'), 408],
  ['and the service does not answer', request('GET'), 504],
] as const) {
  test(`a request that stops ${what} gets ${status}`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t, {
      limits: { headTimeoutMs: 100, bodyIdleTimeoutMs: 100, responseTimeoutMs: 100 },
    })
    await service('svc')
    const peer = client()
    peer.write(text)
    assert.equal(statusOf(await peer.message()), status)
  })
}

test('a response that stands still is cut', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { limits: { bodyIdleTimeoutMs: 100 } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc')
  assert.match(await peer.closed(), /\r\n\r\nabc$/)
  await connection.ended()
})

test('connections without a request are closed quietly, at first and between requests', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { limits: { headTimeoutMs: 100, idleTimeoutMs: 100 } })
  const svc = await service('svc')
  assert.equal(await client().ended(), '')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('one'))
  await peer.message()
  assert.equal(await peer.ended(), '')
})

test('a client that goes away takes its request with it', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  peer.socket.resetAndDestroy()
  await connection.ended()
  assert.equal((await accessLines.next()).outcome, 'client-gone')
})

test('connections beyond the limit get 503', DEADLINE, async (t) => {
  const { client } = await fixture(t, { limits: { connections: 1 } })
  const first = client()
  first.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  await first.message()
  assert.match(await client().ended(), /^HTTP\/1\.1 503 .*\r\nRetry-After: 1\r\n/s)
  first.end()
  await first.closed()
  const third = client()
  third.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.equal(statusOf(await third.message()), 404)
})

test('draining finishes what is under way, answers what is on its way, and then ends', DEADLINE, async (t) => {
  const { client, service, gateway } = await fixture(t)
  const svc = await service('svc')
  const idle = client()
  idle.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  await idle.message()
  const busy = client()
  busy.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  const drained = gateway.drain(false)
  // A request that is on its way just then is still answered.
  idle.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.match(await idle.ended(), /^HTTP\/1\.1 404 .*\r\nConnection: close\r\n/s)
  idle.end()
  connection.write(response('done'))
  const answer = await busy.ended()
  assert.match(answer, /\r\nConnection: close\r\n.*done$/s)
  busy.end()
  await drained
})

test('what is still waiting at the drain deadline gets 503', DEADLINE, async (t) => {
  const { client, service, gateway } = await fixture(t, { limits: { drainTimeoutMs: 50 } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  await (await svc.connections.next()).until('\r\n\r\n')
  const drained = gateway.drain(false)
  assert.equal(statusOf(await peer.message()), 503)
  await drained
})

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-X: 1\r\n\r\n'

test('after 101 the connection is a tunnel, with what both sides sent early', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(`${request('GET', '/', UPGRADE)}early`)
  const connection = await svc.connections.next()
  assert.match(await connection.until('\r\n\r\n'), /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n$/)
  connection.write(`${SWITCH}hello`)
  assert.equal(
    await peer.until('hello'),
    'HTTP/1.1 101 Switching Protocols\r\nSec-X: 1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nhello',
  )
  assert.equal(await connection.until('early'), 'early')
  peer.end('bye')
  assert.equal(await connection.ended(), 'bye')
  connection.end('farewell')
  assert.equal(await peer.closed(), 'farewell')
  const line = await accessLines.next()
  assert.deepEqual([line.status, line.bytesIn, line.bytesOut], [101, 8, 13])
})

test('a tunnel ends with its session', DEADLINE, async (t) => {
  const { client, service, sessions } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/', UPGRADE))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(SWITCH)
  await peer.until('\r\n\r\n')
  sessions.ended(['11111111'])
  await peer.ended()
  await connection.ended()
})

test('a switch of protocols that comes after the session has ended is refused', DEADLINE, async (t) => {
  const { client, service, sessions } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/', UPGRADE))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  sessions.ended(['11111111'])
  connection.write(SWITCH)
  assert.equal(statusOf(await peer.message()), 403)
  await connection.ended()
})

test(
  'a switch of protocols under a session that nobody vouches for is refused, and not for being unused',
  DEADLINE,
  async (t) => {
    const { client, service, sessions } = await fixture(t)
    const svc = await service('svc')
    for (const [isUnused, status] of [
      [false, 403],
      [true, 101],
    ] as const) {
      const peer = client()
      peer.write(request('GET', '/', UPGRADE))
      const connection = await svc.connections.next()
      await connection.until('\r\n\r\n')
      sessions.forget(['11111111'], isUnused)
      connection.write(SWITCH)
      assert.equal(statusOf(await peer.until('\r\n\r\n')), status)
    }
  },
)

for (const [what, lines] of [
  ['HTTP/2', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n'],
  ['another HTTP beside it', 'Connection: Upgrade\r\nUpgrade: websocket, HTTP/2.0\r\n'],
  ['nothing, for lack of the option in Connection', 'Upgrade: websocket\r\n'],
  ['anything with a body', `${UPGRADE}Content-Length: 1\r\n`],
] as const) {
  test(`an upgrade to ${what} is not passed on`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET', '/', lines, lines.includes('Length') ? 'x' : ''))
    const connection = await svc.connections.next()
    assert.doesNotMatch(await connection.until('\r\n\r\n'), /upgrade/i)
    connection.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
    assert.equal(statusOf(await peer.message()), 502)
  })
}

test('a client behind a long pause of its session is answered once the answer is there', DEADLINE, async (t) => {
  const answers = new Arrivals<() => void>()
  const under = await fixture(t, {
    onQuestion: (id, then) => answers.push(() => then(under.live.get(id) ?? null)),
  })
  const svc = await under.service('svc')
  const peer = under.client()
  peer.end(request('PUT', '/', 'Content-Length: 3\r\n', 'abc'))
  const answer = await answers.next()
  answer()
  const connection = await svc.connections.next()
  await connection.until('abc')
  connection.write(response('ok'))
  assert.ok((await peer.ended()).endsWith('ok'))
})

test('requests cut at every byte are the same requests', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const text = request('PUT', '/x', 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n0\r\n\r\n')
  let expected: string | undefined
  for (let cut = 1; cut < text.length; cut++) {
    const peer = client()
    peer.socket.setNoDelay(true)
    peer.write(text.slice(0, cut))
    await new Promise((resolve) => setImmediate(resolve))
    peer.write(text.slice(cut))
    const connection = await svc.connections.next()
    const head = await connection.until('\r\n\r\n')
    let body = await connection.until('0\r\n\r\n')
    connection.end(response('ok', 'Connection: close\r\n'))
    await peer.message()
    peer.destroy()
    // A chunk may be passed on in two when it came in two.
    body = body.replace(/(\d)\r\n(\w*)\r\n/g, '$2')
    const arrived = head.replace(/X-Request-Id: .*\r\n/, '') + body
    expected ??= arrived
    assert.equal(arrived, expected, `cut at ${cut}`)
  }
  assert.match(expected ?? '', /abc$|abc0/)
})

test('a session that ends while its service is being connected leaves no connection behind', DEADLINE, async (t) => {
  const under = await fixture(t)
  const svc = await under.service('svc')
  const peer = under.client()
  peer.write(request('GET', '/1'))
  const first = await svc.connections.next()
  await first.until('\r\n\r\n')
  // The second request finds no idle connection; it waits for one in the turn in which the session ends.
  const other = under.client()
  const { pool } = under.gateway
  const connect = pool.connect.bind(pool)
  // As when the service's queue of connections is full.
  pool.take = () => null
  pool.connect = (name, then) => {
    under.sessions.ended(['11111111'])
    under.live.delete(ROOT_ID)
    connect(name, then)
  }
  other.write(request('GET', '/2'))
  assert.equal(statusOf(await other.message()), 403)
  const second = await svc.connections.next()
  assert.equal(await second.ended(), '')
})

test(
  'a service that sends interim responses without end is stopped, and does not grow the gateway',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(101))
    assert.match(await peer.until('interim responses'), /HTTP\/1\.1 502 /)
    await connection.ended()
  },
)

test('when the primary has been silent for too long, known sessions get 503', DEADLINE, async (t) => {
  const { client, service, sessions } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('one'))
  await peer.message()
  sessions.isTrusted = false
  peer.write(request('GET'))
  assert.equal(statusOf(await peer.message()), 503)
  sessions.isTrusted = true
  peer.write(request('GET'))
  await connection.until('\r\n\r\n')
  connection.write(response('two'))
  assert.ok((await peer.message()).endsWith('two'))
})

test('a short last response arrives whole behind one that has filled the kernel', DEADLINE, async (t) => {
  const { service, directory } = await fixture(t)
  const svc = await service('svc')
  const last = 'y'.repeat(7000)
  // A Unix socket holds about 200 KB, and its reader as much as 64: one of these lengths leaves room for a part of what follows.
  for (let bytes = 160_000; bytes <= 340_000; bytes += 4000) {
    const peer = Peer.connect({ path: join(directory, 'gateway.sock') })
    t.after(() => peer.destroy())
    peer.socket.pause()
    peer.write(request('GET', '/big') + request('GET', '/last', 'Connection: close\r\n'))
    const first = await svc.connections.next()
    await first.until('\r\n\r\n')
    first.write(response('x'.repeat(bytes)))
    const second = first.until('\r\n\r\n').then(() => first.write(response(last)))
    // Where the first response has room in the kernel, the second comes behind it before anything is read.
    for (let turn = 0; turn < 50; turn++) await nextTurn()
    peer.socket.resume()
    await second
    assert.ok((await peer.ended()).endsWith(last), `after ${bytes} bytes`)
    first.destroy()
  }
})

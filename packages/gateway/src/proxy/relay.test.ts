import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { OPEN_POLICY } from '../model/policy.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, READER_ID, request, response, ROOT_ID, statusOf, withoutId } from './testing/fixture.ts'
import { accessLine } from '../logging/access.ts'

const DEADLINE = { timeout: 60_000 }

test('a request arrives with its end-to-end fields, and with who the caller is', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(
    request(
      'GET',
      '/a%20b?c=%0d%0a',
      'Accept: text/x\r\nX-Own:  spaced \r\ntraceparent: 00-1-2-01\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nX-Xen-Session-User: forged\r\nx-forwarded-for: 1.2.3.4\r\nX_Xen_Session_Roles: forged\r\nContent_Length: 7\r\nX-Request-Id: forged\r\n',
    ),
  )
  const connection = await svc.connections.next()
  assert.equal(
    await connection.until('\r\n\r\n'),
    'GET /services/plugin/svc/a%20b?c=%0d%0a HTTP/1.1\r\nHost: h\r\n' +
      `${COOKIE}Accept: text/x\r\nX-Own: spaced\r\ntraceparent: 00-1-2-01\r\n` +
      'X-Xen-Session-User: root\r\nX-Xen-Session-Subject: OpaqueRef:NULL\r\nX-Xen-Session-Roles: pool-admin\r\n' +
      'X-Xen-Session-Originator: test\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n' +
      'X-Forwarded-Host: h\r\nX-Request-Id: test-0\r\n\r\n',
  )
})

test('a response arrives as the service wrote it, but for hop-by-hop fields', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(
    'HTTP/1.1 418 I am: a teapot\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Caf\x65: caf\xe9\r\nContent-Length: 3\r\n\r\nabc',
  )
  assert.equal(
    withoutId(await peer.message()),
    'HTTP/1.1 418 I am: a teapot\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Cafe: caf\xe9\r\nContent-Length: 3\r\n\r\nabc',
  )
})

test(
  "a service's response gives no script of its own leave to see other pages of the gateway's",
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const { connections } = await service('svc')
    const peer = client()
    peer.write(request('GET', '/worker.js'))
    const connection = await connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('', 'Service-Worker-Allowed: /\r\nX-Kept: yes\r\n'))
    const told = await peer.until('\r\n\r\n')
    assert.match(told, /X-Kept: yes/)
    assert.doesNotMatch(told, /service-worker-allowed/i)
  },
)

test('pipelined requests are answered in order, over one kept connection', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { policies: { svc: { ...OPEN_POLICY, reuse: 'always' } } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1') + request('PUT', '/2', 'Content-Length: 3\r\n', 'abc') + request('GET', '/3'))
  const connection = await svc.connections.next()
  for (const [path, body] of [
    ['/1', ''],
    ['/2', 'abc'],
    ['/3', ''],
  ] as const) {
    const head = await connection.message()
    assert.match(head, new RegExp(`^\\w+ /services/plugin/svc${path} `))
    assert.ok(head.endsWith(`\r\n\r\n${body}`))
    connection.write(response(path))
    assert.ok((await peer.message()).endsWith(path))
  }
  assert.equal(svc.connections.count, 0)
})

test(
  'HTTP/1.0 clients get a connection that closes, or stays open when they ask and the length is known',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const target = `/services/plugin/svc?session_id=${ROOT_ID}`
    const closing = client()
    closing.write(`GET ${target} HTTP/1.0\r\n\r\n`)
    const connection = await svc.connections.next()
    const head = await connection.until('\r\n\r\n')
    assert.match(head, /^GET [^ ]+ HTTP\/1\.1\r\nHost: localhost\r\n/)
    connection.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n')
    assert.equal(withoutId(await closing.ended()), 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc')

    const staying = client()
    for (const path of ['/1', '/2']) {
      staying.write(`GET ${target}&p=${path} HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n`)
      assert.doesNotMatch(await connection.until('\r\n\r\n'), /Expect/)
      connection.write(response('abc'))
      assert.match(await staying.message(), /\r\nConnection: keep-alive\r\n/)
    }
  },
)

test('a chunked response passes with its trailers, without its extensions', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n',
  )
  assert.equal(
    withoutId(await peer.until('9\r\n\r\n')),
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n',
  )
})

test(
  'a response that ends with the connection becomes chunked, and the client stays connected',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET'))
    const first = await svc.connections.next()
    await first.until('\r\n\r\n')
    first.end('HTTP/1.0 200 OK\r\n\r\nabc')
    assert.equal(
      withoutId(await peer.until('0\r\n\r\n')),
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    )
    peer.write(request('GET'))
    const second = await svc.connections.next()
    await second.until('\r\n\r\n')
    second.write(response('again'))
    assert.ok((await peer.message()).endsWith('again'))
  },
)

test('a chunked request body is passed on chunk by chunk, with its trailers', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('POST', '/', 'Transfer-Encoding: chunked\r\n', '3;x\r\nabc\r\n'))
  const connection = await svc.connections.next()
  assert.ok(
    (await connection.until('3\r\nabc\r\n')).includes('\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'),
  )
  peer.write('2\r\nde\r\n0\r\nX-T: 1\r\nX-Xen-Session-User: forged\r\n\r\n')
  assert.equal(await connection.until('\r\n\r\n'), '2\r\nde\r\n0\r\nX-T: 1\r\n\r\n')
  connection.write(response('ok'))
  assert.ok((await peer.message()).endsWith('ok'))
})

test('100 Continue and other interim responses are passed on', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('PUT', '/', 'Content-Length: 3\r\nExpect: 100-continue\r\n'))
  const connection = await svc.connections.next()
  assert.match(await connection.until('\r\n\r\n'), /\r\nExpect: 100-continue\r\n/)
  connection.write('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n')
  assert.equal(
    await peer.until('Continue\r\n\r\n'),
    'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n',
  )
  peer.write('abc')
  assert.equal(await connection.until('abc'), 'abc')
  connection.write(response('ok'))
  const answer = await peer.message()
  assert.ok(answer.endsWith('ok'))
  assert.doesNotMatch(answer, /Connection: close/)
})

test(
  'a client that was refused instead of told to continue is told that the connection closes',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('PUT', '/', 'Content-Length: 3\r\nExpect: 100-continue\r\n'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n')
    assert.match(await peer.ended(), /^HTTP\/1\.1 417 .*\r\nConnection: close\r\n\r\n$/s)
  },
)

test('an early response does not stop the body that still comes', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { policies: { svc: { ...OPEN_POLICY, reuse: 'always' } } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('PUT', '/', 'Content-Length: 6\r\n', 'abc'))
  const connection = await svc.connections.next()
  await connection.until('abc')
  connection.write(response('early'))
  assert.ok((await peer.message()).endsWith('early'))
  peer.write(`def${request('GET', '/next')}`)
  assert.equal(await connection.until('def'), 'def')
  assert.match(await connection.until('\r\n\r\n'), /^GET \/services\/plugin\/svc\/next /)
  connection.write(response('next'))
  assert.ok((await peer.message()).endsWith('next'))
})

test(
  'an early response of a service that then closes arrives whole while the body is still coming',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const body = 'x'.repeat(300_000)
    for (let round = 0; round < 20; round++) {
      const peer = client()
      peer.write(request('PUT', '/', 'Content-Length: 100000000\r\n', body))
      const connection = await svc.connections.next()
      await connection.until('\r\n\r\n')
      connection.socket.end('HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig', () =>
        connection.destroy(),
      )
      for (let more = 0; more < 10; more++) peer.write(body)
      assert.match(await peer.until('big'), /^HTTP\/1\.1 413 /)
      peer.destroy()
    }
  },
)

test('a client that ends its side still gets every answer', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.end(request('GET', '/1') + request('GET', '/2'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('one'))
  await connection.until('\r\n\r\n')
  connection.write(response('two'))
  const answers = await peer.closed()
  assert.match(answers, /one.*HTTP\/1\.1 200 OK\r\n.*two$/s)
})

test(
  'a client that ends in the middle of a body gets 400, and the service does not take it for complete',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.end(request('PUT', '/', 'Content-Length: 6\r\n', 'abc'))
    const connection = await svc.connections.next()
    assert.ok((await connection.ended()).endsWith('abc'))
    assert.equal(statusOf(await peer.ended()), 400)
  },
)

test('a chunked body that turns bad is refused, and never looks complete to the service', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('PUT', '/', 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n'))
  const connection = await svc.connections.next()
  await connection.until('3\r\nabc\r\n')
  peer.write('0x3\r\nabc\r\n0\r\n\r\n')
  assert.equal(statusOf(await peer.ended()), 400)
  assert.equal(await connection.ended(), '')
})

test('a GET on a kept connection that the service closed is sent once more, on a fresh one', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const first = await svc.connections.next()
  await first.until('\r\n\r\n')
  first.write(response('one'))
  await peer.message()
  peer.write(request('GET', '/2'))
  await first.until('\r\n\r\n')
  first.destroy()
  const second = await svc.connections.next()
  assert.match(await second.until('\r\n\r\n'), /^GET \/services\/plugin\/svc\/2 /)
  second.destroy()
  // A fresh connection is not tried again.
  assert.equal(statusOf(await peer.message()), 502)
  assert.equal(svc.connections.count, 0)
})

for (const [what, text] of [
  ['a POST', request('POST', '/2', 'Content-Length: 0\r\n')],
  ['a GET with a body', request('GET', '/2', 'Content-Length: 1\r\n', 'x')],
] as const) {
  test(`${what} is sent at most once`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET', '/1'))
    const first = await svc.connections.next()
    await first.until('\r\n\r\n')
    first.write(response('one'))
    await peer.message()
    peer.write(text)
    await first.until('\r\n\r\n')
    first.destroy()
    assert.equal(statusOf(await peer.message()), 502)
    assert.equal(svc.connections.count, 0)
  })
}

test('what is left over from one response never reaches the next', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const first = await svc.connections.next()
  await first.until('\r\n\r\n')
  first.write(`${response('one')}${response('left over')}`)
  assert.ok((await peer.message()).endsWith('one'))
  await first.ended()
  peer.write(request('GET', '/2'))
  const second = await svc.connections.next()
  await second.until('\r\n\r\n')
  second.write(response('two'))
  assert.ok((await peer.message()).endsWith('two'))
})

test('bytes that a service sends while nothing is asked close its connection', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const first = await svc.connections.next()
  await first.until('\r\n\r\n')
  first.write(response('one'))
  await peer.message()
  first.write(response('unasked'))
  await first.ended()
  peer.write(request('GET', '/2'))
  const second = await svc.connections.next()
  await second.until('\r\n\r\n')
  second.write(response('two'))
  assert.ok((await peer.message()).endsWith('two'))
})

for (const [what, text] of [
  ['with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'],
  ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'],
] as const) {
  test(`a truncated response ${what} never looks complete`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    const isReset = once(peer.socket, 'error')
    connection.end(text)
    await isReset
    assert.ok(text.startsWith(withoutId(await peer.closed())))
  })
}

test(
  'a response that ends with the connection is cut by a reset when the service fails, since an end would look complete',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(`GET /services/plugin/svc?session_id=${ROOT_ID} HTTP/1.0\r\n\r\n`)
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
    await peer.until('abc')
    const isReset = once(peer.socket, 'error')
    connection.destroy()
    await isReset
  },
)

for (const [what, text] of [
  ['is no HTTP', 'hello\r\n\r\n'],
  ['has two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
  ['has both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['has a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 1\n\na'],
  ['switches protocols unasked', 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
  ['ends in its head', 'HTTP/1.1 200 OK\r\nContent-Le'],
] as const) {
  test(`a response that ${what} becomes 502`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.end(text)
    assert.equal(statusOf(await peer.message()), 502)
  })
}

test('a response head that comes byte by byte is understood', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.socket.setNoDelay(true)
  for (const byte of `HTTP/1.1 100 Continue\r\n\r\n${response('slow')}`) {
    connection.write(byte)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.match(await peer.until('slow'), /100 Continue\r\n\r\nHTTP\/1\.1 200 OK/)
})

test('204 and 304 have no body, and HEAD has none whatever the length says', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { methods: ['GET', 'HEAD'] })
  const svc = await service('svc')
  const peer = client()
  for (const [method, text, expected] of [
    ['GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', 'HTTP/1.1 204 No Content\r\n\r\n'],
    [
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n',
    ],
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'],
  ] as const) {
    peer.write(request(method))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(text)
    assert.equal(withoutId(await peer.until('\r\n\r\n')), expected)
    svc.connections.push(connection)
  }
})

test('strip-session takes the session id out of cookie and query, and nothing else', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, {
    policies: { svc: { ...OPEN_POLICY, stripSession: true } },
  })
  const svc = await service('svc')
  const peer = client()
  peer.write(
    `GET /services/plugin/svc/x?a=1&session_id=${ROOT_ID}&b=2&session%5fid=x HTTP/1.1\r\nHost: h\r\nCookie: a=b; session_id=${ROOT_ID}; c=d\r\nA: b\r\n\r\n`,
  )
  const connection = await svc.connections.next()
  const head = await connection.until('\r\n\r\n')
  assert.match(head, /^GET \/services\/plugin\/svc\/x\?a=1&b=2 HTTP/)
  assert.match(head, /\r\nA: b\r\nCookie: a=b; c=d\r\n/)
  assert.ok(!head.includes('OpaqueRef:1'))
})

test('an absolute-form target is sent on in origin form, with its own host', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(`GET http://real:1/services/plugin/svc/x HTTP/1.1\r\nHost: other\r\n${COOKIE}\r\n`)
  const connection = await svc.connections.next()
  assert.match(
    await connection.until('\r\n\r\n'),
    /^GET \/services\/plugin\/svc\/x HTTP\/1\.1\r\nHost: real:1\r\n.*X-Forwarded-Host: real:1\r\n/s,
  )
})

test('a reader that stops reading stops the service, and goes on with it', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  peer.socket.pause()
  const total = 64 * 1024 * 1024
  const piece = Buffer.alloc(1024 * 1024, 'x')
  connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
  let written = 0
  while (written < total && connection.socket.write(piece)) written += piece.length
  // The service is stopped long before everything is written: the kernel's buffers and one read are all that is held.
  assert.ok(written < total / 2, `${written} bytes were taken`)
  let received = 0
  const done = new Promise<void>((resolve) => {
    peer.socket.removeAllListeners('data')
    peer.socket.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received >= total) resolve()
    })
  })
  peer.socket.resume()
  const left = total - written - piece.length
  connection.socket.write(Buffer.alloc(left, 'x'))
  await done
})

test(
  'the access line of a request says who, what, how much and how long, and never the session id',
  DEADLINE,
  async (t) => {
    const { client, service, accessLines } = await fixture(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(
      `POST /services/plugin/svc/x?session_id=${READER_ID} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc`,
    )
    const connection = await svc.connections.next()
    await connection.until('abc')
    connection.write(response('four'))
    await peer.message()
    const line = accessLine(await accessLines.next())
    assert.ok(!JSON.stringify(line).includes('OpaqueRef'))
    assert.ok(Number(line['ttfbMs']) > 0 && Number(line['totalMs']) >= Number(line['ttfbMs']))
    assert.deepEqual(
      { ...line, ttfbMs: 0, totalMs: 0 },
      {
        event: 'request',
        user: 'reader',
        session: '22222222',
        trackid: createHash('md5').update(READER_ID).digest('hex'),
        requestId: 'test-0',
        client: '127.0.0.1',
        service: 'svc',
        method: 'POST',
        path: '/services/plugin/svc/x',
        status: 200,
        outcome: 'complete',
        reason: null,
        bytesIn: 3,
        bytesOut: 4,
        ttfbMs: 0,
        totalMs: 0,
      },
    )
  },
)

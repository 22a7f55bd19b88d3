// Every refusal of the gateway's own, and their order, as literal bytes to the real daemon.

import assert from 'node:assert/strict'
import { unlink } from 'node:fs/promises'
import { createServer } from 'node:net'
import { before, describe, test } from 'node:test'
import { run } from './harness/child.ts'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient, type RawResponse } from './harness/raw.ts'
import { scopeOf, scopeOfSuite } from './harness/scope.ts'
import { serveHttp, serveSockets } from './harness/services.ts'

const RUNNING = 'com.example.running'
const RESTRICTED = 'com.example.restricted'
const ELSEWHERE = 'com.example.elsewhere'
const ORIGIN = 'https://10.0.0.2'

const TABLES = `
[services.policy."${RESTRICTED}"]
roles = { GET = ["pool-operator"], PUT = ["pool-admin"] }
[services.policy."com.example.ghost"]
roles = ["pool-admin"]
[pool]
registry = "static"
[pool.static]
"${ELSEWHERE}" = "${ORIGIN}"
[limits]
target-bytes = 1024
head-bytes = 4096
`

const suite = scopeOfSuite()
let daemon: Daemon
/** A pool-admin's session, and a read-only user's. */
let admin: string
let reader: string

before(async () => {
  daemon = await startDaemon(suite, { tables: TABLES })
  await daemon.place.addUser('reader', 'reader password', 'read-only')
  for (const name of [RUNNING, RESTRICTED]) {
    await serveHttp(suite, daemon.place.socket(name), (request, response) => {
      request.resume().on('end', () => response.end('from the service'))
    })
  }
  admin = await daemon.login()
  reader = await daemon.login('reader', 'reader password')
})

/** A request's head with a cookie. */
function asked(method: string, target: string, session?: string, lines = ''): string {
  const cookie = session === undefined ? '' : `Cookie: session_id=${session}\r\n`
  return `${method} ${target} HTTP/1.1\r\nHost: gate\r\n${cookie}${lines}\r\n`
}

function service(name: string): string {
  return `/services/plugin/${name}`
}

/** What every refusal has, whatever the reason. */
function assertRefusal(response: RawResponse, status: number): void {
  assert.equal(response.status, status, `${response.head}\n${response.text}`)
  assert.match(response.header('x-request-id') ?? '', /^[\w-]{8,}$/)
  assert.equal(response.header('content-type'), 'text/plain; charset=utf-8')
  assert.equal(response.header('content-length'), String(response.body.length))
  assert.match(response.text, /^[A-Z].{20,}\.\n$/)
  assert.doesNotMatch(response.text, /OpaqueRef/)
}

/** Refuses `request` with `status` and, in JSON, with `code`. */
async function assertRefused(
  request: string,
  status: number,
  code: string,
  { url }: Daemon = daemon,
): Promise<RawResponse> {
  const response = await exchange(url, request)
  assertRefusal(response, status)
  const wantsJson = request.replace('\r\nHost:', '\r\nAccept: application/json\r\nHost:')
  if (wantsJson === request) return response
  const inJson = await exchange(url, wantsJson)
  assert.equal(inJson.status, status)
  assert.equal(inJson.header('content-type'), 'application/json')
  const { error } = JSON.parse(inJson.text) as { error: Record<string, string> }
  assert.deepEqual(Object.keys(error), ['code', 'message', 'requestId'])
  assert.equal(error['code'], code)
  assert.equal(error['requestId'], inJson.header('x-request-id'))
  assert.equal(error['message'], response.text.trimEnd())
  return response
}

describe('400: what is malformed is refused whatever session it carries', { timeout: 300_000 }, () => {
  const host = 'Host: gate\r\n'
  const start = `POST ${service(RUNNING)} HTTP/1.1\r\n`
  const cases: readonly (readonly [what: string, request: string, status: number])[] = [
    ['a line that ends in LF alone', `GET / HTTP/1.1\n${host}\r\n`, 400],
    ['CR without LF', `GET / HTTP/1.1\r\nHost: gate\rX: y\r\n\r\n`, 400],
    ['a NUL in a value', `${start}${host}X: a\0b\r\n\r\n`, 400],
    ['a folded line', `${start}${host}X: a\r\n b\r\n\r\n`, 400],
    ['a space before a colon', `${start}${host}Content-Length : 3\r\n\r\nabc`, 400],
    ['no Host', `${start}\r\n`, 400],
    ['two Hosts', `${start}${host}${host}\r\n`, 400],
    ['Content-Length that is a list', `${start}${host}Content-Length: 3, 3\r\n\r\nabc`, 400],
    ['Content-Length twice', `${start}${host}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 400],
    ['Content-Length with a sign', `${start}${host}Content-Length: +3\r\n\r\nabc`, 400],
    ['both framings', `${start}${host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['gzip, chunked', `${start}${host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 400],
    ['chunks in HTTP/1.0', `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a target with a space', `GET /a b HTTP/1.1\r\n${host}\r\n`, 400],
    ['a method with a bracket', `G[T / HTTP/1.1\r\n${host}\r\n`, 400],
    ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['a target over its limit', `GET /${'a'.repeat(1024)} HTTP/1.1\r\n${host}\r\n`, 414],
    ['a head over its limit', `GET / HTTP/1.1\r\n${host}X: ${'a'.repeat(4096)}\r\n\r\n`, 431],
    ['HTTP/2.0', `GET / HTTP/2.0\r\n${host}\r\n`, 505],
  ]
  for (const [what, request, status] of cases) {
    test(`${what} gets ${status} and the end of the connection`, async () => {
      const withCookie = request.replace('\r\n', `\r\nCookie: session_id=${admin}\r\n`)
      for (const bytes of [request, what.startsWith('a line that') ? request : withCookie]) {
        using client = await RawClient.connect(daemon.url)
        await client.send(bytes)
        const response = await client.response()
        assertRefusal(response, status)
        assert.equal(response.header('connection'), 'close')
        assert.equal((await client.end()).length, 0)
      }
    })
  }

  test('a malformed chunk of a body that is being relayed gets 400 too', async () => {
    const head = asked('POST', service(RUNNING), admin, 'Transfer-Encoding: chunked\r\n')
    assertRefusal(await exchange(daemon.url, `${head}3\r\nabc\r\n0x3\r\nabc\r\n0\r\n\r\n`), 400)
  })
})

describe('403', { timeout: 300_000 }, () => {
  test('no session', async () => {
    await assertRefused(asked('GET', service(RUNNING)), 403, 'session-missing')
  })

  test('a session that is nobody’s, in the cookie or in the query', async () => {
    await assertRefused(asked('GET', service(RUNNING), 'OpaqueRef:none'), 403, 'session-invalid')
    await assertRefused(asked('GET', `${service(RUNNING)}?session_id=OpaqueRef:none`), 403, 'session-invalid')
    await assertRefused(asked('GET', `${service(RUNNING)}?session_id=%zz`), 403, 'session-invalid')
  })

  test('a wrong cookie is not rescued by a right query', async () => {
    await assertRefused(asked('GET', `${service(RUNNING)}?session_id=${admin}`, 'no'), 403, 'session-invalid')
  })

  test('the first of two session ids counts', async () => {
    const twice = (first: string, second: string): string =>
      asked('GET', `${service(RUNNING)}?session_id=${first}&session_id=${second}`)
    await assertRefused(twice('no', admin), 403, 'session-invalid')
    assert.equal((await exchange(daemon.url, twice(admin, 'no'))).status, 200)
  })

  test('a role that may not', async () => {
    await assertRefused(asked('GET', service(RESTRICTED), reader), 403, 'role-insufficient')
    await assertRefused(asked('POST', service(RESTRICTED), admin), 403, 'role-insufficient')
    assert.equal((await exchange(daemon.url, asked('GET', service(RESTRICTED), admin))).status, 200)
  })

  test('a cookie that a browser sends from another site', async () => {
    const crossSite = asked('GET', service(RUNNING), admin, 'Sec-Fetch-Site: cross-site\r\n')
    await assertRefused(crossSite, 403, 'cross-site')
    const inQuery = asked('GET', `${service(RUNNING)}?session_id=${admin}`, undefined, 'Sec-Fetch-Site: cross-site\r\n')
    assert.equal((await exchange(daemon.url, inQuery)).status, 200)
  })

  test('comes at once, without a byte of the body that was announced', async () => {
    using client = await RawClient.connect(daemon.url)
    await client.send(asked('PUT', service(RUNNING), 'no', 'Content-Length: 1000000000000\r\n'))
    const response = await client.response()
    assertRefusal(response, 403)
    assert.equal(response.header('connection'), 'close')
    assert.equal((await client.end()).length, 0)
  })

  test('can be read by a client that sends a large body without looking', async () => {
    using client = await RawClient.connect(daemon.url)
    await client.send(asked('PUT', service(RUNNING), 'no', 'Content-Length: 4194304\r\n'))
    await client.send(Buffer.alloc(4_194_304))
    assertRefusal(await client.response(), 403)
  })

  test('leaves the connection open after a short body, for the next request', async () => {
    using client = await RawClient.connect(daemon.url)
    const refused = `${asked('PUT', service(RUNNING), 'no', 'Content-Length: 5\r\n')}hello`
    await client.send(refused + asked('GET', service(RUNNING), admin))
    const response = await client.response()
    assertRefusal(response, 403)
    assert.notEqual(response.header('connection'), 'close')
    assert.equal((await client.response()).text, 'from the service')
  })

  test('asks for no body that waits for 100 Continue', async () => {
    using client = await RawClient.connect(daemon.url)
    await client.send(asked('PUT', service(RUNNING), 'no', 'Content-Length: 5\r\nExpect: 100-continue\r\n'))
    const response = await client.response()
    assertRefusal(response, 403)
    assert.equal(response.header('connection'), 'close')
  })
})

describe('404', { timeout: 300_000 }, () => {
  test('a service that is not there', async () => {
    await assertRefused(asked('GET', service('com.example.no'), admin), 404, 'service-unknown')
  })

  for (const name of ['', '.hidden', '-dash', 'a%2Eb', '..', 'a'.repeat(101), 'a:b', '%2e%2e', '__proto__%00']) {
    test(`"${name.slice(0, 20)}" is the name of no service`, async () => {
      await assertRefused(asked('GET', service(name), admin), 404, 'service-unknown')
    })
  }

  test('a socket file with nobody behind it', async (t) => {
    // Only a process that is killed leaves its socket's file.
    const path = daemon.place.socket('com.example.stale')
    const script = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
    await run(scopeOf(t), process.execPath, ['-e', script, path])
    await assertRefused(asked('GET', service('com.example.stale'), admin), 404, 'service-unknown')
  })

  test('a service that comes and goes is seen without a restart', async () => {
    const path = daemon.place.socket('com.example.comes')
    const request = asked('GET', service('com.example.comes'), admin)
    assert.equal((await exchange(daemon.url, request)).status, 404)
    const server = createServer((socket) => {
      socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'))
    })
    await new Promise<void>((resolve) => {
      server.listen(path, resolve)
    })
    assert.equal((await exchange(daemon.url, request)).text, 'hi')
    server.close()
    await unlink(path).catch(() => {}) // Node.js removes it too
    assert.equal((await exchange(daemon.url, request)).status, 404)
  })

  test('a path that is nobody’s, with or without a session', async () => {
    await assertRefused(asked('GET', '/nothing'), 404, 'path-unknown')
    await assertRefused(asked('GET', '/services/other', admin), 404, 'path-unknown')
  })
})

describe('405', { timeout: 300_000 }, () => {
  for (const method of ['DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'get', 'BREW']) {
    test(`${method} is not passed on, and Allow says what is`, async () => {
      const response = await exchange(daemon.url, asked(method, service(RUNNING), admin))
      assert.equal(response.status, 405)
      assert.equal(response.header('allow'), 'GET, PUT, POST')
      if (method !== 'HEAD') assertRefusal(response, 405)
    })
  }

  test('the XenAPI takes POST only', async () => {
    const response = await assertRefused(asked('GET', '/jsonrpc'), 405, 'method-not-allowed')
    assert.equal(response.header('allow'), 'POST')
  })
})

describe('302', { timeout: 300_000 }, () => {
  test('names the host that has the service, with the target as it was sent', async () => {
    const target = `${service(ELSEWHERE)}/a%20b/?x=%0d%0a&session_id=${admin}`
    const response = await assertRefused(asked('PUT', target), 302, 'service-elsewhere')
    assert.equal(response.header('location'), ORIGIN + target)
  })

  test('is not given for a service that runs here too', async (t) => {
    await serveHttp(scopeOf(t), daemon.place.socket(ELSEWHERE), (_request, response) => {
      response.end('here')
    })
    assert.equal((await exchange(daemon.url, asked('GET', service(ELSEWHERE), admin))).text, 'here')
  })
})

describe('the order is 400, 403, 404, 405, 302', { timeout: 300_000 }, () => {
  const UNKNOWN = 'com.example.unknown'
  const cases: readonly (readonly [what: string, request: () => string, status: number])[] = [
    ['400 before 403: malformed, without a session', () => asked('GET', service(RUNNING), undefined, 'X : y\r\n'), 400],
    ['403 before 404: no session, no service', () => asked('GET', service(UNKNOWN)), 403],
    ['403 before 404: no session, and no name', () => asked('GET', service('.hidden')), 403],
    ['403 before 404: no session, and nothing after /services/plugin', () => asked('GET', '/services/plugin'), 403],
    ['403 before 404: role, and no service', () => asked('GET', service('com.example.ghost'), reader), 403],
    ['403 before 405: no session, no method', () => asked('DELETE', service(RUNNING)), 403],
    ['403 before 405: role, no method', () => asked('DELETE', service(RESTRICTED), reader), 403],
    ['403 before 302: no session, elsewhere', () => asked('GET', service(ELSEWHERE)), 403],
    ['403 before all others at once', () => asked('DELETE', service('..'), 'no'), 403],
    ['404 before 405: no service, no method', () => asked('DELETE', service(UNKNOWN), admin), 404],
    ['405 before 302: no method, elsewhere', () => asked('DELETE', service(ELSEWHERE), admin), 405],
    ['302 is last', () => asked('GET', service(ELSEWHERE), admin), 302],
  ]
  for (const [what, request, status] of cases) {
    test(what, async () => assertRefusal(await exchange(daemon.url, request()), status))
  }
})

const BAD = 'com.example.bad'

describe('408 and 504', { timeout: 300_000 }, () => {
  const scope = scopeOfSuite()
  let hasty: Daemon
  let session: string

  // A login takes its time: timeouts that are short enough to wait for come with a reload.
  before(async () => {
    hasty = await startDaemon(scope)
    session = await hasty.login()
    const times = 'head-timeout = "400ms"\nresponse-timeout = "400ms"\nbody-idle-timeout = "400ms"'
    await hasty.place.configure({ tables: `[limits]\n${times}` })
    hasty.child.signal('SIGHUP')
    await hasty.event(({ event }) => event === 'reloaded', 'the reload')
    await serveSockets(scope, hasty.place.socket(BAD), (socket) => socket.resume())
  })

  test('408 for a head that does not arrive in time', async () => {
    using client = await RawClient.connect(hasty.url)
    await client.send('GET / HTTP/1.1\r\nHost:')
    assertRefusal(await client.response(), 408)
    assert.equal((await client.end()).length, 0)
  })

  test('408 for a body that stands still', async () => {
    using client = await RawClient.connect(hasty.url)
    await client.send(`${asked('PUT', service(BAD), session, 'Content-Length: 5\r\n')}he`)
    assertRefusal(await client.response(), 408)
  })

  test('504 for a service that does not answer in time', async () => {
    await assertRefused(asked('GET', service(BAD), session), 504, 'service-slow', hasty)
  })
})

describe('502', { timeout: 300_000 }, () => {
  const answers: readonly (readonly [what: string, answer: string, code: string])[] = [
    ['nothing', '', 'service-died'],
    ['half a head', 'HTTP/1.1 200 OK\r\nContent-Le', 'service-died'],
    ['something else than HTTP', '220 smtp.example.com ESMTP\r\n', 'response-invalid'],
    ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 'response-invalid'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 'response-invalid'],
    ['a 101 that nobody asked for', 'HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n', 'switch-unasked'],
  ]
  for (const [what, answer, code] of answers) {
    test(`502 for a service that answers ${what}`, async (t) => {
      await serveSockets(scopeOf(t), daemon.place.socket(BAD), (socket) => {
        socket.once('data', () => socket.end(answer, 'latin1'))
      })
      await assertRefused(asked('GET', service(BAD), admin), 502, code)
    })
  }

  test('a response that breaks off is cut, so that it does not look complete', async (t) => {
    await serveSockets(scopeOf(t), daemon.place.socket(BAD), (socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'))
    })
    using client = await RawClient.connect(daemon.url)
    await client.send(asked('GET', service(BAD), admin))
    await client.until('hello')
    assert.doesNotMatch((await client.end()).toString(), /0\r\n\r\n/)
  })
})

describe('503', { timeout: 300_000 }, () => {
  test('a connection over the limit is told to come back', async (t) => {
    const small = await startDaemon(scopeOf(t), { tables: '[limits]\nconnections = 2' })
    const first = await RawClient.connect(small.url)
    const second = await RawClient.connect(small.url)
    for (const client of [first, second]) assert.equal((await client.exchange(asked('GET', '/nothing'))).status, 404)
    using third = await RawClient.connect(small.url)
    const response = await third.response()
    assertRefusal(response, 503)
    assert.equal(response.header('retry-after'), '1')
    assert.equal((await third.end()).length, 0)

    first.destroy()
    // The gateway notices the free place when it sees that connection's end.
    await until(async () => (await exchange(small.url, asked('GET', '/nothing'))).status === 404, 'a free place')
    second.destroy()
  })
})

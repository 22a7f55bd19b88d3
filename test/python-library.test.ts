// The Python library, libraries/python/xengate_service.py, as a process behind a played gateway: the same things that @xengate/service is
// tried with, in literal bytes. With the python3 of the machine, and with Python 3.6 where there is one.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import net, { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { openChannel, type Report, ReportReader } from '@xengate/channel'
import { Arrivals, Peer } from '../packages/gateway/src/proxy/testing/peer.ts'
import { IDENTITY_LINES, requestText } from '../packages/service/src/testing/fixture.ts'
import {
  COOKIE,
  PlayedGateway,
  SERVICE_NAME,
  SESSION_ID,
  TARGET,
  totalOf,
} from '../packages/service/src/testing/gateway.ts'
import { Child, run } from './harness/child.ts'
import { until, within } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const ROOT = dirname(import.meta.dirname)
const LIBRARY = join(ROOT, 'libraries/python/xengate_service.py')
const SERVICE = join(import.meta.dirname, 'services/python_service.py')
const DEADLINE = { timeout: 60_000 }
const ENV = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' }
const OTHER_SESSION = 'Cookie: session_id=other\r\n'

interface Running {
  readonly scope: Scope
  readonly gateway: PlayedGateway
  readonly child: Child
  readonly path: string
  /** Requests that were forwarded. */
  readonly forwarded: Arrivals<Peer>
  /** Connects a client whose connection is passed. */
  readonly client: () => Promise<RawClient>
  /** Connects as the gateway does to relay. */
  readonly relayed: () => Promise<RawClient>
}

interface Settings {
  readonly kind?: 'handler' | 'wsgi'
  readonly options?: Record<string, unknown>
}

function argvOf(directory: string, { kind = 'handler', options = {} }: Settings = {}): string[] {
  return [SERVICE, directory, SERVICE_NAME, kind, JSON.stringify(options)]
}

async function running(t: TestContext, python: string, settings: Settings = {}): Promise<Running> {
  const scope = scopeOf(t)
  const gateway = new PlayedGateway()
  await gateway.listen()
  scope.defer(() => gateway.close())
  const forwarded = new Arrivals<Peer>()
  gateway.onForwarded = (socket) => forwarded.push(new Peer(socket))
  const path = join(gateway.directory, SERVICE_NAME)
  const child = new Child(scope, python, argvOf(gateway.directory, settings), { env: ENV })
  scope.onFailure(() => child.stderr)
  await listens(path)
  const connect = async (url: string): Promise<RawClient> => {
    const made = await RawClient.connect(url)
    scope.defer(() => made.destroy())
    return made
  }
  return {
    scope,
    gateway,
    child,
    path,
    forwarded,
    client: () => connect(`http://127.0.0.1:${gateway.port}`),
    relayed: () => connect(`unix:${path}`),
  }
}

async function listens(path: string): Promise<void> {
  const made = await until(() => RawClient.connect(`unix:${path}`).catch(() => undefined), 'the service to listen')
  made.destroy()
}

/** Python of the machine, and 3.6 where it runs. */
async function pythons(t: TestContext): Promise<string[]> {
  const { code } = await run(scopeOf(t), 'sh', ['-c', 'python3.6 -c pass 2>/dev/null'])
  return code === 0 ? ['python3', 'python3.6'] : ['python3']
}

test('the library is Python 3.6', DEADLINE, async (t) => {
  const program = 'import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 6))'
  const { code, stderr } = await run(scopeOf(t), 'python3', ['-c', program, LIBRARY])
  assert.equal(code, 0, stderr)
  for (const python of await pythons(t)) {
    const { client, child } = await running(t, python)
    assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    assert.deepEqual(await child.stop(), { code: 0, signal: null })
    assert.equal(child.stderr, '')
  }
})

describe('requests', () => {
  test('one on a channel is answered as the same one relayed, but for `channel`', DEADLINE, async (t) => {
    const { client, relayed } = await running(t, 'python3')
    const lines = 'Accept: a/b\r\nX-Own: 1\r\nX-Own: 2\r\nTransfer-Encoding: chunked\r\n'
    const body = '3;x=y\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n'
    const passed = await (await client()).exchange(requestText('PUT', '/a%20b?task_id=t', lines, body))
    const plain = await (await relayed()).exchange(requestText('PUT', '/a%20b?task_id=t', lines + IDENTITY_LINES, body))
    const [one, two] = [JSON.parse(passed.text), JSON.parse(plain.text)]
    assert.equal(one.caller.channel, true)
    assert.deepEqual({ ...one, caller: { ...one.caller, channel: false } }, two)
    assert.deepEqual(two.caller, {
      user: 'zoë',
      subject: 'OpaqueRef:1',
      roles: ['vm-admin'],
      originator: 'tests',
      session_id: SESSION_ID,
      channel: false,
      task: 't',
    })
    assert.deepEqual([one.body, one.trailers, one.target], ['abc', [['X-Trailer', 't']], `${TARGET}/a%20b?task_id=t`])
  })

  test('what a client forges is taken out, in every spelling, in heads and trailers', DEADLINE, async (t) => {
    const { client } = await running(t, 'python3')
    const forged =
      'x-xen-session-user: root\r\nX_Xen_Session_User: root\r\nX-XEN-SESSION-ROLES: pool-admin\r\n' +
      'x-xen-session-subject: s\r\nX-Xen-Session_Originator: o\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\n' +
      'X-Forwarded-Proto: https\r\nX-Request-Id: forged\r\nContent_Length: 7\r\nX-Own_Field: stays\r\n'
    const one = await client()
    for (const id of ['w0-1-0', 'w0-1-1']) {
      const { fields, caller } = JSON.parse((await one.exchange(requestText('GET', '', forged))).text)
      assert.deepEqual(fields, [
        ['Host', 'h'],
        ['Cookie', `session_id=${SESSION_ID}`],
        ['X-Own_Field', 'stays'],
        ['X-Xen-Session-User', 'zo%C3%AB'],
        ['X-Xen-Session-Subject', 'OpaqueRef:1'],
        ['X-Xen-Session-Roles', 'vm-admin'],
        ['X-Xen-Session-Originator', 'tests'],
        ['X-Forwarded-For', '127.0.0.1'],
        ['X-Forwarded-Proto', 'http'],
        ['X-Forwarded-Host', 'h'],
        ['X-Request-Id', id],
      ])
      assert.equal(caller.user, 'zoë')
    }
    const trailers = '0\r\nX-Xen-Session-User: root\r\nX-T: t\r\n\r\n'
    const answer = await one.exchange(requestText('POST', '', 'Transfer-Encoding: chunked\r\n', trailers))
    assert.deepEqual(JSON.parse(answer.text).trailers, [['X-T', 't']])
  })

  test('who connects without the gateway is nobody', DEADLINE, async (t) => {
    const { relayed } = await running(t, 'python3')
    const { caller } = JSON.parse((await (await relayed()).exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')).text)
    assert.deepEqual(
      [caller.user, caller.subject, caller.roles, caller.session_id, caller.channel],
      ['', '', [], null, false],
    )
  })

  test(
    'what is not HTTP/1.1, or can be read in two ways, is refused, and nothing after it is read',
    DEADLINE,
    async (t) => {
      const { client } = await running(t, 'python3')
      const head = `GET ${TARGET}/hello HTTP/1.1\r\nHost: h\r\n${COOKIE}`
      const cases: readonly (readonly [string, number])[] = [
        [`${head}X-A: b\r\n c\r\n\r\n`, 400],
        [`${head}X-A : b\r\n\r\n`, 400],
        [`${head}X-A: b\nX-B: c\r\n\r\n`, 400],
        [`${head}X-A: b\0\r\n\r\n`, 400],
        [`${head}: b\r\n\r\n`, 400],
        [`${head}Host: i\r\n\r\n`, 400],
        [`GET ${TARGET} HTTP/1.1\r\n${COOKIE}\r\n`, 400],
        [`GET  ${TARGET} HTTP/1.1\r\nHost: h\r\n\r\n`, 400],
        [`GET ${TARGET} HTTP/2.0\r\nHost: h\r\n\r\n`, 505],
        [`${head}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, 400],
        [`${head}Content-Length: +1\r\n\r\na`, 400],
        [`${head}Content-Length: 1, 1\r\n\r\na`, 400],
        [`${head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
        [`${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 501],
        [`${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
        [`${head.replace('/hello', '')}Transfer-Encoding: chunked\r\n\r\n1 x\r\n\r\n`, 400],
        [`${head.replace('/hello', '')}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n`, 400],
        [`${head.replace('/hello', '')}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n`, 400],
        [`${head.replace('/hello', '')}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n`, 400],
        [`${head}Expect: wonders\r\n\r\n`, 417],
        [`${head}${'X-A: b\r\n'.repeat(3000)}\r\n`, 431],
        [`${head}X-A: ${'b'.repeat(1_100_000)}\r\n\r\n`, 431],
        // Looking for the end of such a value in more than one pass would take hours.
        [`${head}X-A:${' '.repeat(1_000_000)}\0\r\n\r\n`, 400],
        [`${head}X-A:${' a'.repeat(500_000)}\0\r\n\r\n`, 400],
      ]
      for (const [bytes, status] of cases) {
        const one = await client()
        assert.equal((await one.exchange(requestText('GET', '/hello'))).status, 200)
        one.send(bytes + requestText('GET', '/hello')).catch(() => {})
        const response = await one.response()
        assert.deepEqual([response.status, response.header('connection')], [status, 'close'], bytes.slice(0, 300))
        assert.equal((await one.end()).toString(), '')
      }
    },
  )

  test('pieces go out at once, and come in as they are sent', DEADLINE, async (t) => {
    const { client } = await running(t, 'python3')
    const one = await client()
    await one.send(requestText('PUT', '/pieces', 'Transfer-Encoding: chunked\r\n'))
    await one.until('3\r\none\r\n')
    for (const line of ['ab\n', 'cd\n']) {
      await one.send(`3\r\n${line}\r\n`)
      assert.equal(await one.until(`3\r\n${line}\r\n`), `3\r\n${line}\r\n`)
    }
    await one.send('0\r\n\r\n')
    assert.equal(await one.until('0\r\n\r\n'), '4\r\nlast\r\n0\r\n\r\n')
    assert.equal((await one.exchange(requestText('GET', '/hello'))).status, 200)
    const old = await client()
    await old.send(`PUT ${TARGET}/pieces HTTP/1.0\r\nContent-Length: 3\r\n${COOKIE}\r\nab\n`)
    assert.match((await old.end()).toString(), /\r\nConnection: close\r\n\r\noneab\nlast$/)
  })

  test('HEAD and 204 have no body, whatever the handler writes', DEADLINE, async (t) => {
    const { client, gateway } = await running(t, 'python3')
    gateway.offer = { methods: ['GET', 'HEAD'] }
    const one = await client()
    await one.send(requestText('HEAD', '/hello'))
    const response = await one.response(true)
    assert.equal(response.header('content-length'), '11')
    const empty = await one.exchange(requestText('GET', '/empty'))
    assert.deepEqual([empty.status, empty.reason, empty.header('content-length')], [204, 'Nothing Here', undefined])
    assert.equal((await one.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
  })

  test('a handler that fails is a 500 and a line; after the head, a cut', DEADLINE, async (t) => {
    const { client, child } = await running(t, 'python3')
    const one = await client()
    for (const path of ['/fail', '/returns', '/smuggled']) {
      const response = await one.exchange(requestText('GET', `${path}?session_id=secret`))
      assert.deepEqual([response.status, response.text], [500, 'The service failed.\n'])
    }
    await until(() => child.stderr.includes('cannot send the field') || undefined, 'the lines')
    assert.match(child.stderr, /^cannot answer GET \/services\/plugin\/com\.example\.svc\/fail: Traceback/)
    assert.doesNotMatch(child.stderr, /secret/)
    for (const path of ['/fail-late', '/short']) {
      const cut = await client()
      await cut.send(requestText('GET', path))
      const text = (await cut.end()).toString()
      assert.ok(!text.endsWith('0\r\n\r\n'), text)
    }
  })

  test('a body that a handler leaves unread is no request, and its socket says so', DEADLINE, async (t) => {
    const { relayed, path } = await running(t, 'python3')
    assert.equal(statSync(path).mode & 0o7777, 0o1660)
    const hidden = 'GET /services/plugin/x/admin HTTP/1.1\r\nHost: h\r\nX-Xen-Session-User: root\r\n\r\n'
    const one = await relayed()
    for (const lines of [`Content-Length: ${hidden.length}\r\n`, 'Transfer-Encoding: chunked\r\n']) {
      const body = lines.startsWith('C') ? hidden : `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
      const request = requestText('POST', '/hello', `${IDENTITY_LINES}${lines}`, body)
      assert.equal((await one.exchange(request)).text, 'hello zoë\n')
      const next = JSON.parse((await one.exchange(requestText('GET', '/2', IDENTITY_LINES))).text)
      assert.equal(next.target, `${TARGET}/2`)
    }
  })

  test(
    'Expect: 100-continue is answered when the body is read, and a client that ends its side is too',
    DEADLINE,
    async (t) => {
      const { client } = await running(t, 'python3')
      const one = await client()
      await one.send(requestText('PUT', '', 'Expect: 100-continue\r\nContent-Length: 3\r\n'))
      assert.equal((await one.response()).status, 100)
      await one.send('abc')
      assert.equal(JSON.parse((await one.response()).text).body, 'abc')
      await one.send(requestText('PUT', '/hello', 'Expect: 100-continue\r\nContent-Length: 3\r\n'))
      assert.equal((await one.response()).header('connection'), 'close')
      const two = await client()
      two.socket.end(requestText('GET', '/hello'))
      assert.equal((await two.response()).text, 'hello zoë\n')
    },
  )

  test(
    'thousands, pipelined and of two sessions, are answered in order, and so is a request cut anywhere',
    DEADLINE,
    async (t) => {
      const { client, forwarded } = await running(t, 'python3')
      const one = await client()
      const other = `GET ${TARGET} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}\r\n`
      const requests = Array.from({ length: 900 }, (_, index) =>
        index % 3 === 0 ? other : requestText('GET', '/hello'),
      )
      void one.send(requests.join(''))
      const peer = await forwarded.next()
      for (const request of requests) {
        if (request === other) {
          assert.equal(await peer.until('\r\n\r\n'), other)
          peer.write('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngateway')
        }
        assert.equal((await one.response()).text, request === other ? 'gateway' : 'hello zoë\n')
      }
      const request = requestText(
        'PUT',
        '/length',
        'Transfer-Encoding: chunked\r\n',
        '5\r\nabcde\r\n0\r\nX-T: t\r\n\r\n',
      )
      for (let at = 1; at < request.length; at += 3) {
        await one.send(request.slice(0, at))
        await new Promise(setImmediate)
        assert.equal((await one.exchange(request.slice(at))).text, '5')
      }
    },
  )
})

describe('WSGI', () => {
  test('environ says who asks and what for', DEADLINE, async (t) => {
    const { client, relayed } = await running(t, 'python3', { kind: 'wsgi' })
    const lines = 'X_Forwarded_For: 9.9.9.9\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\nContent-Type: a/b\r\n'
    for (const [one, more] of [
      [await client(), ''],
      [await relayed(), IDENTITY_LINES],
    ] as const) {
      const seen = JSON.parse((await one.exchange(requestText('POST', '/a%20b?c=%20', lines + more, 'abc'))).text)
      assert.equal(seen.REMOTE_USER, Buffer.from('zoë').toString('latin1'))
      assert.equal(seen.caller.user, 'zoë')
      assert.deepEqual([seen.SCRIPT_NAME, seen.PATH_INFO, seen.QUERY_STRING], [TARGET, '/a b', 'c=%20'])
      assert.deepEqual([seen.REMOTE_ADDR, seen.HTTP_X_FORWARDED_FOR, seen.HTTP_X_A], ['127.0.0.1', '127.0.0.1', '1,2'])
      assert.deepEqual([seen.CONTENT_LENGTH, seen.CONTENT_TYPE, seen.body], ['3', 'a/b', 'abc'])
      assert.deepEqual([seen.SERVER_NAME, seen.SERVER_PORT], ['h', '80'])
    }
  })

  test('answers come by a list, a file and `write`; exc_info replaces what was said before', DEADLINE, async (t) => {
    const { client } = await running(t, 'python3', { kind: 'wsgi' })
    const one = await client()
    const late = await one.exchange(requestText('GET', '/late'))
    assert.deepEqual([late.status, late.header('x-late'), late.text], [418, 'yes', 'short and stout'])
    assert.match((await one.exchange(requestText('GET', '/file'))).text, /^"""A service on the Python library/)
    assert.equal((await one.exchange(requestText('GET', '/written'))).text, 'by write')
    const whole = await one.exchange(requestText('GET', ''))
    assert.equal(whole.header('content-length'), String(whole.body.length))
  })
})

describe('what is not the channel’s', () => {
  test('goes to the gateway as it came, and its answer to the client as it comes', DEADLINE, async (t) => {
    const { client, forwarded } = await running(t, 'python3')
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
    const request =
      `PUT ${TARGET}/a%20b HTTP/1.1\r\nhOsT:h\r\n${OTHER_SESSION}X-A: 1\r\nX-B: b\r\nX-A:  2\r\nX-Xen-Session-User: forged\r\n` +
      'Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n'
    await one.send(request)
    const gateway = await forwarded.next()
    assert.equal(await gateway.bytes(request.length), request)
    const answer =
      'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' +
      'HTTP/1.1 418 I am\r\nX-One: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n' +
      '2\r\nhi\r\n0\r\nX-T: 7\r\n\r\n'
    gateway.write(answer)
    assert.equal((await one.bytes(answer.length)).toString(), answer)
    assert.equal((await one.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
  })

  test('is told by target, method, session and site', DEADLINE, async (t) => {
    const { client, forwarded, gateway } = await running(t, 'python3')
    gateway.offer = { methods: ['GET', 'DELETE'], greeting: 'GREETING one\r\n' }
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
    const session = SESSION_ID
    const requests = [
      `GET ${TARGET}x HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
      `GET /services/plugin/other HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
      `GET http://h${TARGET} HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
      `GET /services/plugin/com.example%2esvc HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`,
      'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n',
      requestText('POST', '', 'Content-Length: 0\r\n'),
      requestText('GET', '', 'Sec-Fetch-Site: Cross-Site\r\n'),
      `GET ${TARGET} HTTP/1.1\r\nHost: h\r\n\r\n`,
      `GET ${TARGET}?session_id=other HTTP/1.1\r\nHost: h\r\n\r\n`,
      `GET ${TARGET}?session_id=${session} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}${COOKIE}\r\n`,
      `GET ${TARGET} HTTP/1.1\r\nHost: h\r\nCookie: session_id=${session}x\r\n\r\n`,
    ]
    let peer: Peer | undefined
    for (const request of requests) {
      await one.send(request)
      // The connection is kept, and the greeting said once.
      const before = peer === undefined ? 'GREETING one\r\n' : ''
      peer ??= await forwarded.next()
      assert.equal(await peer.until('\r\n\r\n'), before + request)
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngateway')
      assert.equal((await one.response()).text, 'gateway')
    }
    assert.equal((await one.exchange(requestText('DELETE', '/hello'))).text, 'hello zoë\n')
    const query = `GET ${TARGET}/hello?session_id=${SESSION_ID.replace(':', '%3A')} HTTP/1.1\r\nHost: h\r\n\r\n`
    assert.equal((await one.exchange(query)).text, 'hello zoë\n')
  })

  test('100 Continue is the gateway’s to say', DEADLINE, async (t) => {
    const { client, forwarded } = await running(t, 'python3')
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
    await one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n`)
    const gateway = await forwarded.next()
    await gateway.until('\r\n\r\n')
    assert.equal(one.unread, '')
    gateway.write('HTTP/1.1 100 Continue\r\n\r\n')
    await one.until('100 Continue\r\n\r\n')
    await one.send('abc')
    assert.equal(await gateway.bytes(3), 'abc')
    gateway.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    assert.equal((await one.response()).status, 200)
  })

  test('an upgrade is forwarded with the whole connection, HTTP that hides behind one too', DEADLINE, async (t) => {
    const { client, forwarded } = await running(t, 'python3')
    for (const [cookie, upgrade] of [
      [OTHER_SESSION, 'x'],
      [COOKIE, 'h2c'],
    ]) {
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      const head = `GET ${TARGET} HTTP/1.1\r\nHost: h\r\n${cookie}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`
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
    }
  })

  test('a client that vanishes, and an answer that breaks off, end both connections', DEADLINE, async (t) => {
    const { client, forwarded } = await running(t, 'python3')
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
    await one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc`)
    const gateway = await forwarded.next()
    await gateway.until('abc')
    one.destroy()
    assert.equal(await gateway.ended(), '')
    const two = await client()
    await two.exchange(requestText('GET', '/hello'))
    await two.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
    const other = await forwarded.next()
    await other.until('\r\n\r\n')
    other.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc')
    await two.until('abc')
    other.destroy()
    assert.equal((await two.end()).length, 0)
  })

  test('a failure to forward is told for what it is, and the connection goes on', DEADLINE, async (t) => {
    const { client, forwarded, gateway, child } = await running(t, 'python3')
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
    await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
    const made = await forwarded.next()
    await made.until('\r\n\r\n')
    made.write('this is no HTTP\r\n\r\n')
    assert.equal((await one.response()).status, 502)
    rmSync(gateway.path)
    const response = await one.exchange('PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc')
    assert.deepEqual([response.status, response.header('retry-after')], [503, '1'])
    assert.equal((await one.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    const told = (): boolean => child.stderr.split(`cannot forward a request to ${gateway.path}`).length === 3
    await until(() => told() || undefined, 'two lines')
  })

  test('a kept connection that has just ended is not the client’s trouble', DEADLINE, async (t) => {
    const { client, forwarded } = await running(t, 'python3')
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
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

  test('a large body waits for who reads it; an early answer leaves the next request alone', DEADLINE, async (t) => {
    const { client, forwarded } = await running(t, 'python3')
    const one = await client()
    await one.exchange(requestText('GET', '/hello'))
    const size = 20_000_000
    await one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n`)
    const gateway = await forwarded.next()
    await gateway.until('\r\n\r\n')
    const sent = one.send(Buffer.alloc(size, 'x'))
    await sent
    assert.equal((await gateway.bytes(size)).length, size)
    gateway.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
    gateway.socket.write(Buffer.alloc(size, 'y'))
    assert.equal((await one.response()).body.length, size)
    for (const close of ['', 'Connection: close\r\n']) {
      const two = await client()
      await two.exchange(requestText('GET', '/hello'))
      await two.send('PUT /elsewhere HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n')
      const early = await forwarded.next()
      await early.until('\r\n\r\n')
      early.write(`HTTP/1.1 413 Too Large\r\n${close}Content-Length: 5\r\n\r\nlarge`)
      assert.equal((await two.response()).status, 413)
      if (close !== '') {
        early.destroy()
        await two.end()
        continue
      }
      await two.send(Buffer.alloc(1_000_000, 'x'))
      assert.equal((await two.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    }
  })
})

describe('channels', () => {
  test('tell of their own use alone, at the end and while they go on', DEADLINE, async (t) => {
    const { client, gateway } = await running(t, 'python3')
    gateway.onForwarded = (socket) => {
      createServer((_request, response) => response.end('gateway')).emit('connection', socket)
    }
    const one = await client()
    const request = requestText('PUT', '/length', 'Transfer-Encoding: chunked\r\n', '5\r\nabcde\r\n0\r\n\r\n')
    let bytesOut = 0
    for (let round = 0; round < 3; round++) {
      const { head, body } = await one.exchange(request)
      bytesOut += head.length + 4 + body.length
      await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
      assert.equal((await one.response()).text, 'gateway')
    }
    const [channel] = gateway.channels
    assert.ok(channel !== undefined)
    await within(
      channel.reported(({ kind }) => kind === 'usage'),
      'a report',
    )
    one.destroy()
    await within(channel.ended, 'the end of the channel')
    assert.deepEqual(channel.reports[0], { kind: 'accepted' })
    assert.deepEqual(totalOf(channel.reports), { requests: 3, bytesIn: 3 * request.length, bytesOut })
  })

  test('end at once, in a download, a pause, a handler and on the way to the gateway', DEADLINE, async (t) => {
    const { client, gateway, forwarded, child, scope } = await running(t, 'python3')
    const clients = [await client(), await client(), await client(), await client()]
    const [download, pause, slow, away] = clients
    await download?.send(requestText('GET', '/endless'))
    await download?.bytes(200_000)
    await pause?.exchange(requestText('GET', '/hello'))
    await slow?.send(requestText('GET', '/slow'))
    await child.printed(({ stdout }) => stdout.includes('asked') || undefined, 'a request')
    await away?.exchange(requestText('GET', '/hello'))
    await away?.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
    const peer = await forwarded.next()
    await peer.until('\r\n\r\n')
    for (const { control } of gateway.channels) control.destroy()
    await Promise.all(clients.map((one) => one.end()))
    assert.equal(await peer.ended(), '')
    child.signal('SIGUSR1')
    assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    const before = await descriptors(scope, child)
    for (let round = 0; round < 20; round++) {
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      one.destroy()
    }
    await until(async () => (await descriptors(scope, child)) <= before || undefined, 'no descriptor to be left')
  })

  test(
    'for another service, without a connection, or beyond the most, are refused with the reason',
    DEADLINE,
    async (t) => {
      const { gateway, path, client } = await running(t, 'python3', { options: { connections: 1 } })
      const refusal = async (control: Socket): Promise<string> => {
        const reader = new ReportReader()
        const reports: Report[] = []
        control.on('data', (chunk) => reports.push(...reader.write(chunk as Buffer)))
        await within(once(control, 'close'), 'the end of the control connection')
        const [report] = reports
        return report?.kind === 'refused' ? report.why : JSON.stringify(report)
      }
      const own = net.createServer(() => {}).listen(0)
      await once(own, 'listening')
      t.after(() => own.close())
      const { fd } = (own as unknown as { _handle: { fd: number } })._handle
      const offered = (offer: object): Socket => {
        const opened = openChannel(`${path}.channel`, fd, { ...gateway.offerFor('', 0), ...offer }, Buffer.alloc(0))
        assert.ok(opened.kind === 'opened')
        return new Socket({ fd: opened.fd })
      }
      assert.equal(
        await refusal(offered({ service: 'com.example.other' })),
        `this is ${SERVICE_NAME}, and not com.example.other`,
      )
      assert.equal(await refusal(offered({ channel: '' })), 'the offer has something of a wrong type')
      const nothing = net.connect(`${path}.channel`)
      nothing.write(Buffer.from([0, 0, 0, 2, 0x7b, 0x7d]))
      assert.equal(await refusal(nothing), '0 descriptors came, and 1 is taken')
      const one = await client()
      assert.equal((await one.exchange(requestText('GET', '/hello'))).status, 200)
      assert.equal(await refusal(offered({})), 'there are 1 channels, which is the most')
      const slowly = net.connect(`${path}.channel`)
      assert.equal(await refusal(slowly), 'the message did not come within 5 s')
    },
  )
})

async function descriptors(scope: Scope, child: Child): Promise<number> {
  const { stdout } = await run(scope, 'ls', [`/proc/${child.pid}/fd`])
  return stdout.split('\n').length
}

describe('a service', () => {
  test('is refused when it cannot be, and says why', DEADLINE, async (t) => {
    const scope = scopeOf(t)
    const directory = await scope.directory()
    const path = join(directory, SERVICE_NAME)
    const refusal = async (argv: readonly string[]): Promise<string> => {
      const { code, stderr } = await run(scope, 'python3', argv, { env: ENV })
      assert.equal(code, 1, stderr)
      return stderr
    }
    for (const name of ['', '.a', 'a/b', `a.channel`, 'x'.repeat(101)]) {
      assert.match(await refusal([SERVICE, directory, name]), /^cannot serve as "/)
    }
    assert.match(await refusal(argvOf(join(directory, 'none'))), /there is no such directory\n$/)
    assert.match(await refusal(argvOf('/sys')), /^cannot listen on \/sys\//)
    assert.match(await refusal(argvOf(directory, { options: { group: 'no-such-group' } })), /there is no such group\n$/)
    writeFileSync(path, '')
    assert.match(await refusal(argvOf(directory)), /a file that is no socket is there; remove it\n$/)
    rmSync(path)
    const server = net.createServer().listen(`${path}.channel`)
    await once(server, 'listening')
    assert.match(await refusal(argvOf(directory)), /another program is listening there; stop it first/)
    assert.ok(!existsSync(path), 'the first socket is taken back')
    server.close()
  })

  test('replaces a stale socket, with the mode and group that it is told', DEADLINE, async (t) => {
    const scope = scopeOf(t)
    const directory = await scope.directory()
    const path = join(directory, SERVICE_NAME)
    const options = { mode: 0o600, group: process.getgid?.() ?? 0, channels: false }
    const first = new Child(scope, 'python3', argvOf(directory), { env: ENV })
    await listens(path)
    first.process.kill('SIGKILL')
    await first.exited
    assert.ok(existsSync(path))
    const second = new Child(scope, 'python3', argvOf(directory, { options }), { env: ENV })
    await listens(path)
    assert.equal(statSync(path).mode & 0o7777, 0o1600)
    assert.deepEqual(await second.stop(), { code: 0, signal: null })
    assert.ok(!existsSync(path))
  })

  test('drains at SIGTERM: finishes what is under way, and ends what is idle', DEADLINE, async (t) => {
    const { client, relayed, child, path, gateway } = await running(t, 'python3')
    const [idle, idleRelayed, slow] = [await client(), await relayed(), await client()]
    await idle.exchange(requestText('GET', '/hello'))
    await idleRelayed.exchange(requestText('GET', '/hello', IDENTITY_LINES))
    await slow.send(requestText('GET', '/slow'))
    await child.printed(({ stdout }) => stdout.includes('asked') || undefined, 'a request')
    child.signal('SIGTERM')
    await idle.end()
    await idleRelayed.end()
    await until(() => !existsSync(path) || undefined, 'the files to go')
    child.signal('SIGUSR1')
    assert.equal((await slow.response()).text, 'done')
    await slow.end()
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    for (const { ended } of gateway.channels) await ended
  })

  test('cuts what is not finished in time, and ends at once at a second signal', DEADLINE, async (t) => {
    const { client, child } = await running(t, 'python3', { options: { drain_seconds: 0 } })
    const one = await client()
    await one.send(requestText('GET', '/endless'))
    await one.bytes(100_000)
    child.signal('SIGTERM')
    await one.end()
    assert.deepEqual(await child.exited, { code: 0, signal: null })
    const other = await running(t, 'python3')
    const two = await other.client()
    await two.send(requestText('GET', '/slow'))
    await other.child.printed(({ stdout }) => stdout.includes('asked') || undefined, 'a request')
    other.child.signal('SIGINT')
    await until(() => !existsSync(other.path) || undefined, 'the files to go')
    other.child.signal('SIGINT')
    assert.deepEqual(await other.child.exited, { code: 1, signal: null })
  })

  test('takes the sockets that systemd passes, by name or path, and leaves their files', DEADLINE, async (t) => {
    const scope = scopeOf(t)
    const directory = await scope.directory()
    mkdirSync(join(directory, 'run'))
    const paths = [join(directory, 'run', 'x.channel'), join(directory, 'run', 'x')]
    // As systemd does: binds them as 3 and 4, and becomes the service.
    const activate = [
      'import os, socket, sys',
      'sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]',
      'for at, (one, path) in enumerate(zip(sockets, sys.argv[1:3])):',
      '    one.bind(path); one.listen(5); os.dup2(os.dup(one.fileno()), 3 + at)',
      'os.environ["LISTEN_PID"] = str(os.getpid())',
      'os.execvp(sys.argv[3], sys.argv[3:])',
    ].join('\n')
    for (const names of [undefined, 'x.channel:x']) {
      const argv = ['-c', activate, ...paths, 'python3', ...argvOf(directory)]
      const child = new Child(scope, 'python3', argv, {
        env: { ...ENV, LISTEN_FDS: '2', ...(names === undefined ? {} : { LISTEN_FDNAMES: names }) },
      })
      await listens(paths[1] ?? '')
      const client = await RawClient.connect(`unix:${paths[1]}`)
      scope.defer(() => client.destroy())
      assert.equal((await client.exchange(requestText('GET', '/hello', IDENTITY_LINES))).text, 'hello zoë\n')
      client.destroy()
      assert.ok(!existsSync(join(directory, SERVICE_NAME)))
      assert.deepEqual(await child.stop(), { code: 0, signal: null })
      for (const path of paths) assert.ok(existsSync(path))
      for (const path of paths) rmSync(path, { force: true })
    }
  })
})

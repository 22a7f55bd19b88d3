// The access log: a line for each request, and never a secret.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { type Daemon, type LogEvent, startDaemon, USER } from './harness/daemon.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { scopeOf, scopeOfSuite } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.logged'
const PATH = `/services/plugin/${NAME}`

/** Keys of every line, in any order. */
const KEYS = [
  'bytesIn',
  'bytesOut',
  'client',
  'event',
  'level',
  'method',
  'outcome',
  'path',
  'pid',
  'reason',
  'requestId',
  'service',
  'session',
  'status',
  'time',
  'totalMs',
  'trackid',
  'ttfbMs',
  'user',
]

describe('the access log', { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  let daemon: Daemon
  let session: string
  let requestIdSeen: unknown
  before(async () => {
    daemon = await startDaemon(suite)
    await serveHttp(suite, daemon.place.socket(NAME), (request, response) => {
      requestIdSeen = request.headers['x-request-id']
      request.resume().on('end', () => response.writeHead(203).end('0123456789'))
    })
    session = await daemon.login()
  })

  function asked(method: string, path: string, lines = ''): string {
    return `${method} ${PATH}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
  }

  /** The line of the request for the path that ends in `path`. */
  function lineOf(path: string): Promise<LogEvent> {
    return daemon.event(({ event, path: of }) => event === 'request' && String(of).endsWith(path), `a line for ${path}`)
  }

  test('says who asked whom for what, how it ended, how much and how long', async () => {
    const request = `${asked('PUT', '/one?secret=1', 'Content-Length: 5\r\n')}hello`
    const response = await exchange(daemon.url, request)
    assert.equal(response.status, 203)
    const line = await lineOf('/one')
    assert.deepEqual(Object.keys(line).toSorted(), KEYS)
    assert.deepEqual(
      [line['user'], line['service'], line['method'], line['path'], line['status'], line['outcome'], line['client']],
      [USER.name, NAME, 'PUT', `${PATH}/one`, 203, 'complete', '127.0.0.1'],
    )
    assert.deepEqual([line['bytesIn'], line['bytesOut']], [5, 10])
    assert.equal(line['requestId'], requestIdSeen)
    assert.match(String(line['session']), /^[\da-f-]{36}$/)
    assert.ok(!session.includes(String(line['session'])))
    assert.ok(daemon.workerPids.includes(Number(line['pid'])))
    const [ttfbMs, totalMs] = [Number(line['ttfbMs']), Number(line['totalMs'])]
    assert.ok(ttfbMs > 0 && totalMs >= ttfbMs && totalMs < 20_000, `${ttfbMs} ${totalMs}`)
    assert.ok(Math.abs(Date.parse(String(line['time'])) - Date.now()) < 60_000)
  })

  test('counts the bytes of bodies, not of their framing', async () => {
    const request = asked('PUT', '/chunked', 'Transfer-Encoding: chunked\r\n')
    await exchange(daemon.url, `${request}3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n`)
    const line = await lineOf('/chunked')
    assert.deepEqual([line['bytesIn'], line['bytesOut']], [7, 10])
  })

  test('has a line for each of several requests on one connection', async () => {
    using client = await RawClient.connect(daemon.url)
    const paths = ['/pipe-1', '/pipe-2', '/pipe-3']
    await client.send(paths.map((path) => asked('GET', path)).join(''))
    for (const _ of paths) await client.response()
    const lines = await Promise.all(paths.map((path) => lineOf(path)))
    assert.equal(new Set(lines.map((line) => line['requestId'])).size, 3)
  })

  test('has a line for each refusal, with its reason and the id that the client got', async () => {
    const response = await exchange(daemon.url, `GET ${PATH}/refused HTTP/1.1\r\nHost: gate\r\n\r\n`)
    const line = await lineOf('/refused')
    assert.deepEqual(
      [line['status'], line['outcome'], line['reason'], line['user']],
      [403, 'refused', 'session-missing', null],
    )
    assert.equal(line['requestId'], response.header('x-request-id'))
  })

  test('has a line for what could not be read', async () => {
    await exchange(daemon.url, 'NONSENSE\r\n\r\n')
    const line = await daemon.event(({ event, status }) => event === 'request' && status === 400, 'a line for 400')
    assert.deepEqual([line['method'], line['path']], [null, null])
  })

  test('says that a client went away', async (t) => {
    const arrived = Promise.withResolvers<void>()
    await serveHttp(scopeOf(t), daemon.place.socket('com.example.slow'), () => arrived.resolve())
    const client = await RawClient.connect(daemon.url)
    await client.send(asked('GET', '').replace(NAME, 'com.example.slow'))
    await arrived.promise
    client.socket.resetAndDestroy()
    const line = await daemon.event(
      ({ event, service }) => event === 'request' && service === 'com.example.slow',
      'a line',
    )
    assert.deepEqual([line['outcome'], line['status']], ['client-gone', 0])
  })

  test('a name that cannot be printed is one line nonetheless', async () => {
    await exchange(daemon.url, asked('GET', '/%0a%7b"event":"forged"%7d'))
    await lineOf('%7d')
    assert.ok(!daemon.events.some(({ event }) => event === 'forged'))
    assert.match(daemon.child.stderr, /^xengate ready at \S+\n$/)
  })
})

test('no session id and no password is ever printed', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { tables: '[log]\nlevel = "trace"' })
  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => {
    response.end('hello')
  })
  const session = await daemon.login()
  const get = (target: string, lines = ''): Promise<unknown> =>
    exchange(daemon.url, `GET ${target} HTTP/1.1\r\nHost: gate\r\n${lines}\r\n`)
  await get(`${PATH}/in-cookie`, `Cookie: session_id=${session}\r\n`)
  await get(`${PATH}/in-query?session_id=${session}`)
  await get(`${PATH}/encoded?session_id=${encodeURIComponent(session)}`)
  await get(`${PATH}/unknown?session_id=OpaqueRef:not-a-session`)
  await get(`http://gate${PATH}/absolute?session_id=${session}`)
  await get(`/services/plugin/com.example.no?session_id=${session}`)
  await get(`/elsewhere?session_id=${session}`)
  await get(`${PATH} /malformed?session_id=${session}`)
  await get(`${PATH}/bad-field?session_id=${session}`, `Cookie : session_id=${session}\r\n`)
  await daemon.call('session.login_with_password', [USER.name, 'a wrong password'])
  await daemon.call('session.login_with_password', ['a user name', 'another wrong password'])
  await daemon.call('session.change_password', [session, USER.password, 'a new password'])
  await daemon.call('session.get_record', [session, session])
  await daemon.call('pool.get_all', ['OpaqueRef:also-not-a-session'])
  await daemon.call(`no.such.method ${session}`, [session])
  await exchange(
    daemon.url,
    `POST / HTTP/1.1\r\nHost: gate\r\nContent-Type: text/xml\r\nContent-Length: ${session.length}\r\n\r\n${session}`,
  )
  await daemon.logout(session)
  // A line of a later request means that all before it are there too; at the end nothing is held back.
  assert.equal((await daemon.stop()).code, 0)
  const printed = daemon.child.stdout + daemon.child.stderr
  assert.ok(daemon.events.filter(({ event }) => event === 'request').length >= 16)
  const uuid = session.slice('OpaqueRef:'.length)
  const secrets = [uuid, USER.password, 'a wrong password', 'another wrong password', 'a new password', 'not-a-session']
  for (const secret of secrets) {
    const line = printed.split('\n').find((text) => text.includes(secret))
    assert.equal(line, undefined, `"${secret}" is printed`)
  }
  assert.doesNotMatch(printed, /session_id=|OpaqueRef:/)
})

test('no access is logged when the configuration says so', { timeout: 60_000 }, async (t) => {
  const daemon = await startDaemon(scopeOf(t), { tables: '[log]\naccess = false' })
  await exchange(daemon.url, 'GET / HTTP/1.1\r\nHost: gate\r\n\r\n')
  assert.equal((await daemon.stop()).code, 0)
  assert.deepEqual(
    daemon.events.filter(({ event }) => event === 'request'),
    [],
  )
})

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'

import { POOL_REF, signIn, startEndpoint, type Endpoint } from './testing/endpoint.ts'

const LIST = '<methodCall><methodName>system.listMethods</methodName></methodCall>'
const JSON_LIST = '{"method":"system.listMethods","params":[],"id":1}'

function post(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

/** A call of the method "é", which is in no encoding the same. */
function encoded(encoding: string): string {
  return `<?xml version="1.0" encoding="${encoding}"?><methodCall><methodName>é</methodName></methodCall>`
}

/** Sends literal bytes, and answers everything that comes back until the server closes. */
async function exchange({ socketPath }: Endpoint, bytes: string): Promise<string> {
  const socket = connect(socketPath)
  socket.write(bytes)
  return text(socket)
}

describe('XenAPI over HTTP', { timeout: 300_000 }, () => {
  test('answers XML-RPC at /, /RPC2 and /xmlrpc, JSON-RPC at /jsonrpc, with the types that clients compare', async (t) => {
    const { send } = await startEndpoint(t)
    for (const path of ['/', '/RPC2', '/xmlrpc', '/?a=b']) {
      const { status, headers, body } = await send(path, LIST)
      assert.deepEqual([status, headers['content-type']], [200, 'text/xml'], path)
      assert.match(body, /<value>session\.login_with_password<\/value>/)
    }
    const { status, headers, body } = await send('/jsonrpc', JSON_LIST)
    assert.deepEqual([status, headers['content-type']], [200, 'application/json'])
    assert.ok((JSON.parse(body) as { result: string[] }).result.includes('event.from'))
  })

  test('speaks HTTP/1.0: answers whole, and closes', async (t) => {
    const endpoint = await startEndpoint(t)
    const answer = await exchange(endpoint, `POST / HTTP/1.0\r\nContent-Length: ${LIST.length}\r\n\r\n${LIST}`)
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*\r\nContent-Length: \d+\r\n[^]*<\/methodResponse>$/i)
  })

  test('keeps the connection for the next call, also after a refusal', async (t) => {
    const endpoint = await startEndpoint(t)
    const last = post('/jsonrpc', JSON_LIST).replace('Host: x', 'Host: x\r\nConnection: close')
    const answer = await exchange(endpoint, post('/nowhere', LIST) + post('/', LIST) + post('/', '<a>') + last)
    assert.deepEqual(answer.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 404', 'HTTP/1.1 200', 'HTTP/1.1 500', 'HTTP/1.1 200'])
  })

  test('refuses other paths and methods', async (t) => {
    const { send } = await startEndpoint(t)
    assert.equal((await send('/services', LIST)).status, 404)
    assert.equal((await send('/JSONRPC', JSON_LIST)).status, 404)
    const { status, headers } = await send('/jsonrpc', '', { method: 'GET' })
    assert.deepEqual([status, headers.allow], [405, 'POST'])
    assert.equal((await send('/', '', { method: 'OPTIONS' })).status, 405)
  })

  test('refuses a body above 64 KiB, declared or not, and takes one of 64 KiB', async (t) => {
    const endpoint = await startEndpoint(t)
    const { send } = endpoint
    const call = JSON.stringify({ method: 'pool.get_all', params: [await signIn(endpoint)], id: 1 })
    const padded = call + ' '.repeat(65_536 - call.length)
    assert.equal((await send('/jsonrpc', padded)).status, 200)
    assert.equal((await send('/jsonrpc', `${padded} `)).status, 413)
    assert.equal((await send('/', 'x'.repeat(4_000_000), { headers: { 'Transfer-Encoding': 'chunked' } })).status, 413)
  })

  test('takes no more than 8 KiB of a call that names no live session', async (t) => {
    const { send } = await startEndpoint(t)
    const padded = LIST + ' '.repeat(8192 - LIST.length)
    assert.equal((await send('/', padded)).status, 200)
    const { status, body } = await send('/', `${padded} `)
    assert.deepEqual([status, body], [413, 'The body is larger than 8 KiB, and names no session\n'])
    const stranger = LIST.replace('</methodName>', `</methodName><!-- ${POOL_REF} -->`)
    assert.equal((await send('/', stranger.padEnd(8193))).status, 413)
  })

  test('does not take a long body that names a session for a use of it', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    endpoint.clock.nowMs += 60_000
    const long = LIST.replace('</methodName>', `</methodName><!-- ${id} -->`).padEnd(8193)
    assert.equal((await endpoint.send('/', long)).status, 200)
    endpoint.authority.sweep()
    const record = await endpoint.authority.record(id)
    assert.equal(record?.lastActiveMs, record?.createdMs)
  })

  test('holds the bodies of all connections within some 16 MiB: then there is room for short ones alone', async (t) => {
    const endpoint = await startEndpoint(t)
    const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n'
    const sockets = Array.from({ length: 280 }, () => connect(endpoint.socketPath))
    await Promise.all(
      sockets.map((socket) =>
        once(
          socket.on('error', () => {}),
          'connect',
        ),
      ),
    )
    for (const socket of sockets) socket.write(head + 'x'.repeat(65_535))
    const long = LIST.padEnd(65_536)
    const status = async (): Promise<number> => (await endpoint.send('/', long)).status
    while ((await status()) !== 503);
    assert.equal((await endpoint.send('/', LIST)).status, 200)
    assert.match(endpoint.logged[0] ?? '', /"level":"warn","event":"xenapi-busy","refused":1/)
    for (const socket of sockets) socket.destroy()
    while ((await status()) !== 413);
  })

  test('answers 500 with a short text to what is no call', async (t) => {
    const endpoint = await startEndpoint(t)
    const bodies: [string, string | Buffer][] = [
      ['/', ''],
      ['/', '<methodCall>'],
      ['/', `<!DOCTYPE a [<!ENTITY b "c">]>${LIST}`],
      ['/', Buffer.from([0x3c, 0xff])],
      ['/', `<?xml version="1.0" encoding="UTF-16"?>${LIST}`],
      ['/jsonrpc', 'secret'],
      ['/jsonrpc', '{}'],
    ]
    for (const [path, sent] of bodies) {
      const { status, headers, body } = await endpoint.send(path, sent)
      assert.equal(status, 500)
      assert.equal(headers['content-type'], 'text/plain; charset=utf-8')
      assert.match(body, /^The request is malformed: [^\n]{1,100}\n$/)
      assert.ok(!body.includes('secret'))
    }
  })

  test('reads bodies in the encoding that they declare', async (t) => {
    const { send } = await startEndpoint(t)
    const unknown = /<value>MESSAGE_METHOD_UNKNOWN<\/value><value>é<\/value>/
    assert.match((await send('/', Buffer.from(encoded('iso-8859-1'), 'latin1'))).body, unknown)
    assert.match((await send('/', Buffer.from(encoded('UTF-8'), 'utf8'))).body, unknown)
  })

  test('answers 503 when the authority cannot tell', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    await endpoint.authority.close()
    for (const [method, params] of [
      ['pool.get_all', [id]],
      ['session.login_with_password', ['root', 'root-pw']],
    ] as const) {
      const { status, headers } = await endpoint.send('/jsonrpc', JSON.stringify({ method, params, id: 1 }))
      assert.deepEqual([status, headers['retry-after']], [503, '1'], method)
    }
  })

  test('throttles by the last address of X-Forwarded-For', async (t) => {
    const { send } = await startEndpoint(t)
    const guess = async (forwarded: string, user: string): Promise<string> => {
      const params = [user, 'wrong']
      const body = JSON.stringify({ method: 'session.login_with_password', params, id: 1 })
      return (await send('/jsonrpc', body, { headers: { 'X-Forwarded-For': forwarded } })).body
    }
    for (const user of ['a', 'b', 'c', 'd', 'e']) {
      assert.match(
        await guess('198.51.100.7, 192.0.2.1', user),
        /"SESSION_AUTHENTICATION_FAILED","\w","Wrong user name/,
      )
    }
    assert.match(
      await guess('192.0.2.1', 'f'),
      /"SESSION_AUTHENTICATION_FAILED","f","Too many .* try again in 1 second"/,
    )
    assert.match(await guess('192.0.2.2', 'f'), /Wrong user name/)
  })

  test('logs calls, with neither session ids nor passwords', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    await endpoint.call('pool.get_all', id)
    await endpoint.call('pool.get_all', `${id}x`)
    await endpoint.call(id)
    await endpoint.call('session.login_with_password', 'root', 'guess-pw')
    const logged = endpoint.logged.join('\n')
    for (const part of ['"method":"pool.get_all"', '"code":"SESSION_INVALID"', '"method":"…"']) {
      assert.ok(logged.includes(part), part)
    }
    for (const secret of [id, 'root-pw', 'guess-pw']) assert.ok(!logged.includes(secret))
  })

  test('logs every method as a call, whatever its name', async (t) => {
    const endpoint = await startEndpoint(t)
    for (const method of ['constructor', 'toString', '__proto__', '']) await endpoint.call(method)
    const events = endpoint.logged.map((line) => (JSON.parse(line) as { event?: unknown }).event)
    assert.deepEqual(events, ['xenapi-call', 'xenapi-call', 'xenapi-call', 'xenapi-call'])
  })

  test('logs who calls, from where, and in which request; sign-ins as events, and failures as warnings', async (t) => {
    const endpoint = await startEndpoint(t)
    const headers = { 'X-Forwarded-For': '192.0.2.1', 'X-Request-Id': 'r-1' }
    const call = async (method: string, ...params: string[]): Promise<string> => {
      const { body } = await endpoint.send('/jsonrpc', JSON.stringify({ method, params, id: 1 }), { headers })
      return String((JSON.parse(body) as { result: unknown }).result)
    }
    const id = await call('session.login_with_password', 'rita', 'rita-pw', '', 'tests')
    await call('session.login_with_password', 'ro\not', 'guess', '', 'tests')
    await call('task.set_progress', id, 'x', '2')
    await call(`no.such\u001b[1m${'x'.repeat(200)}`)
    const { session } = (await endpoint.authority.records())[0] ?? { session: { uuid: '' } }
    await call('session.logout', id)
    const from = { clientAddress: '192.0.2.1', requestId: 'r-1' }
    const rita = { ...from, user: 'rita', originator: 'tests', session: session.uuid }
    const login = 'session.login_with_password'
    assert.deepEqual(
      endpoint.logged.map((line) => JSON.parse(line) as unknown),
      [
        { level: 'info', event: 'sign-in', method: login, ...rita },
        {
          level: 'warn',
          event: 'sign-in-failed',
          method: login,
          ...from,
          user: 'ro\u{fffd}ot',
          originator: 'tests',
          code: 'SESSION_AUTHENTICATION_FAILED',
        },
        { level: 'warn', event: 'xenapi-call', method: 'task.set_progress', ...rita, code: 'HANDLE_INVALID' },
        {
          level: 'warn',
          event: 'xenapi-call',
          method: `no.such\u{fffd}[1m${'x'.repeat(89)}`,
          ...from,
          code: 'MESSAGE_METHOD_UNKNOWN',
        },
        { level: 'info', event: 'sign-out', method: 'session.logout', ...rita },
      ],
    )
  })

  test('answers waiting calls when it drains, and then closes', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const first = (await endpoint.call('event.from', id, ['*'], '', 0)) as { token: string }
    const waiting = endpoint.call('event.from', id, ['*'], first.token, 60)
    const closed = once(endpoint.server, 'close')
    // One call after the other on the same server: by its answer, the waiting one has arrived.
    await endpoint.call('pool.get_all', id)
    endpoint.draining.abort()
    assert.deepEqual(((await waiting) as { events: unknown[] }).events, [])
    endpoint.server.close()
    await closed
  })
})

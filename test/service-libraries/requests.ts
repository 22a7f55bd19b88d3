// Requests and answers, on a channel and relayed.

import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { createServer } from 'node:http'
import { describe, test } from 'node:test'
import { IDENTITY_LINES, requestText } from '../../packages/service/src/testing/fixture.ts'
import { COOKIE, SESSION_ID, TARGET } from '../../packages/service/src/testing/gateway.ts'
import { until } from '../harness/deadline.ts'
import { DEADLINE, OTHER_SESSION, type Rig } from './rig.ts'

/** The identity that the played gateway tells of. */
const CALLER = {
  user: 'zoë',
  subject: 'OpaqueRef:1',
  roles: ['vm-admin'],
  originator: 'tests',
  sessionId: SESSION_ID,
  channel: false,
  task: '',
}

export function testRequests(rig: Rig): void {
  describe('requests', () => {
    test('one on a channel is answered as the same one relayed, but for `channel`', DEADLINE, async (t) => {
      const { client, relayed } = await rig.running(t)
      const lines = 'Accept: a/b\r\nX-Own: 1\r\nX-Own: 2\r\nTransfer-Encoding: chunked\r\n'
      const body = '3;x=y\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n'
      const passed = await (await client()).exchange(requestText('PUT', '/a%20b?x=1', lines, body))
      const plain = await (await relayed()).exchange(requestText('PUT', '/a%20b?x=1', lines + IDENTITY_LINES, body))
      const [one, two] = [JSON.parse(passed.text), JSON.parse(plain.text)]
      assert.equal(one.caller.channel, true)
      assert.deepEqual({ ...one, caller: { ...one.caller, channel: false } }, two)
      assert.deepEqual(two.caller, CALLER)
      assert.deepEqual([one.method, one.target, one.body], ['PUT', `${TARGET}/a%20b?x=1`, 'abc'])
      assert.deepEqual([one.headers['x-own'], one.trailers], ['1, 2', { 'x-trailer': 't' }])
    })

    test('what a client forges is taken out, in every spelling, in heads and trailers', DEADLINE, async (t) => {
      const { client } = await rig.running(t)
      const forged =
        'x-xen-session-user: root\r\nX_Xen_Session_User: root\r\nX-XEN-SESSION-ROLES: pool-admin\r\n' +
        'x-xen-session-subject: s\r\nX-Xen-Session_Originator: o\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\n' +
        'X-Forwarded-Proto: https\r\nX-Request-Id: forged\r\nContent_Length: 7\r\nX-Own_Field: stays\r\n'
      const one = await client()
      // The second request has the same fields, and is to be treated alike.
      for (const id of ['w0-1-0', 'w0-1-1']) {
        const { fields, headers, caller } = JSON.parse((await one.exchange(requestText('GET', '', forged))).text)
        const expected = [
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
        ] as const
        assert.deepEqual(headers, Object.fromEntries(expected.map(([name, value]) => [name.toLowerCase(), value])))
        if (rig.library.keepsFields) assert.deepEqual(fields, expected)
        assert.equal(caller.user, 'zoë')
      }
      const trailers = '0\r\nX-Xen-Session-User: root\r\nX-T: t\r\n\r\n'
      const answer = await one.exchange(requestText('POST', '', 'Transfer-Encoding: chunked\r\n', trailers))
      assert.deepEqual(JSON.parse(answer.text).trailers, { 'x-t': 't' })
    })

    test('a client that came by HTTPS is said to have', DEADLINE, async (t) => {
      const { client, gateway } = await rig.running(t)
      gateway.offer = { proto: 'https', client: { address: '192.0.2.7', port: 7 } }
      const lines = 'X-Forwarded-Proto: http\r\n'
      const { headers } = JSON.parse((await (await client()).exchange(requestText('GET', '', lines))).text)
      assert.deepEqual([headers['x-forwarded-proto'], headers['x-forwarded-for']], ['https', '192.0.2.7'])
    })

    test('who connects without the gateway is nobody', DEADLINE, async (t) => {
      const { relayed } = await rig.running(t)
      const { caller } = JSON.parse((await (await relayed()).exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')).text)
      const nobody = { user: '', subject: '', roles: [], originator: '', sessionId: '', channel: false, task: '' }
      assert.deepEqual(caller, nobody)
    })

    test('the task of a request is the one that its query names', DEADLINE, async (t) => {
      const { relayed, client } = await rig.running(t)
      for (const connect of [relayed, client]) {
        const one = await connect()
        for (const [query, task] of [
          ['', ''],
          ['?task_id=OpaqueRef%3A1&task_id=other', 'OpaqueRef:1'],
          ['?a=task_id', ''],
          ['?x&task_id=', ''],
          ['?task_id=OpaqueRef:2', 'OpaqueRef:2'],
        ] as const) {
          assert.equal(JSON.parse((await one.exchange(requestText('GET', query))).text).caller.task, task)
        }
      }
    })

    for (const how of ['relayed', 'client'] as const) {
      test(`bodies of every framing are read, on a connection that is kept: ${how}`, DEADLINE, async (t) => {
        const one = await (await rig.running(t))[how]()
        const chunked = 'Transfer-Encoding: chunked\r\n'
        const large = 300_000
        for (const [lines, body, length] of [
          ['', '', 0],
          ['Content-Length: 0\r\n', '', 0],
          ['Content-Length: 5\r\n', 'abcde', 5],
          [`Content-Length: ${large}\r\n`, 'x'.repeat(large), large],
          [chunked, '0\r\n\r\n', 0],
          [chunked, '3\r\nabc\r\n00A;a="b"\r\n0123456789\r\n0\r\n\r\n', 13],
          [chunked, `${large.toString(16)}\r\n${'x'.repeat(large)}\r\n0\r\nX-T: t\r\n\r\n`, large],
        ] as const) {
          const response = await one.exchange(requestText('PUT', '/length', lines, body))
          assert.deepEqual([response.status, response.text], [200, String(length)])
        }
      })

      test(`the status is the handler’s, and 204 has no body: ${how}`, DEADLINE, async (t) => {
        const { gateway, ...running } = await rig.running(t)
        gateway.offer = { methods: ['GET', 'HEAD', 'DELETE'] }
        const one = await running[how]()
        assert.equal((await one.exchange(requestText('GET', '/none'))).status, 404)
        const refused = await one.exchange(requestText('DELETE', '/hello'))
        assert.deepEqual([refused.status, refused.header('allow')], [405, 'GET, HEAD, PUT, POST'])
        const head = await one.exchange(requestText('HEAD', '/hello', IDENTITY_LINES))
        assert.deepEqual([head.status, head.text], [200, ''])
        const empty = await one.exchange(requestText('GET', '/empty'))
        assert.deepEqual([empty.status, empty.header('content-length')], [204, undefined])
        assert.equal((await one.exchange(requestText('GET', '/hello', IDENTITY_LINES))).text, 'hello zoë\n')
      })

      test(`a body that a handler leaves unread is no request: ${how}`, DEADLINE, async (t) => {
        const one = await (await rig.running(t))[how]()
        const hidden = 'GET /services/plugin/x/admin HTTP/1.1\r\nHost: h\r\nX-Xen-Session-User: root\r\n\r\n'
        for (const lines of [`Content-Length: ${hidden.length}\r\n`, 'Transfer-Encoding: chunked\r\n']) {
          const body = lines.startsWith('C') ? hidden : `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
          const request = requestText('POST', '/hello', `${IDENTITY_LINES}${lines}`, body)
          assert.equal((await one.exchange(request)).text, 'hello zoë\n')
          const next = JSON.parse((await one.exchange(requestText('GET', '/2', IDENTITY_LINES))).text)
          assert.equal(next.target, `${TARGET}/2`)
        }
      })

      test(`a handler that fails is a 500 and a line, and after the head a cut: ${how}`, DEADLINE, async (t) => {
        const { errors, ...running } = await rig.running(t)
        const one = await running[how]()
        for (let round = 0; round < 2; round++) {
          const failed = await one.exchange(requestText('GET', '/fail?session_id=secret'))
          assert.deepEqual([failed.status, failed.text], [500, 'The service failed.\n'])
        }
        assert.equal((await one.exchange(requestText('GET', '/hello', IDENTITY_LINES))).text, 'hello zoë\n')
        const done = await running[how]()
        assert.equal((await done.exchange(requestText('GET', '/fail-done'))).text, 'done')
        const cut = await running[how]()
        // Not an orderly end: over TCP a reset.
        const isReset = new Promise<boolean>((resolve) => {
          cut.socket.once('close', (hadError) => resolve(hadError))
        })
        await cut.send(requestText('GET', '/fail-late'))
        const text = (await cut.end()).toString()
        assert.ok(!text.endsWith('0\r\n\r\n'), text)
        if (how === 'client') assert.ok(await isReset)
        for (const [path, times] of [
          ['fail', 2],
          ['fail-done', 1],
          ['fail-late', 1],
        ] as const) {
          const line = new RegExp(`^cannot answer GET ${TARGET}/${path}: .*`, 'gm')
          await until(() => errors().match(line)?.length === times, `${times} lines of ${path}`)
        }
        assert.match(errors(), /on purpose/)
        assert.doesNotMatch(errors(), /secret/)
      })
    }

    test('that the socket’s service reads every body is in its mode', DEADLINE, async (t) => {
      const { path } = await rig.running(t)
      assert.equal(statSync(path).mode & 0o7777, 0o1660)
      assert.equal(statSync(`${path}.channel`).mode & 0o7777, 0o660)
    })

    test('pieces go out at once, and come in as they are sent', DEADLINE, async (t) => {
      const { client, child, printed } = await rig.running(t)
      const one = await client()
      await one.send(requestText('GET', '/pieces'))
      await one.until('3\r\none\r\n')
      await printed('asked')
      child.signal('SIGUSR1')
      assert.equal(await one.until('0\r\n\r\n'), '4\r\nlast\r\n0\r\n\r\n')
      await one.send(requestText('PUT', '/lines', 'Transfer-Encoding: chunked\r\n'))
      for (const line of ['ab', 'cd']) {
        await one.send(`3\r\n${line}\n\r\n`)
        await printed(`read ${line}`)
      }
      await one.send('0\r\n\r\n')
      assert.equal((await one.response()).text, 'all read')
    })

    if (rig.library.isDuplex) {
      test('an answer may begin before the body is read', DEADLINE, async (t) => {
        const { client } = await rig.running(t)
        const one = await client()
        await one.send(requestText('PUT', '/duplex', 'Transfer-Encoding: chunked\r\n'))
        await one.until('3\r\none\r\n')
        for (const line of ['ab\n', 'cd\n']) {
          await one.send(`3\r\n${line}\r\n`)
          assert.equal(await one.until(`3\r\n${line}\r\n`), `3\r\n${line}\r\n`)
        }
        await one.send('0\r\n\r\n')
        assert.equal(await one.until('0\r\n\r\n'), '4\r\nlast\r\n0\r\n\r\n')
        assert.equal((await one.exchange(requestText('GET', '/hello'))).status, 200)
        const old = await client()
        await old.send(`PUT ${TARGET}/duplex HTTP/1.0\r\nContent-Length: 3\r\n${COOKIE}\r\nab\n`)
        const [head = '', answer] = (await old.end()).toString().split('\r\n\r\n')
        assert.match(head, /^Connection: close$/im)
        assert.equal(answer, 'oneab\nlast')
      })
    }

    test('Expect: 100-continue is answered, HTTP/1.0 is understood', DEADLINE, async (t) => {
      const { client } = await rig.running(t)
      const one = await client()
      await one.send(requestText('PUT', '', 'Expect: 100-continue\r\nContent-Length: 3\r\n'))
      assert.equal((await one.response()).status, 100)
      await one.send('abc')
      assert.equal(JSON.parse((await one.response()).text).body, 'abc')
      const old = await client()
      await old.send(`GET ${TARGET} HTTP/1.0\r\n${COOKIE}\r\n`)
      assert.match((await old.end()).toString(), /^HTTP\/1\.[01] 200 OK\r\n[^]*"channel": ?true/)
    })

    test('a client that ends its side after its request gets the answer', DEADLINE, async (t) => {
      const { client, child, printed } = await rig.running(t)
      const one = await client()
      one.socket.end(requestText('GET', '/slow'))
      await printed('asked')
      child.signal('SIGUSR1')
      assert.equal((await one.response()).text, 'done')
      await one.end()
    })

    test('thousands, pipelined and of two sessions, are answered in order', DEADLINE, async (t) => {
      const { client, gateway } = await rig.running(t)
      gateway.onForwarded = (socket) => {
        createServer((request, response) => response.end(`gateway ${request.url}`)).emit('connection', socket)
      }
      const one = await client()
      const paths = Array.from({ length: 1500 }, (_, index) => `/hello?${index}`)
      void one.send(paths.map((path, index) => (index % 3 === 0 ? ofOther(path) : requestText('GET', path))).join(''))
      for (const [index, path] of paths.entries()) {
        const expected = index % 3 === 0 ? `gateway ${TARGET}${path}` : 'hello zoë\n'
        assert.equal((await one.response()).text, expected)
      }
    })

    test('a request may come cut anywhere', DEADLINE, async (t) => {
      const { client } = await rig.running(t)
      const one = await client()
      const body = '5\r\nabcde\r\n0\r\nX-T: t\r\n\r\n'
      const request = requestText('PUT', '/length', 'Transfer-Encoding: chunked\r\n', body)
      for (let at = 1; at < request.length; at += 3) {
        await one.send(request.slice(0, at))
        await new Promise(setImmediate)
        assert.equal((await one.exchange(request.slice(at))).text, '5')
      }
    })
  })
}

/** The text of a request of another session. */
function ofOther(path: string): string {
  return `GET ${TARGET}${path} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}\r\n`
}

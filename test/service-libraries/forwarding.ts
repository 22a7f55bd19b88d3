// What a channel must not answer: it goes to the gateway as it came, and the gateway's answer to the client as it comes.

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { Peer } from '../../packages/gateway/src/proxy/testing/peer.ts'
import { requestText } from '../../packages/service/src/testing/fixture.ts'
import { COOKIE, SESSION_ID, TARGET, totalOf } from '../../packages/service/src/testing/gateway.ts'
import { until, within } from '../harness/deadline.ts'
import { DEADLINE, OTHER_SESSION, type Rig } from './rig.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngateway'

export function testForwarding(rig: Rig): void {
  /** `text` as it came to the gateway, without what the library adds. */
  const cameAs = (text: string): string =>
    rig.library.readsBytes ? text : text.replace('Connection: keep-alive\r\n', '')

  describe('what is not the channel’s', () => {
    test('goes to the gateway as it came, and its answer to the client as it comes', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      const isExact = rig.library.readsBytes
      const head =
        `PUT ${TARGET}/a%20b HTTP/1.1\r\nhOsT:${isExact ? '' : ' '}h\r\n${OTHER_SESSION}X-A: 1\r\nX-B: b\r\n` +
        `X-A: ${isExact ? ' ' : ''}2\r\nX-Xen-Session-User: forged\r\nTransfer-Encoding: chunked\r\n\r\n`
      const body = `3${isExact ? ';a=b' : ''}\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n`
      await one.send(head + body)
      const gateway = await forwarded.next()
      assert.equal(cameAs(await gateway.until('\r\n\r\n')), head)
      assert.equal(await gateway.until('\r\n\r\n'), body)
      const answer =
        'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' +
        'HTTP/1.1 418 I am\r\nX-One: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n' +
        '2\r\nhi\r\n0\r\nX-T: 7\r\n\r\n'
      gateway.write(answer)
      assert.equal((await one.bytes(answer.length)).toString(), answer)
      assert.equal((await one.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    })

    test('is told by target, method, session and site', DEADLINE, async (t) => {
      const { client, forwarded, gateway } = await rig.running(t)
      gateway.offer = { methods: ['GET', 'DELETE'], greeting: 'GREETING one\r\n' }
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      const id = SESSION_ID
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
        `GET ${TARGET}?session_id%00=${id} HTTP/1.1\r\nHost: h\r\n\r\n`,
        // A cookie that is wrong is not rescued, neither by a later one nor by the query.
        `GET ${TARGET}?session_id=${id} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}${COOKIE}\r\n`,
        `GET ${TARGET} HTTP/1.1\r\nHost: h\r\nCookie: session_id=${id}x\r\n\r\n`,
      ]
      let peer: Peer | undefined
      for (const request of requests) {
        await one.send(request)
        // The connection is kept, and the greeting said once.
        const before = peer === undefined ? 'GREETING one\r\n' : ''
        peer ??= await forwarded.next()
        assert.equal(cameAs(await peer.until('\r\n\r\n')), before + request)
        peer.write(OK)
        assert.equal((await one.response()).text, 'gateway')
      }
      assert.equal((await one.exchange(requestText('DELETE', '/hello'))).status, 405)
      const query = `GET ${TARGET}/hello?session_id=${id.replace(':', '%3A')} HTTP/1.1\r\nHost: h\r\n\r\n`
      // Each target is looked at, though the fields are the same.
      for (let round = 0; round < 2; round++) {
        assert.equal((await one.exchange(query)).text, 'hello zoë\n')
        await one.send(query.replace(/session_id=[^ ]+/, 'session_id=other'))
        await peer?.until('\r\n\r\n')
        peer?.write(OK)
        assert.equal((await one.response()).text, 'gateway')
      }
    })

    test('begins with the greeting of its offer on each connection to the gateway', DEADLINE, async (t) => {
      const { client, forwarded, gateway } = await rig.running(t)
      for (const lines of ['', 'Connection: Upgrade\r\nUpgrade: x\r\n']) {
        for (const greeting of ['GREETING one\r\n', 'GREETING two\r\n']) {
          gateway.offer = { greeting }
          const one = await client()
          await one.exchange(requestText('GET', '/hello'))
          await one.send(`GET /x HTTP/1.1\r\nHost: h\r\n${lines}\r\n`)
          const made = await forwarded.next()
          assert.match(await made.until('\r\n\r\n'), new RegExp(`^${greeting}GET /x HTTP`))
          made.write(OK)
          assert.equal((await one.response()).text, 'gateway')
          // With an upgrade the whole connection was turned over, and would be waited for.
          made.destroy()
          if (lines !== '') await one.end()
        }
      }
    })

    test('100 Continue is the gateway’s to say', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      await one.send(
        `PUT ${TARGET} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`,
      )
      const gateway = await forwarded.next()
      assert.match(await gateway.until('\r\n\r\n'), /Expect: 100-continue\r\n/)
      assert.equal(one.unread, '')
      const interim = 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n'
      gateway.write(interim)
      assert.equal(await one.until('100 Continue\r\n\r\n'), interim)
      await one.send('abc')
      assert.equal(await gateway.bytes(3), 'abc')
      gateway.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      assert.equal((await one.response()).status, 200)
    })

    test('an upgrade is forwarded with the whole connection, HTTP that hides behind one too', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
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
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      await one.send(`PUT ${TARGET} HTTP/1.1\r\nHost: h\r\n${OTHER_SESSION}Content-Length: 10\r\n\r\nabc`)
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
      const { client, forwarded, gateway, errors } = await rig.started(t)
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
      const line = `cannot forward a request to ${gateway.path}: `
      await until(() => errors().split(line).length === 3, 'two lines')
      const upgrade = 'GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
      assert.equal((await one.exchange(upgrade)).status, 503)
      await one.end()
    })

    test('an answer whose head is larger than 64 KiB comes through', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
      const gateway = await forwarded.next()
      await gateway.until('\r\n\r\n')
      gateway.write(`HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(200_000)}\r\nContent-Length: 2\r\n\r\nok`)
      const response = await one.response()
      assert.deepEqual([response.status, response.header('x-long')?.length, response.text], [200, 200_000, 'ok'])
    })

    test('an answer without a length ends with its connection', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
      const gateway = await forwarded.next()
      await gateway.until('\r\n\r\n')
      gateway.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end')
      assert.match((await one.end()).toString(), /^HTTP\/1\.1 200 OK\r\n[^]*to the end/)
    })

    test('is not told as use of the channel', DEADLINE, async (t) => {
      const { client, forwarded, gateway } = await rig.running(t)
      const one = await client()
      const own = requestText('GET', '/hello')
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
      made.destroy()
      await made.closed()
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
      assert.ok(total.bytesIn >= 2 * own.length && total.bytesIn <= 2 * own.length + upgrade.length, `${total.bytesIn}`)
    })

    test('a kept connection that has just ended is not the client’s trouble', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      const ask = (): Promise<void> => one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
      await ask()
      const first = await forwarded.next()
      await first.until('\r\n\r\n')
      first.write(OK)
      assert.equal((await one.response()).text, 'gateway')
      await ask()
      await first.until('\r\n\r\n')
      first.destroy()
      const second = await within(forwarded.next(), 'a second connection')
      await second.until('\r\n\r\n')
      second.write(OK)
      assert.equal((await one.response()).text, 'gateway')
    })

    test('a large body waits for who reads it, in both directions', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      const size = 5_000_000
      await one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n`)
      const gateway = await forwarded.next()
      await gateway.until('\r\n\r\n')
      gateway.socket.pause()
      const sent = one.send(Buffer.alloc(size, 'x'))
      await new Promise(setImmediate)
      gateway.socket.resume()
      await sent
      assert.equal((await gateway.bytes(size)).length, size)
      gateway.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      gateway.socket.write(Buffer.alloc(size, 'y'))
      assert.equal((await one.response()).body.length, size)
    })

    test('is copied both ways at once, though the gateway reads only when it has written', DEADLINE, async (t) => {
      const { client, gateway } = await rig.running(t)
      const bytes = 8_000_000
      const uploaded = Promise.withResolvers<void>()
      gateway.onForwarded = (socket) => {
        let count = 0
        socket.pause().on('data', (chunk: Buffer) => {
          count += chunk.length
          if (count > bytes) uploaded.resolve()
        })
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes + 1}\r\n\r\n`)
        // The last byte waits for the upload: an answer that is whole would let the rest of that be dropped.
        socket.write(Buffer.alloc(bytes), () => socket.resume())
        void uploaded.promise.then(() => socket.write('x'))
      }
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      const sent = one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`)
      assert.equal((await one.response()).body.length, bytes + 1)
      await within(Promise.all([sent, uploaded.promise]), 'the upload')
    })

    test('an upload that the gateway answers early leaves the next request alone', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const bytes = 1_000_000
      for (const close of ['', 'Connection: close\r\n']) {
        const one = await client()
        await one.exchange(requestText('GET', '/hello'))
        await one.send(`PUT /elsewhere HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n`)
        const gateway = await forwarded.next()
        await gateway.until('\r\n\r\n')
        gateway.write(`HTTP/1.1 413 Too Large\r\n${close}Content-Length: 5\r\n\r\nlarge`)
        assert.equal((await one.response()).status, 413)
        if (close === '') {
          await one.send(Buffer.alloc(bytes, 'x'))
          assert.equal((await one.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
        } else {
          gateway.destroy()
          await one.end()
        }
      }
    })
  })
}

// What a channel's client sends that is not HTTP/1.1, or can be read in two ways: it is refused as the gateway refuses it.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { requestText } from '../../packages/service/src/testing/fixture.ts'
import { COOKIE, TARGET } from '../../packages/service/src/testing/gateway.ts'
import { DEADLINE, OTHER_SESSION, type Rig } from './rig.ts'

const HELLO = `GET ${TARGET}/hello HTTP/1.1\r\nHost: h\r\n${COOKIE}`
const ECHO = `GET ${TARGET} HTTP/1.1\r\nHost: h\r\n${COOKIE}`
const CHUNKED = `${ECHO}Transfer-Encoding: chunked\r\n\r\n`

/** What is sent, and the statuses that it may be refused with. */
export const CASES: readonly (readonly [string, ...number[]])[] = [
  [`${HELLO}X-A: b\r\n c\r\n\r\n`, 400],
  [`${HELLO}X-A : b\r\n\r\n`, 400],
  [`${HELLO}X-A: b\nX-B: c\r\n\r\n`, 400],
  [`${HELLO}X-A: b\0\r\n\r\n`, 400],
  [`${HELLO}: b\r\n\r\n`, 400],
  [`${HELLO}Host: i\r\n\r\n`, 400],
  [`GET ${TARGET} HTTP/1.1\r\n${COOKIE}\r\n`, 400],
  [`GET ${TARGET} HTTP/1.1\r\nHost: a b\r\n${COOKIE}\r\n`, 400],
  [`GET ${TARGET} HTTP/1.1\r\nHost: h/x\r\n${COOKIE}\r\n`, 400],
  [`GET ${TARGET} HTTP/1.1\r\nHost: :80\r\n${COOKIE}\r\n`, 400],
  [`GET ${TARGET} HTTP/2.0\r\nHost: h\r\n\r\n`, 505, 400],
  [`${HELLO}Connection: close, Content-Length\r\n\r\n`, 400],
  [`${HELLO}Connection: host\r\n\r\n`, 400],
  [`${HELLO}Connection: Transfer-Encoding\r\n\r\n`, 400],
  [`${HELLO}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, 400],
  [`${HELLO}Content-Length: +1\r\n\r\na`, 400],
  [`${HELLO}Content-Length: 1, 1\r\n\r\na`, 400],
  [`${HELLO}Content-Length: 9007199254740993\r\n\r\na`, 400],
  [`${HELLO}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  [`${HELLO}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 501, 400],
  [`${HELLO}Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n`, 501, 400],
  [`GET ${TARGET}/hello HTTP/1.0\r\nHost: h\r\n${COOKIE}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  [`${CHUNKED}1 x\r\n\r\n`, 400],
  [`${CHUNKED}0x1\r\na\r\n0\r\n\r\n`, 400],
  [`${CHUNKED}1\r\nab\r\n0\r\n\r\n`, 400],
  [`${CHUNKED}1\na\r\n0\r\n\r\n`, 400],
  [`${HELLO}Expect: wonders\r\n\r\n`, 417],
  [`${HELLO}Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na`, 417],
  [`${HELLO}X-A: ${'b'.repeat(1_100_000)}\r\n\r\n`, 431],
  // Looking for the end of such a value in more than one pass would take hours.
  [`${HELLO}X-A:${' '.repeat(1_000_000)}\0\r\n\r\n`, 400],
  [`${HELLO}X-A:${' a'.repeat(500_000)}\0\r\n\r\n`, 400],
]

/** What only those refuse who read bytes. */
const CASES_OF_READERS: typeof CASES = [
  [`GET  ${TARGET}/hello HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`, 400],
  [`${HELLO}${'X-A: b\r\n'.repeat(3000)}\r\n`, 431],
]

export function testMalformed(rig: Rig): void {
  describe('what can be read in two ways', () => {
    test('is refused on a channel, and nothing after it is read', DEADLINE, async (t) => {
      const { client } = await rig.running(t)
      for (const [bytes, ...statuses] of rig.library.readsBytes ? [...CASES, ...CASES_OF_READERS] : CASES) {
        const shown = bytes.slice(0, 300)
        const one = await client()
        assert.equal((await one.exchange(requestText('GET', '/hello'))).status, 200)
        one.send(bytes + requestText('GET', '/hello')).catch(() => {})
        const response = await one.response(false, 5000).catch((error: unknown) => {
          throw new Error(`no answer to ${JSON.stringify(shown)}`, { cause: error })
        })
        assert.ok(statuses.includes(response.status), `${response.status}: ${shown}`)
        assert.equal(response.header('connection'), 'close', shown)
        assert.equal((await one.end()).toString(), '', shown)
      }
    })

    test('is refused behind the answers that are under way', DEADLINE, async (t) => {
      const { client } = await rig.running(t)
      const one = await client()
      const post = requestText('POST', '/hello', 'Content-Length: 2\r\n', 'ab')
      await one.send(requestText('GET', '/hello') + post + 'this is no request\r\n\r\n' + requestText('GET', '/hello'))
      for (let count = 0; count < 2; count++) assert.equal((await one.response()).text, 'hello zoë\n')
      assert.equal((await one.response()).status, 400)
      assert.equal((await one.end()).toString(), '')
    })

    test('is refused in what would be forwarded, too', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      await one.send(`GET /x HTTP/1.1\r\nHost: h\r\nHost: i\r\n${OTHER_SESSION}\r\n`)
      assert.equal((await one.response()).status, 400)
      await one.end()
      assert.equal(forwarded.count, 0)
    })

    test('a target with "#" is no request of the channel’s', DEADLINE, async (t) => {
      const { client, forwarded } = await rig.running(t)
      const one = await client()
      await one.exchange(requestText('GET', '/hello'))
      await one.send(requestText('GET', '/hello#x'))
      const gateway = await forwarded.next()
      await gateway.until('\r\n\r\n')
      gateway.write('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      gateway.end()
      assert.equal((await one.response()).status, 400)
      await one.end()
    })
  })
}

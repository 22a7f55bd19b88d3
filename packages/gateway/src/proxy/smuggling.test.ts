// Whatever a client sends, a service never sees a request that the gateway did not see, nor sees one differently.
// Random streams, mostly right and then bent, go through a real gateway to a real node:http service; what that understood is
// compared with what the codec says of the same bytes. A failure prints its seed.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { join } from 'node:path'
import fc from 'fast-check'
import { BODY, BodyDecoder, FieldLines, HEAD, RequestHead, STEP } from '@xengate/http1'
import { REQUEST_FIELDS } from './heads/field-ids.ts'
import { presentedSession } from './heads/session-id.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, ROOT_ID } from './testing/fixture.ts'

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 400)
const LIMITS = { headBytesMax: 16_384, targetBytesMax: 8192 }

const framing = fc.constantFrom(
  ['', ''],
  ['Content-Length: 0\r\n', ''],
  ['Content-Length: 5\r\n', 'hello'],
  ['Content-Length: 05\r\n', 'hello'],
  ['Content-Length: 38\r\n', 'GET /services/plugin/svc/in HTTP/1.1\r\n'],
  ['Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ['Transfer-Encoding: chunked\r\n', '5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n'],
  ['Transfer-Encoding: chunked\r\n', '0\r\n\r\n'],
  ['Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'],
  ['Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'],
  ['Transfer-Encoding : chunked\r\n', '0\r\n\r\n'],
  ['Content_Length: 5\r\n', ''],
  ['Connection: Content-Length\r\nContent-Length: 5\r\n', 'hello'],
  ['Connection: Host, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
)
const message = fc
  .tuple(fc.constantFrom('GET', 'PUT', 'POST'), fc.constantFrom('/a', '/b?c=d', '/%0d%0aX:%20y'), framing)
  .map(
    ([method, path, [lines, body]]) =>
      `${method} /services/plugin/svc${path} HTTP/1.1\r\nHost: h\r\n${COOKIE}${lines}\r\n${body}`,
  )
const bend = fc.record({
  at: fc.nat(1000),
  cut: fc.nat(1),
  put: fc.constantFrom('', '\0', '\r', '\n', '\r\n', ' ', '\t', ':', '\x0b', '0', ';', '\xe9'),
})
const stream = fc
  .tuple(fc.array(message, { minLength: 1, maxLength: 3 }), fc.array(bend, { maxLength: 1 }))
  .map(([messages, bends]) => ({
    isBent: bends.length > 0,
    text: bends.reduce((text, { at, cut, put }) => {
      const index = at % (text.length + 1)
      return text.slice(0, index) + put + text.slice(index + cut)
    }, messages.join('')),
  }))

/** The requests in `text` that have root's session, as the codec reads them: method, target, body. */
function requestsIn(text: string): string[] {
  const bytes = Buffer.from(text, 'latin1')
  const head = new RequestHead(REQUEST_FIELDS, LIMITS)
  const requests: string[] = []
  let at = 0
  while (at < bytes.length && head.parse(bytes, at, bytes.length) === HEAD.COMPLETE) {
    const { method, originTarget, isPersistent } = head
    const decoder = new BodyDecoder(head.bodyKind, head.contentLength, new FieldLines(REQUEST_FIELDS))
    at = head.end
    let body = ''
    let step = head.bodyKind === BODY.NONE ? STEP.DONE : decoder.step(bytes, at, bytes.length)
    for (; step === STEP.DATA; step = decoder.step(bytes, at, bytes.length)) {
      body += bytes.toString('latin1', decoder.dataStart, decoder.dataEnd)
      at = decoder.at
    }
    if (step !== STEP.DONE) break
    if (head.bodyKind !== BODY.NONE) at = decoder.at
    if (presentedSession(head, originTarget)?.id === ROOT_ID) requests.push(`${method} ${originTarget} ${body}`)
    if (!isPersistent) break
  }
  return requests
}

test(
  'no stream of bytes makes a service see a request that the gateway did not see',
  { timeout: 60_000 },
  async (t) => {
    const { client, directory } = await fixture(t)
    const seen: string[] = []
    const server = createServer((request, response) => {
      let body = ''
      request.setEncoding('latin1')
      request.on('data', (chunk: string) => (body += chunk))
      request.on('end', () => {
        seen.push(`${request.method} ${request.url} ${body}`)
        response.end('ok')
      })
    })
    await new Promise<void>((resolve) => server.listen(join(directory, 'svc'), resolve))
    t.after(() => {
      server.close()
      server.closeAllConnections()
    })

    let understood = 0
    await fc.assert(
      fc.asyncProperty(stream, async ({ text, isBent }) => {
        seen.length = 0
        const peer = client()
        peer.end(text)
        await peer.closed()
        const expected = requestsIn(text).filter((request) =>
          /^(?:GET|PUT|POST) \/services\/plugin\/svc[/? ]/.test(request),
        )
        // A request that a bend made to be refused may close the connection, and with it what would have come behind.
        assert.deepEqual(seen, isBent ? expected.slice(0, seen.length) : expected, JSON.stringify(text))
        understood += seen.length
      }),
      { numRuns: RUNS },
    )
    assert.ok(understood > RUNS / 2, `only ${understood} requests came through`)
  },
)

// Whatever Xengate accepts, Node.js must understand the same way. Messages are built from parts that are mostly right,
// then bent at random places. A failure prints its seed; cases worth keeping stand in CORPUS.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compare } from './testing/compare.ts'
import { readMessages } from './testing/read-messages.ts'

const RUNS = Number(process.env['FUZZ_RUNS'] ?? 20_000)

const line = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.stringMatching(/^[A-Za-z-]{1,12}$/),
      fc.constantFrom(': ', ':', ':  ', ':\t'),
      fc.stringMatching(/^[ -~]{0,20}$/),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(
      fc.constantFrom('Content-Length', 'content-length'),
      fc.constantFrom(': ', ':'),
      fc.constantFrom('0', '3', '5', '005', '5, 5', '+5', '9007199254740992', ''),
    ),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(
      fc.constantFrom('Transfer-Encoding', 'TRANSFER-ENCODING'),
      fc.constantFrom(': ', ':'),
      fc.constantFrom('chunked', 'Chunked', 'gzip, chunked', 'chunked, chunked', 'identity', 'chunked ', ''),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.constant('Connection'),
      fc.constant(': '),
      fc.constantFrom('close', 'keep-alive', 'x, close', 'KEEP-ALIVE'),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom('Host', 'host'), fc.constant(': '), fc.constantFrom('h', 'h:80', '', 'a b')),
  },
)

const eol = fc.oneof({ weight: 60, arbitrary: fc.constant('\r\n') }, fc.constantFrom('\n', '\r', '\r\r\n', ' \r\n'))

const fieldLines = fc
  .array(fc.tuple(line, eol), { maxLength: 5 })
  .map((lines) => lines.map(([[name, colon, value], end]) => `${name}${colon}${value}${end}`).join(''))

const chunk = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('3\r\nabc\r\n', '5;x=y\r\nhello\r\n', 'A\r\n0123456789\r\n', '1\r\n\n\r\n') },
  fc.constantFrom(
    '3\nabc\r\n',
    '3\r\nabc\n',
    '3 \r\nabc\r\n',
    '+3\r\nabc\r\n',
    '3;\nabc\r\n',
    '3;a\rb\r\nabc\r\n',
    'ffffffffffffffff\r\n',
  ),
)

const body = fc.oneof(
  fc.constantFrom('', 'abc', 'hello'),
  fc
    .tuple(
      fc.array(chunk, { maxLength: 3 }),
      fc.constantFrom('0\r\n\r\n', '0\r\nA: b\r\n\r\n', '0\n\n', '0\r\nA: b\n\r\n'),
    )
    .map(([chunks, end]) => chunks.join('') + end),
)

const requestLine = fc
  .tuple(
    fc.constantFrom('GET', 'PUT', 'POST', 'DELETE'),
    fc.constantFrom('/', '/a?b=c', '/%20', 'http://h/x', '*', '/a b'),
    fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2'),
  )
  .map((parts) => parts.join(' '))

const statusLine = fc
  .tuple(
    fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2'),
    fc.constantFrom('200', '204', '304', '404', '099', '600', '100'),
    fc.constantFrom(' OK', ' ', '', ' Not Found'),
  )
  .map(([version, status, phrase]) => `${version} ${status}${phrase}`)

function stream(startLine: fc.Arbitrary<string>, hostLine: string): fc.Arbitrary<string> {
  const message = fc.tuple(startLine, eol, fc.constantFrom(hostLine, hostLine, ''), fieldLines, body)
  const text = fc
    .array(message, { minLength: 1, maxLength: 3 })
    .map((messages) =>
      messages.map(([start, end, host, lines, content]) => `${start}${end}${host}${lines}\r\n${content}`).join(''),
    )
  const bend = fc.record({
    at: fc.nat(400),
    cut: fc.nat(2),
    put: fc.constantFrom('', '\0', '\r', '\n', ' ', '\t', ':', '\x7f', '\xe9', '0', ';'),
  })
  return fc
    .tuple(text, fc.array(bend, { maxLength: 2 }))
    .map(([whole, bends]) =>
      bends.reduce(
        (bent, { at, cut, put }) =>
          bent.slice(0, at % (bent.length + 1)) + put + bent.slice((at % (bent.length + 1)) + cut),
        whole,
      ),
    )
}

const CORPUS: readonly (readonly ['requests' | 'responses', string])[] = [
  ['requests', 'PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 005\r\n\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n'],
  ['requests', 'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nA: b\r\n\r\n'],
  ['requests', '\r\nGET /a?b=c HTTP/1.1\r\nHost: h\r\nX:\t y \t\r\n\r\n'],
  ['requests', 'GET http://h/x HTTP/1.1\r\nHost: other\r\n\r\n'],
  ['responses', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'],
  ['responses', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 \r\n\r\n'],
]

for (const [direction, text] of CORPUS) {
  test(`Node.js understands the same: ${JSON.stringify(text).slice(0, 60)}`, () => {
    assert.ok(compare(direction, text) > 0)
  })
}

for (const [direction, startLine, hostLine] of [
  ['requests', requestLine, 'Host: h\r\n'],
  ['responses', statusLine, ''],
] as const) {
  test(`whatever is accepted of random ${direction}, Node.js understands the same way`, () => {
    let accepted = 0
    fc.assert(
      fc.property(stream(startLine, hostLine), (text) => {
        accepted += compare(direction, text)
      }),
      { numRuns: RUNS },
    )
    // The comparison is worth something only if a good part is accepted.
    assert.ok(accepted > RUNS / 10, `only ${accepted} messages accepted`)
  })

  test(`random ${direction} are read the same, however they are cut`, () => {
    fc.assert(
      fc.property(stream(startLine, hostLine), fc.array(fc.nat(400), { maxLength: 6 }), (text, at) => {
        const cuts = at.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b)
        assert.deepEqual(readMessages(direction, text, cuts), readMessages(direction, text))
      }),
      { numRuns: RUNS / 4 },
    )
  })
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BODY, FieldNames, HEAD, type Reason, ResponseHead } from './index.ts'
import { readEveryWay } from './testing/read-messages.ts'

const REFUSED: readonly (readonly [title: string, text: string, reason: Reason])[] = [
  ['another protocol', 'SSH-2.0-x\r\n', 'start-line-invalid'],
  ['an empty line first', '\r\nHTTP/1.1 200 OK\r\n\r\n', 'start-line-invalid'],
  ['HTTP/2', 'HTTP/2 200 OK\r\n\r\n', 'version-unsupported'],
  ['two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'status-invalid'],
  ['four digits', 'HTTP/1.1 2000 OK\r\n\r\n', 'status-invalid'],
  ['status 099', 'HTTP/1.1 099 X\r\n\r\n', 'status-invalid'],
  ['status 600', 'HTTP/1.1 600 X\r\n\r\n', 'status-invalid'],
  ['no space before the status', 'HTTP/1.1200 OK\r\n\r\n', 'start-line-invalid'],
  ['a control character in the reason phrase', 'HTTP/1.1 200 O\x01K\r\n\r\n', 'start-line-invalid'],
  ['bare LF', 'HTTP/1.1 200 OK\nA: b\r\n\r\n', 'bare-lf'],
  ['bare CR', 'HTTP/1.1 200 OK\rA', 'bare-cr'],
  ['obs-fold', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n', 'obs-fold'],
  ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 'framing-ambiguous'],
  [
    'Content-Length twice',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n',
    'content-length-repeated',
  ],
  ['Content-Length as a list', 'HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n', 'content-length-invalid'],
  ['gzip, chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', 'transfer-encoding-invalid'],
  [
    'Transfer-Encoding in HTTP/1.0',
    'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'transfer-encoding-in-1.0',
  ],
  ['head over its limit', `HTTP/1.1 200 OK\r\nA: ${'a'.repeat(1024)}\r\n\r\n`, 'head-too-large'],
]

for (const [title, text, reason] of REFUSED) {
  test(`a response is refused, however it is cut: ${title}`, () => {
    assert.equal(readEveryWay('responses', text).reason, reason)
  })
}

const ACCEPTED: readonly (readonly [
  title: string,
  text: string,
  startLine: string,
  body: string,
  isComplete: boolean,
])[] = [
  ['with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc', '200 OK', 'abc', true],
  [
    'chunked with trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x="y"\r\nabc\r\n0\r\nT: 1\r\n\r\n',
    '200 OK',
    'abc',
    true,
  ],
  ['until the connection ends', 'HTTP/1.0 200 OK\r\n\r\nabc', '200 OK', 'abc', false],
  ['204 has no body', 'HTTP/1.1 204 No Content\r\n\r\n', '204 No Content', '', true],
  [
    '304 has no body, whatever its length says',
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n',
    '304 Not Modified',
    '',
    true,
  ],
  ['100 has no body', 'HTTP/1.1 100 Continue\r\n\r\n', '100 Continue', '', true],
  ['an empty reason phrase', 'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n', '200 ', '', true],
  ['no reason phrase', 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', '200 ', '', true],
  [
    'obs-text in the reason phrase',
    'HTTP/1.1 404 Non trouv\xe9\r\nContent-Length: 0\r\n\r\n',
    '404 Non trouv\xe9',
    '',
    true,
  ],
]

for (const [title, text, startLine, body, isComplete] of ACCEPTED) {
  test(`a response is accepted, however it is cut: ${title}`, () => {
    const { messages, reason } = readEveryWay('responses', text)
    assert.equal(reason, null)
    assert.deepEqual(
      messages.map((message) => [message.startLine, message.body, message.isComplete]),
      [[startLine, body, isComplete]],
    )
  })
}

test('a response to HEAD has no body, whatever its fields say', () => {
  const head = new ResponseHead(new FieldNames(), { headBytesMax: 1024, targetBytesMax: 0 })
  const bytes = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')
  assert.equal(head.parse(bytes, 0, bytes.length), HEAD.COMPLETE)
  assert.equal(head.bodyKind(true), BODY.NONE)
  assert.equal(head.bodyKind(false), BODY.LENGTH)
})

test('interim responses are told from the final one', () => {
  const { messages } = readEveryWay(
    'responses',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na',
  )
  assert.deepEqual(
    messages.map((message) => message.startLine),
    ['100 Continue', '103 Early Hints', '200 OK'],
  )
})

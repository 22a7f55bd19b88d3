import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BODY,
  BodyDecoder,
  CHUNK_END,
  chunkStart,
  FieldLines,
  FieldNames,
  lastChunk,
  type Reason,
  STEP,
} from './index.ts'
import { readEveryWay } from './testing/read-messages.ts'

const HEAD = 'PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n'

const REFUSED: readonly (readonly [title: string, body: string, reason: Reason])[] = [
  ['an empty size', '\r\n', 'chunk-size-invalid'],
  ['a sign', '+5\r\nhello\r\n0\r\n\r\n', 'chunk-size-invalid'],
  ['a negative size', '-1\r\n', 'chunk-size-invalid'],
  ['a space before the size', ' 5\r\nhello\r\n', 'chunk-size-invalid'],
  ['a space after the size', '5 \r\nhello\r\n', 'chunk-size-invalid'],
  ['a space before an extension', '5 ;a\r\nhello\r\n', 'chunk-size-invalid'],
  ['a prefix', '0x5\r\nhello\r\n', 'chunk-size-invalid'],
  ['an underscore', '1_0\r\n', 'chunk-size-invalid'],
  ['a size of 2^53', '20000000000000\r\n', 'chunk-size-invalid'],
  ['a size beyond 2^64', '10000000000000005\r\nhello\r\n', 'chunk-size-invalid'],
  ['LF after the size', '5\nhello\r\n', 'bare-lf'],
  ['CR without LF after the size', '5\rhello\r\n', 'bare-cr'],
  ['LF after an extension', '5;a\nhello\r\n', 'bare-lf'],
  ['a CR inside an extension', '5;a\rb\r\nhello\r\n', 'bare-cr'],
  ['a CR inside a quoted string', '5;a="\r\nhello\r\n0\r\n\r\n"\r\n', 'chunk-extension-invalid'],
  ['an LF inside a quoted string', '5;a="\nhello\r\n', 'bare-lf'],
  ['a quoted CR inside a quoted string', '5;a="\\\r\nhello\r\n', 'chunk-extension-invalid'],
  ['an extension without a name', '5;\r\nhello\r\n', 'chunk-extension-invalid'],
  ['an extension that begins with =', '5;=b\r\nhello\r\n', 'chunk-extension-invalid'],
  ['an extension without a value', '5;a=\r\nhello\r\n', 'chunk-extension-invalid'],
  ['an extension with two values', '5;a=b c\r\nhello\r\n', 'chunk-extension-invalid'],
  ['something after a quoted string', '5;a="b"c\r\nhello\r\n', 'chunk-extension-invalid'],
  ['an empty extension between two', '5;a;;b\r\nhello\r\n', 'chunk-extension-invalid'],
  ['a delimiter in an extension', '5;a{b}\r\nhello\r\n', 'chunk-extension-invalid'],
  ['NUL in an extension', '5;a\0\r\nhello\r\n', 'chunk-extension-invalid'],
  ['data longer than its size', '5\r\nhello!\r\n', 'chunk-end-invalid'],
  ['LF alone after data', '5\r\nhello\n0\r\n\r\n', 'chunk-end-invalid'],
  ['CR alone after data', '5\r\nhello\r0\r\n\r\n', 'chunk-end-invalid'],
  ['no CRLF after data', '5\r\nhello0\r\n\r\n', 'chunk-end-invalid'],
  ['a folded trailer', '0\r\nA: b\r\n c\r\n\r\n', 'obs-fold'],
  ['a trailer with LF alone', '0\r\nA: b\n\r\n', 'bare-lf'],
  ['an end with LF alone', '0\r\n\n', 'bare-lf'],
]

for (const [title, body, reason] of REFUSED) {
  test(`a chunked body is refused, however it is cut: ${title}`, () => {
    assert.equal(readEveryWay('requests', HEAD + body).reason, reason)
  })
}

const ACCEPTED: readonly (readonly [title: string, body: string, data: string, trailers: string])[] = [
  ['empty', '0\r\n\r\n', '', ''],
  ['one chunk', '5\r\nhello\r\n0\r\n\r\n', 'hello', ''],
  ['sizes in both cases', 'a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n', '01234567890123456789', ''],
  ['leading zeros', '0005\r\nhello\r\n000\r\n\r\n', 'hello', ''],
  ['extensions', '5;a;b=c;d="e;f"\r\nhello\r\n0;last\r\n\r\n', 'hello', ''],
  ['extensions with spaces', '5; a = b ;\tc="d\\"\xe9" \r\nhello\r\n0\r\n\r\n', 'hello', ''],
  ['trailers', '0\r\nDigest: x\r\nX-B:  c \r\n\r\n', '', 'Digest: x\r\nX-B: c\r\n'],
  [
    'trailers that frame or identify are left out',
    '0\r\nContent-Length: 5\r\nCookie: a\r\nHost: h\r\nA: b\r\n\r\n',
    '',
    'A: b\r\n',
  ],
]

for (const [title, body, data, trailers] of ACCEPTED) {
  test(`a chunked body is accepted, however it is cut, and what follows is not its: ${title}`, () => {
    const { messages, reason } = readEveryWay('requests', `${HEAD}${body}GET /next HTTP/1.1\r\nHost: h\r\n\r\n`)
    assert.equal(reason, null)
    assert.deepEqual(
      messages.map((message) => [message.startLine, message.body, message.trailers, message.isComplete]),
      [
        ['PUT /', data, trailers, true],
        ['GET /next', '', '', true],
      ],
    )
  })
}

function chunkedDecoder(): BodyDecoder {
  return new BodyDecoder(BODY.CHUNKED, -1, new FieldLines(new FieldNames()))
}

/** Feeds pieces until the decoder refuses one; the reason, or null when it takes all. */
function feed(decoder: BodyDecoder, pieces: Iterable<string>): Reason | null {
  for (const piece of pieces) {
    const bytes = Buffer.from(piece, 'latin1')
    for (let at = 0, step: number = STEP.DATA; step === STEP.DATA; at = decoder.at) {
      step = decoder.step(bytes, at, bytes.length)
      if (step === STEP.INVALID) return decoder.reason
    }
  }
  return null
}

test('extensions of one body are bounded together', () => {
  const piece = `1;${'e'.repeat(100)}\r\nx\r\n`
  assert.equal(feed(chunkedDecoder(), Array<string>(160).fill(piece)), null)
  assert.equal(feed(chunkedDecoder(), Array<string>(170).fill(piece)), 'chunk-extension-too-long')
})

test('leading zeros of a size are bounded', () => {
  assert.equal(feed(chunkedDecoder(), Array<string>(20).fill('0'.repeat(1000))), 'chunk-size-invalid')
})

test('trailers are bounded', () => {
  const lines = Array<string>(300).fill(`A: ${'b'.repeat(100)}\r\n`)
  assert.equal(feed(chunkedDecoder(), ['0\r\n', ...lines]), 'head-too-large')
})

test('the largest chunk size is 2^53 - 1', () => {
  assert.equal(feed(chunkedDecoder(), ['1fffffffffffff\r\nx']), null)
})

test('a body of known length takes its bytes and no more', () => {
  const decoder = new BodyDecoder(BODY.LENGTH, 5, new FieldLines(new FieldNames()))
  const bytes = Buffer.from('helloGET')
  assert.equal(decoder.step(bytes, 0, 3), STEP.DATA)
  assert.equal(decoder.left, 2)
  assert.equal(decoder.step(bytes, 3, bytes.length), STEP.DATA)
  assert.deepEqual([decoder.dataStart, decoder.dataEnd], [3, 5])
  assert.equal(decoder.isDone, true)
  assert.equal(decoder.step(bytes, 5, bytes.length), STEP.DONE)
  assert.equal(decoder.at, 5)
})

test('what the encoder writes the decoder reads', () => {
  const text = `${chunkStart(5)}hello${CHUNK_END}${lastChunk('A: b\r\n')}`
  const { messages } = readEveryWay('requests', HEAD + text)
  assert.deepEqual([messages[0]?.body, messages[0]?.trailers], ['hello', 'A: b\r\n'])
})

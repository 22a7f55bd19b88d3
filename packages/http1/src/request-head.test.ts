import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FieldNames, HEAD, type Reason, RequestHead, statusOfReason } from './index.ts'
import { readEveryWay } from './testing/read-messages.ts'

const HOST = 'Host: h\r\n'

/** Heads that are refused, with the reason. */
const REFUSED: readonly (readonly [title: string, text: string, reason: Reason])[] = [
  ['bare LF after the request line', 'GET / HTTP/1.1\nHost: h\r\n\r\n', 'bare-lf'],
  ['bare LF after a field', 'GET / HTTP/1.1\r\nHost: h\n\r\n', 'bare-lf'],
  ['bare LF as the empty line', `GET / HTTP/1.1\r\n${HOST}\n`, 'bare-lf'],
  ['bare LF before the request line', `\nGET / HTTP/1.1\r\n${HOST}\r\n`, 'bare-lf'],
  ['bare CR after the request line', `GET / HTTP/1.1\rX`, 'bare-cr'],
  ['bare CR inside a value', `GET / HTTP/1.1\r\nA: b\rc\r\n${HOST}\r\n`, 'bare-cr'],
  ['bare CR as the empty line', `GET / HTTP/1.1\r\n${HOST}\rX`, 'bare-cr'],
  ['obs-fold', `GET / HTTP/1.1\r\nA: b\r\n c\r\n${HOST}\r\n`, 'obs-fold'],
  ['obs-fold with a tab', `GET / HTTP/1.1\r\nA: b\r\n\tc\r\n${HOST}\r\n`, 'obs-fold'],
  ['white space before the first field', `GET / HTTP/1.1\r\n ${HOST}\r\n`, 'obs-fold'],
  ['space before a colon', `GET / HTTP/1.1\r\nHost : h\r\n\r\n`, 'space-before-colon'],
  ['tab before a colon', `GET / HTTP/1.1\r\nHost\t: h\r\n\r\n`, 'space-before-colon'],
  ['field without a colon', `GET / HTTP/1.1\r\nHost\r\n\r\n`, 'field-name-invalid'],
  ['empty field name', `GET / HTTP/1.1\r\n: x\r\n${HOST}\r\n`, 'field-name-invalid'],
  ['NUL in a name', `GET / HTTP/1.1\r\nA\0: b\r\n${HOST}\r\n`, 'field-name-invalid'],
  ['obs-text in a name', `GET / HTTP/1.1\r\n\xe9: b\r\n${HOST}\r\n`, 'field-name-invalid'],
  ['NUL in a value', `GET / HTTP/1.1\r\nA: b\0c\r\n${HOST}\r\n`, 'field-value-invalid'],
  ['control character in a value', `GET / HTTP/1.1\r\nA: b\x01c\r\n${HOST}\r\n`, 'field-value-invalid'],
  ['DEL in a value', `GET / HTTP/1.1\r\nA: b\x7fc\r\n${HOST}\r\n`, 'field-value-invalid'],
  ['vertical tab before a value', `GET / HTTP/1.1\r\nA:\x0bc\r\n${HOST}\r\n`, 'field-value-invalid'],
  ['empty method', ` / HTTP/1.1\r\n${HOST}\r\n`, 'method-invalid'],
  ['method with a separator', `GE(T / HTTP/1.1\r\n${HOST}\r\n`, 'method-invalid'],
  ['method of 33 characters', `${'M'.repeat(33)} / HTTP/1.1\r\n${HOST}\r\n`, 'method-invalid'],
  ['tab after the method', `GET\t/ HTTP/1.1\r\n${HOST}\r\n`, 'method-invalid'],
  ['two spaces after the method', `GET  / HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['target without a slash', `GET x HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['control character in the target', `GET /\x01 HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['tab in the target', `GET /a\tb HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['obs-text in the target', `GET /\xe9 HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['fragment in the target', `GET /a#b HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['asterisk for another method', `GET * HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['absolute form of another scheme', `GET ftp://h/ HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['absolute form without a host', `GET http:///x HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['absolute form with a port alone', `GET http://:80/ HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['absolute form with user information', `GET http://u@h/ HTTP/1.1\r\n${HOST}\r\n`, 'target-invalid'],
  ['space in the target', `GET /a b HTTP/1.1\r\n${HOST}\r\n`, 'start-line-invalid'],
  ['no version (HTTP/0.9)', `GET /\r\n`, 'start-line-invalid'],
  ['lower-case version', `GET / http/1.1\r\n${HOST}\r\n`, 'start-line-invalid'],
  ['space after the version', `GET / HTTP/1.1 \r\n${HOST}\r\n`, 'start-line-invalid'],
  ['HTTP/2.0', `PRI * HTTP/2.0\r\n\r\n`, 'target-invalid'],
  ['HTTP/2.0 with a path', `GET / HTTP/2.0\r\n\r\n`, 'version-unsupported'],
  ['HTTP/1.2', `GET / HTTP/1.2\r\n${HOST}\r\n`, 'version-unsupported'],
  ['HTTP/0.9 spelled out', `GET / HTTP/0.9\r\n\r\n`, 'version-unsupported'],
  ['HTTP/1.10', `GET / HTTP/1.10\r\n${HOST}\r\n`, 'start-line-invalid'],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 'host-missing'],
  ['two Hosts', `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`, 'host-repeated'],
  ['two Hosts in HTTP/1.0', `GET / HTTP/1.0\r\n${HOST}${HOST}\r\n`, 'host-repeated'],
  ['Host with a path', 'GET / HTTP/1.1\r\nHost: h/x\r\n\r\n', 'host-invalid'],
  ['Host with user information', 'GET / HTTP/1.1\r\nHost: u@h\r\n\r\n', 'host-invalid'],
  ['Host with a port that is no number', 'GET / HTTP/1.1\r\nHost: h:8o\r\n\r\n', 'host-invalid'],
  ['Host with two ports', 'GET / HTTP/1.1\r\nHost: h:80:81\r\n\r\n', 'host-invalid'],
  ['Host with a port above 65535', 'GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n', 'host-invalid'],
  ['Host with a port of six digits', 'GET / HTTP/1.1\r\nHost: h:000080\r\n\r\n', 'host-invalid'],
  ['Host with a negative port', 'GET / HTTP/1.1\r\nHost: h:-1\r\n\r\n', 'host-invalid'],
  ['a port without a host', 'GET / HTTP/1.1\r\nHost: :80\r\n\r\n', 'host-invalid'],
  ['a colon without a host', 'GET / HTTP/1.1\r\nHost: :\r\n\r\n', 'host-invalid'],
  ['an IPv6 Host without brackets', 'GET / HTTP/1.1\r\nHost: ::1\r\n\r\n', 'host-invalid'],
  ['an IPv6 Host that does not end', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n', 'host-invalid'],
  ['something after an IPv6 Host', 'GET / HTTP/1.1\r\nHost: [::1]x:80\r\n\r\n', 'host-invalid'],
  ['empty brackets', 'GET / HTTP/1.1\r\nHost: []:80\r\n\r\n', 'host-invalid'],
  ['a bracket inside Host', 'GET / HTTP/1.1\r\nHost: h[::1]\r\n\r\n', 'host-invalid'],
  ['a target whose port is too large', 'GET http://h:99999/ HTTP/1.1\r\nHost: h\r\n\r\n', 'target-invalid'],
  ['CONNECT to a port that is no number', 'CONNECT h:x HTTP/1.1\r\nHost: h\r\n\r\n', 'target-invalid'],
  ['Host with a space', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 'host-invalid'],
  ['Content-Length with a sign', `PUT / HTTP/1.1\r\n${HOST}Content-Length: +5\r\n\r\n`, 'content-length-invalid'],
  ['negative Content-Length', `PUT / HTTP/1.1\r\n${HOST}Content-Length: -5\r\n\r\n`, 'content-length-invalid'],
  ['empty Content-Length', `PUT / HTTP/1.1\r\n${HOST}Content-Length:\r\n\r\n`, 'content-length-invalid'],
  ['hexadecimal Content-Length', `PUT / HTTP/1.1\r\n${HOST}Content-Length: 0x5\r\n\r\n`, 'content-length-invalid'],
  ['Content-Length with a point', `PUT / HTTP/1.1\r\n${HOST}Content-Length: 5.0\r\n\r\n`, 'content-length-invalid'],
  [
    'Content-Length as a list of equal values',
    `PUT / HTTP/1.1\r\n${HOST}Content-Length: 5, 5\r\n\r\n`,
    'content-length-invalid',
  ],
  [
    'Content-Length of 2^53',
    `PUT / HTTP/1.1\r\n${HOST}Content-Length: 9007199254740992\r\n\r\n`,
    'content-length-invalid',
  ],
  [
    'Content-Length twice',
    `PUT / HTTP/1.1\r\n${HOST}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`,
    'content-length-repeated',
  ],
  [
    'both framings',
    `PUT / HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    'framing-ambiguous',
  ],
  [
    'both framings, the other order',
    `PUT / HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n`,
    'framing-ambiguous',
  ],
  ['gzip, chunked', `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n`, 'transfer-encoding-invalid'],
  [
    'chunked, chunked',
    `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, chunked\r\n\r\n`,
    'transfer-encoding-invalid',
  ],
  [
    'chunked twice',
    `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    'transfer-encoding-invalid',
  ],
  [
    'Content-Length among the options',
    `PUT / HTTP/1.1\r\n${HOST}Connection: a, Content-Length\r\n\r\n`,
    'connection-option-invalid',
  ],
  ['Host as the option', `GET / HTTP/1.1\r\n${HOST}Connection: host\r\n\r\n`, 'connection-option-invalid'],
  ['another expectation', `PUT / HTTP/1.1\r\n${HOST}Expect: 200-ok\r\n\r\n`, 'expectation-unknown'],
  [
    'an expectation twice',
    `PUT / HTTP/1.1\r\n${HOST}${'Expect: 100-continue\r\n'.repeat(2)}\r\n`,
    'expectation-unknown',
  ],
  ['identity', `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: identity\r\n\r\n`, 'transfer-encoding-invalid'],
  ['xchunked', `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n`, 'transfer-encoding-invalid'],
  ['empty Transfer-Encoding', `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: \r\n\r\n`, 'transfer-encoding-invalid'],
  [
    'chunked with a parameter',
    `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked;q=1\r\n\r\n`,
    'transfer-encoding-invalid',
  ],
  [
    'Transfer-Encoding in HTTP/1.0',
    `PUT / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`,
    'transfer-encoding-in-1.0',
  ],
  ['target over its limit', `GET /${'a'.repeat(256)} HTTP/1.1\r\n${HOST}\r\n`, 'target-too-long'],
  ['head over its limit', `GET / HTTP/1.1\r\n${HOST}A: ${'a'.repeat(1024)}\r\n\r\n`, 'head-too-large'],
  ['two empty lines before the request line', `\r\n\r\nGET / HTTP/1.1\r\n${HOST}\r\n`, 'method-invalid'],
]

for (const [title, text, reason] of REFUSED) {
  test(`a request is refused, however it is cut: ${title}`, () => {
    assert.equal(readEveryWay('requests', text).reason, reason)
  })
}

/** Heads that are accepted, with what has to be understood. */
const ACCEPTED: readonly (readonly [title: string, text: string, startLine: string, fields: Record<string, string>])[] =
  [
    ['the plainest', `GET / HTTP/1.1\r\n${HOST}\r\n`, 'GET /', { Host: 'h' }],
    ['an empty line before the request line', `\r\nGET / HTTP/1.1\r\n${HOST}\r\n`, 'GET /', { Host: 'h' }],
    ['an empty value', `GET / HTTP/1.1\r\n${HOST}A:\r\nB: \r\n\r\n`, 'GET /', { Host: 'h', A: '', B: '' }],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 'GET /', { Host: '' }],
    [
      'tabs and spaces around a value',
      `GET / HTTP/1.1\r\n${HOST}A:\t b\tc \t\r\n\r\n`,
      'GET /',
      { Host: 'h', A: 'b\tc' },
    ],
    ['no space before a value', `GET / HTTP/1.1\r\nHost:h\r\n\r\n`, 'GET /', { Host: 'h' }],
    ['obs-text in a value', `GET / HTTP/1.1\r\n${HOST}A: caf\xe9\r\n\r\n`, 'GET /', { Host: 'h', A: 'caf\xe9' }],
    [
      'an absolute-form target',
      `GET http://a.b:80/x?y HTTP/1.1\r\n${HOST}\r\n`,
      'GET http://a.b:80/x?y',
      { Host: 'h' },
    ],
    ['OPTIONS *', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, 'OPTIONS *', { Host: 'h' }],
    [
      'CONNECT with an authority',
      'CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n',
      'CONNECT a.b:443',
      { Host: 'a.b:443' },
    ],
    [
      'CONNECT with a path, as consoles of XenServer use it',
      `CONNECT /console?uuid=1 HTTP/1.0\r\n\r\n`,
      'CONNECT /console?uuid=1',
      {},
    ],
    ['HTTP/1.0 without Host', 'GET / HTTP/1.0\r\n\r\n', 'GET /', {}],
    ['a method that is not registered', `FROB! / HTTP/1.1\r\n${HOST}\r\n`, 'FROB! /', { Host: 'h' }],
    ['an empty port', 'GET / HTTP/1.1\r\nHost: h:\r\n\r\n', 'GET /', { Host: 'h:' }],
    ['the highest port', 'GET / HTTP/1.1\r\nHost: h:65535\r\n\r\n', 'GET /', { Host: 'h:65535' }],
    ['an IPv6 Host without a port', 'GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n', 'GET /', { Host: '[::1]' }],
    ['an IPv6 Host', 'GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n', 'GET /', { Host: '[::1]:8080' }],
    [
      'a target with every sign that clients send',
      `GET /a%20b;c=d,e/f~{g}|h?i=[j]&k="l"\\^\` HTTP/1.1\r\n${HOST}\r\n`,
      'GET /a%20b;c=d,e/f~{g}|h?i=[j]&k="l"\\^`',
      { Host: 'h' },
    ],
  ]

for (const [title, text, startLine, fields] of ACCEPTED) {
  test(`a request is accepted, however it is cut: ${title}`, () => {
    const { messages, reason } = readEveryWay('requests', text)
    assert.equal(reason, null)
    assert.equal(messages.length, 1)
    assert.equal(messages[0]?.startLine, startLine)
    assert.deepEqual(Object.fromEntries(messages[0]?.fields ?? []), fields)
  })
}

test('a request without Host is taken where others judge it, and one with two is not', () => {
  const head = new RequestHead(new FieldNames([]), { headBytesMax: 1024, targetBytesMax: 256 }, false)
  const without = Buffer.from('CONNECT /console?ref=1 HTTP/1.1\r\n\r\n')
  assert.equal(head.parse(without, 0, without.length), HEAD.COMPLETE)
  assert.deepEqual([head.host, head.method, head.originTarget], [undefined, 'CONNECT', '/console?ref=1'])
  const twice = Buffer.from(`GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`)
  assert.equal(head.parse(twice, 0, twice.length), HEAD.INVALID)
})

test('a head may be exactly as long as its limit', () => {
  const head = `GET / HTTP/1.1\r\n${HOST}A: ${'a'.repeat(1024 - 16 - 9 - 3 - 4)}\r\n\r\n`
  assert.equal(head.length, 1024)
  assert.equal(readEveryWay('requests', head).messages.length, 1)
})

test('pipelined requests are told apart by their bodies', () => {
  const { messages } = readEveryWay(
    'requests',
    `PUT /1 HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabcPUT /2 HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nGET /3 HTTP/1.1\r\n${HOST}\r\n`,
  )
  assert.deepEqual(
    messages.map(({ startLine, body }) => [startLine, body]),
    [
      ['PUT /1', 'abc'],
      ['PUT /2', 'de'],
      ['GET /3', ''],
    ],
  )
})

function parsed(text: string): RequestHead {
  const head = new RequestHead(new FieldNames(), { headBytesMax: 16_384, targetBytesMax: 8192 })
  const bytes = Buffer.from(`....${text}`, 'latin1')
  assert.equal(head.parse(bytes, 4, bytes.length), HEAD.COMPLETE)
  return head
}

test('the authority of an absolute-form target overrides Host, and what follows it is the origin form', () => {
  for (const [target, originTarget] of [
    ['HTTP://a.b:81/x?y', '/x?y'],
    ['https://a.b:81', '/'],
    ['http://a.b:81?q', '/?q'],
  ] as const) {
    const head = parsed(`GET ${target} HTTP/1.1\r\n${HOST}\r\n`)
    assert.equal(head.host, 'a.b:81')
    assert.equal(head.originTarget, originTarget)
    assert.equal(head.target, target)
  }
})

test('Connection decides persistence, and names hop-by-hop fields', () => {
  for (const [version, connection, isPersistent] of [
    ['1.1', '', true],
    ['1.1', 'Connection: close\r\n', false],
    ['1.1', 'Connection: x, CLOSE\r\n', false],
    ['1.0', '', false],
    ['1.0', 'Connection: Keep-Alive\r\n', true],
    ['1.0', 'Connection: keep-alive, close\r\n', false],
  ] as const) {
    assert.equal(parsed(`GET / HTTP/${version}\r\n${HOST}${connection}\r\n`).isPersistent, isPersistent)
  }
  const head = parsed(`GET / HTTP/1.1\r\n${HOST}Connection: X-A, Upgrade\r\nConnection: x-b,,\r\n\r\n`)
  assert.deepEqual(head.connectionNames, ['x-a', 'x-b'])
  assert.equal(head.hasConnectionUpgrade, true)
})

test('a transfer coding is compared without case, as RFC 9112 section 7 has it', () => {
  assert.equal(parsed(`PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: Chunked\r\n\r\n`).isChunked, true)
})

test('reasons have the status that says most', () => {
  assert.equal(statusOfReason('target-too-long'), 414)
  assert.equal(statusOfReason('expectation-unknown'), 417)
  assert.equal(statusOfReason('head-too-large'), 431)
  assert.equal(statusOfReason('version-unsupported'), 505)
  assert.equal(statusOfReason('bare-lf'), 400)
})

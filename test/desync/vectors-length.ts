// Vectors whose heads disguise, repeat or contradict the length of the body: families 1 to 18, 41, 45 to 55.

import {
  answered,
  awaited,
  BASE,
  closed,
  family,
  HIDDEN,
  LINES,
  read,
  refused,
  type RequestVector,
  start,
} from './vector.ts'

const N = HIDDEN.length
const POST = start('POST', 'v')
const GET = start('GET', 'v')
const CHUNKED = 'Transfer-Encoding: chunked\r\n'
const HELLO = 'Content-Length: 5\r\n\r\nhello'
const CHUNKED_HELLO = '5\r\nhello\r\n0\r\n\r\n'

/** Heads that mask or fold Content-Length and Transfer-Encoding, with a body that hides a request. */
function masks(lines: Readonly<Record<string, string>>): Record<string, ReturnType<typeof refused>> {
  return Object.fromEntries(Object.entries(lines).map(([name, line]) => [name, refused(`${POST}${line}\r\n${HIDDEN}`)]))
}

export const LENGTH_VECTORS: readonly RequestVector[] = [
  ...family(
    1,
    masks({
      'a length folded by a space': `Content-Length:\r\n ${N}\r\n`,
      'a length folded by a tab': `Content-Length:\r\n\t${N}\r\n`,
      'a length folded behind another field': `X: y\r\n Content-Length: ${N}\r\n`,
      'a length folded twice': `Content-Length:\r\n \r\n ${N}\r\n`,
      'a fold of nothing': `Content-Length: ${N}\r\n \r\n`,
    }),
  ),
  ...family(2, {
    'a masked length, and a length within': refused(
      `${GET}Content-Length: \r\n ${N}\r\n\r\n${POST}Content-Length: ${N}\r\n\r\n${HIDDEN}`,
    ),
    'two requests whose lengths are masked': refused(
      `${GET}Content-Length : 0\r\n\r\n${GET}Content-Length : ${N}\r\n\r\n${HIDDEN}`,
    ),
  }),
  ...family(3, {
    ...masks({
      'a space before the colon': `Content-Length : ${N}\r\n`,
      'a tab before the colon': `Content-Length\t: ${N}\r\n`,
      'a vertical tab before the colon': `Content-Length\x0b: ${N}\r\n`,
      'a space before the name': ` Content-Length: ${N}\r\n`,
      'a tab before the name': `\tContent-Length: ${N}\r\n`,
      'a NUL in the name': `Content-\0Length: ${N}\r\n`,
      'a CR before the name': `\rContent-Length: ${N}\r\n`,
      'no colon': `Content-Length ${N}\r\n`,
      'a name of obs-text': `Content-Length\xa0: ${N}\r\n`,
      'an empty name': `: ${N}\r\n`,
      'a name in quotes': `"Content-Length": ${N}\r\n`,
      'a form feed': `Content-Length:\x0c${N}\r\n`,
    }),
    'an underscore': read(`${POST}Content_Length: 5\r\n\r\n`, 'POST /v '),
    'a backspace': refused(`${POST}Content-Length\b: ${N}\r\n\r\n${HIDDEN}`),
  }),
  ...family(
    4,
    masks({
      'a fold in the middle of the digits': 'Content-Length: 1\r\n 00\r\n',
      'a fold of a whole line': `X: y\r\n\tz: Content-Length: ${N}\r\n`,
    }),
  ),
  ...family(5, {
    'Host behind a space': refused(`GET ${BASE}/v HTTP/1.1\r\n ${LINES}\r\n`),
    'Host with a space before the colon': refused(`GET ${BASE}/v HTTP/1.1\r\nHost : h\r\n\r\n`),
    'Host twice': refused(`${GET}Host: h\r\n\r\n`),
    'Host twice, one hidden': refused(`${GET}\thost: other\r\n\r\n`),
    'Host with a list': refused(`GET ${BASE}/v HTTP/1.1\r\nHost: h, other\r\n\r\n`),
    'Host with a path': refused(`GET ${BASE}/v HTTP/1.1\r\nHost: h/../x\r\n\r\n`),
    'Host with userinfo': refused(`GET ${BASE}/v HTTP/1.1\r\nHost: u@h\r\n\r\n`),
    'no Host': refused(`GET ${BASE}/v HTTP/1.1\r\n\r\n`),
    'Host with a port that is none': refused(`GET ${BASE}/v HTTP/1.1\r\nHost: h:8o\r\n\r\n`),
    'Host behind a tab': read(`GET ${BASE}/v HTTP/1.1\r\nHost:\t${LINES.slice(6)}\r\n`, 'GET /v '),
  }),
  ...family(6, {
    ...masks({
      'a sign': `Content-Length: +${N}\r\n`,
      'a negative one': 'Content-Length: -1\r\n',
      hexadecimal: 'Content-Length: 0x10\r\n',
      octal: 'Content-Length: 0o17\r\n',
      'an underscore among digits': 'Content-Length: 1_0\r\n',
      'an exponent': 'Content-Length: 1e2\r\n',
      'a fraction': 'Content-Length: 5.0\r\n',
      empty: 'Content-Length:\r\n',
      'white space alone': 'Content-Length: \t \r\n',
      'digits with a space within': 'Content-Length: 1 0\r\n',
      'digits and a letter': 'Content-Length: 5a\r\n',
      'quoted digits': 'Content-Length: "5"\r\n',
      'beyond 2^53': 'Content-Length: 9007199254740993\r\n',
      'beyond 2^64': 'Content-Length: 18446744073709551621\r\n',
      'digits of another script': 'Content-Length: \xd9\xa5\r\n',
      'a NUL behind the digits': 'Content-Length: 5\0\r\n',
      'a comma behind the digits': 'Content-Length: 5,\r\n',
    }),
    'a zero in front': read(`${POST}Content-Length: 05\r\n\r\nhello`, 'POST /v hello'),
    'many zeros in front': read(`${POST}Content-Length: ${'0'.repeat(40)}5\r\n\r\nhello`, 'POST /v hello'),
    'tabs around it': read(`${POST}Content-Length:\t5\t\r\n\r\nhello`, 'POST /v hello'),
  }),
  ...family(
    7,
    masks({
      'two lengths': `Content-Length: 0\r\nContent-Length: ${N}\r\n`,
      'two lengths that are the same': `Content-Length: ${N}\r\nContent-Length: ${N}\r\n`,
      'two lengths in another case': `content-length: 0\r\nCONTENT-LENGTH: ${N}\r\n`,
      'a list of lengths': `Content-Length: ${N}, ${N}\r\n`,
      'a list of two lengths': `Content-Length: 0, ${N}\r\n`,
      'two lengths far apart': `Content-Length: ${N}\r\nA: b\r\nC: d\r\nContent-Length: 0\r\n`,
    }),
  ),
  ...family(8, {
    'a length one beyond what follows': awaited(`${POST}Content-Length: 100000\r\n\r\n${HIDDEN}`),
    'a request that is the body': read(`${POST}Content-Length: ${N}\r\n\r\n${HIDDEN}`, `POST /v ${HIDDEN}`),
    'a request that is the body of a GET': read(`${GET}Content-Length: ${N}\r\n\r\n${HIDDEN}`, `GET /v ${HIDDEN}`),
    'a request that begins in the body': {
      ...refused(`${POST}Content-Length: 2\r\n\r\n${HIDDEN.replace('GET ', 'GE\0T ')}`),
      seen: ['POST /v GE'],
    },
  }),
  ...family(9, {
    'Expect with a body that comes': read(`${POST}Expect: 100-continue\r\n${HELLO}`, 'POST /v hello'),
    'Expect with a body that is a request': read(
      `${POST}Expect: 100-continue\r\nContent-Length: ${N}\r\n\r\n${HIDDEN}`,
      `POST /v ${HIDDEN}`,
    ),
    'Expect of a GET': read(`${GET}Expect: 100-continue\r\n${HELLO}`, 'GET /v hello'),
    'Expect with chunks': read(`${POST}Expect: 100-continue\r\n${CHUNKED}\r\n${CHUNKED_HELLO}`, 'POST /v hello'),
  }),
  ...family(10, {
    'something before it': refused(`${POST}Expect: y 100-continue\r\n${HELLO}`, 417),
    'something behind it': refused(`${POST}Expect: 100-continue; y\r\n${HELLO}`, 417),
    'another expectation': refused(`${POST}Expect: 200-ok\r\n${HELLO}`, 417),
    'an empty one': refused(`${POST}Expect:\r\n${HELLO}`, 417),
    'a list': refused(`${POST}Expect: 100-continue, 100-continue\r\n${HELLO}`, 417),
    'in quotes': refused(`${POST}Expect: "100-continue"\r\n${HELLO}`, 417),
    'a space before the colon': refused(`${POST}Expect : 100-continue\r\n${HELLO}`),
    'another case': read(`${POST}eXpEcT: 100-CONTINUE\r\n${HELLO}`, 'POST /v hello'),
    'white space around it': read(`${POST}Expect:\t 100-continue \t\r\n${HELLO}`, 'POST /v hello'),
  }),
  ...family(11, {
    folded: refused(`${POST}Expect:\r\n 100-continue\r\n${HELLO}`),
    'folded behind a value': refused(`${POST}Expect: 100-continue\r\n\tx\r\n${HELLO}`),
  }),
  ...family(12, {
    'twice the same': refused(`${POST}Expect: 100-continue\r\nExpect: 100-continue\r\n${HELLO}`, 417),
    'twice, the second another': refused(`${POST}Expect: 100-continue\r\nExpect: x\r\n${HELLO}`, 417),
    'twice, the first another': refused(`${POST}Expect: x\r\nExpect: 100-continue\r\n${HELLO}`, 417),
  }),
  ...family(13, {
    'of a GET without a body': read(`${GET}Expect: 100-continue\r\n\r\n`, 'GET /v '),
    'with a length of zero': read(`${POST}Expect: 100-continue\r\nContent-Length: 0\r\n\r\n`, 'POST /v '),
    'of a HEAD': read(`${start('HEAD', 'v')}Expect: 100-continue\r\n\r\n`, 'HEAD /v '),
  }),
  ...family(14, {
    'Expect of HTTP/1.0': read(
      `POST ${BASE}/v HTTP/1.0\r\n${LINES}Connection: keep-alive\r\nExpect: 100-continue\r\n${HELLO}`,
      'POST /v hello',
    ),
    'Expect of HTTP/1.0 that ends': closed(`POST ${BASE}/v HTTP/1.0\r\n${LINES}Expect: 100-continue\r\n${HELLO}`, [
      'POST /v hello',
    ]),
  }),
  ...family(16, {
    'a GET with a request in its body': read(`${GET}Content-Length: ${N}\r\n\r\n${HIDDEN}`, `GET /v ${HIDDEN}`),
    'a HEAD with a request in its body': read(
      `${start('HEAD', 'v')}Content-Length: ${N}\r\n\r\n${HIDDEN}`,
      `HEAD /v ${HIDDEN}`,
    ),
    'OPTIONS with a request in its body': read(
      `${start('OPTIONS', 'v')}Content-Length: ${N}\r\n\r\n${HIDDEN}`,
      `OPTIONS /v ${HIDDEN}`,
    ),
    'a body of a request that the gateway refuses': answered(
      `POST /nothing HTTP/1.1\r\n${LINES}Content-Length: ${N}\r\n\r\n${HIDDEN}`,
      404,
    ),
    'chunks of a request that the gateway refuses': closed(
      `POST /nothing HTTP/1.1\r\n${LINES}${CHUNKED}\r\n${CHUNKED_HELLO}`,
      [],
      404,
    ),
  }),
  ...family(18, {
    'chunks of a GET': read(`${GET}${CHUNKED}\r\n${CHUNKED_HELLO}`, 'GET /v hello'),
    'chunks of a HEAD': read(`${start('HEAD', 'v')}${CHUNKED}\r\n${CHUNKED_HELLO}`, 'HEAD /v hello'),
    'chunks that are a request': read(
      `${GET}${CHUNKED}\r\n${N.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`,
      `GET /v ${HIDDEN}`,
    ),
    'chunks and a length': refused(`${GET}${CHUNKED}${HELLO}`),
  }),
  ...family(19, {
    'chunks of DELETE': read(`${start('DELETE', 'v')}${CHUNKED}\r\n${CHUNKED_HELLO}`, 'DELETE /v hello'),
    'chunks of OPTIONS': read(`${start('OPTIONS', 'v')}${CHUNKED}\r\n${CHUNKED_HELLO}`, 'OPTIONS /v hello'),
    'empty chunks of DELETE': read(`${start('DELETE', 'v')}${CHUNKED}\r\n0\r\n\r\n`, 'DELETE /v '),
  }),
  ...family(41, {
    'a length beyond the body': awaited(`${POST}Content-Length: 9999\r\n\r\nhello`),
    'a length that nobody will send': awaited(`${POST}Content-Length: 9007199254740991\r\n\r\nhello`),
    'a chunk beyond the body': awaited(`${POST}${CHUNKED}\r\nfffff\r\nhello\r\n0\r\n\r\n`),
  }),
  ...family(45, {
    ...masks({
      'two codings': 'Transfer-Encoding: gzip, chunked\r\n',
      'chunked twice': 'Transfer-Encoding: chunked, chunked\r\n',
      'chunked first': 'Transfer-Encoding: chunked, gzip\r\n',
      identity: 'Transfer-Encoding: identity\r\n',
      'chunked and identity': 'Transfer-Encoding: chunked, identity\r\n',
      'an empty one': 'Transfer-Encoding:\r\n',
      'a comma in front': 'Transfer-Encoding: ,chunked\r\n',
      'a comma behind': 'Transfer-Encoding: chunked,\r\n',
      'a parameter': 'Transfer-Encoding: chunked;q=1\r\n',
      'in quotes': 'Transfer-Encoding: "chunked"\r\n',
      'a letter more': 'Transfer-Encoding: xchunked\r\n',
      'a letter less': 'Transfer-Encoding: chunke\r\n',
      'a vertical tab': 'Transfer-Encoding: \x0bchunked\r\n',
      'a NUL': 'Transfer-Encoding: chunked\0\r\n',
      'a bracket': 'Transfer-Encoding: [chunked]\r\n',
      'obs-text': 'Transfer-Encoding: \xefchunked\r\n',
    }),
    'another case': read(`${POST}Transfer-Encoding: cHuNkEd\r\n\r\n${CHUNKED_HELLO}`, 'POST /v hello'),
    'a tab in front': read(`${POST}Transfer-Encoding:\tchunked\r\n\r\n${CHUNKED_HELLO}`, 'POST /v hello'),
    'no space in front': read(`${POST}Transfer-Encoding:chunked \r\n\r\n${CHUNKED_HELLO}`, 'POST /v hello'),
  }),
  ...family(
    46,
    masks({
      'twice chunked': CHUNKED + CHUNKED,
      'chunked and another': `${CHUNKED}Transfer-Encoding: x\r\n`,
      'another and chunked': `Transfer-Encoding: identity\r\n${CHUNKED}`,
      'gzip and chunked': `Transfer-Encoding: gzip\r\n${CHUNKED}`,
    }),
  ),
  ...family(
    47,
    masks({
      'gzip and a length': `Transfer-Encoding: gzip\r\nContent-Length: ${N}\r\n`,
      'identity and a length': `Content-Length: ${N}\r\nTransfer-Encoding: identity\r\n`,
    }),
  ),
  ...family(
    48,
    masks({
      'chunked, then a length': `${CHUNKED}Content-Length: ${N}\r\n`,
      'a length, then chunked': `Content-Length: ${N}\r\n${CHUNKED}`,
      'a length of zero, then chunked': `Content-Length: 0\r\n${CHUNKED}`,
    }),
  ),
  ...family(49, {
    'HTTP/1.0 with chunks': refused(`POST ${BASE}/v HTTP/1.0\r\n${LINES}${CHUNKED}\r\n${CHUNKED_HELLO}`),
    'HTTP/1.0 with chunks, kept': refused(
      `POST ${BASE}/v HTTP/1.0\r\n${LINES}Connection: keep-alive\r\n${CHUNKED}\r\n${CHUNKED_HELLO}`,
    ),
    'HTTP/1.0 with chunks and a length': refused(`POST ${BASE}/v HTTP/1.0\r\n${LINES}${CHUNKED}${HELLO}`),
    'HTTP/1.0 without a length has no body': closed(`POST ${BASE}/v HTTP/1.0\r\n${LINES}\r\n${HIDDEN}`, ['POST /v ']),
  }),
  ...family(50, {
    ...masks({
      'a space before the colon': 'Transfer-Encoding : chunked\r\n',
      'a tab before the colon': 'Transfer-Encoding\t: chunked\r\n',
      'a space before the name': ' Transfer-Encoding: chunked\r\n',
      'a fold': 'Transfer-Encoding:\r\n chunked\r\n',
      'a fold behind another': 'X: y\r\n Transfer-Encoding: chunked\r\n',
      'a bare LF in front': 'X: y\nTransfer-Encoding: chunked\r\n',
      'a bare CR in front': 'X: y\rTransfer-Encoding: chunked\r\n',
      'a NUL in the name': 'Transfer\0-Encoding: chunked\r\n',
      'a colon in front': ':Transfer-Encoding: chunked\r\n',
    }),
    'an underscore': read(`${POST}Transfer_Encoding: chunked\r\n\r\n`, 'POST /v '),
    'two underscores, and a length': read(`${POST}transfer_encoding: chunked\r\n${HELLO}`, 'POST /v hello'),
  }),
  ...family(51, {
    // U+017F (long s) and U+212A (Kelvin) become "s" and "k" where case is folded by Unicode.
    'a long s': refused(`${POST}Tran\xc5\xbffer-Encoding: chunked\r\n\r\n${HIDDEN}`),
    'a Kelvin in the coding': refused(`${POST}Transfer-Encoding: chun\xe2\x84\xaaed\r\n\r\n${HIDDEN}`),
    'a Kelvin in Connection': read(`${GET}Connection: \xe2\x84\xaaeep-alive\r\n\r\n`, 'GET /v '),
  }),
  ...family(52, {
    __proto__: read(`${GET}__proto__: x\r\nconstructor: y\r\ntoString: z\r\n\r\n`, 'GET /v '),
    'names of properties in Connection': read(`${GET}Connection: __proto__, constructor\r\n\r\n`, 'GET /v '),
    '__proto__ as a trailer': read(`${POST}${CHUNKED}\r\n0\r\n__proto__: x\r\n\r\n`, 'POST /v '),
  }),
  ...family(53, {
    'Content-Length nominated': refused(`${POST}Connection: Content-Length\r\n${HELLO}`),
    'Transfer-Encoding nominated': refused(
      `${POST}Connection: close, transfer-encoding\r\n${CHUNKED}\r\n${CHUNKED_HELLO}`,
    ),
    'Host nominated': refused(`${GET}Connection: keep-alive,Host\r\n\r\n`),
    'Host nominated, in a second line': refused(`${GET}Connection: x\r\nConnection: HOST\r\n\r\n`),
    'a name of the gateway’s nominated': read(`${GET}Connection: X-Xen-Session-User\r\n\r\n`, 'GET /v '),
    'Cookie nominated': read(`${GET}Connection: x, y\r\nX: 1\r\n\r\n`, 'GET /v '),
  }),
  ...family(54, {
    close: closed(`${GET}Connection: close\r\n\r\n`, ['GET /v ']),
    'another case': closed(`${GET}Connection: CLOSE\r\n\r\n`, ['GET /v ']),
    'in a list': closed(`${GET}Connection: x, close , y\r\n\r\n`, ['GET /v ']),
    'behind empty elements': closed(`${GET}Connection: ,, close\r\n\r\n`, ['GET /v ']),
    'in a second line': closed(`${GET}Connection: keep-alive\r\nConnection: close\r\n\r\n`, ['GET /v ']),
    'with keep-alive': closed(`${GET}Connection: close, keep-alive\r\n\r\n`, ['GET /v ']),
    'behind a tab': closed(`${GET}Connection:\tclose\r\n\r\n`, ['GET /v ']),
    'HTTP/1.0': closed(`GET ${BASE}/v HTTP/1.0\r\n${LINES}\r\n`, ['GET /v ']),
    'with a body': closed(`${POST}Connection: close\r\n${HELLO}`, ['POST /v hello']),
  }),
  ...family(55, {
    'multipart/byteranges without a length': read(
      `${POST}Content-Type: multipart/byteranges; boundary=b\r\n\r\n`,
      'POST /v ',
    ),
    'multipart/byteranges with a length': read(
      `${POST}Content-Type: multipart/byteranges; boundary=b\r\nContent-Length: 5\r\n\r\n--b--`,
      'POST /v --b--',
    ),
  }),
]

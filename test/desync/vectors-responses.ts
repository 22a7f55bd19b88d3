// Vectors of services: what a hostile one answers to a GET, and what has to become of it. Families 15, 17, 56, 62, 73 to 77, 80, 83.

/** What a service answers to one request. */
export interface ResponseVector {
  readonly family: number
  readonly name: string
  readonly bytes: string
  /** Whether the service ends its side behind the bytes. */
  readonly ends: boolean
  /** Status that the client gets; `reset` when its connection is cut. */
  readonly status: number | 'reset'
  /** The body that it gets. */
  readonly body: string
  /** Whether the service's connection may be used for another request. */
  readonly isReused: boolean
  readonly method: 'GET' | 'HEAD'
}

type Made = Omit<ResponseVector, 'family' | 'name'>

/** What would be somebody else's answer. */
const HIDDEN = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden'
const CHUNKED = 'Transfer-Encoding: chunked\r\n'

/** 502, and the connection is not used again. */
function bad(bytes: string): Made {
  return { bytes, ends: false, status: 502, body: '', isReused: false, method: 'GET' }
}

/** The head is good, what follows is not. */
function cut(bytes: string): Made {
  return { bytes, ends: false, status: 'reset', body: '', isReused: false, method: 'GET' }
}

/** Read, and the connection is used again, or not. */
function good(bytes: string, body: string, isReused: boolean, more: Partial<Made> = {}): Made {
  return { bytes, ends: false, status: 200, body, isReused, method: 'GET', ...more }
}

function family(number: number, vectors: Readonly<Record<string, Made>>): ResponseVector[] {
  return Object.entries(vectors).map(([name, made]) => ({ family: number, name, ...made }))
}

function ok(lines: string, body = ''): string {
  return `HTTP/1.1 200 OK\r\n${lines}\r\n${body}`
}

const ABC = ok('Content-Length: 3\r\n', 'abc')

export const RESPONSE_VECTORS: readonly ResponseVector[] = [
  ...family(15, {
    '100 twice': good(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${ABC}`, 'abc', true),
    '100 behind the answer': good(`${ABC}HTTP/1.1 100 Continue\r\n\r\n`, 'abc', false),
  }),
  ...family(17, {
    'an answer and one more': good(ABC + HIDDEN, 'abc', false),
  }),
  ...family(56, {
    '206 of many ranges, by the end': good(
      'HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n',
      '--b\r\n\r\nx\r\n--b--\r\n',
      false,
      { status: 206, ends: true },
    ),
  }),
  ...family(62, {
    '101 unasked': bad(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n${HIDDEN}`,
    ),
    '101 without Upgrade': bad('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
    '101 to h2c': bad('HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n'),
    '101 with a length': bad(`HTTP/1.1 101 Switching Protocols\r\nContent-Length: 3\r\n\r\nabc`),
  }),
  ...family(73, {
    '100 with a length and its body': bad(`HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc${ABC}`),
    '103 with chunks and its body': bad(`HTTP/1.1 103 Early Hints\r\n${CHUNKED}\r\n3\r\nxyz\r\n0\r\n\r\n${ABC}`),
    '103 with a length of the answer': good(
      `HTTP/1.1 103 Early Hints\r\nContent-Length: ${ABC.length}\r\n\r\n${ABC}`,
      'abc',
      true,
    ),
    '199': good(`HTTP/1.1 199 x\r\nA: b\r\n\r\n${ABC}`, 'abc', true),
    'more interim answers than anybody needs': bad(`${'HTTP/1.1 103 x\r\n\r\n'.repeat(101)}${ABC}`),
  }),
  ...family(74, {
    'a length of an answer to HEAD': good(ok('Content-Length: 100\r\n'), '', true, { method: 'HEAD' }),
    'chunks of an answer to HEAD': good(ok(CHUNKED), '', true, { method: 'HEAD' }),
    'a body of an answer to HEAD': good(ok('Content-Length: 3\r\n', 'abc'), '', false, { method: 'HEAD' }),
    'an interim answer to HEAD': good(`HTTP/1.1 103 x\r\n\r\n${ok('Content-Length: 9\r\n')}`, '', true, {
      method: 'HEAD',
    }),
  }),
  ...family(75, {
    'another version': bad('HTTP/2.0 200 OK\r\n\r\n'),
    'HTTP/1.2': bad('HTTP/1.2 200 OK\r\n\r\n'),
    'no version': bad('200 OK\r\n\r\n'),
    'two digits': bad('HTTP/1.1 20 OK\r\n\r\n'),
    'four digits': bad('HTTP/1.1 2000 OK\r\n\r\n'),
    'a sign': bad('HTTP/1.1 +20 OK\r\n\r\n'),
    zero: bad('HTTP/1.1 000 OK\r\n\r\n'),
    '099': bad('HTTP/1.1 099 OK\r\n\r\n'),
    '600': bad('HTTP/1.1 600 OK\r\n\r\n'),
    'two spaces': bad('HTTP/1.1  200 OK\r\n\r\n'),
    'a tab': bad('HTTP/1.1\t200 OK\r\n\r\n'),
    'a space in front': bad(' HTTP/1.1 200 OK\r\n\r\n'),
    'an empty line in front': bad(`\r\n${ABC}`),
    'a bare LF': bad('HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n'),
    'a NUL in the phrase': bad('HTTP/1.1 200 O\0K\r\n\r\n'),
    'a CR in the phrase': bad('HTTP/1.1 200 O\rK\r\n\r\n'),
    'a lower-case version': bad('http/1.1 200 OK\r\n\r\n'),
    'a request': bad('GET / HTTP/1.1\r\nHost: h\r\n\r\n'),
    'something else': bad('SSH-2.0-x\r\n\r\n'),
    'no phrase': good('HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\nabc', 'abc', true),
    'no phrase, and no space': good('HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc', 'abc', true),
    'obs-text in the phrase': good('HTTP/1.1 200 \xe9\r\nContent-Length: 3\r\n\r\nabc', 'abc', true),
  }),
  ...family(76, {
    'a length and chunks': bad(ok(`Content-Length: 3\r\n${CHUNKED}`, 'abc')),
    'chunks and a length': bad(ok(`${CHUNKED}Content-Length: 3\r\n`, '0\r\n\r\n')),
    'two lengths': bad(ok('Content-Length: 3\r\nContent-Length: 4\r\n', 'abc')),
    'two lengths that are the same': bad(ok('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc')),
    'a list of lengths': bad(ok('Content-Length: 3, 3\r\n', 'abc')),
    'a negative length': bad(ok('Content-Length: -3\r\n', 'abc')),
    'a sign': bad(ok('Content-Length: +3\r\n', 'abc')),
    hexadecimal: bad(ok('Content-Length: 0x3\r\n', 'abc')),
    'an empty length': bad(ok('Content-Length:\r\n', 'abc')),
    'a space before the colon': bad(ok('Content-Length : 3\r\n', 'abc')),
    'a folded length': bad(ok('Content-Length:\r\n 3\r\n', 'abc')),
    'a bare LF behind a field': bad(ok('A: b\nContent-Length: 3\r\n', 'abc')),
    'chunks of HTTP/1.0': bad(`HTTP/1.0 200 OK\r\n${CHUNKED}\r\n0\r\n\r\n`),
    gzip: bad(ok('Transfer-Encoding: gzip\r\n', 'abc')),
    'gzip and chunked': bad(ok('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')),
    'chunked twice': bad(ok(CHUNKED + CHUNKED, '0\r\n\r\n')),
    identity: bad(ok('Transfer-Encoding: identity\r\nContent-Length: 3\r\n', 'abc')),
    'a length nominated': bad(ok('Connection: Content-Length\r\nContent-Length: 3\r\n', 'abc')),
    'a chunk that ends in LF': cut(ok(CHUNKED, '3\nabc\r\n0\r\n\r\n')),
    'a chunk size with a sign': cut(ok(CHUNKED, '+3\r\nabc\r\n0\r\n\r\n')),
    'a chunk longer than its size': cut(ok(CHUNKED, '3\r\nabcd\r\n0\r\n\r\n')),
    'a chunk extension with LF': cut(ok(CHUNKED, '3;\nabc\r\n0\r\n\r\n')),
    'a trailer that ends in LF': cut(ok(CHUNKED, '3\r\nabc\r\n0\r\nA: b\n\r\n')),
    '204 with a body': good('HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc', '', false, { status: 204 }),
    '204 with chunks': good(`HTTP/1.1 204 No Content\r\n${CHUNKED}\r\n0\r\n\r\n`, '', false, { status: 204 }),
    '304 with a length and no body': good('HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n', '', true, {
      status: 304,
    }),
    '304 with a body': good('HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc', '', false, { status: 304 }),
    'by the end': good(ok('', `abc${HIDDEN}`), `abc${HIDDEN}`, false, { ends: true }),
    'HTTP/1.0': good('HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc', 'abc', false),
    close: good(ok('Connection: close\r\nContent-Length: 3\r\n', 'abc'), 'abc', false),
    'a length that is not reached': { ...cut(ok('Content-Length: 9\r\n', 'abc')), ends: true },
    'chunks without an end': { ...cut(ok(CHUNKED, '3\r\nabc\r\n')), ends: true },
    'a head without an end': { ...bad('HTTP/1.1 200 OK\r\nContent-'), ends: true },
    nothing: { ...bad(''), ends: true },
    chunks: good(ok(CHUNKED, '3\r\nabc\r\n0\r\nContent-Length: 9\r\nX: y\r\n\r\n'), 'abc', true),
  }),
  ...family(77, {
    'a body longer than its length': good(ok('Content-Length: 3\r\n', `abc${HIDDEN}`), 'abc', false),
    'something behind the last chunk': good(ok(CHUNKED, `3\r\nabc\r\n0\r\n\r\n${HIDDEN}`), 'abc', false),
    'CRLF behind the body': good(`${ABC}\r\n`, 'abc', false),
    'one byte behind the body': good(`${ABC}x`, 'abc', false),
    'an answer behind an empty one': good(`${ok('Content-Length: 0\r\n')}${HIDDEN}`, '', false),
  }),
  ...family(80, {
    'an answer before anything was asked for': good(ABC, 'abc', true),
  }),
  ...family(83, {
    'an encoded CRLF': good(ok('Location: /%0d%0aX:%20y\r\nContent-Length: 3\r\n', 'abc'), 'abc', true),
    'a CR in a value': bad(ok('X: a\rSet-Cookie: b\r\nContent-Length: 3\r\n', 'abc')),
    'a NUL in a value': bad(ok('X: a\0\r\nContent-Length: 3\r\n', 'abc')),
    'a name that is none': bad(ok('X Y: a\r\nContent-Length: 3\r\n', 'abc')),
  }),
]

// Vectors in start lines, targets, fields, and what follows a head: families 57 to 72, 84, 89, 90, 92.

import { answered, BASE, closed, family, HIDDEN, LINES, read, refused, type RequestVector, start } from './vector.ts'

const GET = start('GET', 'v')
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
const READER = 'Cookie: session_id=OpaqueRef:22222222-2222-4222-8222-222222222222\r\n'
const NOBODY = 'Cookie: session_id=OpaqueRef:99999999-9999-4999-8999-999999999999\r\n'
const SEEN = 'GET /v '

function target(text: string): string {
  return `GET ${text} HTTP/1.1\r\n${LINES}\r\n`
}

export const HEAD_VECTORS: readonly RequestVector[] = [
  ...family(57, {
    'a request behind an upgrade that is refused': read(`${GET}${UPGRADE}\r\n`, SEEN),
    'a request without a session behind it': answered(`GET ${BASE}/v HTTP/1.1\r\nHost: h\r\n${UPGRADE}\r\n`, 403),
  }),
  ...family(58, {
    'an upgrade with a length': read(
      `${GET}${UPGRADE}Content-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      `${SEEN}${HIDDEN}`,
    ),
    'an upgrade with chunks': read(
      `${GET}${UPGRADE}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
      `${SEEN}hello`,
    ),
    'an upgrade of a POST': read(`${start('POST', 'v')}${UPGRADE}Content-Length: 0\r\n\r\n`, 'POST /v '),
  }),
  ...family(59, {
    'Upgrade without Connection': read(`${GET}Upgrade: websocket\r\n\r\n`, SEEN),
    'Connection without Upgrade': read(`${GET}Connection: Upgrade\r\n\r\n`, SEEN),
    'an empty Upgrade': read(`${GET}Connection: Upgrade\r\nUpgrade:\r\n\r\n`, SEEN),
    'Connection nominates another': read(`${GET}Connection: Upgrades\r\nUpgrade: websocket\r\n\r\n`, SEEN),
  }),
  ...family(60, {
    h2c: read(
      `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
      SEEN,
    ),
    'h2c among others': read(`${GET}Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n`, SEEN),
    'h2c in another case': read(`${GET}Connection: uPgRaDe\r\nUpgrade: H2C\r\n\r\n`, SEEN),
    'HTTP/2.0': read(`${GET}Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n\r\n`, SEEN),
    TLS: read(`${GET}Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n`, SEEN),
    'the preface of HTTP/2': refused('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 505),
  }),
  ...family(61, {
    'a version of websockets that nobody knows': read(
      `${GET}${UPGRADE}Sec-WebSocket-Version: 1337\r\nSec-WebSocket-Key: k\r\n\r\n`,
      SEEN,
    ),
  }),
  ...family(63, {
    'CONNECT to a host': closed(`CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n${HIDDEN}`, [], 404, 405, 501),
    'CONNECT of a service': closed(`${start('CONNECT', 'v')}\r\n${HIDDEN}`, [], 404, 405, 501, 400),
    'CONNECT with a length': closed(
      `CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
      [],
      404,
      405,
      501,
    ),
    'CONNECT to no host': refused(`CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n${HIDDEN}`, 400, 404, 405, 501),
  }),
  ...family(64, {
    'a bare LF ends the request line': refused(`GET ${BASE}/v HTTP/1.1\n${LINES}\r\n`),
    'a bare LF ends a field': refused(`${GET}X: y\n\r\n`),
    'LF CR LF': refused(`${GET}X: y\n\r\n${HIDDEN}`),
    'a bare LF ends the head': refused(`${GET}\n${HIDDEN}`),
    'CR CR LF ends the head': refused(`${GET}\r\r\n${HIDDEN}`),
    'CR X ends the head': refused(`${GET}\rX${HIDDEN}`),
    'CR CR LF ends a field': refused(`${GET}X: y\r\r\n\r\n`),
    'a bare CR ends the head': refused(`${GET}X: y\r\n\r${HIDDEN}`),
    'a space ends the head': refused(`${GET} \r\n\r\n${HIDDEN}`),
    'a bare CR in a value': refused(`${GET}X: y\rz\r\n\r\n`),
  }),
  ...family(65, {
    'two spaces': refused(`GET  ${BASE}/v HTTP/1.1\r\n${LINES}\r\n`),
    'two spaces before the version': refused(`GET ${BASE}/v  HTTP/1.1\r\n${LINES}\r\n`),
    'a tab': refused(`GET\t${BASE}/v HTTP/1.1\r\n${LINES}\r\n`),
    'a space behind the version': refused(`GET ${BASE}/v HTTP/1.1 \r\n${LINES}\r\n`),
    'HTTP/0.9': refused(`GET ${BASE}/v\r\n\r\n`),
    'a lower-case version': refused(`GET ${BASE}/v http/1.1\r\n${LINES}\r\n`),
    'HTTP/1.2': refused(`GET ${BASE}/v HTTP/1.2\r\n${LINES}\r\n`, 505),
    'HTTP/2.0': refused(`GET ${BASE}/v HTTP/2.0\r\n${LINES}\r\n`, 505),
    'HTTP/1.10': refused(`GET ${BASE}/v HTTP/1.10\r\n${LINES}\r\n`),
    'HTTP/01.1': refused(`GET ${BASE}/v HTTP/01.1\r\n${LINES}\r\n`, 400, 505),
    'HTTP/1,1': refused(`GET ${BASE}/v HTTP/1,1\r\n${LINES}\r\n`),
    'HTTP/+1.1': refused(`GET ${BASE}/v HTTP/+1.1\r\n${LINES}\r\n`),
    'another protocol': refused(`GET ${BASE}/v RTSP/1.1\r\n${LINES}\r\n`),
    'a method that is no token': refused(`G(T ${BASE}/v HTTP/1.1\r\n${LINES}\r\n`),
    'no method': refused(` ${BASE}/v HTTP/1.1\r\n${LINES}\r\n`),
    'two empty lines': refused(`\r\n\r\n${GET}\r\n`),
    'an empty line that ends in LF': refused(`\n${GET}\r\n`),
    'a NUL in front': refused(`\0${GET}\r\n`),
    'one empty line': read(`\r\n${GET}\r\n`, SEEN),
  }),
  ...family(66, {
    'a space before the first field': refused(`GET ${BASE}/v HTTP/1.1\r\n X: y\r\n${LINES}\r\n`),
    'a tab before the first field': refused(`GET ${BASE}/v HTTP/1.1\r\n\tX: y\r\n${LINES}\r\n`),
    'an empty line of spaces': refused(`GET ${BASE}/v HTTP/1.1\r\n \r\n${LINES}\r\n`),
    'a space before the method': refused(` ${GET}\r\n`),
  }),
  ...family(67, {
    'the absolute form': read(target(`http://h${BASE}/v`), SEEN),
    'the absolute form of another host': read(target(`http://other${BASE}/v`), SEEN),
    'the absolute form of https in another case': read(target(`HTTPS://h${BASE}/v`), SEEN),
    userinfo: refused(target(`http://u@h${BASE}/v`)),
    'a password': refused(target(`http://u:p@h${BASE}/v`)),
    'a backslash for a slash': refused(target(`http:\\\\h${BASE}/v`)),
    'a backslash in the host': refused(target(`http://h\\x${BASE}/v`)),
    'a fragment': refused(target(`http://h${BASE}/v#x`)),
    'a fragment of the origin form': refused(target(`${BASE}/v#x`)),
    'no host': refused(target(`http://${BASE}/v`)),
    'an empty host': refused(target(`http:///v`)),
    'another scheme': refused(target(`ftp://h${BASE}/v`)),
    'one slash': refused(target(`http:/h${BASE}/v`)),
    'no slash at all': refused(target('services/plugin/svc')),
    'an authority': refused(target('h:80')),
    'an asterisk': refused(target('*')),
    'two hosts by a percent': read(target(`http://h%2f@other${BASE}/v`.replace('@', '')), SEEN),
  }),
  ...family(68, {
    'an encoded CRLF': read(target(`${BASE}/v%0d%0aX:%20y`), 'GET /v%0d%0aX:%20y '),
    'an encoded NUL': read(target(`${BASE}/v%00`), 'GET /v%00 '),
    'an encoded slash': read(target(`${BASE}/v%2fw`), 'GET /v%2fw '),
    'an encoded percent': read(target(`${BASE}/v%250a`), 'GET /v%250a '),
    dots: read(target(`${BASE}/v/../../other`), 'GET /v/../../other '),
    'encoded dots': read(target(`${BASE}/v/%2e%2e/x`), 'GET /v/%2e%2e/x '),
    'a percent that is none': read(target(`${BASE}/v%zz`), 'GET /v%zz '),
    'a semicolon': read(target(`${BASE}/v;a=b?c`), 'GET /v;a=b?c '),
    'dots before the service': answered(target('/x/../services/plugin/svc/v'), 404),
    'an encoded service': answered(target('/services/plugin/%73vc/v'), 404),
    'a raw LF': refused(target(`${BASE}/v\nX: y`)),
    'a raw CR': refused(target(`${BASE}/v\rX: y`)),
    'a raw NUL': refused(target(`${BASE}/v\0`)),
    'a raw DEL': refused(target(`${BASE}/v\x7f`)),
    'raw obs-text': refused(target(`${BASE}/v\xe9`)),
    'a raw tab': refused(target(`${BASE}/v\tx`)),
  }),
  ...family(71, {
    'the gateway’s own fields': read(
      `${GET}X-Xen-Session-User: forged\r\nx-forwarded-for: forged\r\nX-REQUEST-ID: forged\r\n\r\n`,
      SEEN,
    ),
    'with underscores': read(`${GET}X_Xen_Session_User: forged\r\nX-Xen_Session-Roles: forged\r\n\r\n`, SEEN),
    nominated: read(
      `${GET}Connection: X-Xen-Session-User, X-Forwarded-For\r\nX-Xen-Session-User: forged\r\n\r\n`,
      SEEN,
    ),
    'with a space before the colon': refused(`${GET}X-Xen-Session-User : forged\r\n\r\n`),
    folded: refused(`${GET}X: y\r\n X-Xen-Session-User: forged\r\n\r\n`),
  }),
  ...family(72, {
    'a NUL': refused(`${GET}X: a\0b\r\n\r\n`),
    'a bell': refused(`${GET}X: a\x07b\r\n\r\n`),
    DEL: refused(`${GET}X: a\x7fb\r\n\r\n`),
    'a vertical tab': refused(`${GET}X: a\x0bb\r\n\r\n`),
    'a name with a space': refused(`${GET}X Y: a\r\n\r\n`),
    'a name with a bracket': refused(`${GET}X[]: a\r\n\r\n`),
    'a name with obs-text': refused(`${GET}X\xe9: a\r\n\r\n`),
    'a name alone': refused(`${GET}X\r\n\r\n`),
    'obs-text': read(`${GET}X: \xe9\xff\x80\r\n\r\n`, SEEN),
    'a tab': read(`${GET}X: a\tb\r\n\r\n`, SEEN),
    'an empty value': read(`${GET}X:\r\nY: \t \r\n\r\n`, SEEN),
  }),
  ...family(84, {
    'a folded request, then a good one': refused(`${GET}X:\r\n y\r\n\r\n${GET}\r\n`),
    'a length of the request before': refused(`${start('POST', 'v')}Content-Length:\r\n\r\n${HIDDEN}`),
    'an HTTP/1.0 request that is kept, then one that is not': closed(
      `GET ${BASE}/v HTTP/1.0\r\n${LINES}Connection: keep-alive\r\n\r\nGET ${BASE}/w HTTP/1.0\r\n${LINES}\r\n`,
      [SEEN, 'GET /w '],
    ),
  }),
  ...family(89, {
    'another session’s': read(`GET ${BASE}/v HTTP/1.1\r\nHost: h\r\n${READER}\r\n`, SEEN),
    'nobody’s': answered(`GET ${BASE}/v HTTP/1.1\r\nHost: h\r\n${NOBODY}\r\n`, 403),
    none: answered(`GET ${BASE}/v HTTP/1.1\r\nHost: h\r\n\r\n`, 403),
  }),
  ...family(90, {
    TRACE: answered(`${start('TRACE', 'v')}Max-Forwards: 0\r\n\r\n`, 405, 501),
    'TRACE of everything': refused(`TRACE * HTTP/1.1\r\nHost: h\r\n\r\n`, 400, 405, 501),
    'OPTIONS of everything': answered('OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n', 404, 405),
  }),
  ...family(92, {
    'a head that is too long': refused(`${GET}X: ${'x'.repeat(17_000)}\r\n\r\n`, 431),
    'a head of very many fields': refused(`${GET}${'A:\r\n'.repeat(1001)}\r\n`, 431),
    'a target that is too long': refused(target(`${BASE}/${'x'.repeat(9000)}`), 414),
    'a method that is too long': refused(`${'A'.repeat(33)} / HTTP/1.1\r\nHost: h\r\n\r\n`),
    'extensions that are too long': refused(
      `${start('POST', 'v')}Transfer-Encoding: chunked\r\n\r\n5;${'x'.repeat(17_000)}\r\nhello\r\n0\r\n\r\n`,
    ),
    'trailers that are too long': refused(
      `${start('POST', 'v')}Transfer-Encoding: chunked\r\n\r\n0\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`,
      431,
    ),
  }),
]

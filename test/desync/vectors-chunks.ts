// Vectors in chunked bodies: families 23 to 40, 42 to 44.

import { awaited, family, HIDDEN, read, refused, type RequestVector, start } from './vector.ts'

const HEAD = `${start('POST', 'v')}Transfer-Encoding: chunked\r\n\r\n`

function body(text: string): ReturnType<typeof refused> {
  return refused(HEAD + text)
}

function good(text: string, is: string): ReturnType<typeof read> {
  return read(HEAD + text, `POST /v ${is}`)
}

const END = '0\r\n\r\n'

export const CHUNK_VECTORS: readonly RequestVector[] = [
  ...family(23, {
    'a bare LF behind the semicolon': body(`5;\nhello\r\n${END}`),
    'a bare LF behind an extension': body(`5;a\nxx\r\n45\r\n${END}${HIDDEN}`),
    'a bare LF in a value': body(`5;a=b\nhello\r\n${END}`),
  }),
  ...family(24, {
    'a bare LF before the semicolon': body(`5\n;a\r\nhello\r\n${END}`),
    'a bare CR before the semicolon': body(`5\r;a\r\nhello\r\n${END}`),
  }),
  ...family(25, {
    'a request behind a bare LF': body(`2;\nxx\r\n4c\r\n0\r\n\r\n${HIDDEN}\r\n${END}`),
    'a request behind a bare CR': body(`2;\rxx\r\n4c\r\n0\r\n\r\n${HIDDEN}\r\n${END}`),
  }),
  ...family(26, {
    'a chunk that ends in LF': body(`5\r\nhello\n${END}`),
    'a chunk that spills by one': body(`5\r\nhelloX${END}`),
    'a chunk that spills by two': body(`5\r\nhelloXX${END}`),
  }),
  ...family(27, {
    'a chunk that ends in CR': body(`5\r\nhello\r${END}`),
    'a chunk without an end': body(`5\r\nhello${END}`),
    'a space before the end of a chunk': body(`5\r\nhello \r\n${END}`),
  }),
  ...family(28, { 'LF where CRLF is': body(`5\r\nhello\n0\r\n\r\n`), 'LF alone everywhere': body('5\nhello\n0\n\n') }),
  ...family(29, {
    'CRLF twice behind a chunk': body(`5\r\nhello\r\n\r\n${END}`),
    'CRLF twice behind a size': body(`5\r\n\r\nhello\r\n${END}`),
  }),
  ...family(30, {
    'any two bytes behind a chunk': body(`5\r\nhello__0\r\n\r\n`),
    'LF CR behind a chunk': body(`5\r\nhello\n\r${END}`),
  }),
  ...family(31, {
    'nothing behind a chunk': body('5\r\nhello0\r\n\r\n'),
    'two digits behind a chunk': body(`5\r\nhello00\r\n\r\n`),
  }),
  ...family(32, {
    'a trailer line that ends in LF': body('0\r\nA: b\n\r\n'),
    'a bare LF ends the trailers': body('0\r\n\n'),
    'a bare LF behind a trailer': body('0\r\nA: b\r\n\n'),
  }),
  ...family(33, {
    'a last chunk that ends in LF': body('0\n\r\n'),
    'a last chunk that ends in CR': body('0\r\r\n'),
    'a CR in a trailer': body('0\r\nA: b\rC: d\r\n\r\n'),
    'a CR ends the trailers': body('0\r\n\rX'),
  }),
  ...family(34, {
    'CRLF in quotes': body(`5;a="\r\nx"\r\nhello\r\n${END}`),
    'CRLF in quotes, and a request': body(`1;a="\r\nX\r\n${END}${HIDDEN}"\r\n`),
    'an escaped CR': body(`5;a="\\\r\n"\r\nhello\r\n${END}`),
    'quotes that do not end': body(`5;a="b\r\nhello\r\n${END}`),
  }),
  ...family(35, {
    'an escape at the end': body(`5;a="b\\"\r\nhello\r\n${END}`),
    'a LF in quotes': body(`5;a="\n"\r\nhello\r\n${END}`),
    'a NUL in quotes': body(`5;a="\0"\r\nhello\r\n${END}`),
    'a quote in a token': body(`5;a=b"c"\r\nhello\r\n${END}`),
    'something behind the quotes': body(`5;a="b"c\r\nhello\r\n${END}`),
    'well quoted': good(`5;a="b;c\\"\\\\"\r\nhello\r\n${END}`, 'hello'),
  }),
  ...family(36, {
    'nothing behind the semicolon': body(`5;\r\nhello\r\n${END}`),
    'two semicolons': body(`5;;a\r\nhello\r\n${END}`),
    'an extension without a name': body(`5;=b\r\nhello\r\n${END}`),
    'an extension without a value': body(`5;a=\r\nhello\r\n${END}`),
    'a space before the semicolon': body(`5 ;a\r\nhello\r\n${END}`),
    'a space behind the size': body(`5 \r\nhello\r\n${END}`),
    'a tab behind the size': body(`5\t\r\nhello\r\n${END}`),
    'a control byte in a name': body(`5;a\x01\r\nhello\r\n${END}`),
    'a comma': body(`5,a\r\nhello\r\n${END}`),
    'obs-text in a name': body(`5;\xe9\r\nhello\r\n${END}`),
    'a name': good(`5;a\r\nhello\r\n${END}`, 'hello'),
    'white space about the name': good(`5; a = b ;c\r\nhello\r\n${END}`, 'hello'),
    'on the last chunk': good('0;a=b\r\n\r\n', ''),
  }),
  ...family(37, {
    'a sign': body(`+5\r\nhello\r\n${END}`),
    'a negative one': body(`-5\r\nhello\r\n${END}`),
    'a 0x': body(`0x5\r\nhello\r\n${END}`),
    'an underscore': body(`1_0\r\nhello\r\n${END}`),
    'a space in front': body(` 5\r\nhello\r\n${END}`),
    'a space within': body(`0 5\r\nhello\r\n${END}`),
    'no digit': body(`\r\nhello\r\n${END}`),
    'a semicolon alone': body(`;a\r\nhello\r\n${END}`),
    'a letter beyond f': body(`g\r\nhello\r\n${END}`),
    'beyond 2^53': body(`20000000000001\r\nhello\r\n${END}`),
    'beyond 2^64': body(`10000000000000005\r\nhello\r\n${END}`),
    'a point': body(`5.0\r\nhello\r\n${END}`),
    'an h': body(`5h\r\nhello\r\n${END}`),
    '4 GiB and 5': awaited(`${HEAD}100000005\r\nhello\r\n${END}`),
    'a zero in front': good(`05\r\nhello\r\n${END}`, 'hello'),
    'many zeros in front': good(`${'0'.repeat(64)}5\r\nhello\r\n${END}`, 'hello'),
    'upper and lower case': good(`a\r\n0123456789\r\nA\r\n0123456789\r\n${END}`, '01234567890123456789'),
  }),
  ...family(38, {
    'two bytes that are not CRLF': body(`5\r\nhelloAB5\r\nworld\r\n${END}`),
    'a chunk longer than its size': body(`3\r\nhello\r\n${END}`),
    'a chunk shorter than its size': body(`6\r\nhello\r\n${END}`),
    'CR and another byte': body(`5\r\nhello\rX${END}`),
  }),
  ...family(39, {
    'many zeros': good('5\r\nhello\r\n00000\r\n\r\n', 'hello'),
    'a last chunk alone': good(END, ''),
    'no last chunk': awaited(`${HEAD}5\r\nhello\r\n`),
    'a last chunk with a sign': body('-0\r\n\r\n'),
    'a last chunk with a space': body('0 \r\n\r\n'),
    'a last chunk with a 0x': body('0x0\r\n\r\n'),
    'a last chunk with data': body('0\r\nhello\r\n\r\n'),
  }),
  ...family(40, {
    'CRLF before the last chunk': body(`5\r\nhello\r\n\r\n${END}`),
    'CRLF before the first chunk': body(`\r\n5\r\nhello\r\n${END}`),
    'LF before the last chunk': body(`5\r\nhello\r\n\n${END}`),
  }),
  ...family(42, {
    'Content-Length': good(`0\r\nContent-Length: 5\r\n\r\n`, ''),
    'Transfer-Encoding': good(`5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n`, 'hello'),
    'Host and Cookie': good('0\r\nHost: other\r\nCookie: session_id=x\r\n\r\n', ''),
    'an identity': good(
      '0\r\nX-Xen-Session-User: root\r\nX_Xen_Session_User: root\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n',
      '',
    ),
    Connection: good('0\r\nConnection: close\r\n\r\n', ''),
    Expect: good('0\r\nExpect: 100-continue\r\n\r\n', ''),
  }),
  ...family(43, {
    'no colon': body(`0\r\nA\r\n\r\n${HIDDEN}`),
    'an empty name': body(`0\r\n: b\r\n\r\n${HIDDEN}`),
    'a space before the colon': body(`0\r\nA : b\r\n\r\n${HIDDEN}`),
    'a fold': body(`0\r\nA: b\r\n c\r\n\r\n${HIDDEN}`),
    'a NUL': body(`0\r\nA: \0\r\n\r\n${HIDDEN}`),
    'a space in front': body(`0\r\n A: b\r\n\r\n${HIDDEN}`),
  }),
  ...family(44, {
    'a request line for a trailer': body(`0\r\n${HIDDEN}`),
    'a request line behind a trailer': body(`0\r\nA: b\r\n${HIDDEN}`),
  }),
]

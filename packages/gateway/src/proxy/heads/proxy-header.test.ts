import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Ends } from '../../transport/transport.ts'
import { proxyLineForXapi, readProxyHeader, V1_BYTES_MAX, V2_BYTES_MAX } from './proxy-header.ts'

const SIGNATURE = '\r\n\r\n\0\r\nQUIT\n'
const REST = 'GET / HTTP/1.1\r\n'

function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

/** A header of version 2 as text, one character a byte. */
function v2(command: number, family: number, body: string): string {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(body.length)
  return `${SIGNATURE}${String.fromCharCode(command, family)}${length.toString('latin1')}${body}`
}

const V4_BODY = '\x0a\x01\x02\x03\xc0\x00\x02\x01\x30\x39\x01\xbb'
const V4_ENDS: Ends = {
  source: { address: '10.1.2.3', port: 12_345 },
  destination: { address: '192.0.2.1', port: 443 },
}
const V6_BODY = `${'\x20\x01\x0d\xb8'.padEnd(15, '\0')}\x07${'\0'.repeat(15)}\x01\x30\x39\x01\xbb`
const V6_ENDS: Ends = { source: { address: '2001:db8::7', port: 12_345 }, destination: { address: '::1', port: 443 } }
const MAPPED_BODY = `${'\0'.repeat(10)}\xff\xff\x0a\x01\x02\x03${'\0'.repeat(10)}\xff\xff\xc0\x00\x02\x01\x30\x39\x01\xbb`
const ENTRIES = '\x01\x00\x02h2\x05\x00\x00'

const TAKEN: readonly (readonly [title: string, header: string, ends: Ends | null])[] = [
  ['version 1 of IPv4', 'PROXY TCP4 10.1.2.3 192.0.2.1 12345 443\r\n', V4_ENDS],
  ['version 1 of IPv6', 'PROXY TCP6 2001:db8::7 ::1 12345 443\r\n', V6_ENDS],
  ['version 1 of IPv4 as IPv6', 'PROXY TCP6 ::ffff:10.1.2.3 ::ffff:192.0.2.1 12345 443\r\n', V4_ENDS],
  ['version 1, unknown', 'PROXY UNKNOWN\r\n', null],
  ['version 1, unknown with more', 'PROXY UNKNOWN ff:ff::1 anything 1 2 3\r\n', null],
  ['version 1, as long as it may be', `PROXY UNKNOWN ${'x'.repeat(V1_BYTES_MAX - 16)}\r\n`, null],
  ['version 2 of IPv4', v2(0x21, 0x11, V4_BODY), V4_ENDS],
  ['version 2 of IPv6', v2(0x21, 0x21, V6_BODY), V6_ENDS],
  ['version 2 of IPv4 as IPv6', v2(0x21, 0x21, MAPPED_BODY), V4_ENDS],
  ['version 2 with entries', v2(0x21, 0x11, V4_BODY + ENTRIES), V4_ENDS],
  ['version 2 of a Unix socket', v2(0x21, 0x31, '/'.padEnd(216, '\0')), null],
  ['version 2, family not specified', v2(0x21, 0x00, 'anything'), null],
  ['version 2, local', v2(0x20, 0x00, ''), null],
  ['version 2, local with what is to be ignored', v2(0x20, 0x7f, 'anything'), null],
  ['version 2, as long as it may be', v2(0x20, 0x00, 'x'.repeat(V2_BYTES_MAX - 16)), null],
]

for (const [title, header, ends] of TAKEN) {
  test(`a header is taken, alone, followed by a request, behind other bytes, and not before it is whole: ${title}`, () => {
    const complete = { kind: 'complete', end: header.length, ends }
    assert.deepEqual(readProxyHeader(bytesOf(header), 0, header.length), complete)
    const whole = bytesOf(header + REST)
    assert.deepEqual(readProxyHeader(whole, 0, whole.length), complete)
    const behind = bytesOf(`xyz${header}${REST}`)
    assert.deepEqual(readProxyHeader(behind, 3, behind.length), { ...complete, end: header.length + 3 })
    for (let cut = 0; cut < header.length; cut++) {
      assert.deepEqual(readProxyHeader(whole, 0, cut), { kind: 'need-more' }, `cut at ${cut}`)
    }
  })
}

const REFUSED: readonly (readonly [title: string, header: string, fault: string])[] = [
  ['a request', REST, 'proxy-header-missing'],
  ['a request whose method has the same first letter', 'PUT / HTTP/1.1\r\n', 'proxy-header-missing'],
  ['TLS', '\x16\x03\x01', 'proxy-header-missing'],
  ['an empty line', '\r\nGET', 'proxy-header-missing'],
  ['lower case', 'proxy TCP4', 'proxy-header-missing'],
  ['a tab', 'PROXY\tTCP4', 'proxy-header-missing'],
  ['no CR', 'PROXY UNKNOWN\n', 'proxy-header-malformed'],
  ['another family', 'PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n', 'proxy-header-malformed'],
  ['no family', 'PROXY \r\n', 'proxy-header-malformed'],
  ['unknown as the beginning of a word', 'PROXY UNKNOWNS\r\n', 'proxy-header-malformed'],
  ['a control character', 'PROXY UNKNOWN \x01\r\n', 'proxy-header-malformed'],
  ['IPv6 in TCP4', 'PROXY TCP4 ::1 ::1 1 2\r\n', 'proxy-header-malformed'],
  ['IPv4 in TCP6', 'PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n', 'proxy-header-malformed'],
  ['an address with a zero in front', 'PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n', 'proxy-header-malformed'],
  ['an address with a zone', 'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', 'proxy-header-malformed'],
  ['a port that is too high', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n', 'proxy-header-malformed'],
  ['a port with a zero in front', 'PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n', 'proxy-header-malformed'],
  ['no port', 'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n', 'proxy-header-malformed'],
  ['two spaces', 'PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n', 'proxy-header-malformed'],
  ['a space at the end', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n', 'proxy-header-malformed'],
  ['version 1 one byte too long', `PROXY UNKNOWN ${'x'.repeat(V1_BYTES_MAX - 15)}\r\n`, 'proxy-header-too-long'],
  ['version 1 without an end', `PROXY UNKNOWN ${'x'.repeat(V1_BYTES_MAX)}`, 'proxy-header-too-long'],
  ['another version', v2(0x11, 0x11, V4_BODY), 'proxy-header-malformed'],
  ['another command', v2(0x22, 0x11, V4_BODY), 'proxy-header-malformed'],
  ['datagrams', v2(0x21, 0x12, V4_BODY), 'proxy-header-malformed'],
  ['another binary family', v2(0x21, 0x41, V4_BODY), 'proxy-header-malformed'],
  ['addresses cut short', v2(0x21, 0x11, V4_BODY.slice(1)), 'proxy-header-malformed'],
  ['IPv6 addresses cut short', v2(0x21, 0x21, V4_BODY), 'proxy-header-malformed'],
  ['an entry cut short', v2(0x21, 0x11, `${V4_BODY}\x01\x00\x03h2`), 'proxy-header-malformed'],
  ['an entry without a length', v2(0x21, 0x11, `${V4_BODY}\x01\x00`), 'proxy-header-malformed'],
  ['version 2 one byte too long', v2(0x20, 0x00, 'x'.repeat(V2_BYTES_MAX - 15)), 'proxy-header-too-long'],
]

for (const [title, header, fault] of REFUSED) {
  test(`a header is refused, and no beginning of it is taken: ${title}`, () => {
    const bytes = bytesOf(header)
    assert.deepEqual(readProxyHeader(bytes, 0, bytes.length), { kind: 'invalid', fault })
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.notEqual(readProxyHeader(bytes, 0, cut).kind, 'complete', `cut at ${cut}`)
    }
  })
}

/** Writes headers as a terminator does. */
function encode(version: 1 | 2, { source, destination }: Ends): string {
  const isV4 = !source.address.includes(':')
  if (version === 1) {
    return `PROXY ${isV4 ? 'TCP4' : 'TCP6'} ${source.address} ${destination.address} ${source.port} ${destination.port}\r\n`
  }
  const numbers = [source.address, destination.address].flatMap((address) =>
    isV4 ? address.split('.').map(Number) : address.split(':').flatMap(pairOf),
  )
  const ports = [source.port, destination.port].flatMap((port) => [port >> 8, port & 255])
  return v2(0x21, isV4 ? 0x11 : 0x21, String.fromCharCode(...numbers, ...ports))
}

function pairOf(group: string): number[] {
  const value = Number.parseInt(group, 16)
  return [value >> 8, value & 255]
}

const port = fc.nat({ max: 65_535 })
const v4 = fc.array(fc.nat({ max: 255 }), { minLength: 4, maxLength: 4 }).map((parts) => parts.join('.'))
// No group is zero, so that there is one way to write the address.
const v6 = fc
  .array(fc.integer({ min: 1, max: 65_535 }), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.map((group) => group.toString(16)).join(':'))
const ends = fc
  .tuple(fc.oneof(fc.tuple(v4, v4), fc.tuple(v6, v6)), port, port)
  .map(([[source, destination], sourcePort, destinationPort]): Ends => ({
    source: { address: source, port: sourcePort },
    destination: { address: destination, port: destinationPort },
  }))

test('what a terminator writes is read, in both versions', () => {
  fc.assert(
    fc.property(ends, fc.constantFrom(1 as const, 2 as const), fc.string(), (wanted, version, after) => {
      const header = encode(version, wanted)
      const bytes = Buffer.concat([bytesOf(header), Buffer.from(after)])
      assert.deepEqual(readProxyHeader(bytes, 0, bytes.length), { kind: 'complete', end: header.length, ends: wanted })
    }),
  )
})

test('any bytes are a header, the beginning of one or refused, and the bounds hold', () => {
  const start = fc.constantFrom('', 'PROXY ', 'PROXY TCP4 ', SIGNATURE, `${SIGNATURE}\x21\x11`)
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 1000 }), (prefix, rest) => {
      const bytes = Buffer.concat([bytesOf(prefix), rest])
      const found = readProxyHeader(bytes, 0, bytes.length)
      if (found.kind === 'need-more') assert.ok(bytes.length < V2_BYTES_MAX)
      if (found.kind === 'complete') assert.ok(found.end <= Math.min(bytes.length, V2_BYTES_MAX))
    }),
  )
})

test('the line toward xapi is TCP6 for every client, and is read again as it was meant', () => {
  const line = proxyLineForXapi(V4_ENDS)
  assert.equal(line, 'PROXY TCP6 ::ffff:10.1.2.3 ::ffff:192.0.2.1 12345 443\r\n')
  fc.assert(
    fc.property(ends, (wanted) => {
      const bytes = bytesOf(proxyLineForXapi(wanted))
      assert.ok(bytes.length <= V1_BYTES_MAX)
      assert.deepEqual(readProxyHeader(bytes, 0, bytes.length), { kind: 'complete', end: bytes.length, ends: wanted })
    }),
  )
})

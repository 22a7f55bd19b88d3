// The PROXY protocol's header, by which a terminator in front says who the client is, before the first byte of the client's own.
// Text (version 1) and binary (version 2) are told apart by their first byte; https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
//
//   version 1   `PROXY TCP4 <source> <destination> <port> <port>` CRLF, TCP6 likewise, or `PROXY UNKNOWN` with anything CRLF
//
//   version 2   bytes     meaning
//               0 to 11   the signature
//               12        version 2 in the upper half; command in the lower: 0 LOCAL, 1 PROXY
//               13        family in the upper half, transport in the lower: TCP over IPv4 0x11, over IPv6 0x21, Unix 0x31, none 0
//               14, 15    how many bytes follow
//               16 on     source and destination address, source and destination port; then type-length-value entries

import { isIPv4, isIPv6 } from 'node:net'
import { plainAddress } from '../../transport/ends.ts'
import type { End, Ends } from '../../transport/transport.ts'

/** Why a header is refused. */
export type ProxyHeaderFault = 'proxy-header-missing' | 'proxy-header-malformed' | 'proxy-header-too-long'

/** What {@link readProxyHeader} found. */
export type ProxyHeader =
  /** The bytes are the beginning of a header: call again with these and more. */
  | { readonly kind: 'need-more' }
  | { readonly kind: 'invalid'; readonly fault: ProxyHeaderFault }
  /** `end` is the offset of the first byte after it; `ends` is null when the connection is the terminator's own, or not told. */
  | { readonly kind: 'complete'; readonly end: number; readonly ends: Ends | null }

/** The longest header of version 1, with its CRLF, as the protocol has it. */
export const V1_BYTES_MAX = 107
/** The longest header of version 2 that is taken: the least that an IPv4 host has to take in one segment, less its headers. */
export const V2_BYTES_MAX = 536

const V1_START = Buffer.from('PROXY ', 'latin1')
const V2_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const V2_FIXED_BYTES = 16
const CR = 0x0d
const LF = 0x0a

const NEED_MORE: ProxyHeader = { kind: 'need-more' }
const MISSING: ProxyHeader = { kind: 'invalid', fault: 'proxy-header-missing' }
const MALFORMED: ProxyHeader = { kind: 'invalid', fault: 'proxy-header-malformed' }
const TOO_LONG: ProxyHeader = { kind: 'invalid', fault: 'proxy-header-too-long' }

/** Reads the header that starts at `from`; never looks at or beyond `to`. */
export function readProxyHeader(bytes: Buffer, from: number, to: number): ProxyHeader {
  if (from >= to) return NEED_MORE
  const isText = bytes[from] === V1_START[0]
  const start = isText ? V1_START : V2_START
  const known = Math.min(start.length, to - from)
  if (bytes.compare(start, 0, known, from, from + known) !== 0) return MISSING
  if (known < start.length) return NEED_MORE
  return isText ? readText(bytes, from, to) : readBinary(bytes, from, to)
}

function readText(bytes: Buffer, from: number, to: number): ProxyHeader {
  const limit = Math.min(to, from + V1_BYTES_MAX)
  let at = from
  while (at < limit && bytes[at] !== LF) at++
  if (at === limit) return to - from < V1_BYTES_MAX ? NEED_MORE : TOO_LONG
  if (bytes[at - 1] !== CR) return MALFORMED
  const line = bytes.toString('latin1', from + V1_START.length, at - 1)
  const ends = endsInText(line)
  return ends === undefined ? MALFORMED : { kind: 'complete', end: at + 1, ends }
}

/** What follows `PROXY `; undefined when it is malformed. */
function endsInText(line: string): Ends | null | undefined {
  const [family, source = '', destination = '', sourcePort = '', destinationPort = '', ...rest] = line.split(' ')
  if (family === 'UNKNOWN') return /^UNKNOWN(?: [\x20-\x7e]*)?$/.test(line) ? null : undefined
  if ((family !== 'TCP4' && family !== 'TCP6') || rest.length > 0) return undefined
  const isAddress = family === 'TCP4' ? isIPv4 : isPlainIPv6
  if (!isAddress(source) || !isAddress(destination)) return undefined
  const ports = [portOf(sourcePort), portOf(destinationPort)] as const
  if (ports[0] === undefined || ports[1] === undefined) return undefined
  return {
    source: { address: plainAddress(source), port: ports[0] },
    destination: { address: plainAddress(destination), port: ports[1] },
  }
}

/** An address without a zone, which would mean something to the terminator's host alone. */
function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}

function portOf(text: string): number | undefined {
  if (!/^(?:0|[1-9][0-9]{0,4})$/.test(text)) return undefined
  return Number(text) <= 65_535 ? Number(text) : undefined
}

const COMMAND = { LOCAL: 0x20, PROXY: 0x21 } as const
/** Families with their transport, and how many bytes their addresses and ports take. */
const FAMILY = { NONE: 0x00, TCP4: 0x11, TCP6: 0x21, UNIX: 0x31 } as const
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [FAMILY.NONE, 0],
  [FAMILY.TCP4, 12],
  [FAMILY.TCP6, 36],
  [FAMILY.UNIX, 216],
])

function readBinary(bytes: Buffer, from: number, to: number): ProxyHeader {
  if (to - from < V2_FIXED_BYTES) return NEED_MORE
  const command = bytes.readUInt8(from + 12)
  if (command !== COMMAND.LOCAL && command !== COMMAND.PROXY) return MALFORMED
  const end = from + V2_FIXED_BYTES + bytes.readUInt16BE(from + 14)
  if (end - from > V2_BYTES_MAX) return TOO_LONG
  if (end > to) return NEED_MORE
  if (command === COMMAND.LOCAL) return { kind: 'complete', end, ends: null }
  const family = bytes.readUInt8(from + 13)
  const addressBytes = ADDRESS_BYTES.get(family)
  const at = from + V2_FIXED_BYTES
  if (addressBytes === undefined || at + addressBytes > end) return MALFORMED
  // Of an unspecified family nothing is known of what follows.
  if (family !== FAMILY.NONE && !hasWholeEntries(bytes, at + addressBytes, end)) return MALFORMED
  const ends = family === FAMILY.TCP4 ? endsV4(bytes, at) : family === FAMILY.TCP6 ? endsV6(bytes, at) : null
  return { kind: 'complete', end, ends }
}

/** Whether the bytes are entries of a type (one byte), a length (two) and as many bytes, to the end. */
function hasWholeEntries(bytes: Buffer, from: number, end: number): boolean {
  let at = from
  while (at + 3 <= end) at += 3 + bytes.readUInt16BE(at + 1)
  return at === end
}

function endsV4(bytes: Buffer, at: number): Ends {
  const address = (from: number): string => [...bytes.subarray(from, from + 4)].join('.')
  return {
    source: { address: address(at), port: bytes.readUInt16BE(at + 8) },
    destination: { address: address(at + 4), port: bytes.readUInt16BE(at + 10) },
  }
}

function endsV6(bytes: Buffer, at: number): Ends {
  return {
    source: { address: textOfV6(bytes, at), port: bytes.readUInt16BE(at + 32) },
    destination: { address: textOfV6(bytes, at + 16), port: bytes.readUInt16BE(at + 34) },
  }
}

function textOfV6(bytes: Buffer, at: number): string {
  const isMapped = bytes.compare(V4_MAPPED, 0, V4_MAPPED.length, at, at + V4_MAPPED.length) === 0
  if (isMapped) return [...bytes.subarray(at + 12, at + 16)].join('.')
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(at + 2 * index).toString(16))
  // The URL parser writes addresses the short way of RFC 5952.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

const V4_MAPPED = Buffer.from('00000000000000000000ffff', 'hex')

/**
 * The header of version 1 toward xapi, which understands `TCP6` alone, as its own stunnel writes it: an IPv4 address is written
 * as IPv6.
 */
export function proxyLineForXapi({ source, destination }: Ends): string {
  return `PROXY TCP6 ${asIPv6(source)} ${asIPv6(destination)} ${source.port} ${destination.port}\r\n`
}

function asIPv6({ address }: End): string {
  return isIPv4(address) ? `::ffff:${address}` : address
}

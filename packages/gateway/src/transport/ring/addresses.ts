// Addresses of a descriptor's connection, and its options, which the system is asked for.

import { pinned } from './memory.ts'
import { plainAddress } from '../ends.ts'
import type { End, Ends } from '../transport.ts'
import {
  addressText,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  getpeername,
  getsockname,
  interfaceName,
  IPPROTO_TCP,
  setsockopt,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from './system.ts'

// struct sockaddr_in: family, port, address; sockaddr_in6 has a label of 4 bytes before the address, and the interface's number after it.
const ADDRESS_BYTES = 128
const PORT_AT = 2
const IPV4_AT = 4
const IPV6_AT = 8
const INTERFACE_AT = 24
const TEXT_BYTES = 64

const address = pinned(ADDRESS_BYTES)
const addressBytes = pinned(4)
const text = pinned(TEXT_BYTES)
const option = pinned(4)

/** The family of what `fd` is bound to or connected from; -1 when it is no socket. */
function familyOf(fd: number, ask: typeof getsockname): number {
  addressBytes.writeUInt32LE(ADDRESS_BYTES)
  return ask(fd, address, addressBytes) === -1 ? -1 : address.readUInt16LE(0)
}

export function isUnixSocket(fd: number): boolean {
  return familyOf(fd, getsockname) === AF_UNIX
}

/** The port that `fd` is bound to; 0 of a Unix socket. */
export function portOf(fd: number): number {
  const family = familyOf(fd, getsockname)
  return family === AF_INET || family === AF_INET6 ? address.readUInt16BE(PORT_AT) : 0
}

/** Who made the connection `fd`; null when it has no address, or is gone. */
export function sourceOfDescriptor(fd: number): End | null {
  return endOf(fd, getpeername)
}

/** Both ends of the connection `fd`; null when it has none any more. */
export function endsOfDescriptor(fd: number): Ends | null {
  const source = endOf(fd, getpeername)
  const destination = endOf(fd, getsockname)
  return source === null || destination === null ? null : { source, destination }
}

function endOf(fd: number, ask: typeof getsockname): End | null {
  const family = familyOf(fd, ask)
  if (family !== AF_INET && family !== AF_INET6) return null
  const at = family === AF_INET ? IPV4_AT : IPV6_AT
  addressText(family, address.subarray(at), text, TEXT_BYTES)
  const plain = plainAddress(text.toString('latin1', 0, text.indexOf(0)))
  const zone = family === AF_INET6 && isLinkLocal(address) ? `%${interfaceOf(address)}` : ''
  return { address: plain + zone, port: address.readUInt16BE(PORT_AT) }
}

/** Whether a `struct sockaddr_in6` has an address of fe80::/10, which is told with its interface, as Node.js does. */
function isLinkLocal(bytes: Buffer): boolean {
  return bytes[IPV6_AT] === 0xfe && ((bytes[IPV6_AT + 1] ?? 0) & 0xc0) === 0x80
}

/** The name of the interface of a `struct sockaddr_in6`, or its number when it is gone. */
function interfaceOf(bytes: Buffer): string {
  const index = bytes.readUInt32LE(INTERFACE_AT)
  return interfaceName(index, text) === 0 ? String(index) : text.toString('latin1', 0, text.indexOf(0))
}

function setOption(fd: number, level: number, name: number, value: number): void {
  option.writeInt32LE(value)
  setsockopt(fd, level, name, option, option.length)
}

/** Has what is written sent at once; of a listening socket, on all its connections. */
export function setNoDelay(fd: number): void {
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1)
}

/** Probes of a quiet peer, after which it is given up, as Node.js has it. */
const PROBES = 10

export function setKeepAlive(fd: number, ms: number): void {
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, Math.max(1, Math.floor(ms / 1000)))
  setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1)
  setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES)
}

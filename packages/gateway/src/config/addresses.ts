// Addresses in the configuration: where to listen, and where xapi takes plain HTTP.

import { isIPv6 } from 'node:net'
import { hostOf, parseOrigin, parsePort } from '../model/origin.ts'

/** Where a listener listens. `port` 0 lets the kernel choose; `path` is absolute. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }

/** Bytes in the longest path of a Unix socket that Linux takes (`sun_path` holds 108 with its NUL). */
export const SOCKET_PATH_BYTES_MAX = 107

const HOST_NAME = /^(?!-)[A-Za-z0-9._-]{1,253}$/

/**
 * Reads `host:port`, `[v6]:port` or `unix:/path`. A path stays as it is written.
 *
 * @returns `undefined` when `text` is none of these.
 */
export function parseListenAddress(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length)
    return path === '' || path.includes('\0') ? undefined : { kind: 'unix', path }
  }
  const colon = text.lastIndexOf(':')
  if (colon < 1) return undefined
  const host = parseHost(text.slice(0, colon))
  const port = parsePort(text.slice(colon + 1))
  return host === undefined || port === undefined ? undefined : { kind: 'tcp', host, port }
}

/** The address as it is written in the configuration. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** A TCP address to connect to. */
export interface Upstream {
  /** A name, or an address without brackets. */
  readonly host: string
  readonly port: number
}

const HTTP_PORT = 80

/** Reads `http://host[:port]`; `undefined` for anything else. */
export function parseUpstream(text: string): Upstream | undefined {
  const found = parseOrigin(text)
  if (found === undefined || !found.startsWith('http:')) return undefined
  const { port } = new URL(found)
  return { host: hostOf(found), port: port === '' ? HTTP_PORT : Number(port) }
}

/** Whether `host` is this machine, by every name. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

function parseHost(text: string): string | undefined {
  if (text.startsWith('[') && text.endsWith(']')) {
    const host = text.slice(1, -1)
    return isIPv6(host) ? host : undefined
  }
  return HOST_NAME.test(text) ? text : undefined
}

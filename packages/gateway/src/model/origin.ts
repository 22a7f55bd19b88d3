// Origins, by which clients and hosts reach a host: `http(s)://host[:port]`.

/**
 * Reads `http(s)://host[:port]`, with no path, query or user.
 *
 * @returns the origin as browsers write it (lower case, no default port); `undefined` when `text` is anything else.
 */
export function parseOrigin(text: string): string | undefined {
  if (!/^https?:\/\/[^/?#@\\\s]+$/i.test(text)) return undefined
  return URL.parse(text)?.origin
}

/** The host of an origin, as sockets take it and records have it: an IPv6 address is without brackets. */
export function hostOf(origin: string): string {
  return new URL(origin).hostname.replace(/^\[(.*)\]$/, '$1')
}

/** A TCP port in decimal, 0 to 65535; `undefined` for anything else. */
export function parsePort(text: string): number | undefined {
  if (!/^[0-9]{1,5}$/.test(text)) return undefined
  const port = Number(text)
  return port <= 65_535 ? port : undefined
}

// Addresses as the system has them, in the form that everybody is told.

import type { End, Ends } from './transport.ts'

/** An IPv4 address that a dual-stack socket shows as IPv6 is shown as IPv4; none (a Unix socket) as an empty text. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  return /^::ffff:[0-9.]+$/i.test(address) ? address.slice('::ffff:'.length) : address
}

/** What the system says of a connection: a socket, or what says the same of a handle. */
export interface Known {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
}

/** Who made a connection, as the system has it; null of a Unix socket. */
export function sourceOf({ remoteAddress, remotePort = 0 }: Known): End | null {
  return remoteAddress === undefined ? null : { address: plainAddress(remoteAddress), port: remotePort }
}

/** Both ends of a connection, in the same way. */
export function endsOf(known: Known): Ends | null {
  const source = sourceOf(known)
  if (source === null) return null
  const { localAddress, localPort = 0 } = known
  return { source, destination: { address: plainAddress(localAddress), port: localPort } }
}

// Addresses as the system has them, in the form that everybody is told.

import type { Socket } from 'node:net'
import type { Ends } from './transport.ts'

/** An IPv4 address that a dual-stack socket shows as IPv6 is shown as IPv4; none (a Unix socket) as an empty text. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  return /^::ffff:[0-9.]+$/i.test(address) ? address.slice('::ffff:'.length) : address
}

/** The ends of a connection as the system has them; null of a Unix socket. */
export function endsOf(socket: Socket): Ends | null {
  const { remoteAddress, remotePort = 0, localAddress, localPort = 0 } = socket
  if (remoteAddress === undefined) return null
  return {
    source: { address: plainAddress(remoteAddress), port: remotePort },
    destination: { address: plainAddress(localAddress), port: localPort },
  }
}

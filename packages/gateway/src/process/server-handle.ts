// Node.js's handle of a socket that is bound and accepts nothing, which `net.Server` cannot make: it accepts as soon as it listens, and
// here that is the workers' part. `node:cluster` binds with the same function; see decision 1.

import net from 'node:net'

/** The part used of Node.js's handle of a socket. */
export interface ServerHandle {
  readonly fd: number
  /** Not of a Unix socket. */
  getsockname?(into: { address?: string; port?: number; family?: string }): number
  close(): void
}

type Create = (
  address: string | null,
  port: number | null,
  family: 4 | 6 | -1 | null,
  fd?: number,
) => ServerHandle | number

function create(...of: Parameters<Create>): ServerHandle | number {
  return (net as unknown as { _createServerHandle: Create })._createServerHandle(...of)
}

/** Binds to an address. @returns the handle, or the system's number of the error */
export function bindHandle(address: string, port: number, family: 4 | 6 | -1): ServerHandle | number {
  return create(address, port, family)
}

/** The handle of a socket that somebody has bound. @throws when `fd` is no such socket */
export function openHandle(fd: number): ServerHandle {
  const handle = create(null, null, null, fd)
  if (typeof handle === 'number') throw new Error(`descriptor ${fd} is no socket`)
  return handle
}

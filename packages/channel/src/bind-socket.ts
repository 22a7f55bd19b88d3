// Binds a Unix stream socket without listening, which Node.js cannot do: its file gets mode and group before anybody can connect,
// and is not removed by its name when the socket is closed.

import { AF_UNIX, bind, close, lastErrorCode, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket } from './libc.ts'
import { UnixAddress } from './libc.ts'

/**
 * The bit of a socket file's mode (the sticky bit, which has no meaning there otherwise) by which a service says that it reads every
 * body to its end: then connections to it may be used again after one. No client can set it.
 */
export const READS_BODIES_MODE = 0o1000

/** A socket that is bound, or the error of the system: EADDRINUSE when there is a file, ENOENT, EACCES, ENAMETOOLONG, … */
export type Bound =
  /** The descriptor is the caller's, for `server.listen({ fd })`; so is the file. */
  { readonly kind: 'bound'; readonly fd: number } | { readonly kind: 'failed'; readonly code: string }

/** Binds a socket to `path`, where nothing may be. Connections are refused until somebody listens on it. */
export function bindSocket(path: string): Bound {
  const address = new UnixAddress()
  const bytes = address.set(path)
  if (bytes === 0) return { kind: 'failed', code: 'ENAMETOOLONG' }
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
  if (fd !== -1 && bind(fd, address.bytes, bytes) === 0) return { kind: 'bound', fd }
  const code = lastErrorCode()
  if (fd !== -1) close(fd)
  return { kind: 'failed', code }
}

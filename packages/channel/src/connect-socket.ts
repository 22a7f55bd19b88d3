// Connects to a Unix socket within the call, which Node.js tells only in a later turn of its event loop.

import { AF_UNIX, close, connect, lastErrorCode, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket } from './libc.ts'
import { UnixAddress } from './libc.ts'

/** A connection, or the error of the system: ENOENT, ECONNREFUSED, EAGAIN (the queue of connections is full), EACCES, EMFILE, … */
export type Connected =
  /** The descriptor, not blocking, is the caller's to close, or to wrap in a `net.Socket`. */
  { readonly kind: 'connected'; readonly fd: number } | { readonly kind: 'failed'; readonly code: string }

const address = new UnixAddress()

/** Connects to the Unix stream socket at `path`. */
export function connectSocket(path: string): Connected {
  const bytes = address.set(path)
  if (bytes === 0) return { kind: 'failed', code: 'ENAMETOOLONG' }
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
  // A connection to a Unix socket that does not block is made or fails at once, and no signal interrupts it.
  if (fd !== -1 && connect(fd, address.bytes, bytes) === 0) return { kind: 'connected', fd }
  const code = lastErrorCode()
  if (fd !== -1) close(fd)
  return { kind: 'failed', code }
}

// Accepts a connection within the call: Node.js accepts one in a turn of its event loop.

import { accept4, lastErrorCode, SOCK_CLOEXEC, SOCK_NONBLOCK } from './libc.ts'

/** A connection, or the error of the system: EAGAIN when none waits, EMFILE, ECONNABORTED, … */
export type Accepted =
  /** The descriptor, not blocking, is the caller's to close, or to give to a handle. */
  { readonly kind: 'accepted'; readonly fd: number } | { readonly kind: 'failed'; readonly code: string }

/** Accepts the connection that waits first at the listening socket `fd`, which does not block. */
export function acceptSocket(fd: number): Accepted {
  const accepted = accept4(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK)
  return accepted === -1 ? { kind: 'failed', code: lastErrorCode() } : { kind: 'accepted', fd: accepted }
}

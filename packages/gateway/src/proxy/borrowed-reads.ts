// Reads into one buffer that every socket of the process shares. Node.js would allocate 64 KiB for each read, and give most
// of it back; what is done with bytes here is done within the turn of their read, or they are copied.

import { type Server, Socket, type SocketConstructorOpts } from 'node:net'

/** Bytes that one read takes at most. */
const READ_BYTES_MAX = 65_536
const READ_BUFFER = Buffer.allocUnsafeSlow(READ_BYTES_MAX)

/** Takes the first `count` bytes of `bytes`, which are borrowed until it returns. */
export type TakeBytes = (bytes: Buffer, count: number) => void

/** The option `onread` of a socket that reads into the shared buffer. */
export function borrowedReads(take: TakeBytes): NonNullable<SocketConstructorOpts['onread']> {
  return {
    buffer: READ_BUFFER,
    callback: (count) => {
      take(READ_BUFFER, count)
      return true
    },
  }
}

/** An accepted connection before it has a socket: Node.js's own handle. */
export interface AcceptedHandle {
  /** Absent on a Unix socket. */
  setNoDelay?(on: boolean): void
}

/** The part used of what a listening server holds. */
interface ListeningInternals {
  readonly _handle: { onconnection: (status: number, handle: AcceptedHandle | undefined) => void }
}

/**
 * Gives the connections that a listening `server` accepts to `take`, as handles: a server makes sockets that read into
 * buffers of their own, and has no option for others.
 * @param failed told of the system's error number when a connection could not be accepted, as for lack of descriptors
 */
export function acceptHandles(
  server: Server,
  take: (handle: AcceptedHandle) => void,
  failed: (errno: number) => void,
): void {
  const { _handle: listening } = server as unknown as ListeningInternals
  listening.onconnection = (status, handle) => {
    if (handle === undefined) failed(status)
    else take(handle)
  }
}

/** The socket of an accepted connection; it reads from now on. */
export function acceptedSocket(handle: AcceptedHandle, take: TakeBytes): Socket {
  handle.setNoDelay?.(true)
  return new Socket({ handle, allowHalfOpen: true, onread: borrowedReads(take) } as SocketConstructorOpts)
}

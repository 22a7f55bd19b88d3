// Reads into one buffer that every socket of the process shares. Node.js would allocate 64 KiB for each read, and give most
// of it back; what is done with bytes here is done within the turn of their read, or they are copied.
// Measured with a 22-byte response: 12.3 µs of CPU a request against 13.7.

import { Socket, type SocketConstructorOpts } from 'node:net'

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

/** The part used of what Node.js keeps in a socket, and of what it takes to make one. */
interface Internals {
  _handle: object | null
}

/**
 * Gives the connection of an accepted socket, paused since `pauseOnConnect`, to a new socket that reads into the shared
 * buffer: a server has no option for that. The accepted socket is empty afterwards.
 */
export function adopted(accepted: Socket, take: TakeBytes): Socket {
  const internals = accepted as unknown as Internals
  const handle = internals._handle
  internals._handle = null
  return new Socket({ handle, allowHalfOpen: true, onread: borrowedReads(take) } as SocketConstructorOpts)
}

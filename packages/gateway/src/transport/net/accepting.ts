// Accepts connections. What waits to be accepted is taken before anything else: the queue of a listening socket may be short (128 on
// kernels before 5.4), and a terminator in front takes a full one for a failure. Node.js accepts one connection in a turn, among all
// that is to be read; so the rest of the queue is emptied here, then and between reads. Too many are told so, by 503.

import { acceptSocket } from '@xengate/channel'
import type { Server } from 'node:net'
import { isReadable } from '../libc.ts'

/** A connection before it has a socket: Node.js's own handle. */
export interface AcceptedHandle {
  /** Absent on a Unix socket. */
  setNoDelay?(on: boolean): void
}

/** The part used of what a listening server holds. */
interface ListeningHandle {
  /** Negative once it is closed: the number may be another descriptor's then. */
  readonly fd: number
  onconnection: (status: number, handle: AcceptedHandle | undefined) => void
  readonly constructor: new (type: number) => AcceptedHandle & { open(fd: number): number; close(): void }
}

/** The type of a handle that is a connection, for Node.js's TCP and Unix sockets alike. */
const CONNECTION = 0
/** As many are accepted at one time, so that other workers get their part, and what was accepted is served in between. */
const ACCEPTED_MAX = 64
/** After so many reads it is looked whether somebody waits: a look takes 0.5 µs. */
const READS = 32

const drains = new Set<() => void>()
let reads = 0

/** To be called at each read. */
export function acceptBetweenReads(): void {
  if (++reads % READS === 0) for (const drain of drains) drain()
}

/**
 * Gives the connections that a listening `server` accepts to `take`, as handles, until it closes: a server makes sockets that read
 * into buffers of their own, and has no option for others.
 * @param failed told of the system's error number when a connection could not be accepted, as for lack of descriptors
 */
export function acceptHandles(
  server: Server,
  take: (handle: AcceptedHandle) => void,
  failed: (errno: number) => void,
): void {
  const { _handle: listening } = server as unknown as { readonly _handle: ListeningHandle }
  const drain = (): void => drainQueue(listening, take)
  listening.onconnection = (status, handle) => {
    if (handle === undefined) {
      failed(status)
      return
    }
    take(handle)
    drain()
  }
  drains.add(drain)
  server.once('close', () => drains.delete(drain))
}

/** An error is left to Node.js's own accepting, which comes to it next. */
function drainQueue(listening: ListeningHandle, take: (handle: AcceptedHandle) => void): void {
  for (let count = 0; count < ACCEPTED_MAX; count++) {
    const { fd } = listening
    // To accept where nobody waits takes eight times as long as to look: 3.8 µs.
    if (fd < 0 || !isReadable(fd)) return
    const accepted = acceptSocket(fd)
    if (accepted.kind === 'failed') return
    const handle = new listening.constructor(CONNECTION)
    handle.open(accepted.fd)
    take(handle)
  }
}

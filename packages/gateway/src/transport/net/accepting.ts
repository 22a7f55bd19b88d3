// Accepts connections. What waits to be accepted is taken before anything else: the queue of a listening socket may be short (128 on
// kernels before 5.4), and a terminator in front takes a full one for a failure. Node.js accepts one connection in a turn, among all
// that is to be read; so the rest of the queue is emptied here, then and between reads. Too many are told so, by 503.
//
// When there is no descriptor for a connection, libuv gives up one that it keeps for that, accepts all that wait, closes them, and
// tells nobody. So it is looked whether there are descriptors, while connections come.

import { acceptSocket, closeDescriptor } from '@xengate/channel'
import { closeSync, openSync } from 'node:fs'
import type { Server } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { isReadable } from '../libc.ts'
import { NO_DESCRIPTORS } from '../transport.ts'
import { CONNECTION, type Handle, type NewHandle } from './handle.ts'

/** The part used of what a listening server holds. */
export interface ListeningHandle {
  /** Negative once it is closed: the number may be another descriptor's then. */
  readonly fd: number
  onconnection: (status: number, handle: Handle | undefined) => void
  readonly constructor: NewHandle
}

/** As many are accepted at one time, so that other workers get their part, and what was accepted is served in between. */
const ACCEPTED_MAX = 64
/** More than a queue has places. */
const QUEUE_MAX = 65_536
/** After so many reads it is looked whether somebody waits: a look takes 0.5 µs. */
const READS = 32
/** How long after a connection it is looked whether there are descriptors for more, and how often while many are in use, in milliseconds. */
const LOOK_MS = 100
const LOOK_AGAIN_MS = 1000
/** With fewer in use it takes connections, of which each is followed by a look, to use them up. */
const MANY = 128

const drains = new Set<() => void>()
let reads = 0

/** To be called at each read. */
export function acceptBetweenReads(): void {
  if (++reads % READS === 0) for (const drain of drains) drain()
}

/**
 * Gives the connections that a listening `server` accepts to `take`, as handles, until it closes: a server makes sockets that read
 * into buffers of their own, and has no option for others.
 * @param failed told of the system's name of the error when connections cannot be accepted, as for lack of descriptors
 */
export function acceptHandles(server: Server, take: (handle: Handle) => void, failed: (code: string) => void): void {
  const listening = handleOf(server)
  const watch = new DescriptorWatch(failed)
  const drain = (): void => drainQueue(listening, ACCEPTED_MAX, take)
  listening.onconnection = (status, handle) => {
    if (handle === undefined) {
      failed(getSystemErrorName(status))
      return
    }
    watch.accepted()
    take(handle)
    drain()
  }
  drains.add(drain)
  server.once('close', () => {
    drains.delete(drain)
    watch.close()
  })
}

/** What a server that listens holds. */
export function handleOf(server: Server): ListeningHandle {
  const { _handle: handle } = server as unknown as { readonly _handle: ListeningHandle }
  return handle
}

/** Looks whether there are descriptors: after connections have come, and as long as many are in use. */
class DescriptorWatch {
  readonly #failed: (code: string) => void
  #timer: NodeJS.Timeout | null = null
  #isClosed = false

  constructor(failed: (code: string) => void) {
    this.#failed = failed
  }

  accepted(): void {
    this.#lookIn(LOOK_MS)
  }

  #lookIn(ms: number): void {
    if (this.#isClosed) return
    this.#timer ??= setTimeout(() => this.#look(), ms).unref()
  }

  #look(): void {
    this.#timer = null
    const free = freeDescriptor()
    if (typeof free === 'string') {
      this.#lookIn(LOOK_MS)
      this.#failed(free)
    } else if (free >= MANY) this.#lookIn(LOOK_AGAIN_MS)
  }

  close(): void {
    this.#isClosed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
  }
}

/** The lowest descriptor that is free; or why there is none, by the system's name of the error. */
function freeDescriptor(): number | string {
  try {
    const fd = openSync('/dev/null', 'r')
    closeSync(fd)
    return fd
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    return NO_DESCRIPTORS.has(code) ? code : 0
  }
}

/** Takes all that waits at the listening socket `fd`. @param type of handle that its connections get */
export function acceptAll(fd: number, type: NewHandle, take: (handle: Handle) => void): void {
  drainQueue({ fd, constructor: type }, QUEUE_MAX, take)
}

/** An error is left to Node.js's own accepting, which comes to it next. */
function drainQueue(
  listening: Pick<ListeningHandle, 'fd' | 'constructor'>,
  max: number,
  take: (handle: Handle) => void,
): void {
  for (let count = 0; count < max; count++) {
    const { fd } = listening
    // To accept where nobody waits takes eight times as long as to look: 3.8 µs.
    if (fd < 0 || !isReadable(fd)) return
    const accepted = acceptSocket(fd)
    if (accepted.kind === 'failed') return
    const handle = new listening.constructor(CONNECTION)
    if (handle.open(accepted.fd) === 0) take(handle)
    else closeDescriptor(accepted.fd)
  }
}

// A listening socket of the ring. One operation accepts one connection, what else waits is accepted by calls, and then the operation is
// armed again: so a process goes last among those that wait at the same socket. One that accepts again and again stays where it is in the
// kernel's queue, which is in front, and the others get nothing.

import { acceptSocket, closeDescriptor } from '@xengate/channel'
import { getSystemErrorName } from 'node:util'
import { isReadable } from '../libc.ts'
import type { Listening, ListeningListener } from '../transport.ts'
import { isUnixSocket, portOf, setNoDelay } from './addresses.ts'
import type { Loop, Touched } from './loop.ts'
import { ENTRY_OPERATION_FLAGS, OPCODE, type Owner } from './ring.ts'
import { EAGAIN, ECANCELED, EINTR, SOCK_CLOEXEC, SOCK_NONBLOCK } from './system.ts'
import { RingWire } from './wire.ts'

const ACCEPT = 0
const CANCEL = 1
/** As many are accepted at one time, so that others get their part, and what was accepted is served in between. */
const ACCEPTED_MAX = 64
/** When no connection can be accepted, as for lack of descriptors, it is tried again so much later, in milliseconds. */
const RETRY_MS = 100

/** See the head of this file. */
export class RingListening implements Listening, Owner, Touched {
  readonly port: number
  readonly #loop: Loop
  readonly #fd: number
  readonly #isUnix: boolean
  readonly #listener: ListeningListener
  readonly #closed: () => void
  readonly #slot: number
  #operationCount = 0
  #isAccepting = false
  #isClosing = false
  #isLeft = false
  #retry: NodeJS.Timeout | null = null

  /**
   * @param fd a listening socket, which is closed with this
   * @param closed called when it is
   */
  constructor(loop: Loop, fd: number, listener: ListeningListener, closed: () => void) {
    this.#loop = loop
    this.#fd = fd
    this.#isUnix = isUnixSocket(fd)
    this.#listener = listener
    this.#closed = closed
    this.port = portOf(fd)
    if (!this.#isUnix) setNoDelay(fd) // accepted connections have it from here
    this.#slot = loop.ring.claim(this)
    loop.opened()
    loop.touch(this)
  }

  submit(): void {
    const { ring } = this.#loop
    if (this.#isClosing) {
      if (!this.#isAccepting) return
      ring.addCancel(this.#slot, ACCEPT, CANCEL)
    } else {
      const at = ring.add(OPCODE.ACCEPT, this.#fd, this.#slot, ACCEPT, 0, 0)
      ring.entries[at + ENTRY_OPERATION_FLAGS] = SOCK_CLOEXEC | SOCK_NONBLOCK
      this.#isAccepting = true
    }
    this.#operationCount++
  }

  completed(operation: number, result: number): void {
    this.#operationCount--
    if (operation === ACCEPT) this.#isAccepting = false
    try {
      // What was accepted before it closed is the listener's, too.
      if (operation !== ACCEPT) return
      if (result >= 0) this.#took(result)
      else if (!this.#isClosing) this.#failed(-result)
    } finally {
      if (this.#isClosing) this.#leaveIfIdle()
      else if (this.#retry === null) this.#loop.touch(this)
    }
  }

  /** Takes a connection, and those that wait behind it; an error is left to the operation, which comes to it next. */
  #took(first: number): void {
    this.#accepted(first)
    for (let count = 1; count < ACCEPTED_MAX && !this.#isClosing && isReadable(this.#fd); count++) {
      const more = acceptSocket(this.#fd)
      if (more.kind === 'failed') return
      this.#accepted(more.fd)
    }
  }

  #accepted(fd: number): void {
    this.#listener.accepted(new RingWire(this.#loop, fd, this.#isUnix))
  }

  #failed(errno: number): void {
    if (errno === EINTR || errno === EAGAIN || errno === ECANCELED) return
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.#loop.touch(this)
    }, RETRY_MS)
    this.#listener.failed(getSystemErrorName(-errno))
  }

  close(): void {
    if (this.#isClosing) return
    this.#isClosing = true
    if (this.#retry !== null) clearTimeout(this.#retry)
    if (this.#operationCount === 0) this.#loop.defer(() => this.#leaveIfIdle())
    else this.#loop.touch(this)
  }

  #leaveIfIdle(): void {
    if (this.#operationCount > 0 || this.#isLeft) return
    this.#isLeft = true
    closeDescriptor(this.#fd)
    this.#loop.ring.release(this.#slot)
    this.#loop.closed()
    this.#closed()
  }
}

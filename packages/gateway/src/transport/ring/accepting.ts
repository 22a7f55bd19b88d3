// A listening socket of the ring: one operation accepts until it is cancelled, or fails.

import { closeDescriptor } from '@xengate/channel'
import { getSystemErrorName } from 'node:util'
import type { Listening, ListeningListener } from '../transport.ts'
import { isUnixSocket, portOf, setNoDelay } from './addresses.ts'
import type { Loop, Touched } from './loop.ts'
import { COMPLETION_MORE, ENTRY_OPERATION_FLAGS, OPCODE, type Owner } from './ring.ts'
import { EAGAIN, ECANCELED, EINTR, SOCK_CLOEXEC, SOCK_NONBLOCK } from './system.ts'
import { RingWire } from './wire.ts'

const ACCEPT = 0
const CANCEL = 1
/** In the entry's two bytes behind its flags. */
const MULTISHOT = 1 << 16
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
      const at = ring.add(OPCODE.ACCEPT | MULTISHOT, this.#fd, this.#slot, ACCEPT, 0, 0)
      ring.entries[at + ENTRY_OPERATION_FLAGS] = SOCK_CLOEXEC | SOCK_NONBLOCK
      this.#isAccepting = true
    }
    this.#operationCount++
  }

  completed(operation: number, result: number, flags: number): void {
    const isOver = (flags & COMPLETION_MORE) === 0
    if (isOver) this.#operationCount--
    if (operation === ACCEPT && isOver) this.#isAccepting = false
    try {
      // What was accepted before it closed is the listener's, too.
      if (operation !== ACCEPT) return
      if (result >= 0) this.#listener.accepted(new RingWire(this.#loop, result, this.#isUnix))
      else if (!this.#isClosing) this.#failed(-result)
    } finally {
      if (this.#isClosing) this.#leaveIfIdle()
      else if (isOver && this.#retry === null) this.#loop.touch(this)
    }
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

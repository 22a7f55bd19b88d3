// A listening socket of the ring. The ring watches it, and what waits is accepted by calls. Left to the ring, an accept would be told of a
// connection alone among all that listen there, and whoever closes or dies just then would leave it with nobody; a poll wakes them all.

import { acceptSocket, closeDescriptor } from '@xengate/channel'
import { getSystemErrorName } from 'node:util'
import { isReadable } from '../libc.ts'
import type { Listening, ListeningListener } from '../transport.ts'
import { isUnixSocket, portOf, setNoDelay } from './addresses.ts'
import type { Loop, Touched } from './loop.ts'
import { ENTRY_OPERATION_FLAGS, OPCODE, type Owner } from './ring.ts'
import { RingWire } from './wire.ts'

const POLL = 0
const CANCEL = 1
const POLLIN = 1
/** As many are accepted at one time, so that others get their part, and what was accepted is served in between. */
const ACCEPTED_MAX = 64
/** More than a queue has places. */
const QUEUE_MAX = 65_536
/** When no connection can be accepted, as for lack of descriptors, it is tried again so much later, in milliseconds. */
const RETRY_MS = 100

/** Errors of one connection that is gone, or that somebody else has, or of one look: the next is not affected. */
const UNIMPORTANT: ReadonlySet<string> = new Set(['EAGAIN', 'ECANCELED', 'ECONNABORTED', 'EINTR'])

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
  #isPolled = false
  #isPaused = false
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
    if (this.#isClosing || this.#isPaused) {
      if (!this.#isPolled) return
      ring.addCancel(this.#slot, POLL, CANCEL)
    } else {
      if (this.#isPolled) return
      const at = ring.add(OPCODE.POLL_ADD, this.#fd, this.#slot, POLL, 0, 0)
      ring.entries[at + ENTRY_OPERATION_FLAGS] = POLLIN
      this.#isPolled = true
    }
    this.#operationCount++
  }

  completed(operation: number, result: number): void {
    this.#operationCount--
    if (operation === POLL) this.#isPolled = false
    try {
      if (operation !== POLL || this.#isClosing || this.#isPaused) return
      if (result >= 0) this.#acceptAll(ACCEPTED_MAX)
      else this.#failed(getSystemErrorName(result))
    } finally {
      if (this.#isClosing) this.#leaveIfIdle()
      else if (this.#retry === null && !this.#isPaused) this.#loop.touch(this)
    }
  }

  #acceptAll(max: number): void {
    let count = 0
    do {
      const accepted = acceptSocket(this.#fd)
      if (accepted.kind === 'failed') {
        this.#failed(accepted.code)
        return
      }
      this.#accepted(accepted.fd)
    } while (++count < max && !this.#isClosing && !this.#isPaused && isReadable(this.#fd))
  }

  #accepted(fd: number): void {
    this.#listener.accepted(new RingWire(this.#loop, fd, this.#isUnix))
  }

  #failed(code: string): void {
    if (UNIMPORTANT.has(code)) return
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.#loop.touch(this)
    }, RETRY_MS)
    this.#listener.failed(code)
  }

  pause(): void {
    if (this.#isPaused || this.#isClosing) return
    this.#isPaused = true
    this.#loop.touch(this)
  }

  resume(): void {
    if (!this.#isPaused || this.#isClosing) return
    this.#isPaused = false
    // One that is being taken back brings it here by its end.
    this.#loop.touch(this)
  }

  finish(): void {
    this.#isPaused = false
    if (!this.#isClosing && isReadable(this.#fd)) this.#acceptAll(QUEUE_MAX)
    this.close()
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

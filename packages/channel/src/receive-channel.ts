// The service's side: takes the first message of a control connection, and the client's connection that comes with it.
// Node.js discards descriptors when it reads a Unix socket itself, so nothing but recvmsg reads until the message is whole.

import { descriptorOf } from './descriptor.ts'
import { fstatSync } from 'node:fs'
import type { Socket } from 'node:net'
import {
  close,
  DESCRIPTORS_MAX,
  lastErrorCode,
  MessageHeader,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  MSG_PEEK,
  recvmsg,
} from './libc.ts'
import { uninterrupted } from './libc.ts'
import { type ChannelOffer, decodeOffer, OFFER_BYTES_MAX } from './offer.ts'

/** A message that was taken whole, or why it was not. Of what was not, nothing is left open. */
export type Received =
  | {
      readonly kind: 'received'
      /** The client's connection; the receiver's to close. */
      readonly clientFd: number
      readonly offer: ChannelOffer
      /** What the gateway had read from the client. */
      readonly received: Buffer
    }
  /** The message cannot be taken; `why` is what the gateway is told in a refusal. */
  | { readonly kind: 'invalid'; readonly why: string }
  /** The gateway closed before the message was whole, or has given the service up since it sent it. */
  | { readonly kind: 'ended' }
  /** The connection failed with this error of the system. */
  | { readonly kind: 'failed'; readonly code: string }

/** What one look at the connection gave; `more`: look again when more has come. */
export type ReadOutcome = Received | { readonly kind: 'more' }

const LENGTH_BYTES = 4
const CHUNK_BYTES = 65_536

const receive = uninterrupted(recvmsg)
const header = new MessageHeader(CHUNK_BYTES)

/**
 * Reads one message, however many parts it comes in, and not a byte past it.
 *
 *     part      bytes                     next
 *     LENGTH    4, with the descriptor    OFFER
 *     OFFER     as LENGTH says            BYTES
 *     BYTES     as `received` says        done
 *
 * A message that lay there for long may be of a gateway that has given up, and answered the client itself. So when it is whole, the
 * connection is looked at once more.
 */
export class ChannelReceiver {
  readonly #fd: number
  #part: 'LENGTH' | 'OFFER' | 'BYTES' = 'LENGTH'
  /** The bytes of the part, as many as have come. */
  #bytes: Buffer = Buffer.alloc(LENGTH_BYTES)
  #filled = 0
  /** The client's connection; -1 before it has come and after it was given away or closed. */
  #clientFd = -1
  #offer: ChannelOffer | null = null

  /** @param fd the control connection, which stays the caller's */
  constructor(fd: number) {
    this.#fd = fd
  }

  /** Reads what there is, without waiting. Not to be called again when it has returned anything but `more`. */
  read(): ReadOutcome {
    for (;;) {
      while (this.#filled === this.#bytes.length) {
        const outcome = this.#partRead()
        if (outcome !== undefined) return outcome.kind === 'received' ? outcome : this.#drop(outcome)
      }
      const outcome = this.#receive()
      if (outcome !== undefined) return outcome.kind === 'more' ? outcome : this.#drop(outcome)
    }
  }

  /** Gives up: closes the client's connection if it has come. */
  destroy(): void {
    if (this.#clientFd !== -1) close(this.#clientFd)
    this.#clientFd = -1
  }

  #drop(outcome: ReadOutcome): ReadOutcome {
    this.destroy()
    return outcome
  }

  /** One call of recvmsg; undefined when bytes came. */
  #receive(): ReadOutcome | undefined {
    header.setToReceive(Math.min(this.#bytes.length - this.#filled, CHUNK_BYTES))
    const count = receive(this.#fd, header.bytes, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
    if (count === -1) {
      const code = lastErrorCode()
      return code === 'EAGAIN' ? { kind: 'more' } : { kind: 'failed', code }
    }
    const isFirst = this.#part === 'LENGTH' && this.#filled === 0
    const wrong = this.#takeDescriptors(isFirst && count > 0)
    if (wrong !== undefined) return { kind: 'invalid', why: wrong }
    if (count === 0) return { kind: 'ended' }
    this.#filled += header.data.copy(this.#bytes, this.#filled, 0, count)
    return undefined
  }

  /** Keeps the one descriptor that comes with the first byte, and closes all others. Returns what is wrong with them. */
  #takeDescriptors(isExpected: boolean): string | undefined {
    const { descriptors } = header
    const [first = -1] = descriptors
    if (isExpected && descriptors.length === 1 && !header.isControlTruncated) {
      this.#clientFd = first
      return fstatSync(first).isSocket() ? undefined : 'the descriptor that came is no socket'
    }
    for (const fd of descriptors) close(fd)
    if (header.isControlTruncated) {
      return `descriptors are missing: more than ${DESCRIPTORS_MAX} were sent, or this process has no more to give`
    }
    if (descriptors.length > 1) return `${descriptors.length} descriptors came, and 1 is taken`
    if (descriptors.length === 1) return 'a descriptor came after the first byte'
    return isExpected ? 'no descriptor came with the first byte' : undefined
  }

  /** Goes on to the next part; returns the end, if there is none. */
  #partRead(): Received | undefined {
    switch (this.#part) {
      case 'LENGTH': {
        const length = this.#bytes.readUInt32BE(0)
        if (length > OFFER_BYTES_MAX) {
          return { kind: 'invalid', why: `the offer has ${length} bytes, and ${OFFER_BYTES_MAX} are the most` }
        }
        this.#next('OFFER', length)
        return undefined
      }
      case 'OFFER': {
        const decoded = decodeOffer(this.#bytes)
        if (decoded.kind === 'invalid') return decoded
        this.#offer = decoded.offer
        this.#next('BYTES', decoded.received)
        return undefined
      }
      case 'BYTES': {
        if (this.#hasEnded()) return { kind: 'ended' }
        const clientFd = this.#clientFd
        this.#clientFd = -1
        return { kind: 'received', clientFd, offer: this.#offer as ChannelOffer, received: this.#bytes }
      }
    }
  }

  /** Whether the gateway has closed. */
  #hasEnded(): boolean {
    header.setToPeek()
    const count = receive(this.#fd, header.bytes, MSG_DONTWAIT | MSG_PEEK)
    return count === -1 ? lastErrorCode() !== 'EAGAIN' : count === 0
  }

  #next(part: 'OFFER' | 'BYTES', bytes: number): void {
    this.#part = part
    this.#bytes = Buffer.allocUnsafe(bytes)
    this.#filled = 0
  }
}

/** How long a message may take, in milliseconds: the gateway sends it in one piece, right after it has connected. */
const DEADLINE_MS = 5000
/** Pauses between looks at a connection on which a message is not whole: doubling from the first to the last. */
const FIRST_PAUSE_MS = 1
const LAST_PAUSE_MS = 64

/**
 * Receives the message of `control`, a connection that was accepted with `pauseOnConnect` and that nobody has read. Afterwards
 * nothing comes on it but its end, for which the caller reads it the usual way. Ends early when `control` is destroyed.
 */
export function receiveChannel(control: Socket, deadlineMs: number = DEADLINE_MS): Promise<Received> {
  const { promise, resolve } = Promise.withResolvers<Received>()
  const receiver = new ChannelReceiver(descriptorOf(control))
  const lastMs = performance.now() + deadlineMs
  const look = (pauseMs: number): void => {
    // The number of a destroyed socket's descriptor may be another's by now.
    const outcome: ReadOutcome = control.destroyed ? { kind: 'ended' } : receiver.read()
    if (outcome.kind !== 'more') {
      receiver.destroy()
      resolve(outcome)
    } else if (performance.now() >= lastMs) {
      receiver.destroy()
      resolve({ kind: 'invalid', why: `the message was not whole within ${deadlineMs} ms` })
    } else {
      setTimeout(look, pauseMs, Math.min(2 * pauseMs, LAST_PAUSE_MS))
    }
  }
  look(FIRST_PAUSE_MS)
  return promise
}

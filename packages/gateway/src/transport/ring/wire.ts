// A wire by io_uring. What it does within a turn becomes entries of the ring at the turn's end: one send of all that was written, then a
// read. An operation that the kernel has holds the connection, so the descriptor is closed with the last completion, and its number
// is nobody else's before.
//
// state       from → to: methods
// OPEN        → FINISHING: finish · → CLOSING: destroy, reset, both sides ended, a failure
// FINISHING   what comes is dropped · → CLOSING: all is sent, the peer took nothing for too long, destroy, reset, a failure
// CLOSING     nothing is told; operations end, because it is shut down · → CLOSED: the last of them is completed
// CLOSED      the descriptor is closed, and `closed` told, before the turn ends
//
// The side that writes, meanwhile:
// OPEN        → ENDING: end · → BROKEN: #sendFailed
// ENDING      nothing more is written · → ENDED: #emptied · → BROKEN: #sendFailed
// ENDED       the peer was told of the end
// BROKEN      what is written is dropped; what the peer sent before is read to its end, which closes the wire
//
// The side that reads is incoming.ts.

import { cutConnection, setSendBuffer, unsentBytes } from '@xengate/channel'
import { BLOCK_BYTES } from '../blocks.ts'
import { isQuiet } from '../libc.ts'
import { Output } from '../output.ts'
import { type End, type Ends, NOBODY, type Wire, type WireListener } from '../transport.ts'
import { endsOfDescriptor, setKeepAlive, sourceOfDescriptor } from './addresses.ts'
import { Incoming, type Reader } from './incoming.ts'
import type { Looking, Loop, Touched } from './loop.ts'
import type { Owner } from './ring.ts'
import { SendQueue } from './send-queue.ts'
import { EAGAIN, ECANCELED, ECONNRESET, EINTR, ENOBUFS, SHUT_RDWR, SHUT_WR, shutdown } from './system.ts'

const LIFE = { OPEN: 0, FINISHING: 1, CLOSING: 2, CLOSED: 3 } as const
const OUT = { OPEN: 0, ENDING: 1, ENDED: 2, BROKEN: 3 } as const
type Life = (typeof LIFE)[keyof typeof LIFE]
type Out = (typeof OUT)[keyof typeof OUT]

/** Operations, as the ring tells them of each other. */
const RECEIVE = 0
const SEND = 1
const CANCEL = 2

/** Errors by which nothing was read. */
const NOTHING: ReadonlySet<number> = new Set([EAGAIN, ECANCELED, EINTR, ENOBUFS])

/** When so much waits to be sent, no more should be read: it is sent in the turn's end as a rule. */
const FULL_BYTES = 65_536

/** See the head of this file. */
export class RingWire extends Output implements Wire, Owner, Touched, Looking, Reader {
  listener: WireListener = NOBODY
  readonly #loop: Loop
  readonly #fd: number
  readonly #slot: number
  readonly #isUnix: boolean
  readonly #incoming: Incoming
  readonly #queue = new SendQueue()
  #life: Life = LIFE.OPEN
  #out: Out = OUT.OPEN
  #isTouched = false
  /** Operations that the kernel has, or whose completions are to be told. */
  #operationCount = 0
  /** Bytes of the send that is under way; 0 when there is none. */
  #sendingBytes = 0
  /** The turn in which that was given to the kernel. */
  #sentTurn = 0
  /** Whether the kernel took a part only of what it was given. */
  #isStuck = false
  /** Whether the wire was full, which `drained` answers. */
  #wasFull = false
  #writtenBytes = 0
  /** Whether the next that comes has to be an answer to what is not sent yet, and cannot be one. */
  #isUnasked = false
  /** Whether a write has met a reset by the peer: the kernel tells that once, and then what looks like an end. */
  #isReset = false
  #sent: (() => void) | null = null
  /** How the connection is cut, when it is to be. */
  #cut: ((fd: number) => void) | null = null
  /** Whether what is under way was told to end. */
  #isShut = false
  #idleTimer: NodeJS.Timeout | null = null
  #ends: Ends | null = null

  /** Of a connected descriptor, which is the wire's. It is read from the end of this turn on. */
  constructor(loop: Loop, fd: number, isUnix: boolean) {
    super()
    this.#loop = loop
    this.#fd = fd
    this.#isUnix = isUnix
    this.#incoming = new Incoming(loop, this)
    this.#slot = loop.ring.claim(this)
    loop.opened()
    this.#touch()
  }

  #isClosing(): boolean {
    return this.#life >= LIFE.CLOSING
  }

  get source(): End | null {
    return this.#isUnix || this.#isClosing() ? null : sourceOfDescriptor(this.#fd)
  }

  get ends(): Ends | null {
    if (!this.#isUnix && !this.#isClosing()) this.#ends ??= endsOfDescriptor(this.#fd)
    return this.#ends
  }

  get fd(): number {
    return this.#isClosing() ? -1 : this.#fd
  }

  // ── the ring ──

  #touch(): void {
    if (this.#isTouched) return
    this.#isTouched = true
    this.#loop.touch(this)
  }

  submit(): void {
    this.#isTouched = false
    if (this.#isClosing()) return
    if (this.#incoming.isWanted) {
      this.#incoming.arm(this.#fd, this.#slot, RECEIVE)
      this.#operationCount++
    }
    if (this.#sendingBytes > 0 || this.#queue.bytes === 0) return
    if (this.#isUnasked && !this.#isWaiting()) this.#loop.lookFirst(this)
    else this.#send()
  }

  /** The turn may have been long: what has come in it is no answer to what is to be sent. */
  submitLate(): void {
    if (this.#isClosing()) return
    const { ring } = this.#loop
    if (ring.isWaiting(this.#slot, RECEIVE) || ring.isOverfull) {
      // It is told within this turn, or may be: then it has closed the wire, or was nothing.
      this.#touch()
    } else if (this.#incoming.isWaiting || isQuiet(this.#fd)) {
      this.#send()
    } else {
      this.#giveUpUnasked()
    }
  }

  /** Something came that nobody asked for: what it would be an answer to is not sent. */
  #giveUpUnasked(): void {
    if (this.#sendingBytes === 0) this.#queue.drop()
    this.#close()
  }

  #send(): void {
    this.#sendingBytes = this.#queue.submit(this.#loop.ring, this.#fd, this.#slot, SEND)
    this.#sentTurn = this.#loop.turn
    this.#operationCount++
    this.#isUnasked = false
  }

  completed(operation: number, result: number, flags: number): void {
    this.#operationCount--
    try {
      if (operation === RECEIVE) this.#received(result, flags)
      else if (operation === SEND) this.#sentSome(result)
    } finally {
      this.#leaveIfIdle()
    }
  }

  // ── out ──

  protected override writeText(text: string): void {
    if (!this.#isWritable(text.length)) return
    this.#queue.addText(text)
    if (this.#queue.isTextFull) this.#wasFull = true
  }

  protected override writeBytes(bytes: Buffer, done: () => void): void {
    if (this.#isWritable(bytes.length)) this.#queue.addBytes(bytes, done)
    else done()
  }

  #isWritable(count: number): boolean {
    if (this.#out !== OUT.OPEN || this.#life !== LIFE.OPEN) return false
    this.#writtenBytes += count
    if (this.#queue.bytes + count >= FULL_BYTES) this.#wasFull = true
    this.#touch()
    return true
  }

  // All that is written in a turn is one send.
  protected override writeMore(): void {}
  protected override writeAll(): void {}

  #sentSome(result: number): void {
    const asked = this.#sendingBytes
    this.#sendingBytes = 0
    if (result < 0 && result !== -EINTR && result !== -EAGAIN) {
      this.#isReset ||= result === -ECONNRESET
      this.#sendFailed()
      return
    }
    const count = Math.max(0, result)
    this.#queue.sent(count)
    if (this.#isClosing()) this.#shut()
    else if (this.#queue.bytes === 0) this.#emptied()
    else {
      this.#isStuck = count < asked
      this.#touch()
    }
  }

  /** All that was written is in the kernel. */
  #emptied(): void {
    this.#isStuck = false
    if (this.#life === LIFE.FINISHING) this.#close()
    else {
      if (this.#out === OUT.ENDING) this.#endOut()
      this.#tellDrained()
    }
  }

  #tellDrained(): void {
    if (!this.#wasFull) return
    this.#wasFull = false
    this.listener.drained()
  }

  #sendFailed(): void {
    this.#queue.drop()
    this.#out = OUT.BROKEN
    this.#isStuck = false
    if (this.#isClosing()) this.#shut()
    else if (this.#life === LIFE.FINISHING || this.#incoming.isOver) this.#close()
    else {
      this.#tellDrained() // what is written from now on is dropped
      this.#giveIn()
    }
  }

  #endOut(): void {
    this.#out = OUT.ENDED
    shutdown(this.#fd, SHUT_WR)
    const sent = this.#sent
    this.#sent = null
    if (sent !== null) this.#loop.defer(sent)
    if (this.#incoming.isOver) this.#close()
  }

  get isFull(): boolean {
    return this.#queue.bytes >= FULL_BYTES || this.#queue.isTextFull
  }

  get hasUnsent(): boolean {
    return this.#queue.bytes > 0
  }

  override get isPending(): boolean {
    if (this.#queue.bytes === 0) return false
    return this.#isStuck || (this.#sendingBytes > 0 && this.#loop.turn !== this.#sentTurn)
  }

  protected override get queuedBytes(): number {
    return this.#queue.bytes
  }

  override get pendingBytes(): number {
    return this.#queue.bytes + unsentBytes(this.fd)
  }

  protected override get writtenBytes(): number {
    return this.#writtenBytes
  }

  // ── in ──

  #received(result: number, flags: number): void {
    // Whatever it is came before what it would be taken for an answer to.
    if (this.#isUnasked && !NOTHING.has(-result)) this.#giveUpUnasked()
    try {
      this.#incoming.completed(result, flags)
    } finally {
      if (!this.#isClosing() && this.#incoming.isWanted) this.#touch()
    }
    this.#giveIn()
  }

  /** What is written cannot be sent, and no read is to come that would show why: the peer is gone. */
  #giveIn(): void {
    if (this.#out === OUT.BROKEN && !this.#incoming.isArmed && !this.#incoming.isWanted) this.#close()
  }

  read(bytes: Buffer, from: number, to: number): boolean {
    return this.#life === LIFE.OPEN && this.listener.bytes(bytes, from, to)
  }

  readEnded(): void {
    if (this.#isReset) {
      this.#close()
      return
    }
    if (this.#life === LIFE.OPEN) this.listener.ended()
    if (this.#out === OUT.ENDED || this.#out === OUT.BROKEN) this.#close()
  }

  readFailed(): void {
    this.#close()
  }

  pause(): void {
    this.#incoming.pause()
  }

  resume(): void {
    if (this.#isClosing() || !this.#incoming.resume()) return
    if (this.#incoming.isHolding) this.#loop.defer(() => this.#tellHeld())
    else this.#touch()
  }

  #tellHeld(): void {
    if (this.#isClosing()) return
    try {
      this.#incoming.tellHeld()
    } finally {
      if (this.#incoming.isWanted) this.#touch()
    }
  }

  stop(): boolean {
    if (this.#sendingBytes === 0 && this.#queue.sendNow(this.#fd)) this.#isReset = true
    if (this.#queue.bytes > 0) return false
    return !this.#isClosing() && this.#incoming.stop(() => this.#loop.ring.cancelNow(this.#slot, RECEIVE))
  }

  isQuiet(): boolean {
    const { ring } = this.#loop
    if (this.#isClosing() || this.#incoming.isHolding || ring.isWaiting(this.#slot, RECEIVE)) return false
    // What has come may have been read, and nobody can tell.
    if (ring.isOverfull) return false
    if (!this.#incoming.isWaiting && !isQuiet(this.#fd)) return false
    this.expectNothing()
    return true
  }

  /** Whether nothing is there to be read, as far as that is known without a call. */
  #isWaiting(): boolean {
    return this.#incoming.isWaiting && !this.#loop.ring.isWaiting(this.#slot, RECEIVE)
  }

  expectNothing(): void {
    this.#isUnasked = true
  }

  // ── the end ──

  end(sent?: () => void): void {
    if (this.#isClosing() || this.#out !== OUT.OPEN) return
    this.#out = OUT.ENDING
    this.#sent = sent ?? null
    if (this.#queue.bytes === 0) this.#endOut()
  }

  finish(idleMs: number): void {
    if (this.#life !== LIFE.OPEN) return
    this.#life = LIFE.FINISHING
    this.resume()
    if (this.#queue.bytes === 0) {
      this.#close()
      return
    }
    this.hasMoved()
    this.#idleTimer = setInterval(() => {
      if (!this.hasMoved()) this.#close()
    }, idleMs)
  }

  destroy(): void {
    this.#close()
  }

  reset(): void {
    if (this.#isClosing()) return
    if (this.#isUnix) this.#close()
    else this.#close(cutConnection)
  }

  /** @param cut ends the connection, where that is not to be orderly */
  #close(cut: ((fd: number) => void) | null = null): void {
    if (this.#isClosing()) return
    this.#life = LIFE.CLOSING
    this.#cut = cut
    if (this.#idleTimer !== null) clearInterval(this.#idleTimer)
    // What waits behind a send that is over, as it will be told in this turn, goes out after that.
    if (this.#sendingBytes === 0 || !this.#loop.ring.isWaiting(this.#slot, SEND)) this.#shut()
  }

  #shut(): void {
    if (this.#isShut) return
    this.#isShut = true
    if (this.#sendingBytes === 0) this.#queue.sendNow(this.#fd)
    this.#cut?.(this.#fd)
    if (this.#operationCount === 0) this.#leaveIfIdle()
    else if (this.#cut === null && !this.#incoming.isStopped) shutdown(this.#fd, SHUT_RDWR)
    else this.#cancel()
  }

  /** Ends what is under way without a word to the peer. */
  #cancel(): void {
    for (const operation of [RECEIVE, SEND]) {
      this.#loop.ring.addCancel(this.#slot, operation, CANCEL)
      this.#operationCount++
    }
  }

  #leaveIfIdle(): void {
    if (this.#life !== LIFE.CLOSING || !this.#isShut || this.#operationCount > 0) return
    this.#life = LIFE.CLOSED
    this.#loop.defer(() => this.#left())
  }

  /** Nothing is under way any more. */
  #left(): void {
    this.#incoming.close()
    this.#queue.drop()
    this.#loop.close(this.#fd)
    this.#loop.ring.release(this.#slot)
    this.#loop.closed()
    this.listener.closed()
  }

  keepAlive(ms: number): void {
    if (!this.#isUnix && !this.#isClosing()) setKeepAlive(this.#fd, ms)
  }

  expectBulk(): void {
    if (this.#isUnix && !this.#isClosing()) setSendBuffer(this.#fd, BLOCK_BYTES)
  }
}

// A wire by node:net. Text goes to the kernel by a call of our own while nothing waits before it, which spares the stream; what the
// kernel does not take, and whatever is to be told of a failure, goes the stream's way.

import { Socket, type SocketConstructorOpts } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { cutConnection, descriptorOf, setSendBuffer, unsentBytes } from '@xengate/channel'
import { BLOCK_BYTES } from '../blocks.ts'
import { endsOf, sourceOf } from '../ends.ts'
import { isQuiet, sendText, TEXT_BYTES_MAX } from '../libc.ts'
import { Output } from '../output.ts'
import { type End, type Ends, NOBODY, type Wire, type WireListener } from '../transport.ts'
import { type AcceptedHandle, CONNECTION, type NewHandle } from './accepting.ts'
import { BorrowedReads } from './reads.ts'

/**
 * A socket that reads what has arrived before it gives in to a failed write. A peer may answer early and close while a body is still
 * being sent to it; the write then fails although the answer is there to be read. The peer is gone by then, so that all it said is in
 * the socket's buffer: the next turns of the event loop read it.
 */
class PatientSocket extends Socket {
  #isGivingIn = false

  override destroy(error?: Error): this {
    const isWriteFailed = error !== undefined && 'syscall' in error && error.syscall === 'write'
    if (!isWriteFailed || this.#isGivingIn) return super.destroy(error)
    this.#isGivingIn = true
    setImmediate(() => setImmediate(() => super.destroy(error)))
    return this
  }
}

/** The part used of Node.js's handle of a socket, by which `net.Socket` judges its own timeouts. */
interface WriteQueue {
  /** What it was given, and what of that waits. */
  readonly bytesWritten: number
  readonly writeQueueSize: number
}

/** Node.js's handle of Unix sockets, as its first was made: it asks the system by four calls of each descriptor what that is. */
let newUnixHandle: NewHandle | null = null

/** Wires that have something to send at the end of the turn. */
let later: NetWire[] = []
/** When so much waits, for the end of the turn or in the stream, no more should be read that would be written here. */
const FULL_BYTES = 16_384

const SOCKET = { allowHalfOpen: true, writableHighWaterMark: FULL_BYTES } as const

function sendLater(): void {
  const wires = later
  later = []
  for (const wire of wires) wire.endTurn()
}

/** See the head of this file. */
export class NetWire extends Output implements Wire {
  listener: WireListener = NOBODY
  readonly #socket: Socket
  /** The socket that the system has: below TLS, or the same. */
  readonly #raw: Socket
  readonly #reads: BorrowedReads | null
  /** -1 where it is not to be written to. */
  readonly #plainFd: number
  /** What went to the kernel beside the stream. */
  #sentBytes = 0
  /** What is sent at the end of the turn. */
  #laterText = ''
  /** Whether that was more than should wait, which `drained` answers. */
  #wasFull = false
  #isPaused = false
  #isFinishing = false
  /** Whether what comes cannot be an answer to what is written next. */
  #isUnasked = false

  private constructor(socket: Socket, raw: Socket, reads: BorrowedReads | null) {
    super()
    this.#socket = socket
    this.#raw = raw
    this.#reads = reads
    this.#plainFd = socket === raw ? descriptorOf(socket) : -1
    socket.on('error', () => {}) // 'close' follows
    socket.on('end', () => {
      if (this.#isUnasked) socket.destroy()
      else if (!this.#isFinishing) this.listener.ended()
    })
    socket.on('drain', () => {
      if (!this.#isFinishing) this.listener.drained()
    })
    socket.on('close', () => {
      this.#reads?.close()
      this.listener.closed()
    })
  }

  /** Of a connection that was accepted; it is read from now on. */
  static ofHandle(handle: AcceptedHandle): NetWire {
    handle.setNoDelay?.(true)
    return NetWire.#ofHandle(handle)
  }

  static #ofHandle(handle: AcceptedHandle): NetWire {
    return NetWire.#reading({ handle } as SocketConstructorOpts)
  }

  /** Of a connected descriptor, which is the wire's. */
  static ofDescriptor(fd: number, isUnix: boolean): NetWire {
    if (!isUnix) return NetWire.#reading({ fd })
    if (newUnixHandle !== null) {
      const handle = new newUnixHandle(CONNECTION)
      handle.open(fd)
      return NetWire.#ofHandle(handle)
    }
    const wire = NetWire.#reading({ fd })
    newUnixHandle = (wire.#socket as Socket & { readonly _handle: AcceptedHandle })._handle.constructor as NewHandle
    return wire
  }

  static #reading(options: SocketConstructorOpts): NetWire {
    const reads = new BorrowedReads((bytes, count) => wire.#bytes(bytes, count))
    const socket = new PatientSocket({ ...options, ...SOCKET, onread: reads.onread })
    const wire: NetWire = new NetWire(socket, socket, reads)
    return wire
  }

  /** Of TLS. @param raw the socket below */
  static ofTls(socket: TLSSocket, raw: Socket): NetWire {
    return NetWire.#flowing(socket, raw)
  }

  /** Of a socket that somebody has read from. */
  static ofSocket(socket: Socket): NetWire {
    return NetWire.#flowing(socket, socket)
  }

  static #flowing(socket: Socket, raw: Socket): NetWire {
    const wire = new NetWire(socket, raw, null)
    socket.on('data', (chunk: Buffer) => wire.#bytes(chunk, chunk.length))
    return wire
  }

  /**
   * Connects to a TCP port.
   * @param timeoutMs how long that may take
   * @param connected called once, with the wire, or with the system's name of the error
   */
  static connect(host: string, port: number, timeoutMs: number, connected: (wire: NetWire | string) => void): void {
    const reads = new BorrowedReads((bytes, count) => (wire === null ? false : wire.#bytes(bytes, count)))
    const socket = new PatientSocket({ ...SOCKET, onread: reads.onread })
    let wire: NetWire | null = null
    const failed = (error: NodeJS.ErrnoException): void => connected(error.code ?? '')
    const timedOut = (): void => {
      socket.off('error', failed).on('error', () => {})
      socket.destroy()
      connected('ETIMEDOUT')
    }
    socket.once('error', failed)
    socket.once('connect', () => {
      socket.off('error', failed).off('timeout', timedOut)
      socket.setTimeout(0).setNoDelay(true)
      wire = new NetWire(socket, socket, reads)
      connected(wire)
    })
    socket.setTimeout(timeoutMs, timedOut)
    socket.connect({ host, port })
  }

  #bytes(bytes: Buffer, count: number): boolean {
    if (this.#isUnasked) this.#socket.destroy()
    if (this.#isFinishing || this.#socket.destroyed) return false
    return this.listener.bytes(bytes, 0, count)
  }

  get source(): End | null {
    return sourceOf(this.#raw)
  }

  get ends(): Ends | null {
    return endsOf(this.#raw)
  }

  get fd(): number {
    return this.#plainFd === -1 ? -1 : descriptorOf(this.#socket)
  }

  // ── out ──

  protected override writeText(text: string, isMore: boolean): void {
    if (isMore || this.#plainFd === -1) {
      this.#isUnasked = false
      this.#socket.write(text, 'latin1')
    } else if (this.#laterText === '') {
      this.#laterText = text
      later.push(this)
      if (later.length === 1) setImmediate(sendLater)
    } else this.#laterText += text
    if (this.#laterText.length >= FULL_BYTES) this.#wasFull = true
  }

  /** The turn is over: what it had to say is sent. */
  endTurn(): void {
    this.sendLater()
    if (!this.#wasFull) return
    this.#wasFull = false
    if (!this.isFull && !this.#socket.destroyed && !this.#isFinishing) this.listener.drained()
  }

  sendLater(): void {
    const text = this.#laterText
    if (text === '') return
    this.#laterText = ''
    const socket = this.#socket
    // The turn may have been long: what has come in it is no answer to this.
    if (this.#isUnasked && !this.isQuiet()) {
      socket.destroy()
      return
    }
    this.#isUnasked = false
    let from = 0
    // A socket that is destroyed has no descriptor any more, before anybody is told of it.
    if (socket.writableLength === 0 && !socket.destroyed && !socket.writableEnded && text.length <= TEXT_BYTES_MAX) {
      from = sendText(this.#plainFd, text)
      this.#sentBytes += from
      if (from === text.length) return
    }
    socket.write(from === 0 ? text : text.slice(from), 'latin1')
  }

  protected override writeBytes(bytes: Buffer, done: () => void): void {
    this.sendLater()
    this.#isUnasked = false
    this.#socket.write(bytes, done)
  }

  protected override writeMore(): void {
    this.sendLater()
    this.#socket.cork()
  }

  protected override writeAll(): void {
    this.#socket.uncork()
  }

  get isFull(): boolean {
    if (this.#laterText.length >= FULL_BYTES) return true
    return this.#socket.writableNeedDrain && this.#socket.writableLength > this.queueBytesMax
  }

  protected override get queuedBytes(): number {
    return this.#socket.writableLength
  }

  get hasUnsent(): boolean {
    return this.#laterText !== '' || this.#socket.writableLength > 0
  }

  override get pendingBytes(): number {
    const { bytesWritten, _handle: handle } = this.#socket as Socket & { readonly _handle: WriteQueue | null }
    if (handle === null) return 0
    // The stream counts what is being written as a whole until the last of it is taken; the handle knows how much of it is left.
    return bytesWritten - handle.bytesWritten + handle.writeQueueSize + unsentBytes(descriptorOf(this.#socket))
  }

  protected override get writtenBytes(): number {
    return this.#socket.bytesWritten + this.#sentBytes
  }

  // ── in ──

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
  }

  stop(): boolean {
    this.sendLater()
    this.pause()
    return !this.hasUnsent
  }

  isQuiet(): boolean {
    if (this.#socket.destroyed || (this.#plainFd !== -1 && !isQuiet(this.#plainFd))) return false
    this.expectNothing()
    return true
  }

  expectNothing(): void {
    this.#isUnasked = true
  }

  // ── the end ──

  end(sent?: () => void): void {
    this.sendLater()
    this.#socket.end(sent)
  }

  finish(idleMs: number): void {
    this.sendLater()
    this.#isFinishing = true
    if (this.#socket.writableLength === 0) {
      this.#socket.destroy()
      return
    }
    this.resume()
    this.#socket.setTimeout(idleMs, () => this.#socket.destroy())
    this.#socket.destroySoon()
  }

  destroy(): void {
    this.sendLater()
    this.#socket.destroy()
  }

  reset(): void {
    this.sendLater()
    // A Unix socket has no reset.
    if (this.#raw.remoteAddress === undefined) {
      this.#socket.destroy()
      return
    }
    // Node.js's own reset fails while an end is being written, and leaves the socket open for ever.
    cutConnection(descriptorOf(this.#raw))
    this.#raw.destroy()
  }

  keepAlive(ms: number): void {
    this.#socket.setKeepAlive(true, ms)
  }

  expectBulk(): void {
    if (this.#raw.remoteAddress === undefined) setSendBuffer(this.fd, BLOCK_BYTES)
  }
}

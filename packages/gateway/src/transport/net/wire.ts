// A wire by node:net. It begins as a handle, which is what Node.js's streams are made of: reads are heard from it, and text goes to the
// kernel by a call of our own. What a handle cannot do makes a stream of it:
//
//   handle      → stream        what the kernel does not take, bytes that are not text, `end`
//   handle      → closed        destroy, reset, finish; an error of a read
//   stream      → closed        the same, by Node.js's own ways
//
// TLS, and connections to TCP ports, are streams from the start, and so is all where Node.js does not show its handles.

import { Socket, type SocketConstructorOpts } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { closeDescriptor, cutConnection, descriptorOf, setSendBuffer, unsentBytes } from '@xengate/channel'
import { BLOCK_BYTES } from '../blocks.ts'
import { endsOf, type Known, sourceOf } from '../ends.ts'
import { isQuiet, RESET, sendText, TEXT_BYTES_MAX } from '../libc.ts'
import { Output } from '../output.ts'
import { type End, type Ends, NOBODY, type Wire, type WireListener } from '../transport.ts'
import { CONNECTION, END_OF_FILE, type Handle, type HandleReader, HANDLES, KnownByHandle, streamOf } from './handle.ts'
import { BorrowedReads, type Reader } from './reads.ts'

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

function onread(this: Handle): Buffer | undefined {
  return this.reader?.handleRead(HANDLES?.lastRead() ?? END_OF_FILE)
}

/** See the head of this file. */
export class NetWire extends Output implements Wire, Reader, HandleReader {
  listener: WireListener = NOBODY
  /** Null while a stream has it, and when it is closed. */
  #handle: Handle | null = null
  /** Null as long as the handle is enough. */
  #stream: Socket | null = null
  /** The socket that the system has, below TLS; null where it is the same. */
  #raw: Socket | null = null
  /** Null where reads do not go into memory of ours. */
  #reads: BorrowedReads | null = null
  /** -1 where it is not to be written to. */
  #plainFd = -1
  /** What went to the kernel beside the stream. */
  #sentBytes = 0
  /** What is sent at the end of the turn. */
  #laterText = ''
  /** Whether that was more than should wait, which `drained` answers. */
  #wasFull = false
  #isPaused = false
  #isFinishing = false
  /** Whether the peer has ended. */
  #hasEnded = false
  /** Whether a write has met a reset by the peer: what looks like an end then is none. */
  #isReset = false
  /** Whether what comes cannot be an answer to what is written next. */
  #isUnasked = false

  private constructor() {
    super()
  }

  /** Of a connection that was accepted; it is read from now on. */
  static ofHandle(handle: Handle): NetWire {
    handle.setNoDelay?.(true)
    return NetWire.#ofHandle(handle)
  }

  static #ofHandle(handle: Handle): NetWire {
    const wire = new NetWire()
    const reads = new BorrowedReads(wire)
    wire.#reads = reads
    wire.#handle = handle
    wire.#plainFd = handle.fd
    if (HANDLES === null) {
      wire.#useStream()
      return wire
    }
    handle.reader = wire
    handle.onread = onread
    handle.useUserBuffer(reads.buffer)
    wire.#startReading(handle)
    return wire
  }

  /** Of a connected descriptor, which is the wire's. */
  static ofDescriptor(fd: number, isUnix: boolean): NetWire {
    if (HANDLES === null)
      return NetWire.#ofStream((reads) => new PatientSocket({ fd, ...SOCKET, onread: reads.onread }))
    const handle = isUnix ? new HANDLES.Unix(CONNECTION) : new HANDLES.Tcp(CONNECTION)
    if (handle.open(fd) !== 0) closeDescriptor(fd) // reading fails
    return NetWire.#ofHandle(handle)
  }

  static #ofStream(make: (reads: BorrowedReads) => Socket): NetWire {
    const wire = new NetWire()
    const reads = new BorrowedReads(wire)
    wire.#reads = reads
    const stream = make(reads)
    wire.#plainFd = descriptorOf(stream)
    wire.#hear(stream)
    return wire
  }

  /** Of TLS. @param raw the socket below */
  static ofTls(socket: TLSSocket, raw: Socket): NetWire {
    const wire = NetWire.#flowing(socket)
    wire.#raw = raw
    return wire
  }

  /** Of a socket that somebody has read from. */
  static ofSocket(socket: Socket): NetWire {
    const wire = NetWire.#flowing(socket)
    wire.#plainFd = descriptorOf(socket)
    return wire
  }

  static #flowing(socket: Socket): NetWire {
    const wire = new NetWire()
    wire.#hear(socket)
    socket.on('data', (chunk: Buffer) => wire.take(chunk, chunk.length))
    return wire
  }

  /**
   * Connects to a TCP port.
   * @param timeoutMs how long that may take
   * @param connected called once, with the wire, or with the system's name of the error
   */
  static connect(host: string, port: number, timeoutMs: number, connected: (wire: NetWire | string) => void): void {
    const wire = new NetWire()
    wire.#reads = new BorrowedReads(wire)
    const socket = new PatientSocket({ ...SOCKET, onread: wire.#reads.onread })
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
      wire.#plainFd = descriptorOf(socket)
      wire.#hear(socket)
      connected(wire)
    })
    socket.setTimeout(timeoutMs, timedOut)
    socket.connect({ host, port })
  }

  /** From now on it is a stream's. @returns null when it is closed */
  #useStream(): Socket | null {
    const handle = this.#handle
    if (handle === null) return this.#stream
    this.#handle = null
    // It would not begin to read what is being read.
    handle.readStop()
    const options = { ...SOCKET, readable: !this.#hasEnded, onread: this.#reads?.onread } as SocketConstructorOpts
    const stream = new PatientSocket(streamOf(handle, options))
    if (this.#isPaused) stream.pause()
    this.#hear(stream)
    return stream
  }

  #hear(stream: Socket): void {
    this.#stream = stream
    // 'close' follows.
    stream.on('error', ({ code }: NodeJS.ErrnoException) => (this.#isReset ||= code === 'ECONNRESET'))
    stream.on('end', () => this.#ended())
    stream.on('drain', () => {
      if (!this.#isFinishing) this.listener.drained()
    })
    stream.on('close', () => this.#closed())
  }

  // ── what a handle, or a stream, tells ──

  handleRead(count: number): Buffer | undefined {
    const reads = this.#reads
    if (reads === null || count === 0) return undefined
    if (count > 0) {
      const before = reads.buffer
      reads.read(before, count)
      return reads.buffer === before ? undefined : reads.buffer
    }
    if (count === END_OF_FILE) this.#ended()
    else this.destroy()
    return undefined
  }

  take(bytes: Buffer, count: number): boolean {
    if (this.#isUnasked) this.#close()
    if (this.#isFinishing || this.#isGone) return false
    return this.listener.bytes(bytes, 0, count)
  }

  #ended(): void {
    this.#hasEnded = true
    if (this.#isUnasked || this.#isReset) this.#close()
    else if (!this.#isFinishing) this.listener.ended()
  }

  #closed(): void {
    this.#reads?.close()
    this.listener.closed()
  }

  get #isGone(): boolean {
    return this.#stream === null ? this.#handle === null : this.#stream.destroyed
  }

  /** Ends both sides now. */
  #close(): void {
    const handle = this.#handle
    if (handle === null) {
      this.#stream?.destroy()
      return
    }
    this.#handle = null
    handle.close(() => this.#closed())
  }

  get source(): End | null {
    return sourceOf(this.#known)
  }

  get ends(): Ends | null {
    return endsOf(this.#known)
  }

  get #known(): Known {
    return this.#handle === null ? (this.#system ?? {}) : new KnownByHandle(this.#handle)
  }

  /** The socket that the system has; null as long as there is none, or no more. */
  get #system(): Socket | null {
    return this.#raw ?? this.#stream
  }

  get #isUnix(): boolean {
    if (this.#handle !== null) return this.#handle.getpeername === undefined
    return this.#system?.remoteAddress === undefined
  }

  get fd(): number {
    if (this.#handle !== null) return this.#handle.fd
    return this.#plainFd === -1 || this.#stream === null ? -1 : descriptorOf(this.#stream)
  }

  // ── out ──

  protected override writeText(text: string, isMore: boolean): void {
    if (isMore || this.#plainFd === -1) {
      this.#isUnasked = false
      this.#useStream()?.write(text, 'latin1')
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
    if (!this.isFull && !this.#isGone && !this.#isFinishing) this.listener.drained()
  }

  sendLater(): void {
    const text = this.#laterText
    if (text === '') return
    this.#laterText = ''
    // A socket that is gone has no descriptor any more, before anybody is told of it.
    if (this.#isGone) return
    // The turn may have been long: what has come in it is no answer to this.
    if (this.#isUnasked && !this.isQuiet()) {
      this.#close()
      return
    }
    this.#isUnasked = false
    let from = 0
    const stream = this.#stream
    const isEmpty = stream === null || (stream.writableLength === 0 && !stream.writableEnded)
    if (isEmpty && text.length <= TEXT_BYTES_MAX) {
      const sent = sendText(this.#plainFd, text)
      if (sent === RESET) this.#isReset = true
      else from = sent
      this.#sentBytes += from
      if (from === text.length) return
    }
    this.#useStream()?.write(from === 0 ? text : text.slice(from), 'latin1')
  }

  protected override writeBytes(bytes: Buffer, done: () => void): void {
    this.sendLater()
    this.#isUnasked = false
    const stream = this.#useStream()
    if (stream === null) process.nextTick(done)
    else stream.write(bytes, done)
  }

  protected override writeMore(): void {
    this.sendLater()
    this.#useStream()?.cork()
  }

  protected override writeAll(): void {
    this.#stream?.uncork()
  }

  get isFull(): boolean {
    if (this.#laterText.length >= FULL_BYTES) return true
    return this.#stream !== null && this.#stream.writableNeedDrain && this.queuedBytes > this.queueBytesMax
  }

  protected override get queuedBytes(): number {
    return this.#stream?.writableLength ?? 0
  }

  get hasUnsent(): boolean {
    return this.#laterText !== '' || this.queuedBytes > 0
  }

  override get pendingBytes(): number {
    if (this.#stream === null) return unsentBytes(this.fd)
    const { bytesWritten, _handle: handle } = this.#stream as Socket & { readonly _handle: WriteQueue | null }
    if (handle === null) return 0
    // The stream counts what is being written as a whole until the last of it is taken; the handle knows how much of it is left.
    return bytesWritten - handle.bytesWritten + handle.writeQueueSize + unsentBytes(descriptorOf(this.#stream))
  }

  protected override get writtenBytes(): number {
    return (this.#stream?.bytesWritten ?? 0) + this.#sentBytes
  }

  // ── in ──

  pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    if (this.#handle === null) this.#stream?.pause()
    else this.#handle.readStop()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    if (this.#handle === null) this.#stream?.resume()
    else if (!this.#hasEnded) this.#startReading(this.#handle)
  }

  #startReading(handle: Handle): void {
    if (handle.readStart() !== 0) setImmediate(() => this.destroy())
  }

  stop(): boolean {
    this.sendLater()
    this.pause()
    return !this.hasUnsent
  }

  isQuiet(): boolean {
    if (this.#isGone || (this.#plainFd !== -1 && !isQuiet(this.#plainFd))) return false
    this.expectNothing()
    return true
  }

  expectNothing(): void {
    this.#isUnasked = true
  }

  // ── the end ──

  end(sent?: () => void): void {
    this.sendLater()
    const stream = this.#useStream()
    if (stream !== null) stream.end(sent)
    else if (sent !== undefined) process.nextTick(sent)
  }

  finish(idleMs: number): void {
    this.sendLater()
    this.#isFinishing = true
    const stream = this.#stream
    if (stream === null || stream.writableLength === 0) {
      this.#close()
      return
    }
    this.resume()
    stream.setTimeout(idleMs, () => stream.destroy())
    stream.destroySoon()
  }

  destroy(): void {
    this.sendLater()
    this.#close()
  }

  reset(): void {
    this.sendLater()
    // A Unix socket has no reset. Node.js's own fails while an end is being written, and leaves the socket open for ever.
    if (!this.#isUnix) cutConnection(this.#handle?.fd ?? (this.#system === null ? -1 : descriptorOf(this.#system)))
    if (this.#raw !== null) this.#raw.destroy()
    else this.#close()
  }

  keepAlive(ms: number): void {
    if (this.#handle === null) this.#stream?.setKeepAlive(true, ms)
    else this.#handle.setKeepAlive?.(true, Math.ceil(ms / 1000))
  }

  expectBulk(): void {
    if (this.#isUnix) setSendBuffer(this.fd, BLOCK_BYTES)
  }
}

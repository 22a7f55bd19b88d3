// One side of a socket: what comes is read piece by piece and no faster than it is asked for, what goes no faster than it is taken.

import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Body } from './body.ts'
import type { BodyPlan, Pace } from './plan.ts'

/** Bytes that wait for the reader before the socket is paused. */
const WAITING_BYTES_MAX = 262_144
const HEAD_BYTES_MAX = 16_384

/** What has come is not what had to. */
export class WrongError extends Error {
  override readonly name = 'WrongError'
}

/** The other side has ended, or is gone, before what was to come. */
export class EndedError extends Error {
  override readonly name = 'EndedError'
}

/** See the head of this file. */
export class Stream {
  readonly socket: Socket
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #hasEnded = false
  /** By what it ended. */
  #how = 'in order'
  #wake: (() => void) | null = null
  /** Bytes that were written and read. */
  sentBytes = 0
  readBytes = 0

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', ({ message }) => (this.#how = message)) // `close` follows
    socket.on('data', (chunk: Buffer) => {
      this.#waiting.push(chunk)
      this.#waitingBytes += chunk.length
      if (this.#waitingBytes > WAITING_BYTES_MAX) socket.pause()
      this.#wake?.()
    })
    const end = (): void => {
      this.#hasEnded = true
      this.#wake?.()
    }
    socket.on('end', end).on('close', end)
  }

  /** Waits for more. @returns whether there is any; else the other side has ended */
  async hasMore(): Promise<boolean> {
    while (this.#waitingBytes === 0) {
      if (this.#hasEnded) return false
      this.socket.resume()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = null
    }
    return true
  }

  /** Takes up to `count` bytes, at least one. @throws {EndedError} */
  async some(count: number): Promise<Buffer> {
    if (!(await this.hasMore())) {
      const { sentBytes, readBytes } = this
      throw new EndedError(`the connection ended (${this.#how}), ${sentBytes} bytes written and ${readBytes} read`)
    }
    const [first = Buffer.alloc(0)] = this.#waiting
    const taken = first.subarray(0, count)
    if (taken.length === first.length) this.#waiting.shift()
    else this.#waiting[0] = first.subarray(taken.length)
    this.#waitingBytes -= taken.length
    this.readBytes += taken.length
    return taken
  }

  /** Takes all up to `literal` and with it. @throws {EndedError} @throws {WrongError} when that is not near */
  async until(literal: string): Promise<string> {
    let text = ''
    for (;;) {
      const bytes = await this.some(HEAD_BYTES_MAX)
      const before = text.length
      text += bytes.toString('latin1')
      const at = text.indexOf(literal, Math.max(0, before - literal.length))
      if (at !== -1) {
        this.#putBack(bytes.subarray(at + literal.length - before))
        return text.slice(0, at + literal.length)
      }
      if (text.length > HEAD_BYTES_MAX)
        throw new WrongError(`waited for ${JSON.stringify(literal)}, had ${JSON.stringify(text.slice(0, 200))}`)
    }
  }

  #putBack(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#waiting.unshift(bytes)
    this.#waitingBytes += bytes.length
    this.readBytes -= bytes.length
  }

  /** Writes, and waits while the system takes no more. @throws {EndedError} when the connection is gone */
  async write(bytes: Buffer | string): Promise<void> {
    const { socket } = this
    if (socket.destroyed || !socket.writable) throw new EndedError('the connection is gone')
    const isTaken = typeof bytes === 'string' ? socket.write(bytes, 'latin1') : socket.write(bytes)
    this.sentBytes += bytes.length
    if (!isTaken) await this.#drained()
  }

  async #drained(): Promise<void> {
    if (this.socket.destroyed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.socket.once('drain', resolve).once('close', resolve)
    await promise
    this.socket.off('drain', resolve).off('close', resolve)
  }

  /** Writes a chunk, in one write. @throws {EndedError} likewise */
  async writeChunk(bytes: Buffer): Promise<void> {
    const { socket } = this
    socket.cork()
    const written = this.write(`${bytes.length.toString(16)}\r\n`)
    if (socket.writable) {
      socket.write(bytes)
      socket.write('\r\n')
    }
    socket.uncork()
    this.sentBytes += bytes.length
    await written
    if (socket.writableNeedDrain) await this.#drained()
  }

  /** Ends this side, and waits until the system has all that was written, or the other side is gone. */
  end(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    if (this.socket.destroyed) resolve()
    else this.socket.once('close', resolve).end(resolve)
    return promise
  }

  /** Ends this side, and waits until all is read or the other side is gone. */
  async close(): Promise<void> {
    const ended = this.end()
    while (await this.hasMore()) await this.some(HEAD_BYTES_MAX)
    await ended
    this.socket.destroy()
  }
}

/** The pauses of one body. */
export class Pauses {
  readonly #pace: Pace
  readonly #everyBytes: number
  #nextAt: number

  constructor(pace: Pace, bytes: number) {
    this.#pace = pace
    this.#everyBytes = Math.ceil(bytes / (pace.pauses + 1)) + 1
    this.#nextAt = pace.pauses === 0 ? Number.POSITIVE_INFINITY : this.#everyBytes
  }

  /** Waits where a pause is due. @param position bytes that have passed */
  async at(position: number): Promise<void> {
    if (position < this.#nextAt) return
    this.#nextAt = position + this.#everyBytes
    await pause(this.#pace.pauseMs)
  }
}

/** Sends a body, without what says where it ends when it has no length. @param until stops after so many bytes of it @throws {EndedError} */
export async function sendBody(stream: Stream, plan: BodyPlan, until: number = plan.bytes): Promise<void> {
  const [body, pauses] = [new Body(plan.seed), new Pauses(plan.sender, plan.bytes)]
  // Small pieces of a big body would take for ever.
  const pieceBytes = Math.max(plan.pieceBytes, Math.ceil(plan.bytes / 2000))
  for (let position = 0; position < until;) {
    const piece = body.piece(position, Math.min(pieceBytes, until - position))
    if (plan.framing === 'chunked') {
      await stream.writeChunk(piece)
    } else {
      await stream.write(piece)
    }
    position += piece.length
    await pauses.at(position)
  }
  if (plan.framing === 'chunked' && until === plan.bytes) await stream.write('0\r\n\r\n')
}

/** How a received message says where its body ends. */
export type Framing = { readonly length: number } | 'chunked' | 'close'

/** The framing that a head declares; null: none. */
export function framingOf(head: string): Framing | null {
  const length = /^content-length: *(\d+)\r$/im.exec(head)?.[1]
  if (length !== undefined) return { length: Number(length) }
  return /^transfer-encoding: *chunked\r$/im.test(head) ? 'chunked' : null
}

/**
 * Reads a body to its end, and compares it.
 * @param progress is told how many bytes have come; it may end the connection
 * @throws {WrongError} when it is another one @throws {EndedError} when it ends too early
 */
export async function readBody(
  stream: Stream,
  framing: Framing,
  plan: BodyPlan,
  progress: (bytes: number) => void = () => {},
): Promise<void> {
  const reader = new BodyReader(stream, plan, progress)
  if (framing === 'chunked') await readChunks(stream, reader)
  else if (framing === 'close') while (await stream.hasMore()) await reader.take(Number.POSITIVE_INFINITY)
  else await readLength(reader, framing.length, plan.bytes)
  if (reader.position === plan.bytes) return
  const text = `a body ended after ${reader.position} of ${plan.bytes} bytes`
  throw framing === 'close' ? new EndedError(text) : new WrongError(text)
}

class BodyReader {
  readonly #stream: Stream
  readonly #plan: BodyPlan
  readonly #body: Body
  readonly #pauses: Pauses
  readonly #progress: (bytes: number) => void
  position = 0

  constructor(stream: Stream, plan: BodyPlan, progress: (bytes: number) => void) {
    this.#stream = stream
    this.#plan = plan
    this.#body = new Body(plan.seed)
    this.#pauses = new Pauses(plan.reader, plan.bytes)
    this.#progress = progress
  }

  /** Takes and compares up to `count` bytes. @returns how many */
  async take(count: number): Promise<number> {
    const bytes = await this.#stream.some(count)
    if (this.position + bytes.length > this.#plan.bytes)
      throw new WrongError(`more than the ${this.#plan.bytes} bytes of a body`)
    const difference = this.#body.difference(bytes, this.position)
    if (difference !== null) throw new WrongError(difference)
    this.position += bytes.length
    this.#progress(this.position)
    await this.#pauses.at(this.position)
    return bytes.length
  }
}

async function readLength(reader: BodyReader, length: number, wanted: number): Promise<void> {
  if (length !== wanted) throw new WrongError(`a length of ${length} instead of ${wanted}`)
  while (reader.position < length) await reader.take(length - reader.position)
}

async function readChunks(stream: Stream, reader: BodyReader): Promise<void> {
  for (;;) {
    const line = await stream.until('\r\n')
    if (!/^[0-9a-f]+\r\n$/i.test(line)) throw new WrongError(`${JSON.stringify(line.slice(0, 100))} is no chunk's size`)
    let left = Number.parseInt(line, 16)
    if (left === 0) break
    while (left > 0) left -= await reader.take(left)
    if ((await stream.until('\r\n')) !== '\r\n') throw new WrongError('a chunk is longer than it said')
  }
  if ((await stream.until('\r\n')) !== '\r\n') throw new WrongError('trailers that nobody sent')
}

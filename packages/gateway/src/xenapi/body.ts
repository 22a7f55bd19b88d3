// Reads the bodies of calls: each bounded, and all of them together.

import type { IncomingMessage } from 'node:http'

import { MalformedCallError } from './errors.ts'

/** Calls of these methods are far shorter. Bounded tightly, since XML was measured at 10 ms of the primary for 64 KiB. */
const BODY_BYTES_MAX = 65_536
const FIRST_BYTES = 1024

/** Bytes of each body that do not count: a login finds room whatever others send, and workers bound their connections. */
const FREE_BYTES = 4096
/** Bytes beyond these that all bodies that are being read or wait may hold together. */
const HELD_BYTES_MAX = 16 * 1024 * 1024

/** How much of a larger body is read and thrown away: a server that closes on unread bytes may lose its answer. */
const DISCARDED_BYTES_MAX = 16_777_216

/** Encodings that an XML declaration may name. Old PHP clients say ISO-8859-1. */
const DECLARED = /^<\?xml[^>]*\sencoding\s*=\s*["']([\w.-]{1,40})["']/
const LATIN_1: ReadonlySet<string> = new Set(['iso-8859-1', 'latin1', 'windows-1252'])
const UTF_8: ReadonlySet<string> = new Set(['utf-8', 'utf8', 'us-ascii', 'ascii'])

/** The bodies that a server holds. */
export class Bodies {
  #heldBytes = 0

  /**
   * A request's body; `too-long` when it is larger than 64 KiB, `busy` when there is no room for it now. What is returned
   * counts as held until it is released.
   *
   * @throws {MalformedCallError} when it ends too early.
   */
  async read(request: IncomingMessage): Promise<Body | 'too-long' | 'busy'> {
    const body = new Body((bytes) => this.#hold(bytes))
    let received = 0
    let refused: 'too-long' | 'busy' | null = null
    try {
      // The iterator would destroy the socket when it is left early, and the answer with it.
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        received += chunk.length
        refused ??= body.add(chunk)
        if (refused !== null) body.release()
        if (received > DISCARDED_BYTES_MAX) break
      }
    } catch (error) {
      body.release()
      throw new MalformedCallError('read body: it ended too early', { cause: error })
    }
    if (refused === null) return body
    request.resume()
    return refused
  }

  /** @returns whether there was room */
  #hold(bytes: number): boolean {
    if (bytes > 0 && this.#heldBytes + bytes > HELD_BYTES_MAX) return false
    this.#heldBytes += bytes
    return true
  }
}

/** One body, in one piece however many it came in. */
export class Body {
  readonly #hold: (bytes: number) => boolean
  #buffer: Buffer = Buffer.alloc(0)
  #bytes = 0

  /** @param hold asked for each change of what is held */
  constructor(hold: (bytes: number) => boolean) {
    this.#hold = hold
  }

  get length(): number {
    return this.#bytes
  }

  add(chunk: Buffer): 'too-long' | 'busy' | null {
    const count = this.#bytes + chunk.length
    if (count > BODY_BYTES_MAX) return 'too-long'
    if (count > this.#buffer.length && !this.#grow(count)) return 'busy'
    chunk.copy(this.#buffer, this.#bytes)
    this.#bytes = count
    return null
  }

  #grow(count: number): boolean {
    const wanted = Math.max(count, Math.min(BODY_BYTES_MAX, 2 * this.#buffer.length), FIRST_BYTES)
    if (!this.#hold(countedBytes(wanted) - countedBytes(this.#buffer.length))) return false
    const larger = Buffer.allocUnsafeSlow(wanted)
    this.#buffer.copy(larger, 0, 0, this.#bytes)
    this.#buffer = larger
    return true
  }

  /** The text. @throws {MalformedCallError} when it is not valid in its encoding. */
  get text(): string {
    return decode(this.#buffer.subarray(0, this.#bytes))
  }

  /** The bytes, a character each. */
  get latin1(): string {
    return this.#buffer.toString('latin1', 0, this.#bytes)
  }

  /** Gives its room back. */
  release(): void {
    this.#hold(-countedBytes(this.#buffer.length))
    this.#buffer = Buffer.alloc(0)
    this.#bytes = 0
  }
}

function countedBytes(bytes: number): number {
  return Math.max(0, bytes - FREE_BYTES)
}

function decode(bytes: Buffer): string {
  const declared = DECLARED.exec(bytes.toString('latin1', 0, 200))?.[1]?.toLowerCase() ?? 'utf-8'
  if (LATIN_1.has(declared)) return bytes.toString('latin1')
  if (!UTF_8.has(declared)) throw new MalformedCallError(`read body: encoding "${declared}" is not supported`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new MalformedCallError('read body: it is not UTF-8', { cause: error })
  }
}

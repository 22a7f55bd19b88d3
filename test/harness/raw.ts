// A client that sends literal bytes and reads what comes back. It reads responses by itself, so that what is under test
// is not read with its own codec.

import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { DEADLINE_MS, within } from './deadline.ts'

/** A response as it came. */
export interface RawResponse {
  readonly status: number
  readonly reason: string
  /** The head, without its empty line. */
  readonly head: string
  readonly body: Buffer
  readonly text: string
  /** Value of the first field with this name. */
  header(name: string): string | undefined
}

/** One connection. */
export class RawClient {
  readonly socket: Socket
  #received: Buffer = Buffer.alloc(0)
  #hasEnded = false
  #error: Error | undefined
  #wake: () => void = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    socket.on('error', (error) => {
      this.#error = error
    })
    socket.on('end', () => this.#end())
    socket.on('close', () => this.#end())
  }

  /** Connects to `url`: `http://host:port` or `unix:/path`. */
  static async connect(url: string): Promise<RawClient> {
    const socket = connect({ ...addressOf(url), allowHalfOpen: true })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    socket.once('connect', resolve).once('error', reject)
    await within(promise, `a connection to ${url}`)
    socket.setNoDelay(true)
    socket.off('error', reject)
    return new RawClient(socket)
  }

  #end(): void {
    this.#hasEnded = true
    this.#wake()
  }

  /** Writes text, a character a byte, or bytes; resolves when the system has them. */
  send(bytes: string | Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const data = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
    this.socket.write(data, (error) => (error === undefined || error === null ? resolve() : reject(error)))
    return promise
  }

  /** Whether the peer has ended its side. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** What came and is not read yet. */
  get unread(): string {
    return this.#received.toString('latin1')
  }

  /** Reads up to the end of `literal`, and returns all of that. */
  async until(literal: string, ms: number = DEADLINE_MS): Promise<string> {
    const at = await this.#when(
      () => {
        const index = this.#received.indexOf(literal, 0, 'latin1')
        return index === -1 ? undefined : index + literal.length
      },
      `"${literal}"`,
      ms,
    )
    return this.#take(at).toString('latin1')
  }

  /** Reads this many bytes. */
  async bytes(count: number, ms: number = DEADLINE_MS): Promise<Buffer> {
    await this.#when(() => (this.#received.length >= count ? true : undefined), `${count} bytes`, ms)
    return this.#take(count)
  }

  /** Waits for the end of what is received, and returns what is left of it. */
  async end(ms: number = DEADLINE_MS): Promise<Buffer> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = () => {
      if (this.#hasEnded) resolve()
    }
    this.#wake()
    await within(promise, `the end of the connection, after ${JSON.stringify(this.unread.slice(0, 500))}`, ms)
    return this.#take(this.#received.length)
  }

  /** Reads one response whole. @param isHeadRequest whether it answers HEAD, and so has no body */
  async response(isHeadRequest = false, ms: number = DEADLINE_MS): Promise<RawResponse> {
    const head = (await this.until('\r\n\r\n', ms)).slice(0, -4)
    const [, status = '0', reason = ''] = /^HTTP\/1\.1 (\d{3}) (.*)/.exec(head) ?? []
    const header = (name: string): string | undefined =>
      head
        .split('\r\n')
        .slice(1)
        .find((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`))
        ?.slice(name.length + 1)
        .trim()
    const isWithout = isHeadRequest || Number(status) < 200 || status === '204' || status === '304'
    const body = isWithout ? Buffer.alloc(0) : await this.#body(header, ms)
    return { status: Number(status), reason, head, body, text: body.toString('utf8'), header }
  }

  async #body(header: (name: string) => string | undefined, ms: number): Promise<Buffer> {
    const length = header('content-length')
    if (length !== undefined) return this.bytes(Number(length), ms)
    if (header('transfer-encoding') !== 'chunked') return this.end(ms)
    const parts: Buffer[] = []
    for (;;) {
      const size = Number.parseInt(await this.until('\r\n', ms), 16)
      if (size === 0) break
      parts.push(await this.bytes(size, ms))
      await this.until('\r\n', ms)
    }
    while ((await this.until('\r\n', ms)) !== '\r\n'); // trailers
    return Buffer.concat(parts)
  }

  /** Sends a request and reads its response. */
  async exchange(request: string): Promise<RawResponse> {
    await this.send(request)
    return this.response(request.startsWith('HEAD '))
  }

  destroy(): void {
    this.socket.destroy()
  }

  [Symbol.dispose](): void {
    this.destroy()
  }

  async #when<Found>(find: () => Found | undefined, what: string, ms: number): Promise<Found> {
    const { promise, resolve, reject } = Promise.withResolvers<Found>()
    const look = (): void => {
      const found = find()
      if (found !== undefined) resolve(found)
      else if (this.#hasEnded) {
        const got = JSON.stringify(this.unread.slice(0, 500))
        reject(new Error(`the connection ended before ${what}; there is ${got}`, { cause: this.#error }))
      }
    }
    this.#wake = look
    look()
    try {
      return await within(promise, what, ms)
    } catch (error) {
      if (error instanceof Error) error.message += `; there is ${JSON.stringify(this.unread.slice(0, 500))}`
      throw error
    } finally {
      this.#wake = () => {}
    }
  }

  #take(count: number): Buffer {
    const taken = this.#received.subarray(0, count)
    this.#received = this.#received.subarray(count)
    return taken
  }
}

/** Sends one request on a connection of its own, and reads its response. */
export async function exchange(url: string, request: string): Promise<RawResponse> {
  using client = await RawClient.connect(url)
  return await client.exchange(request)
}

/** How to connect to `http://host:port` or `unix:/path`. */
export function addressOf(url: string): NetConnectOpts & { allowHalfOpen?: boolean } {
  if (url.startsWith('unix:')) return { path: url.slice('unix:'.length) }
  const { hostname, port } = new URL(url)
  return { host: hostname, port: Number(port) }
}

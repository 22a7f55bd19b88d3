// The other end of a connection, in literal bytes: what a test writes, and what it waits for.

import net from 'node:net'

const DEADLINE_MS = 10_000

/** One end of a connection. Every wait has a deadline, whose error shows what has come so far. */
export class Peer {
  readonly socket: net.Socket
  #received = ''
  #hasEnded = false
  #isClosed = false
  readonly #waiters = new Set<() => void>()

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received += chunk.toString('latin1')
      this.#wake()
    })
    socket.on('end', () => {
      this.#hasEnded = true
      this.#wake()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      this.#isClosed = true
      this.#wake()
    })
  }

  /** Connects to a TCP port of the loopback, or to a Unix socket. */
  static connect(where: { port: number } | { path: string }): Peer {
    return new Peer(net.connect({ ...where, allowHalfOpen: true }))
  }

  /** Writes text, one byte a character. */
  write(text: string): void {
    this.socket.write(text, 'latin1')
  }

  end(text = ''): void {
    this.socket.end(text, 'latin1')
  }

  /** Waits for `text`; takes and returns all up to and with it. */
  async until(text: string): Promise<string> {
    await this.#waitFor(() => this.#received.includes(text), `for ${JSON.stringify(text)}`)
    return this.#take(this.#received.indexOf(text) + text.length)
  }

  /** Waits for `count` bytes, and takes them. */
  async bytes(count: number): Promise<string> {
    await this.#waitFor(() => this.#received.length >= count, `for ${count} bytes`)
    return this.#take(count)
  }

  /** Waits for a whole response or request with Content-Length or without a body; takes it. */
  async message(): Promise<string> {
    const head = await this.until('\r\n\r\n')
    const length = /^content-length: *(\d+)/im.exec(head)?.[1]
    return length === undefined ? head : head + (await this.bytes(Number(length)))
  }

  /** Waits until the other side has ended its direction; takes and returns what came before. */
  async ended(): Promise<string> {
    await this.#waitFor(() => this.#hasEnded || this.#isClosed, 'for the end')
    return this.#take(this.#received.length)
  }

  /** Waits until the connection is gone; takes and returns what came before. */
  async closed(): Promise<string> {
    await this.#waitFor(() => this.#isClosed, 'for the close')
    return this.#take(this.#received.length)
  }

  /** What has come and is not taken. */
  get pending(): string {
    return this.#received
  }

  /** Whether the other side ended its direction. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  destroy(): void {
    this.socket.destroy()
  }

  #take(count: number): string {
    const taken = this.#received.slice(0, count)
    this.#received = this.#received.slice(count)
    return taken
  }

  #waitFor(isThere: () => boolean, what: string): Promise<void> {
    if (isThere()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer)
        this.#waiters.delete(check)
      }
      const check = (): void => {
        if (isThere()) {
          finish()
          resolve()
        } else if (this.#isClosed) {
          finish()
          reject(
            new Error(`waited ${what}, but the connection closed after ${JSON.stringify(this.#received.slice(-2000))}`),
          )
        }
      }
      const timer = setTimeout(() => {
        finish()
        reject(new Error(`waited ${what}, but only this came: ${JSON.stringify(this.#received.slice(-2000))}`))
      }, DEADLINE_MS)
      this.#waiters.add(check)
      check()
    })
  }

  #wake(): void {
    for (const waiter of this.#waiters) waiter()
  }
}

/** A queue of things that come, and of those who wait for them. */
export class Arrivals<T> {
  readonly #items: T[] = []
  readonly #waiters: ((item: T) => void)[] = []

  push(item: T): void {
    const waiter = this.#waiters.shift()
    if (waiter === undefined) this.#items.push(item)
    else waiter(item)
  }

  /** The next one, in the order of arrival. */
  async next(): Promise<T> {
    const item = this.#items.shift()
    if (item !== undefined) return item
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error('waited for one more, but none came')), DEADLINE_MS)
    })
    try {
      return await Promise.race([new Promise<T>((resolve) => this.#waiters.push(resolve)), deadline])
    } finally {
      clearTimeout(timer)
    }
  }

  /** How many have come that nobody took. */
  get count(): number {
    return this.#items.length
  }
}

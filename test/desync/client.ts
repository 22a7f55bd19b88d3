// The client of a vector: writes pieces so that each is likely a read of its own, and reads the answers strictly.

import net from 'node:net'
import tls from 'node:tls'
import { readResponses, type StrictReading } from './strict.ts'

const DEADLINE_MS = 5_000

/** See the head of this file. */
export class VectorClient {
  readonly #socket: net.Socket
  #text = ''
  #hasEnded = false
  #isReset = false
  #wake: () => void = () => {}

  /** @param isSecure whether TLS is spoken */
  constructor(port: number, isSecure: boolean) {
    const plain = { host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true }
    this.#socket = isSecure ? tls.connect({ ...plain, rejectUnauthorized: false }) : net.connect(plain)
    this.#socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      this.#wake()
    })
    for (const event of ['end', 'close', 'error']) {
      this.#socket.on(event, () => {
        this.#hasEnded = true
        if (event === 'error') this.#isReset = true
        this.#wake()
      })
    }
  }

  /** Whether the gateway has ended the connection. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Whether the connection was cut rather than ended. */
  get isReset(): boolean {
    return this.#isReset
  }

  get text(): string {
    return this.#text
  }

  /** Writes `text`, cut at each of `cuts`; two turns of the loop go by between. */
  async write(text: string, cuts: readonly number[] = []): Promise<void> {
    let from = 0
    for (const cut of [...cuts, text.length]) {
      if (from > 0) for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve))
      if (cut > from && this.#socket.writable) this.#socket.write(text.slice(from, cut), 'latin1')
      from = cut
    }
  }

  end(): void {
    this.#socket.end()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** What has been answered to requests with these methods. */
  answers(methods: readonly string[]): StrictReading {
    const { messages, ...reading } = readResponses(this.#text, methods, this.#hasEnded)
    return { messages: messages.filter(({ startLine }) => !/^HTTP\/1\.. 1/.test(startLine)), ...reading }
  }

  /** Waits for so many final answers, or the end. */
  async answered(count: number, methods: readonly string[]): Promise<void> {
    await this.#until(() => this.answers(methods).messages.length >= count)
  }

  /** Waits for the end. */
  async ended(): Promise<void> {
    await this.#until(() => false)
  }

  async #until(isThere: () => boolean): Promise<void> {
    const timer = setTimeout(() => {
      this.#socket.destroy(new Error('deadline'))
      this.#text += '(deadline)'
    }, DEADLINE_MS)
    while (!this.#hasEnded && !isThere()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    clearTimeout(timer)
  }
}

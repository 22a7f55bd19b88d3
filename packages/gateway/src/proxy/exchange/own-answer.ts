// The answer to a request whose body is known by now: the body is dropped, and the answer written.

import { performance } from 'node:perf_hooks'
import { STEP } from '@xengate/http1'
import type { ReasonName } from '../../model/reasons.ts'
import type { PluginAnswer } from '../../xenapi/plugin-answers.ts'
import { connectionLine } from '../heads/connection-line.ts'
import { DRAINING } from '../heads/refusals.ts'
import { type About, type Client, Exchange, type Shared } from './ports.ts'
import type { Request } from './request.ts'

/** See the head of this file. */
export class OwnAnswer extends Exchange {
  readonly #shared: Shared
  readonly #client: Client
  readonly #request: Request
  readonly #answer: PluginAnswer
  #isBodyDone = false
  #isOver = false

  /**
   * @param request whose body has come
   * @param asked the same as it was when its service was asked, and as it is counted
   */
  constructor(shared: Shared, client: Client, request: Request, asked: Request, answer: PluginAnswer) {
    super()
    this.#shared = shared
    this.#client = client
    this.#request = request
    this.#answer = answer
    request.service = asked.service
    request.entry = asked.entry
    request.isForService = true
    request.counters = asked.counters
    request.waitedMs = asked.waitedMs
  }

  override start(): void {
    this.#client.expectWithin(this.#shared.limits.bodyIdleTimeoutMs)
  }

  override get wantsBytes(): boolean {
    return !this.#isBodyDone
  }

  override clientBytes(bytes: Buffer, from: number, to: number): number {
    const { decoder } = this.#request
    if (decoder === null) return from
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) {
        this.#request.bytesIn += decoder.dataEnd - decoder.dataStart
        continue
      }
      if (step === STEP.DONE) this.#isBodyDone = true
      return at
    }
  }

  /** What stands behind the body is kept by now: whether the connection goes on depends on it. */
  override flush(): void {
    if (this.#isBodyDone && !this.#isOver) this.#write()
  }

  #write(): void {
    this.#isOver = true
    const request = this.#request
    const { wire } = this.#client
    const body = Buffer.from(this.#answer.text)
    const keeps = this.#client.canKeep(request, false, false)
    request.status = 200
    request.firstByteMs = performance.now()
    request.bytesOut = body.length
    wire.text(
      'HTTP/1.1 200 OK\r\n' +
        `Date: ${new Date().toUTCString()}\r\n` +
        `Content-Type: ${this.#answer.contentType}\r\n` +
        `Content-Length: ${body.length}\r\n` +
        'Cache-Control: no-cache, no-store\r\n' +
        `X-Request-Id: ${request.id}\r\n` +
        `${connectionLine(keeps, request.minorVersion)}\r\n`,
    )
    wire.data(body, 0, body.length)
    wire.flush()
    this.#shared.journal.exchanged(this.#client.peer, request, this.#answer.outcome, this.#answer.reason)
    this.#client.done(request, keeps, request.isLastAndShort, false)
  }

  override get about(): About {
    return { request: this.#request, way: 'call', channel: null }
  }

  override clientClosed(why: ReasonName = 'client-gone'): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#shared.journal.exchanged(this.#client.peer, this.#request, why === 'client-gone' ? why : 'cut', why)
  }

  override timedOut(): void {
    this.drainTimedOut()
  }

  override drainTimedOut(): void {
    this.#isOver = true
    this.#client.refuse(DRAINING, this.#request)
  }
}

// A call of the XenAPI, or a request with a body for the dashboard, on its way to the primary: the body is gathered here, and goes there
// whole. Whoever has no session can make a call, so that the primary sees nothing of one that is too long, comes in many pieces, or never ends.
//
//   from         to           method
//   GATHERING    CONNECTING   #complete    the body is whole; a connection is asked for
//   CONNECTING   (given on)   #send        a relay owns the connection: the rest is an exchange without a body
//   any          OVER         refused, or the client is gone

import { STEP } from '@xengate/http1'
import { bodyOffence } from '../heads/offence.ts'
import {
  AUTHORITY_UNAVAILABLE,
  BODY_TOO_LONG,
  DRAINING,
  GATEWAY_BUSY,
  malformed,
  type Refusal,
  REQUEST_SLOW,
} from '../heads/refusals.ts'
import type { Connected } from '../upstream/pool.ts'
import type { Target } from '../upstream/target.ts'
import { HeldBytes } from './held-bytes.ts'
import { type About, type Client, Exchange, type Shared } from './ports.ts'
import { Relay } from './relay.ts'
import type { Request } from './request.ts'

/** Bytes of a call's body: a login takes fewer than 3,000. */
const BODY_BYTES_MAX = 65_536
const FIRST_BYTES = 1024
/** How long a body may take as a whole, in milliseconds. */
const BODY_MS = 30_000

const STATE = { GATHERING: 0, CONNECTING: 1, OVER: 2 } as const

/** See the head of this file. */
export class XenApiCall extends Exchange {
  readonly #shared: Shared
  readonly #client: Client
  readonly #request: Request
  readonly #target: Target
  readonly #headLines: string
  readonly #held = new HeldBytes()
  #state: number = STATE.GATHERING
  #body: Buffer = Buffer.alloc(0)
  #bytes = 0

  /**
   * @param target the XenAPI endpoint, or the dashboard's server
   * @param headLines the head as the primary gets it, up to the fields that frame the body
   */
  constructor(shared: Shared, client: Client, request: Request, target: Target, headLines: string) {
    super()
    this.#shared = shared
    this.#client = client
    this.#request = request
    this.#target = target
    this.#headLines = headLines
  }

  /** Begins to gather. */
  override start(): void {
    const { decoder, expectsContinue } = this.#request
    this.#client.expectWithin(BODY_MS)
    if (decoder === null) {
      this.#complete()
    } else if (decoder.left > BODY_BYTES_MAX) {
      this.#refuse(BODY_TOO_LONG)
    } else if (expectsContinue) {
      this.#request.hasContinued = true
      this.#client.wire.text('HTTP/1.1 100 Continue\r\n\r\n')
      this.#client.wire.flush()
    }
  }

  override get wantsBytes(): boolean {
    return this.#state === STATE.GATHERING
  }

  override clientBytes(bytes: Buffer, from: number, to: number): number {
    const { decoder } = this.#request
    if (decoder === null) return from
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, to)
      at = decoder.at
      if (step === STEP.DATA) {
        if (!this.#keep(bytes, decoder.dataStart, decoder.dataEnd)) return at
      } else if (step === STEP.INVALID) {
        this.#request.offence = bodyOffence('client')
        this.#refuse(malformed(decoder.reason))
        return to
      } else {
        if (step === STEP.DONE) this.#complete()
        return at
      }
    }
  }

  /** @returns whether there was room */
  #keep(bytes: Buffer, from: number, to: number): boolean {
    const count = this.#bytes + to - from
    if (count > BODY_BYTES_MAX) {
      this.#refuse(BODY_TOO_LONG)
      return false
    }
    if (count > this.#body.length && !this.#grow(count)) {
      this.#refuse(GATEWAY_BUSY)
      return false
    }
    bytes.copy(this.#body, this.#bytes, from, to)
    this.#bytes = count
    return true
  }

  #grow(count: number): boolean {
    const wanted = Math.max(count, Math.min(BODY_BYTES_MAX, 2 * this.#body.length), FIRST_BYTES)
    if (!this.#held.hold(wanted)) return false
    const body = Buffer.allocUnsafeSlow(wanted)
    this.#body.copy(body, 0, 0, this.#bytes)
    this.#body = body
    return true
  }

  #refuse(refusal: Refusal): void {
    this.#request.bytesIn = this.#bytes
    this.#end()
    this.#client.refuse(refusal, this.#request)
  }

  /** What was held is given back, in every way that this ends. */
  #end(): void {
    this.#state = STATE.OVER
    this.#held.release()
    this.#body = Buffer.alloc(0)
  }

  #complete(): void {
    this.#state = STATE.CONNECTING
    this.#client.expectWithin(this.#shared.limits.connectTimeoutMs)
    const { pool } = this.#shared
    const connected = pool.take(this.#target, false)
    if (connected !== null) this.#send(connected)
    else pool.connect(this.#target, (later) => this.#send(later))
  }

  #send(connected: Connected): void {
    if (this.#state !== STATE.CONNECTING) {
      if (typeof connected !== 'string') connected.destroy()
      return
    }
    if (typeof connected === 'string') {
      const refusal = connected === 'no-descriptors' ? GATEWAY_BUSY : AUTHORITY_UNAVAILABLE
      this.#refuse(refusal)
      return
    }
    const body = this.#body.toString('latin1', 0, this.#bytes)
    const bytesIn = this.#bytes
    this.#end()
    this.#request.bytesIn = bytesIn
    // All of it is written here: a call may wait for long, and nothing of it is kept.
    connected.wire.text(`${this.#headLines}Content-Length: ${bytesIn}\r\n\r\n${body}`)
    this.#client.become(
      new Relay(this.#shared, this.#client, connected, this.#request, {
        target: this.#target,
        text: '',
        upgrade: undefined,
        reuse: 'always',
        cutsWithSession: false,
        isForXapi: false,
      }),
    )
  }

  override clientEnded(): void {
    if (this.#state !== STATE.GATHERING) return
    this.#refuse(malformed('body-truncated'))
  }

  override get about(): About {
    return { request: this.#request, way: 'call', channel: null }
  }

  override clientClosed(): void {
    if (this.#state !== STATE.OVER) this.#end()
  }

  override timedOut(): void {
    const refusal = this.#state === STATE.GATHERING ? REQUEST_SLOW : AUTHORITY_UNAVAILABLE
    this.#refuse(refusal)
  }

  override drainTimedOut(): void {
    this.#refuse(DRAINING)
  }
}

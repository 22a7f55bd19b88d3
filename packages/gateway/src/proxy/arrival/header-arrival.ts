// A plain connection that says first whose it is: by the header of the PROXY protocol, or by the greeting of a service that brings a
// client's connection back.

import type { Wire, WireListener } from '../../transport/transport.ts'
import { readProxyHeader } from '../heads/proxy-header.ts'
import { type Arrival, type ArrivalFault, type ArrivalListener, ArrivedPeer, type ListenerTraits } from './arrival.ts'

/** See the head of this file. */
export class HeaderArrival implements Arrival, WireListener {
  readonly #wire: Wire
  readonly #traits: ListenerTraits
  readonly #listener: ArrivalListener
  readonly #address: string
  #deadlineMs: number
  /** What came; owned. */
  #kept: Buffer = Buffer.alloc(0)
  #isOver = false

  /**
   * @param wire an accepted connection, whose owner this is
   * @param deadlineMs by when its header has to be whole, on the gateway's clock
   */
  constructor(wire: Wire, traits: ListenerTraits, deadlineMs: number, listener: ArrivalListener) {
    this.#wire = wire
    this.#traits = traits
    this.#deadlineMs = deadlineMs
    this.#listener = listener
    this.#address = wire.source?.address ?? ''
    wire.listener = this
  }

  bytes(bytes: Buffer, from: number, to: number): boolean {
    const whole =
      this.#kept.length === 0 ? bytes.subarray(from, to) : Buffer.concat([this.#kept, bytes.subarray(from, to)])
    const { greetings, canPass } = this.#traits
    const header = greetings?.read(whole, 0, whole.length) ?? readProxyHeader(whole, 0, whole.length)
    if (header.kind === 'need-more') {
      this.#kept = Buffer.from(whole)
    } else if (header.kind === 'invalid') {
      this.#fail(header.fault)
    } else {
      this.#isOver = true
      const peer = new ArrivedPeer(this.#wire, header.ends, false, canPass)
      this.#listener.arrived(this.#wire, peer, whole.subarray(header.end))
    }
    return false
  }

  ended(): void {
    this.#fail(this.#kept.length === 0 ? null : 'proxy-header-malformed')
  }

  drained(): void {}

  closed(): void {
    if (!this.#isOver) this.#fail(null)
  }

  sweep(nowMs: number): void {
    if (nowMs >= this.#deadlineMs) this.#fail('proxy-header-slow')
  }

  hasten(deadlineMs: number): void {
    if (this.#kept.length === 0) this.#fail(null)
    else this.#deadlineMs = Math.min(this.#deadlineMs, deadlineMs)
  }

  destroy(): void {
    this.#isOver = true
    this.#wire.destroy()
  }

  /** Closes a connection on which nothing can be asked, without an answer: whoever is there does not expect HTTP. */
  #fail(fault: ArrivalFault | null): void {
    this.destroy()
    this.#listener.failed(fault, this.#address)
  }
}

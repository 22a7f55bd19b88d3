// A connection whose bytes pass both ways, with no framing known: after 101 Switching Protocols, each direction ended on its own;
// or after the head of a last request to xapi, whose end is the end of both.

import { isPermitted, type Policies } from '../model/policy.ts'
import type { SessionEntry } from '../sessions/table.ts'
import type { ClientConnection } from './client-connection.ts'
import type { Exchange } from './exchange.ts'
import type { Gateway, Held } from './gateway.ts'
import type { Outcome, Relay } from './relay.ts'
import type { ServiceConnection, ServiceListener } from './service-connection.ts'

/** How often a quiet tunnel's peers are probed by TCP. */
const KEEP_ALIVE_MS = 60_000

/** As much of a status line as has the status. */
const STATUS_BYTES = 12

export class Tunnel implements Exchange, ServiceListener, Held {
  readonly transfer = null
  readonly wantsBytes = true
  /** The session whose end is the tunnel's; null when it has none. */
  readonly entry: SessionEntry | null
  readonly #gateway: Gateway
  readonly #client: ClientConnection
  readonly #service: ServiceConnection
  readonly #relay: Relay
  /** Whether a last request to xapi made it. */
  readonly #isForXapi: boolean
  #isOver = false

  /** @param relay the exchange whose 101 made the tunnel; it keeps the counts for the access log */
  constructor(gateway: Gateway, client: ClientConnection, service: ServiceConnection, relay: Relay) {
    this.#gateway = gateway
    this.#client = client
    this.#service = service
    this.#relay = relay
    this.entry = relay.request.entry
    this.#isForXapi = relay.request.isForXapi && relay.status !== 101
    client.socket.setKeepAlive(true, KEEP_ALIVE_MS)
  }

  clientBytes(bytes: Buffer, from: number, to: number): number {
    const { outgoing } = this.#service
    this.#relay.bytesIn += to - from
    this.#touch()
    outgoing.data(bytes, from, to)
    outgoing.flush()
    if (outgoing.isFull) this.#client.pause()
    return to
  }

  clientEnded(): void {
    if (this.#service.hasEnded) this.#close(true)
    else this.#service.socket.end()
  }

  clientClosed(): void {
    this.#close(false)
  }

  clientDrained(): void {
    this.#service.socket.resume()
  }

  serviceBytes(bytes: Buffer, from: number, to: number): void {
    const { outgoing } = this.#client
    if (this.#isForXapi && this.#relay.bytesOut === 0) this.#readStatus(bytes, from, to)
    this.#relay.bytesOut += to - from
    this.#touch()
    outgoing.data(bytes, from, to)
    outgoing.flush()
    if (outgoing.isFull) this.#service.socket.pause()
  }

  /** The status of xapi's answer, for the log; there is none where xapi does not answer in HTTP. */
  #readStatus(bytes: Buffer, from: number, to: number): void {
    const line = bytes.toString('latin1', from, Math.min(to, from + STATUS_BYTES))
    const [, status = '0'] = /^HTTP\/1\.[01] (\d{3})/.exec(line) ?? []
    this.#relay.status = Number(status)
    this.#relay.firstByteMs = this.#gateway.stampMs()
  }

  serviceEnded(): void {
    if (this.#isForXapi) {
      this.#close(true)
      return
    }
    this.#client.socket.end()
    if (this.#client.hasEnded) this.#close(true)
  }

  serviceClosed(): void {
    if (!this.#isForXapi) {
      this.#close(false)
    } else if (this.#isUploading) {
      // xapi has answered early and closed, which resets what it has not read: the answer is what counts.
      this.#close(true)
    } else {
      // Nobody knows whether xapi's answer was complete: an orderly end could make it look so.
      this.#client.cut()
      this.#close(false, 'service-failed')
    }
  }

  /** Whether more of the request's body was to come; a PUT without a length ends with the client's side. */
  get #isUploading(): boolean {
    const { decoder, isChunked, method } = this.#relay.request
    if (this.#client.hasEnded) return false
    return decoder === null ? method === 'PUT' : isChunked || this.#relay.bytesIn < decoder.left
  }

  serviceDrained(): void {
    this.#client.resume()
  }

  swept(): void {}

  clientTooSlow(): void {}

  cutTransfer(): void {}

  /** Tunnels have no deadline of their own. */
  timedOut(): void {}

  drainTimedOut(): void {
    this.#close(false)
  }

  isAllowed(policies: Policies): boolean {
    const { service, method } = this.#relay.request
    return this.entry === null || isPermitted(policies.of(service), method, this.entry.session.roles)
  }

  cut(): void {
    this.#close(false, 'cut')
  }

  destroy(): void {
    this.#close(false)
  }

  /** @param isPolite whether what is on its way still goes out */
  #close(isPolite: boolean, outcome: Outcome = 'complete'): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#gateway.letGo(this)
    this.#gateway.logExchange(this.#client, this.#relay, outcome, null)
    if (isPolite) {
      this.#service.close(this.#gateway.limits.bodyIdleTimeoutMs)
      this.#client.destroySoon()
    } else {
      this.#service.destroy()
      this.#client.destroy()
    }
  }

  #touch(): void {
    if (this.entry !== null) this.#gateway.touch(this.entry)
  }
}

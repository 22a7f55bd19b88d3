// A connection after 101 Switching Protocols: bytes both ways, each direction ended on its own, no framing known.

import { isPermitted, type Policies } from '../services/policy.ts'
import type { SessionEntry } from '../sessions/table.ts'
import type { ClientConnection } from './client-connection.ts'
import type { Exchange } from './exchange.ts'
import type { Gateway, Held } from './gateway.ts'
import type { Relay } from './relay.ts'
import type { ServiceConnection, ServiceListener } from './service-connection.ts'

/** How often a quiet tunnel's peers are probed by TCP. */
const KEEP_ALIVE_MS = 60_000

export class Tunnel implements Exchange, ServiceListener, Held {
  readonly wantsBytes = true
  /** The session whose end is the tunnel's; null when it has none. */
  readonly entry: SessionEntry | null
  readonly #gateway: Gateway
  readonly #client: ClientConnection
  readonly #service: ServiceConnection
  readonly #relay: Relay
  #isOver = false

  /** @param relay the exchange whose 101 made the tunnel; it keeps the counts for the access log */
  constructor(gateway: Gateway, client: ClientConnection, service: ServiceConnection, relay: Relay) {
    this.#gateway = gateway
    this.#client = client
    this.#service = service
    this.#relay = relay
    this.entry = relay.request.entry
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
    this.#relay.bytesOut += to - from
    this.#touch()
    outgoing.data(bytes, from, to)
    outgoing.flush()
    if (outgoing.isFull) this.#service.socket.pause()
  }

  serviceEnded(): void {
    this.#client.socket.end()
    if (this.#client.hasEnded) this.#close(true)
  }

  serviceClosed(): void {
    this.#close(false)
  }

  serviceDrained(): void {
    this.#client.resume()
  }

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
    this.#close(false)
  }

  destroy(): void {
    this.#close(false)
  }

  /** @param isPolite whether what is on its way still goes out */
  #close(isPolite: boolean): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#gateway.letGo(this)
    this.#gateway.logExchange(this.#client, this.#relay, 'complete', null)
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

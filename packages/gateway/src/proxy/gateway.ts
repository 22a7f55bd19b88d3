// The data plane of one worker: its connections, and what they share.

import { type AddressInfo, createServer, type Server } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { FieldLines, RequestHead, ResponseHead } from '@xengate/http1'
import type { LimitsConfig } from '../config/schema.ts'
import type { AccessFields } from '../logging/access.ts'
import type { Policies } from '../services/policy.ts'
import type { ServiceRegistry } from '../services/registry.ts'
import type { SessionEntry, SessionTable } from '../sessions/table.ts'
import { type AdmissionRules, XENAPI } from './admission.ts'
import { type AcceptedHandle, acceptedSocket, acceptHandles } from './borrowed-reads.ts'
import { ClientConnection } from './client-connection.ts'
import { SweepClock } from './clock.ts'
import { REQUEST_FIELDS, RESPONSE_FIELDS } from './field-ids.ts'
import { GATEWAY_BUSY, type Refusal, refusalResponse } from './refusals.ts'
import type { Outcome, Relay } from './relay.ts'
import { ServicePool, socketPaths } from './service-pool.ts'
import type { Tunnel } from './tunnel.ts'

/** What a gateway is made from. */
export interface GatewayOptions {
  readonly limits: LimitsConfig
  readonly methods: readonly string[]
  readonly directories: readonly string[]
  readonly policies: Policies
  readonly registry: ServiceRegistry
  readonly sessions: SessionTable
  /** Unix socket of the XenAPI endpoint; null when the gateway has none. */
  readonly xenapiPath: string | null
  /** Short text that tells this worker's request ids from others'. */
  readonly idPrefix: string
  /** Told of what goes wrong outside of any request: an event's name, and the system's name of the error. */
  readonly problem: (event: string, code: string) => void
  /** Takes a line for each request; null when access is not logged. */
  readonly access: ((line: AccessFields) => void) | null
}

/** How late a timeout may be noticed, in milliseconds: a quarter of the shortest, within these. */
const TICK_MS_MAX = 250
const TICK_MS_MIN = 10

export class Gateway {
  readonly limits: LimitsConfig
  readonly sessions: SessionTable
  readonly pool: ServicePool
  readonly rules: AdmissionRules
  readonly clock: SweepClock
  /** One parser serves every connection: what it says is used within the turn. */
  readonly requestHead: RequestHead
  readonly responseHead: ResponseHead
  readonly trailerLines: FieldLines = new FieldLines(REQUEST_FIELDS)
  readonly #options: GatewayOptions
  readonly #connections = new Set<ClientConnection>()
  readonly #tunnels = new Set<Tunnel>()
  readonly #servers: Server[] = []
  #requests = 0
  #isDraining = false
  #drained: (() => void) | null = null

  constructor(options: GatewayOptions) {
    const { limits, methods, policies, registry, sessions, xenapiPath } = options
    this.#options = options
    this.limits = limits
    this.sessions = sessions
    this.clock = new SweepClock(tickMs(limits), () => this.#sweep())
    this.pool = new ServicePool((name) => this.#pathsOf(name), limits.connectTimeoutMs, this.clock)
    const hasXenapi = xenapiPath !== null
    this.rules = { sessions, policies, registry, pool: this.pool, clock: this.clock, methods, hasXenapi }
    const headLimits = { headBytesMax: limits.headBytes, targetBytesMax: limits.targetBytes }
    this.requestHead = new RequestHead(REQUEST_FIELDS, headLimits)
    this.responseHead = new ResponseHead(RESPONSE_FIELDS, headLimits)
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  /** Accepts connections at `where`; resolves with the address when it listens. */
  listen(where: { host: string; port: number } | { path: string } | { fd: number }): Promise<AddressInfo | string> {
    const server = createServer()
    this.#servers.push(server)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(where, () => {
        server.off('error', reject)
        acceptHandles(
          server,
          (handle) => this.#accept(handle),
          (errno) => this.#options.problem('accept-failed', getSystemErrorName(errno)),
        )
        resolve(server.address() ?? '')
      })
    })
  }

  #accept(handle: AcceptedHandle): void {
    if (this.#connections.size < this.limits.connections) {
      this.#connections.add(new ClientConnection(this, handle))
      return
    }
    const socket = acceptedSocket(handle, () => {})
    socket.on('error', () => {})
    socket.end(
      refusalResponse(GATEWAY_BUSY, {
        requestId: this.nextRequestId(),
        accept: undefined,
        isToHead: false,
        connectionLine: 'Connection: close\r\n',
        nowMs: Date.now(),
      }),
      () => socket.destroy(),
    )
  }

  /**
   * Takes no more connections, lets requests under way finish, and then closes everything; after the drain timeout what
   * is left is ended.
   */
  async drain(): Promise<void> {
    this.#isDraining = true
    for (const server of this.#servers) server.close()
    for (const connection of this.#connections) connection.drain()
    if (this.#connections.size > 0) {
      const timer = setTimeout(() => this.#drainTimedOut(), this.limits.drainTimeoutMs)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
      clearTimeout(timer)
    }
    this.destroy()
  }

  #drainTimedOut(): void {
    for (const connection of this.#connections) connection.drainTimedOut()
    // What was refused just now gets a moment to go out.
    setTimeout(() => this.destroy(), this.clock.tickMs).unref()
  }

  /** Ends everything now. */
  destroy(): void {
    this.#isDraining = true
    for (const server of this.#servers) server.close()
    for (const connection of this.#connections) connection.destroy()
    this.pool.destroy()
    this.clock.close()
  }

  /** Ends what holds on to a session beyond one exchange: its tunnels. */
  sessionEnded(uuid: string): void {
    for (const tunnel of this.#tunnels) if (tunnel.sessionUuid === uuid) tunnel.destroy()
  }

  tunnelStarted(tunnel: Tunnel): void {
    this.#tunnels.add(tunnel)
  }

  tunnelEnded(tunnel: Tunnel): void {
    this.#tunnels.delete(tunnel)
  }

  connectionClosed(connection: ClientConnection): void {
    this.#connections.delete(connection)
    if (this.#connections.size === 0) this.#drained?.()
  }

  /** Notes activity of a session. */
  touch(entry: SessionEntry): void {
    this.sessions.touch(entry, this.clock.nowMs)
  }

  nextRequestId(): string {
    return `${this.#options.idPrefix}-${(this.#requests++).toString(36)}`
  }

  /** Logs a request that was relayed. */
  logExchange(client: ClientConnection, relay: Relay, outcome: Outcome, reason: string | null): void {
    const { access } = this.#options
    if (access === null) return
    const { request } = relay
    const nowMs = performance.now()
    access({
      requestId: request.id,
      client: client.address,
      user: request.entry === null ? null : request.entry.session.user,
      session: request.entry === null ? null : request.entry.session.uuid,
      service: request.service === XENAPI ? 'xenapi' : request.service,
      method: request.method,
      path: request.path,
      status: relay.status,
      outcome,
      reason,
      bytesIn: relay.bytesIn,
      bytesOut: relay.bytesOut,
      ttfbMs: relay.firstByteMs === 0 ? 0 : rounded(relay.firstByteMs - request.startedMs),
      totalMs: rounded(nowMs - request.startedMs),
    })
  }

  /** Logs a request that was refused before it was relayed. */
  logRefusal(
    client: ClientConnection,
    refusal: Refusal,
    request: {
      requestId: string
      method: string | null
      path: string | null
      service: string | null
      entry: SessionEntry | null
    },
  ): void {
    const { requestId, method, path, service, entry } = request
    this.#options.access?.({
      requestId,
      client: client.address,
      user: entry === null ? null : entry.session.user,
      session: entry === null ? null : entry.session.uuid,
      service,
      method,
      path,
      status: refusal.status,
      outcome: 'refused',
      reason: refusal.code,
      bytesIn: 0,
      bytesOut: 0,
      ttfbMs: 0,
      totalMs: 0,
    })
  }

  #pathsOf(name: string): readonly string[] {
    return name === XENAPI ? [this.#options.xenapiPath ?? ''] : socketPaths(this.#options.directories, name)
  }

  #sweep(): void {
    const { nowMs } = this.clock
    for (const connection of this.#connections) connection.sweep(nowMs)
    this.pool.sweep()
  }
}

function tickMs(limits: LimitsConfig): number {
  const shortestMs = Math.min(
    limits.headTimeoutMs,
    limits.idleTimeoutMs,
    limits.connectTimeoutMs,
    limits.responseTimeoutMs,
    limits.bodyIdleTimeoutMs,
  )
  return Math.max(TICK_MS_MIN, Math.min(TICK_MS_MAX, shortestMs / 4))
}

/** Milliseconds with three decimals. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

// The data plane of one worker: its connections, and what they share.

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { getSystemErrorName } from 'node:util'
import { FieldLines, RequestHead, ResponseHead } from '@xengate/http1'
import type { LimitsConfig } from '../model/limits.ts'
import { descriptorOf } from '@xengate/channel'
import type { AccessFields, ChannelFields } from '../logging/access.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Policies } from '../model/policy.ts'
import type { ServiceRegistry } from '../services/registry.ts'
import type { SessionEntry, SessionTable } from '../sessions/table.ts'
import { type AdmissionRules, type Decision, XENAPI } from './admission.ts'
import { type Asked, nothingAsked } from './asked.ts'
import { type ArrivalFault, type Arrived, type ListenerTraits, PLAIN_LISTENER } from './arrived.ts'
import { type AcceptedHandle, acceptHandles } from './accepting.ts'
import { acceptedSocket, BorrowedReads } from './borrowed-reads.ts'
import { Channel, type ChannelOutcome } from './channel.ts'
import { ChannelSockets } from './channel-sockets.ts'
import { ClientConnection } from './client-connection.ts'
import { type NextSweep, SweepClock } from './clock.ts'
import { REQUEST_FIELDS, RESPONSE_FIELDS } from './field-ids.ts'
import { type Front, isXapiName, whereXapiIs } from './front.ts'
import type { Greetings } from './greetings.ts'
import { GATEWAY_BUSY, PLAIN_ON_TLS, type Refusal, refusalResponse } from './refusals.ts'
import { LastWords } from './last-words.ts'
import { plainAddress } from './proxy-header.ts'
import type { Outcome, Relay } from './relay.ts'
import type { Where } from './service-connection.ts'
import { ServicePool, socketPaths } from './service-pool.ts'
import { Tally } from './tally.ts'
import { type EndedTask, taskFailure } from './task.ts'
import { TlsArrival } from './tls-arrival.ts'
import type { TlsCredentials } from './tls-credentials.ts'

/** What a gateway is made from. */
export interface GatewayOptions {
  readonly limits: LimitsConfig
  readonly methods: readonly string[]
  readonly directories: readonly string[]
  readonly policies: Policies
  readonly registry: ServiceRegistry
  readonly sessions: SessionTable
  /** xapi, when the gateway stands in front of it: then it has no XenAPI endpoint of its own. */
  readonly front: Front | null
  /** Unix socket of the XenAPI endpoint; null when the gateway has none. */
  readonly xenapiPath: string | null
  /** Unix socket where services bring back what a channel must not answer. */
  readonly returnPath: string
  /** By which they say there which client's they are. */
  readonly greetings: Greetings
  /** Short text that tells this worker's request ids from others'. */
  readonly idPrefix: string
  /** Told of what goes wrong outside of any request: an event's name, and the system's name of the error. */
  readonly problem: (event: string, code: string) => void
  /** Told of what is of use only to who looks for a fault; null when nobody is. */
  readonly debug: ((event: LogEvent) => void) | null
  /** Told that most connections of a burst are gone: a moment to give back the memory that they took. */
  readonly burstOver: () => void
  /** Told of the first request that is over since the tally was taken. */
  readonly counting: () => void
  /** Takes a line for each request; null when access is not logged. */
  readonly access: ((line: AccessFields) => void) | null
  /** Told of tasks whose request is over; null when the gateway has no XenAPI. */
  readonly taskEnded: ((ended: EndedTask) => void) | null
  /** Takes a line for each channel, at its end; null when access is not logged. */
  readonly channel: ((line: ChannelFields) => void) | null
}

/** Something that holds on to a session beyond one exchange. */
export interface Held {
  /** Null when no session ends it. */
  readonly entry: SessionEntry | null
  /** Whether `policies` allow it. */
  isAllowed(policies: Policies, methods: readonly string[]): boolean
  /** Ends it for both sides, now. */
  cut(): void
  /** The same, and nothing of it is waited for. */
  destroy(): void
}

/** How late a timeout may be noticed, in milliseconds: a quarter of the shortest, within these. */
const TICK_MS_MAX = 500
/** After so long it is looked again while every connection rests for longer. */
const LATER_MS = 5000
const TICK_MS_MIN = 10
/** Connections beyond the limit that are told so, and waited for until they have read it. */
const REFUSING_MAX = 64
/** How many connections wait in the kernel to be accepted; it may allow fewer (net.core.somaxconn). */
const BACKLOG = 4096
const PROBLEM_INTERVAL_MS = 10_000
/** How long what has just arrived may take when the gateway stops. */
const ARRIVAL_STOPPING_MS = 500
/** Connections that make a burst; it is over when fewer than this part of them are left, for so long, in milliseconds. */
const BURST_CONNECTIONS = 1000
const BURST_LEFT = 0.25
const BURST_OVER_MS = 3000

export class Gateway {
  readonly limits: LimitsConfig
  readonly sessions: SessionTable
  readonly front: Front | null
  readonly pool: ServicePool
  rules: AdmissionRules
  readonly clock: SweepClock
  /** One parser serves every connection: what it says is used within the turn. */
  readonly requestHead: RequestHead
  readonly responseHead: ResponseHead
  readonly trailerLines: FieldLines = new FieldLines(REQUEST_FIELDS)
  readonly tally: Tally
  readonly #options: GatewayOptions
  readonly #connections = new Set<ClientConnection>()
  /** Connections that are not secured yet, and those that are being refused. */
  readonly #arrivals = new Set<TlsArrival | LastWords>()
  /** How many of these were refused because there were too many. */
  #refusing = 0
  /** What holds on to a session beyond one exchange, by the session's uuid. */
  readonly #held = new Map<string, Set<Held>>()
  readonly #servers: Server[] = []
  /** Most connections at one time since the last burst, and since when most of them are gone. */
  #burst = 0
  #burstFellMs = Number.POSITIVE_INFINITY
  #requests = 0
  #passes = 0
  #isDraining = false
  #isStopping = false
  /** When a problem was reported last. */
  #problemMs = Number.NEGATIVE_INFINITY
  #whenDrained: Promise<void> | null = null
  #drained: (() => void) | null = null

  constructor(options: GatewayOptions) {
    const { limits, methods, policies, registry, sessions, xenapiPath } = options
    this.#options = options
    this.limits = limits
    this.sessions = sessions
    this.front = options.front
    this.tally = new Tally(options.counting)
    this.clock = new SweepClock({ soonMs: tickMs(limits), laterMs: LATER_MS }, () => this.#sweep())
    this.pool = new ServicePool(
      (name) => this.#placesOf(name),
      limits.connectTimeoutMs,
      this.clock,
      (event, code) => this.#problem(event, code),
      options.debug,
    )
    const channels = new ChannelSockets((name) => socketPaths(options.directories, name), this.clock)
    const hasXenapi = xenapiPath !== null
    this.rules = { sessions, policies, registry, pool: this.pool, channels, clock: this.clock, methods, hasXenapi }
    const headLimits = { headBytesMax: limits.headBytes, targetBytesMax: limits.targetBytes }
    this.requestHead = new RequestHead(REQUEST_FIELDS, headLimits, this.front === null)
    this.responseHead = new ResponseHead(RESPONSE_FIELDS, headLimits)
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  /**
   * Accepts connections at `where`; resolves with the address when it listens.
   * @param traits what is made of them
   */
  listen(
    where: { host: string; port: number } | { path: string } | { fd: number },
    traits: ListenerTraits = PLAIN_LISTENER,
  ): Promise<AddressInfo | string> {
    const server = createServer()
    this.#servers.push(server)
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      const listening = (): void => {
        server.off('error', reject)
        acceptHandles(
          server,
          (handle) => this.#accept(handle, traits),
          (errno) => this.#problem('accept-failed', getSystemErrorName(errno)),
        )
        resolve(server.address() ?? '')
      }
      // Of a descriptor, Node.js takes the backlog only here.
      if ('fd' in where) server.listen(where, BACKLOG, listening)
      else server.listen({ ...where, backlog: BACKLOG }, listening)
    })
  }

  /** Reports a problem that comes with each connection once in a while. */
  #problem(event: string, code: string): void {
    const { nowMs } = this.clock
    if (nowMs - this.#problemMs < PROBLEM_INTERVAL_MS) return
    this.#problemMs = nowMs
    this.#options.problem(event, code)
  }

  #accept(handle: AcceptedHandle, { canPass, hasProxyHeader, greetings, tls }: ListenerTraits): void {
    const isBusy = this.#connections.size + this.#arrivals.size - this.#refusing >= this.limits.connections
    if (tls !== null) this.#acceptSecure(handle, tls, hasProxyHeader, isBusy)
    else if (isBusy) this.#refuseBusy(handle)
    else this.#serve({ kind: 'plain', handle, hasProxyHeader, greetings, canPass })
  }

  #serve(arrived: Arrived): void {
    this.clock.wake()
    this.#connections.add(new ClientConnection(this, arrived))
    this.#burst = Math.max(this.#burst, this.#connections.size)
  }

  #acceptSecure(handle: AcceptedHandle, tls: TlsCredentials, hasProxyHeader: boolean, isBusy: boolean): void {
    const deadlineMs = this.clock.nowMs + this.limits.headTimeoutMs
    const arrival: TlsArrival = new TlsArrival(handle, tls, hasProxyHeader, deadlineMs, {
      secured: (arrived) => {
        // In this order: a gateway that drains is done when it has neither.
        this.#serve(arrived)
        this.#forget(arrival)
      },
      failed: (fault, address) => {
        this.#forget(arrival)
        if (fault !== null) this.logArrivalFault(address, fault)
      },
      refusedPlain: (address, socket) => {
        this.#forget(arrival)
        const words = this.#refuseArrival(PLAIN_ON_TLS, address, socket, true)
        socket.on('data', (chunk: Buffer) => words.drop(chunk.length))
      },
    })
    // A client could not read a refusal before it is secured.
    if (isBusy) arrival.destroy()
    else this.#await(arrival)
  }

  #refuseBusy(handle: AcceptedHandle): void {
    const reads = new BorrowedReads((_bytes, count) => {
      words.drop(count)
      return false
    })
    const socket = acceptedSocket(handle, reads)
    socket.once('close', () => reads.close())
    // Each takes a descriptor, as one that is served does: past these they are told, and not waited for.
    const lingers = this.#refusing < REFUSING_MAX
    this.#refusing++
    socket.once('close', () => this.#refusing--)
    const words = this.#refuseArrival(GATEWAY_BUSY, plainAddress(socket.remoteAddress), socket, lingers)
  }

  /** Answers a connection of which nothing was read as a request. */
  #refuseArrival(refused: Refusal, address: string, socket: Socket, lingers: boolean): LastWords {
    const asked = nothingAsked(this.nextRequestId())
    const text = refusalResponse(refused, {
      requestId: asked.id,
      accept: undefined,
      isToHead: false,
      connectionLine: 'Connection: close\r\n',
      nowMs: Date.now(),
    })
    this.logRefusal({ address }, refused, asked, 0, refused.text.length + 1)
    const words: LastWords = new LastWords(socket, text, lingers, this.clock.nowMs, () => this.#forget(words))
    this.#await(words)
    return words
  }

  #await(arrival: TlsArrival | LastWords): void {
    this.clock.wake()
    this.#arrivals.add(arrival)
  }

  #forget(arrival: TlsArrival | LastWords): void {
    this.#arrivals.delete(arrival)
    this.#finishDrain()
  }

  /**
   * Takes no more connections, lets requests under way finish, and then closes everything; after the drain timeout what
   * is left is ended. Resolves when nothing is left.
   * @param closesIdle whether connections on which nothing is asked end at once, after a last look; may be said later, too
   */
  drain(closesIdle: boolean): Promise<void> {
    if (closesIdle) this.#closeIdle()
    this.#whenDrained ??= this.#drain()
    return this.#whenDrained
  }

  /** Whether the gateway stops, rather than giving way to a newer one. */
  get isStopping(): boolean {
    return this.#isStopping
  }

  /** How many connections are left: with a request, a channel or a tunnel once idle ones have been closed. */
  get connections(): number {
    return this.#connections.size
  }

  #closeIdle(): void {
    this.#isStopping = true
    // What has arrived by now is read in the next turn of the event loop, and served.
    setImmediate(() =>
      setImmediate(() => {
        for (const connection of this.#connections) connection.closeIfIdle()
        for (const arrival of this.#arrivals) arrival.hasten(this.clock.nowMs + ARRIVAL_STOPPING_MS)
      }),
    )
  }

  async #drain(): Promise<void> {
    this.#isDraining = true
    this.clock.wake()
    for (const server of this.#servers) server.close()
    for (const connection of this.#connections) connection.drain()
    if (this.#connections.size + this.#arrivals.size > 0) {
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
    setTimeout(() => this.destroy(), this.clock.ticks.soonMs).unref()
  }

  /** Ends everything now. */
  destroy(): void {
    this.#isDraining = true
    for (const server of this.#servers) server.close()
    for (const held of this.#allHeld()) held.destroy()
    for (const connection of this.#connections) connection.destroy()
    for (const arrival of this.#arrivals) arrival.destroy()
    this.#arrivals.clear()
    this.#finishDrain()
    this.pool.destroy()
    this.clock.close()
  }

  /** Ends what runs under sessions: tunnels, channels, and requests under way. */
  sessionsEnded(uuids: readonly string[]): void {
    for (const uuid of uuids) for (const held of this.#held.get(uuid) ?? []) held.cut()
    // Requests are many, and few outlive their session: they are looked for here rather than held to it one by one.
    const ended = new Set(uuids)
    for (const connection of this.#connections) {
      if (ended.has(connection.transfer?.entry?.session.uuid ?? '')) connection.cutTransfer()
    }
  }

  /** Takes other policies: what they no longer allow is ended. */
  useServices(policies: Policies, methods: readonly string[]): void {
    this.rules = { ...this.rules, policies, methods }
    for (const held of this.#allHeld()) if (!held.isAllowed(policies, methods)) held.cut()
  }

  /** Endings of sessions may not be heard of: channels end, since on them services admit requests by themselves. */
  distrust(): void {
    for (const held of this.#allHeld()) if (held instanceof Channel) held.cut()
  }

  /** Uuids of the sessions that something lives under: a tunnel, a channel, or a request under way that ends with its session. */
  get heldUuids(): readonly string[] {
    const uuids = new Set(this.#held.keys())
    for (const connection of this.#connections) {
      const uuid = connection.transfer?.entry?.session.uuid
      if (uuid !== undefined) uuids.add(uuid)
    }
    return [...uuids]
  }

  #allHeld(): Held[] {
    return [...this.#held.values()].flatMap((held) => [...held])
  }

  /** `held` is to end with its session. */
  hold(held: Held): void {
    if (held.entry === null) return
    const { uuid } = held.entry.session
    const same = this.#held.get(uuid)
    if (same === undefined) this.#held.set(uuid, new Set([held]))
    else same.add(held)
  }

  letGo(held: Held): void {
    if (held.entry === null) return
    const { uuid } = held.entry.session
    const same = this.#held.get(uuid)
    same?.delete(held)
    if (same?.size === 0) this.#held.delete(uuid)
  }

  /** Offers the connection of `client` to a service. @returns the channel whose answer is to come, or null when nobody takes it */
  pass(
    client: ClientConnection,
    decision: Extract<Decision, { kind: 'pass' }>,
    asked: Asked,
    bytes: Buffer,
  ): Channel | null {
    const { name, entry, sessionId, methods } = decision
    const { user, subject, roles, originator } = entry.session
    const id = `${this.#options.idPrefix}-c${(this.#passes++).toString(36)}`
    const opened = this.rules.channels.open(
      descriptorOf(client.socket),
      {
        channel: id,
        service: name,
        session: { id: sessionId, user, subject, roles, originator },
        methods,
        client: { address: client.address, port: client.port },
        proto: client.proto,
        gateway: this.#options.returnPath,
        greeting: this.#options.greetings.of(client.ends),
      },
      bytes,
    )
    this.#options.debug?.({
      event: opened === null ? 'channel-not-offered' : 'channel-offered',
      channel: id,
      service: name,
    })
    return opened === null ? null : new Channel(this, client, opened, { id, service: name, entry, methods, asked })
  }

  connectionClosed(connection: ClientConnection): void {
    this.#connections.delete(connection)
    this.#finishDrain()
  }

  #finishDrain(): void {
    if (this.#connections.size + this.#arrivals.size === 0) this.#drained?.()
  }

  /** Notes activity of a session. */
  touch(entry: SessionEntry): void {
    this.sessions.touch(entry, this.clock.nowMs)
  }

  /** Now, in milliseconds, for what is told of requests. */
  stampMs(): number {
    return performance.now()
  }

  nextRequestId(): string {
    return `${this.#options.idPrefix}-${(this.#requests++).toString(36)}`
  }

  /** Logs a request that was relayed. */
  logExchange(client: ClientConnection, relay: Relay, outcome: Outcome, reason: string | null): void {
    const { access } = this.#options
    const { request } = relay
    if (request.task !== null) this.#endTask(request, relay.status, outcome, reason)
    const ttfbMs = relay.firstByteMs === 0 ? 0 : relay.firstByteMs - request.startedMs
    const isError = relay.status >= 500 || outcome === 'service-failed' || outcome === 'gateway-failed'
    this.tally.relayed(customName(request.service), isError, relay.firstByteMs === 0 ? null : ttfbMs)
    if (access === null) return
    access({
      requestId: request.id,
      client: client.address,
      caller: request.entry,
      service: loggedName(request.service),
      method: request.method,
      path: request.path,
      status: relay.status,
      outcome,
      reason,
      bytesIn: relay.bytesIn,
      bytesOut: relay.bytesOut,
      ttfbMs,
      totalMs: performance.now() - request.startedMs,
    })
  }

  /** Logs a channel that is over. */
  logChannel(client: ClientConnection, channel: Channel, outcome: ChannelOutcome, reason: string | null): void {
    const { id, service, entry } = channel.passed
    this.#options.channel?.({
      channel: id,
      client: client.address,
      caller: entry,
      service,
      outcome,
      reason,
      requests: channel.requests,
      bytesIn: channel.bytesIn,
      bytesOut: channel.bytesOut,
      totalMs: performance.now() - channel.startedMs,
    })
  }

  /** Logs a connection that was closed before anything was asked on it. */
  logArrivalFault(address: string, fault: ArrivalFault): void {
    this.logRefusal({ address }, { status: 0, code: fault, reason: fault }, nothingAsked(this.nextRequestId()), 0, 0)
  }

  /** Logs a request that was refused. @param bytesIn, bytesOut bytes of the bodies of request and refusal */
  logRefusal(
    client: { readonly address: string },
    refusal: Pick<Refusal, 'status' | 'code' | 'reason'>,
    asked: Asked,
    bytesIn: number,
    bytesOut: number,
  ): void {
    const { access } = this.#options
    if (asked.task !== null) this.#endTask(asked, refusal.status, 'refused', refusal.code)
    const name = asked.service === null ? null : customName(asked.service)
    // Nothing was asked on a connection that ends without an answer.
    if (refusal.status !== 0) this.tally.refused(name, refusal.status, WITH_A_SOCKET.has(refusal.status))
    if (access === null) return
    const { id, method, path, service, entry, startedMs } = asked
    const elapsedMs = startedMs === 0 ? 0 : performance.now() - startedMs
    access({
      requestId: id,
      client: client.address,
      caller: entry,
      service: service === null ? null : loggedName(service),
      method,
      path,
      status: refusal.status,
      outcome: 'refused',
      reason: refusal.reason,
      bytesIn,
      bytesOut,
      ttfbMs: elapsedMs,
      totalMs: elapsedMs,
    })
  }

  #endTask({ task, entry }: Asked, status: number, outcome: Outcome, reason: string | null): void {
    const failure = taskFailure(status, outcome, reason)
    if (task === null || entry === null || failure === undefined) return
    this.#options.taskEnded?.({ session: entry.session, reference: task, failure })
  }

  #placesOf(name: string): readonly Where[] {
    if (this.front !== null && isXapiName(name)) return [whereXapiIs(this.front, name)]
    if (name === XENAPI) return [{ path: this.#options.xenapiPath ?? '' }]
    return socketPaths(this.#options.directories, name).map((path) => ({ path }))
  }

  #sweep(): NextSweep {
    const { nowMs } = this.clock
    let isBusy = this.#isDraining || this.#arrivals.size > 0 || this.#burst >= BURST_CONNECTIONS
    for (const connection of this.#connections) {
      connection.sweep(nowMs)
      isBusy ||= !connection.isResting(nowMs, LATER_MS)
    }
    for (const arrival of this.#arrivals) arrival.sweep(nowMs)
    this.pool.sweep()
    this.#watchBurst(nowMs)
    if (isBusy || this.pool.hasIdle) return 'soon'
    return this.#connections.size > 0 ? 'later' : 'never'
  }

  #watchBurst(nowMs: number): void {
    const count = this.#connections.size
    if (this.#burst < BURST_CONNECTIONS || count >= this.#burst * BURST_LEFT) {
      this.#burstFellMs = Number.POSITIVE_INFINITY
    } else if (this.#burstFellMs === Number.POSITIVE_INFINITY) {
      this.#burstFellMs = nowMs
    } else if (nowMs - this.#burstFellMs >= BURST_OVER_MS) {
      this.#burst = count
      this.#options.burstOver()
    }
  }
}

/** Statuses of refusals that say that the service has a socket. */
const WITH_A_SOCKET: ReadonlySet<number> = new Set([502, 504])

/** The name of a custom service; null for what else is behind the gateway. */
function customName(service: string): string | null {
  return isXapiName(service) || service === XENAPI ? null : service
}

function loggedName(service: string): string {
  if (isXapiName(service)) return 'xapi'
  return service === XENAPI ? 'xenapi' : service
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

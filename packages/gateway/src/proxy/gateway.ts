// The data plane of one worker: its connections, and what they share.

import { isDeepStrictEqual } from 'node:util'
import { FieldLines, type HeadLimits, RequestHead, ResponseHead } from '@xengate/http1'
import type { Counters, ListenerCounters } from '../metrics/counters.ts'
import { LimitHits } from '../metrics/limit-hits.ts'
import type { LimitsConfig } from '../model/limits.ts'
import { type OverloadConfig, type OverloadState, STAGE, type Stage } from '../model/overload.ts'
import { reasonFields } from '../logging/access.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Policies } from '../model/policy.ts'
import type { ReasonName } from '../model/reasons.ts'
import type { ServiceRegistry } from '../services/registry.ts'
import type { SessionEntry, SessionTable } from '../sessions/table.ts'
import type { PluginAnswers } from '../xenapi/plugin-answers.ts'
import type { ListenAt, Transport, Wire } from '../transport/transport.ts'
import { Gates } from './admission/gates.ts'
import { Admission, type HandlerSettings } from './admission/handler.ts'
import { AddressCounts } from './arrival/address-counts.ts'
import { ArrivedPeer, type ListenerTraits, PLAIN_LISTENER } from './arrival/arrival.ts'
import { Reception, type ReceptionContext } from './arrival/reception.ts'
import { type ClientContext, ClientConnection, type GivenConnection } from './client/connection.ts'
import type { Named } from './client/counted-connection.ts'
import { type NextSweep, SweepClock } from './clock.ts'
import { ChannelSockets } from './exchange/channel-sockets.ts'
import { Holds } from './exchange/holds.ts'
import type { Handler, Peer, Shared } from './exchange/ports.ts'
import { REQUEST_FIELDS, RESPONSE_FIELDS } from './heads/field-ids.ts'
import type { Greetings } from './heads/greetings.ts'
import { type JournalOptions, type JournalSettings, RequestJournal } from './journal.ts'
import type { ConnectionRecord } from './records.ts'
import { closeMoved, type MovedConnection, Moving } from './moving.ts'
import { OverloadWatch } from './overload/watch.ts'
import { ServicePool } from './upstream/pool.ts'
import { type Front, type ServiceDirectories, ServiceTarget } from './upstream/target.ts'

/** What a gateway takes while it runs: see `configure`. */
export interface GatewaySettings extends JournalSettings, HandlerSettings {
  readonly limits: LimitsConfig
  readonly methods: readonly string[]
  readonly directories: ServiceDirectories
  readonly policies: Policies
  readonly overload: OverloadConfig
}

/** What a gateway is made from. */
export interface GatewayOptions extends GatewaySettings, JournalOptions {
  readonly transport: Transport
  readonly registry: ServiceRegistry
  readonly sessions: SessionTable
  /** xapi, when the gateway stands in front of it: then it has no XenAPI endpoint of its own. */
  readonly front: Front | null
  /** Answers calls of plugins in front of xapi; null where all of them are xapi's. */
  readonly plugins: PluginAnswers | null
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
  /** Told that most connections of a burst are gone, or that memory is short: a moment to give back what is not used. */
  readonly burstOver: () => void
  /** Takes what is counted. */
  readonly counters: Counters
  /** How many descriptors this process may have; infinity where nobody can tell. */
  readonly descriptorsMax: number
  /** Told when it has too much to do, in steps, and when that is over. */
  readonly overloaded: (state: OverloadState, before: Stage) => void
  /** Told of limits that are hit, and of services that fail again and again. */
  readonly say: (level: 'info' | 'warn', event: LogEvent) => void
}

/** Connections that are given to a newer gateway when nothing is asked on them. */
export interface Giving {
  /** Names of the listeners whose connections it takes. */
  readonly listeners: ReadonlySet<string>
  /** Gives one; returns whether it could be given now. */
  readonly give: (given: GivenConnection) => boolean
  /** Whether it takes channels and tunnels as well. */
  readonly takesUnderWay: boolean
}

const GIVES_NOTHING: Giving = Object.freeze({ listeners: new Set<string>(), give: () => false, takesUnderWay: false })

/** How late a timeout may be noticed, in milliseconds: a quarter of the shortest, within these. */
const TICK_MS_MAX = 500
/** After so long it is looked again while every connection rests for longer. */
const LATER_MS = 5000
const TICK_MS_MIN = 10
const PROBLEM_INTERVAL_MS = 10_000
/** How often memory is given back while it is short. */
const SHRINK_MS = 10_000
/** How long what has just arrived may take when the gateway stops. */
const ARRIVAL_STOPPING_MS = 500
/** How often it is tried again to give connections away. */
const GIVE_MS = 5
/** How names of listeners on Unix sockets begin. */
const UNIX = 'unix:'
/** Connections that make a burst; it is over when fewer than this part of them are left, for so long, in milliseconds. */
const BURST_CONNECTIONS = 1000
const BURST_LEFT = 0.25
const BURST_OVER_MS = 3000

/** See the head of this file. */
export class Gateway implements ClientContext, ReceptionContext, Shared {
  limits: LimitsConfig
  readonly sessions: SessionTable
  readonly clock: SweepClock
  readonly pool: ServicePool
  readonly holds: Holds = new Holds()
  readonly counters: Counters
  readonly journal: RequestJournal
  readonly #limitHits: LimitHits
  readonly #gates: Gates
  readonly #overload: OverloadWatch
  readonly #addresses = new AddressCounts()
  readonly #reception: Reception
  requestHead: RequestHead
  responseHead: ResponseHead
  readonly trailerLines: FieldLines = new FieldLines(REQUEST_FIELDS)
  readonly #admission: Admission
  readonly #options: GatewayOptions
  readonly #connections = new Set<ClientConnection>()
  /** Most connections at one time since the last burst, and since when most of them are gone. */
  #burst = 0
  #burstFellMs = Number.POSITIVE_INFINITY
  /** When memory was given back last since it was short. */
  #shrunkMs = Number.NEGATIVE_INFINITY
  #requests = 0
  #isDraining = false
  #isOutOfService = false
  #isStopping = false
  #giving: Giving = GIVES_NOTHING
  readonly #moving: Moving
  #giveTimer: NodeJS.Timeout | undefined
  /** When a problem was reported last. */
  #problemMs = Number.NEGATIVE_INFINITY
  #whenDrained: Promise<void> | null = null
  #drained: (() => void) | null = null

  constructor(options: GatewayOptions) {
    const { limits, methods, directories, policies, registry, sessions, transport, debug } = options
    this.#options = options
    this.limits = limits
    this.sessions = sessions
    this.counters = options.counters
    const { counters } = this
    this.#limitHits = new LimitHits(counters, (event) => options.say('warn', event))
    const delay = counters.place('xengate_event_loop_delay_seconds', 'workers')
    this.clock = new SweepClock(
      { soonMs: tickMs(limits), laterMs: LATER_MS },
      () => this.#sweep(),
      (lateMs) => {
        counters.observe(delay, lateMs)
        this.#overload.ticked(lateMs)
      },
    )
    const { clock } = this
    this.#reception = new Reception(this, transport, this.#limitHits)
    this.#gates = new Gates({
      limitsOf: (service) => this.#admission.rules.policies.of(service).limits,
      clock,
      counters,
      limits: this.#limitHits,
      say: options.say,
    })
    this.journal = new RequestJournal(counters, { limits: this.#limitHits, gates: this.#gates }, options)
    this.#overload = new OverloadWatch({
      config: options.overload,
      descriptorsMax: options.descriptorsMax,
      connections: () => this.#connections.size + this.#reception.size + this.pool.size + this.holds.channels,
      changed: (state, before) => this.#overloadChanged(state, before),
    })
    const problem = (event: string, code: string): void => this.problem(event, code)
    this.pool = new ServicePool({
      transport,
      connectTimeoutMs: limits.connectTimeoutMs,
      clock,
      counters,
      limits: this.#limitHits,
      problem,
      debug,
    })
    const channels = new ChannelSockets(
      (name) => new ServiceTarget(name, this.#admission.rules.directories(name)).places.map(({ path }) => path),
      clock,
    )
    this.#moving = new Moving({
      sessions,
      clock,
      goOn: (moved, entry) => this.#goOn(moved, entry),
      left: () => this.left(),
    })
    const hasXenapi = options.xenapiPath !== null
    this.#admission = new Admission(this, {
      ...options,
      rules: {
        sessions,
        policies,
        registry,
        pool: this.pool,
        channels,
        clock,
        directories,
        methods,
        hasXenapi,
        gates: this.#gates,
        overload: this.#overload,
        sessionRequestsMax: shareOf(limits),
      },
      isDraining: () => this.isDraining,
      isLeaving: () => this.#isStopping || this.#isOutOfService,
      nextRequestId: () => this.nextRequestId(),
    })
    this.requestHead = newRequestHead(options)
    this.responseHead = newResponseHead(limits)
  }

  get handler(): Handler {
    return this.#admission
  }

  /** Whether connections end with their next response, unless somebody takes them. */
  get isDraining(): boolean {
    return this.#isDraining || this.#isOutOfService
  }

  /** Out of service, what comes is served as before, but no connection is kept, and none is passed to a service. */
  set isOutOfService(isOutOfService: boolean) {
    this.#isOutOfService = isOutOfService
    this.clock.wake()
    for (const connection of this.#connections) connection.drain()
  }

  /**
   * Accepts connections at `at`; resolves with the port when it listens, 0 for a Unix socket.
   * @param traits what is made of them
   */
  listen(at: ListenAt, traits: ListenerTraits = PLAIN_LISTENER): Promise<number> {
    return this.#reception.listen(at, traits, () => this.#isDraining)
  }

  /**
   * Listens no more at the listener `name`, whose socket nobody else listens on: what waits there is taken first. Its connections end as if the
   * gateway drained.
   */
  unlisten(name: string): void {
    if (!this.#reception.unlisten(name)) return
    const left = [...this.#connections].filter(({ listenerName }) => listenerName === name)
    this.clock.wake()
    this.#leave(left)
  }

  /** Connections whose listener is gone end as if the gateway drained. */
  #leave(left: readonly ClientConnection[]): void {
    for (const connection of left) connection.leave()
    setTimeout(() => {
      for (const connection of left) if (this.#connections.has(connection)) connection.drainTimedOut()
    }, this.limits.drainTimeoutMs).unref()
  }

  /** Takes a connection of an earlier gateway. The descriptors are this one's. */
  adopt(given: GivenConnection): void {
    const { fd, listener, told, named, underWay } = given
    if (underWay !== null) {
      this.#moving.take({ ...given, underWay })
      return
    }
    const wire = this.#options.transport.adopt(fd, listener.startsWith(UNIX))
    const known = this.#reception.listener(listener)
    // The listener is gone, or has TLS by now, and with it the rules by which its clients are believed.
    if (known === undefined || known.traits.tls !== null) wire.destroy()
    else this.serve(wire, new ArrivedPeer(wire, told, false, known.traits.canPass), known.counted, named)
  }

  /** Goes on with what was under way in an earlier gateway. */
  #goOn(moved: MovedConnection, entry: SessionEntry | null): void {
    const { fd, listener, told, named, underWay } = moved
    const known = this.#reception.listener(listener)
    if (known === undefined) {
      closeMoved(moved)
      return
    }
    const wire = this.#options.transport.adopt(fd, listener.startsWith(UNIX))
    const client = this.serve(wire, new ArrivedPeer(wire, told, false, known.traits.canPass), known.counted, named)
    const exchange = this.#admission.resume(client, underWay.serviceFd, underWay.moved, entry)
    client.become(exchange)
    const { policies, methods } = this.#admission.rules
    if (!exchange.isAllowed(policies, methods)) exchange.cut('policy-changed')
  }

  opening(): void {
    this.#overload.opening(this.clock.nowMs)
  }

  hasEnough(address: string): boolean {
    return this.#addresses.has(address, shareOf(this.limits))
  }

  countAddress(address: string, more: 1 | -1): void {
    this.#addresses.add(address, more)
  }

  /** Reports a problem that comes with each connection once in a while. */
  problem(event: string, code: string): void {
    const { nowMs } = this.clock
    if (nowMs - this.#problemMs < PROBLEM_INTERVAL_MS) return
    this.#problemMs = nowMs
    this.#options.problem(event, code)
  }

  serve(wire: Wire, peer: Peer, counted: ListenerCounters, named: Named | null = null): ClientConnection {
    this.clock.wake()
    this.#addresses.add(peer.address, 1)
    const connection = new ClientConnection(this, wire, peer, counted, named)
    this.#connections.add(connection)
    // It may have taken a while to arrive.
    if (this.#reception.listener(counted.name) === undefined) this.#leave([connection])
    this.#burst = Math.max(this.#burst, this.#connections.size)
    return connection
  }

  /**
   * Takes no more connections, lets requests under way finish, and then closes everything; after the drain timeout what
   * is left is ended. Resolves when nothing is left.
   * @param closesIdle whether connections on which nothing is asked end at once, after a last look; may be said later, too
   * @param giving which of them are given to a newer gateway, as long as this one does not stop
   */
  drain(closesIdle: boolean, giving: Giving = GIVES_NOTHING): Promise<void> {
    if (closesIdle) this.#closeIdle()
    else if (this.#whenDrained === null) this.#giving = giving
    this.#whenDrained ??= this.#drain()
    return this.#whenDrained
  }

  /** Whether the gateway stops, rather than giving way to a newer one. */
  get isStopping(): boolean {
    return this.#isStopping
  }

  gives(listener: string): boolean {
    return !this.#isStopping && this.#giving.listeners.has(listener)
  }

  /** Before the client can ask again, as a rule: the answer goes out at the end of the turn. */
  idled(connection: ClientConnection): void {
    setImmediate(() => connection.giveAway(this.#giving.give))
  }

  /** Gives away what nothing is asked on, by any listener; the process ends after that. */
  giveIdle(give: Giving['give']): void {
    const listeners = new Set([...this.#connections].map(({ listenerName }) => listenerName))
    this.#giving = { listeners, give, takesUnderWay: false }
    for (const connection of this.#connections) connection.giveAway(give)
  }

  /** Gives away what it can now; the rest later, since the other side takes so many at a time. */
  #giveAll(): void {
    const { give, takesUnderWay } = this.#giving
    for (const connection of this.#connections) {
      connection.giveAway(give)
      if (takesUnderWay && !this.#isStopping) connection.moveAway(this.#giveUnderWay)
    }
  }

  readonly #giveUnderWay = (given: GivenConnection): boolean => {
    const isGiven = this.#giving.give(given)
    if (isGiven) this.#moving.gave(given)
    return isGiven
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
        this.#reception.hasten(this.clock.nowMs + ARRIVAL_STOPPING_MS)
      }),
    )
  }

  async #drain(): Promise<void> {
    this.#isDraining = true
    this.clock.wake()
    this.#reception.close(this.#isStopping)
    for (const connection of this.#connections) connection.drain()
    if (this.#giving.listeners.size > 0) {
      // What has arrived by now is read before that.
      setImmediate(() => setImmediate(() => this.#giveAll()))
      this.#giveTimer = setInterval(() => this.#giveAll(), GIVE_MS).unref()
    }
    if (this.#connections.size + this.#reception.size + this.#moving.size > 0) {
      const timer = setTimeout(() => this.#drainTimedOut(), this.limits.drainTimeoutMs)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
      clearTimeout(timer)
    }
    clearInterval(this.#giveTimer)
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
    this.#moving.endWaiting()
    this.holds.destroy()
    for (const connection of this.#connections) connection.destroy('gateway-stopped')
    this.#reception.destroy()
    this.left()
    this.pool.destroy()
    this.clock.close()
  }

  /** Ends what runs under sessions: tunnels, channels, and requests under way. */
  sessionsEnded(uuids: readonly string[]): void {
    for (const uuid of uuids) this.holds.sessionEnded(uuid)
    this.#moving.sessionsEnded(uuids)
    // Requests are many, and few outlive their session: they are looked for here rather than held to it one by one.
    const ended = new Set(uuids)
    for (const connection of this.#connections) {
      if (ended.has(connection.cutsWith?.session.uuid ?? '')) connection.cutWithSession()
    }
  }

  /** Takes other settings: for what comes from now on, and what they no longer allow is ended. */
  configure(settings: GatewaySettings): void {
    const { limits, policies, methods, directories, debug } = settings
    if (!isDeepStrictEqual(limits, this.limits)) {
      this.limits = limits
      this.requestHead = newRequestHead({ front: this.#options.front, limits })
      this.responseHead = newResponseHead(limits)
      this.clock.setTicks({ soonMs: tickMs(limits), laterMs: LATER_MS })
    }
    this.#overload.configure(settings.overload)
    this.pool.configure({ connectTimeoutMs: limits.connectTimeoutMs, debug })
    this.journal.configure(settings)
    this.#admission.configure(settings)
    this.#admission.rules = { ...this.#admission.rules, directories, sessionRequestsMax: shareOf(limits) }
    this.useServices(policies, methods)
  }

  /** Takes other policies: what they no longer allow is ended. */
  useServices(policies: Policies, methods: readonly string[]): void {
    this.#admission.rules = { ...this.#admission.rules, policies, methods }
    this.holds.judge(policies, methods)
    this.#gates.reconfigured()
  }

  /** Endings of sessions may not be heard of: channels end, since on them services admit requests by themselves. */
  distrust(): void {
    this.#moving.endWaiting()
    this.holds.distrust()
  }

  /** Uuids of the sessions that something lives under: a tunnel, a channel, or a request under way that ends with its session. */
  get heldUuids(): readonly string[] {
    const uuids = new Set(this.holds.uuids)
    for (const connection of this.#connections) {
      const uuid = connection.cutsWith?.session.uuid
      if (uuid !== undefined) uuids.add(uuid)
    }
    return [...uuids]
  }

  /** Clients' connections, for who asks what goes on. */
  get connectionRecords(): readonly ConnectionRecord[] {
    return [...this.#connections].map(({ record }) => record)
  }

  /** Ends the connection with this id, or the one that the channel with this id has. @returns whether there was one */
  endConnection(id: string): boolean {
    for (const connection of this.#connections) {
      if (connection.id !== id && connection.record.request?.channel !== id) continue
      connection.endByOperator()
      return true
    }
    return false
  }

  /** Has a service asked again that has failed again and again. @returns whether it was not */
  closeBreaker(service: string): boolean {
    return this.#gates.closeBreaker(service)
  }

  get hasPages(): boolean {
    return this.#admission.hasDashboard
  }

  get overloadStage(): Stage {
    return this.#overload.stage
  }

  #overloadChanged(state: OverloadState, before: Stage): void {
    this.clock.wake()
    this.#pauseOrResume()
    this.#options.overloaded(state, before)
  }

  /** What comes waits in the kernel while there is too little of something for it. */
  #pauseOrResume(): void {
    if (this.#overload.stage === STAGE.DEAF) this.#reception.pause()
    else this.#reception.resume()
  }

  connectionClosed(connection: ClientConnection, why: ReasonName): void {
    this.#connections.delete(connection)
    this.#addresses.add(connection.peer.address, -1)
    const { debug } = this.#options
    if (debug !== null) {
      const { id, listener, client } = connection.record
      debug({ event: 'connection-closed', connection: id, client, listener, reason: why, ...reasonFields(why) })
    }
    this.left()
  }

  left(): void {
    if (this.#connections.size + this.#reception.size + this.#moving.size === 0) this.#drained?.()
  }

  /** Notes activity of a session. */
  touch(entry: SessionEntry): void {
    this.sessions.touch(entry, this.clock.nowMs)
  }

  nextRequestId(): string {
    return `${this.#options.idPrefix}-${(this.#requests++).toString(36)}`
  }

  #sweep(): NextSweep {
    const { nowMs } = this.clock
    let isBusy = this.isDraining || this.#reception.size > 0 || this.#burst >= BURST_CONNECTIONS
    for (const connection of this.#connections) {
      connection.sweep(nowMs)
      isBusy ||= !connection.isResting(nowMs, LATER_MS)
    }
    this.#reception.sweep(nowMs)
    this.pool.sweep(this.#overload.stage > STAGE.NORMAL)
    this.#gates.sweep()
    this.#watchBurst(nowMs)
    this.#overload.judge(nowMs)
    this.#shrink(nowMs)
    // For lack of a descriptor a listening socket may not have been paused.
    if (this.#overload.stage === STAGE.DEAF) this.#pauseOrResume()
    if (isBusy || this.pool.hasIdle || this.#overload.stage > STAGE.NORMAL) return 'soon'
    this.#overload.rested()
    return this.#connections.size > 0 ? 'later' : 'never'
  }

  /** Much of what counts as used may be garbage, which nobody collects while there is room for more. */
  #shrink(nowMs: number): void {
    const { stage, resource } = this.#overload.state
    if (stage === STAGE.NORMAL || resource !== 'memory' || nowMs - this.#shrunkMs < SHRINK_MS) return
    this.#shrunkMs = nowMs
    this.#options.burstOver()
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

function newRequestHead({ front, limits }: Pick<GatewayOptions, 'front' | 'limits'>): RequestHead {
  return new RequestHead(REQUEST_FIELDS, headLimitsOf(limits), front === null)
}

function newResponseHead(limits: LimitsConfig): ResponseHead {
  return new ResponseHead(RESPONSE_FIELDS, headLimitsOf(limits))
}

/** How many of all connections one address or session may have. */
function shareOf({ connections, share }: LimitsConfig): number {
  return share === 100 ? Number.POSITIVE_INFINITY : Math.ceil((connections * share) / 100)
}

function headLimitsOf({ headBytes, targetBytes }: LimitsConfig): HeadLimits {
  return { headBytesMax: headBytes, targetBytesMax: targetBytes }
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

// A worker process: one gateway, on the primary's listening sockets, with a table of sessions that the primary fills.

import { randomBytes } from 'node:crypto'
import { closeSync } from 'node:fs'
import {
  closeDescriptor,
  cutConnection,
  openPassage,
  type Passage,
  passConnection,
  type PassedConnection,
  takeConnection,
} from '@xengate/channel'
import { formatListenAddress } from '../config/addresses.ts'
import { type AccessFields, type ChannelFields, channelLine } from '../logging/access.ts'
import { Audit } from '../logging/audit.ts'
import { createLog, type Log } from '../logging/log.ts'
import type { GivenConnection } from '../proxy/client/connection.ts'
import type { Moved } from '../proxy/exchange/moved.ts'
import type { Config, ListenConfig, LogConfig, ServicesConfig, SessionsConfig, TracesConfig } from '../config/config.ts'
import { failureOf } from '../logging/causes.ts'
import { Counters } from '../metrics/counters.ts'
import { mapSharedMemory } from '../metrics/shared-memory.ts'
import { type ListenerTraits, PLAIN_LISTENER } from '../proxy/arrival/arrival.ts'
import { Gateway, type GatewaySettings } from '../proxy/gateway.ts'
import { Greetings } from '../proxy/heads/greetings.ts'
import { TlsCredentials } from '../proxy/arrival/tls-credentials.ts'
import type { TlsPair } from '../transport/tls-pair.ts'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import { OVERLOAD_KEYS, type OverloadState, type Stage, STAGE_TEXTS } from '../model/overload.ts'
import { Policies } from '../model/policy.ts'
import { HostNames } from '../proxy/admission/host-names.ts'
import { Whereabouts } from '../services/whereabouts.ts'
import type { Session } from '../model/session.ts'
import { type SessionTimes, SessionTable } from '../sessions/table.ts'
import { chooseTransport, type ChosenTransport } from '../transport/choose.ts'
import { eventsLost } from './control/events.ts'
import type { Spans } from '../tracing/spans.ts'
import type { PluginAnswers } from '../xenapi/plugin-answers.ts'
import type { Question, Told } from './control/questions.ts'
import { controlPolicy } from './control/policy.ts'
import { dashboardPathIn } from './dashboard/path.ts'
import { descriptorLimit } from './descriptors.ts'
import { collectGarbage } from './garbage.ts'
import { monotonicMs, type Takes, type ToPrimary, type ToWorker } from './messages.ts'

/** How often activity of one session is noted, and how often the primary is told what was noted: at most this late each. */
const TOUCH_INTERVAL_MS = 10_000
const TELL_INTERVAL_MS = 1000
/** Neither of the first two is more than this part of the idle timeout. */
const IDLE_TIMEOUT_PARTS = 8
/** Nor than this part of what xapi is trusted for: it is asked again about sessions that are used or held. */
const RECHECK_PARTS = 4

/** While somebody listens: how often what was logged is told, and how many lines at once. */
const EVENTS_MS = 100
const EVENTS_MAX = 200

/** So many connections that are given are told of at once: one worker takes them. */
const GIVEN_MAX = 32

/** What metrics call the socket where services bring back requests. */
const RETURNS = 'returned'

/** After a standstill signs of life are still to be read: nothing is ended before that. */
const SIGNS_READ_MS = 100

/** When it is told what a stop waits for: idle connections are closed by then. */
const DRAIN_LOOK_MS = 100

/** It is logged so often that spans cannot be sent, in milliseconds. */
const TRACES_FAILED_MS = 60_000

/** What comes again and again, and is not worth a line. */
const UNSAID: ReadonlySet<ToWorker['type']> = new Set<ToWorker['type']>(['alive', 'are-you-there'])

type StartMessage = Extract<ToWorker, { type: 'start' }>

/** The tracing of requests is loaded where it is asked for. */
async function spansOf(traces: TracesConfig | null, failed: (error: unknown) => void): Promise<Spans | null> {
  if (traces === null) return null
  const { Spans: Loaded } = await import('../tracing/spans.ts')
  return new Loaded(traces, failed)
}

/** What answers calls of plugins in front of xapi is loaded where it is asked for. */
async function pluginsOf({ front }: Config): Promise<PluginAnswers | null> {
  if (front?.pluginCalls !== true) return null
  const { PluginAnswers: Loaded } = await import('../xenapi/plugin-answers.ts')
  return new Loaded()
}

/** Serves until the primary says otherwise, or is gone. */
export function runWorker(self: NodeJS.Process): void {
  const tell = (message: ToPrimary): void => {
    if (self.connected) self.send?.(message)
  }
  // A terminal's Ctrl-C and a service manager's stop reach every process of the group: the primary decides.
  self.on('SIGINT', () => {})
  self.on('SIGTERM', () => {})
  self.on('SIGHUP', () => {})
  self.on('SIGUSR2', (signal) => worker?.signalled(signal))
  // Without the primary no logout would be heard of: nothing may be admitted any more.
  self.on('disconnect', () => {
    worker?.deserted()
    self.exit(1)
  })

  let worker: Worker | undefined
  /** What is said before there is one. */
  const early: Exclude<ToWorker, StartMessage>[] = []
  const start = async (message: StartMessage): Promise<void> => {
    const { transport, traces } = message.config
    const spans = await spansOf(traces, (error) => worker?.tracesFailed(error))
    const plugins = await pluginsOf(message.config)
    worker = new Worker(message, await chooseTransport(transport), spans, plugins, tell)
    const started = worker.start(message)
    // What changes at the listeners waits for its turn.
    for (const said of early) worker.take(said)
    await started
  }
  self.on('message', (message: ToWorker) => {
    if (message.type === 'start') {
      start(message).catch((error: unknown) => {
        tell({ type: 'failed', problem: error instanceof Error ? error.message : String(error) })
      })
    } else if (worker === undefined) early.push(message)
    else worker.take(message)
  })
}

/** How long activity may go untold at most, in milliseconds. */
function longestSilenceMs({ authority, idleTimeoutMs, xapi }: SessionsConfig): number {
  const idleMs = idleTimeoutMs / IDLE_TIMEOUT_PARTS
  return authority === 'xapi' ? Math.min(idleMs, xapi.recheckMs / RECHECK_PARTS) : idleMs
}

function sessionTimes(sessions: SessionsConfig): SessionTimes {
  const silenceMs = longestSilenceMs(sessions)
  const tellIntervalMs = Math.min(TOUCH_INTERVAL_MS, silenceMs)
  return { idleTimeoutMs: sessions.idleTimeoutMs, tellIntervalMs, silenceMs }
}

class Worker {
  readonly #gateway: Gateway
  readonly #chosen: ChosenTransport
  /** By name of the listener. */
  readonly #credentials = new Map<string, TlsCredentials>()
  /** Names of the listeners of the configuration. */
  #listeners: readonly string[] = []
  /** Where listening sockets are taken that come later. */
  readonly #socketsFd: number
  /** Resolves when it listens where it is to: what changes there is done one after the other. */
  #listening: Promise<void> = Promise.resolve()
  readonly #sessions: SessionTable
  readonly #whereabouts = new Whereabouts()
  readonly #log: Log
  readonly #audit: Audit | null
  readonly #greetings: Greetings
  readonly #tell: (message: ToPrimary) => void
  /** Runs while there is activity, or something held, to tell of. */
  #touchTimer: NodeJS.Timeout | undefined
  #tellIntervalMs = 0
  #isDraining = false
  /** When the authority was last proved to be heard, on `monotonicMs`, and for how long that serves. */
  #provenMs = monotonicMs()
  #staleGraceMs: number
  #trustTimer: NodeJS.Timeout | undefined
  /** Whether the authority tells of endings by itself. */
  readonly #hearsEndings: boolean
  readonly #passage: Passage
  readonly #isPassageKept: boolean
  readonly #spans: Spans | null
  readonly #plugins: PluginAnswers | null
  /** When it was last logged that spans could not be sent, on `monotonicMs`. */
  #tracesFailedMs = Number.NEGATIVE_INFINITY
  /** Connections that were given away and not told of yet. */
  #givenCount = 0

  constructor(
    message: StartMessage,
    chosen: ChosenTransport,
    spans: Spans | null,
    plugins: PluginAnswers | null,
    tell: (message: ToPrimary) => void,
  ) {
    const { config, countersFd, xenapiPath, returnPath, returnKey, places, passage, isOutOfService, socketsFd } =
      message
    this.#tell = tell
    this.#spans = spans
    this.#plugins = plugins
    if (plugins !== null) plugins.ownHost = message.ownHost
    this.#passage = passage
    this.#isPassageKept = message.isPassageKept
    this.#socketsFd = socketsFd
    this.#greetings = new Greetings(returnKey)
    const counters = countersAt(countersFd)
    this.#log = createLog(config.log)
    this.#log.onProblem = ({ level, event, count }) => counters.logged(level, event, count)
    this.#sessions = new SessionTable(
      (id, client) => {
        this.#log.debug({ event: 'session-asked', client })
        tell({ type: 'find', id, client })
      },
      (uuids) => this.#gateway.sessionsEnded(uuids),
      () => {
        this.#touchTimer ??= setInterval(() => this.#report(), this.#tellIntervalMs)
      },
      sessionTimes(config.sessions),
    )
    this.#whereabouts.take(places)
    this.#audit = config.log.audit ? new Audit(config.log.syslog) : null
    this.#hearsEndings = config.sessions.authority !== 'xapi'
    this.#chosen = chosen
    this.#gateway = new Gateway({
      ...this.#settingsOf(config),
      transport: this.#chosen.transport,
      registry: this.#whereabouts,
      sessions: this.#sessions,
      front: config.front,
      plugins,
      xenapiPath,
      returnPath,
      greetings: this.#greetings,
      idPrefix: randomBytes(6).toString('hex'),
      problem: (event, code) => this.#log.error({ event, code }),
      burstOver: collectGarbage,
      counters,
      descriptorsMax: descriptorLimit(),
      overloaded: (state, before) => this.#overloaded(state, before),
      say: (level, event) => this.#log[level](event),
      taskEnded: xenapiPath === null ? null : (ended) => tell({ type: 'task-ended', ended }),
    })
    this.#gateway.isOutOfService = isOutOfService
    this.#staleGraceMs = config.sessions.staleGraceMs
    this.#judgeTrust()
    this.#tellIntervalMs = Math.min(TELL_INTERVAL_MS, longestSilenceMs(config.sessions))
  }

  /** What of a configuration the gateway takes while it runs. */
  #settingsOf(config: Config): GatewaySettings {
    const { services, limits, overload, log, control, sessions } = config
    return {
      limits,
      methods: services.methods,
      // The gateway's own service is no file of a directory that others, xapi among them, find services in.
      directories: (name) => (name === CONTROL_SERVICE ? [config.stateDir] : services.directories),
      policies: policiesOf(services),
      dashboardPath: control.dashboard ? dashboardPathIn(config) : null,
      hasSignInPage: sessions.signInPage,
      hostNames: new HostNames(config.hostNames),
      hasHealth: control.health,
      beginSpan: this.#spans?.begin ?? null,
      overload,
      debug: this.#log.isLogged('debug') ? (event) => this.#log.debug(event) : null,
      access: requestsOf(log, this.#log, this.#audit),
      channel: channelsOf(log, this.#log, this.#audit),
    }
  }

  /** Says what is done from now on, why, and what would be changed for it. */
  #overloaded(state: OverloadState, before: Stage): void {
    const { stage, resource, used, limit } = state
    this.#log[stage > before ? 'warn' : 'info']({
      event: 'overload',
      stage,
      before,
      means: STAGE_TEXTS[stage],
      resource,
      used: Math.round(used),
      limit,
      key: OVERLOAD_KEYS[resource],
    })
    this.#tell({ type: 'overload', overload: state })
  }

  /** Takes what of a newer configuration needs no new worker. */
  #configure({ change, config, tls, places, opened }: Extract<ToWorker, { type: 'configure' }>): void {
    this.#log.level = config.log.level
    this.#whereabouts.replace(places)
    this.#sessions.setTimes(sessionTimes(config.sessions))
    this.#tellIntervalMs = Math.min(TELL_INTERVAL_MS, longestSilenceMs(config.sessions))
    if (this.#touchTimer !== undefined) {
      clearInterval(this.#touchTimer)
      this.#touchTimer = setInterval(() => this.#report(), this.#tellIntervalMs)
    }
    this.#staleGraceMs = config.sessions.staleGraceMs
    this.#judgeTrust()
    this.#gateway.configure(this.#settingsOf(config))
    this.#changeListeners(change, () => this.#takeListeners(config, tls, opened))
  }

  /** Changes listeners in its turn, and confirms it. @param change its number */
  #changeListeners(change: number, act: () => Promise<void> | void): void {
    this.#listening = this.#listening.then(act).then(
      () => this.#tell({ type: 'configured', change }),
      (error: unknown) =>
        this.#tell({ type: 'failed', problem: error instanceof Error ? error.message : String(error) }),
    )
  }

  /** Closes the listeners that are gone or others, and opens those at the places `opened`, whose sockets the primary has given. */
  async #takeListeners({ listen }: Config, tls: readonly (TlsPair | null)[], opened: readonly number[]): Promise<void> {
    const names = listen.map(({ address }) => formatListenAddress(address))
    const others = new Set(opened.map((index) => names[index]))
    for (const name of this.#listeners) {
      if (names.includes(name) && !others.has(name)) continue
      this.#gateway.unlisten(name)
      this.#credentials.delete(name)
    }
    this.#listeners = names
    for (const [index, pair] of tls.entries()) if (pair !== null) this.#credentials.get(names[index] ?? '')?.use(pair)
    for (const index of opened) {
      const taken = takeConnection(this.#socketsFd)
      if (taken === null) throw new Error(`the socket of the listener ${names[index]} did not come`)
      await this.#gateway.listen({ fd: taken.fd }, this.#traits(listen[index], tls[index] ?? null))
    }
  }

  /** Trusts what the table says until `stale-grace` is over, and ends channels a moment after. */
  #judgeTrust(): void {
    const leftMs = this.#provenMs + this.#staleGraceMs - monotonicMs()
    if (leftMs <= 0 && !this.#sessions.isTrusted) return
    this.#sessions.isTrusted = leftMs > 0
    clearTimeout(this.#trustTimer)
    this.#trustTimer =
      leftMs > 0
        ? setTimeout(() => this.#judgeTrust(), leftMs)
        : setTimeout(() => this.#gateway.distrust(), SIGNS_READ_MS)
  }

  start(message: StartMessage): Promise<void> {
    this.#listening = this.#start(message)
    return this.#listening
  }

  async #start({ config, listenFds, tls, returnFd }: StartMessage): Promise<void> {
    this.#listeners = config.listen.map(({ address }) => formatListenAddress(address))
    for (const [index, fd] of listenFds.entries())
      await this.#gateway.listen({ fd }, this.#traits(config.listen[index], tls[index] ?? null))
    await this.#gateway.listen(
      { fd: returnFd },
      {
        ...PLAIN_LISTENER,
        name: RETURNS,
        canPass: false,
        greetings: this.#greetings,
      },
    )
    // Whoever was to take these is gone.
    this.#take(Number.POSITIVE_INFINITY)
    const { transport, reason } = this.#chosen
    this.#tell({ type: 'ready', transport: { name: transport.name, reason } })
  }

  #traits(listen: ListenConfig | undefined, pair: TlsPair | null): ListenerTraits {
    if (listen === undefined) return PLAIN_LISTENER
    const name = formatListenAddress(listen.address)
    const tls = pair === null ? null : new TlsCredentials(pair)
    if (tls !== null) this.#credentials.set(name, tls)
    return { ...PLAIN_LISTENER, name, hasProxyHeader: listen.proxyProtocol, tls }
  }

  take(message: Exclude<ToWorker, StartMessage>): void {
    if (!UNSAID.has(message.type)) this.#log.trace({ event: 'primary-said', type: message.type })
    switch (message.type) {
      case 'found':
        this.#logAnswer(message.session)
        this.#sessions.answered(message.id, message.session, this.#gateway.clock.nowMs)
        break
      case 'ended':
        this.#sessions.ended(message.uuids)
        this.#tell({ type: 'confirmed', ending: message.ending })
        break
      case 'configure':
        this.#configure(message)
        break
      case 'alive':
        this.#provenMs = message.provenMs
        this.#judgeTrust()
        break
      case 'forgotten':
        this.#sessions.forget(message.uuids, message.why === 'unused')
        // An end may have been missed, and nobody would ask about it again.
        if (message.why === 'doubtful') this.#gateway.sessionsEnded(message.uuids)
        break
      case 'tls':
        this.#changeListeners(message.change, () => this.#credentials.get(message.listener)?.use(message.pair))
        break
      case 'are-you-there':
        this.#tell({ type: 'here' })
        break
      case 'asked':
        this.#tell({ type: 'told', question: message.question, told: this.#answerTo(message.asked) })
        break
      case 'watched':
        this.#watch(message.isWatched)
        break
      case 'places':
        this.#whereabouts.take(message.changes)
        break
      case 'own-host':
        if (this.#plugins !== null) this.#plugins.ownHost = message.ref
        break
      case 'drain':
        this.#drain(message.closesIdle, message.gives)
        break
      case 'out-of-service':
        this.#gateway.isOutOfService = message.isOutOfService
        break
      case 'take':
        this.#take(message.count)
        break
    }
  }

  /** Spans could not be sent. */
  tracesFailed(error: unknown): void {
    const nowMs = monotonicMs()
    if (nowMs - this.#tracesFailedMs < TRACES_FAILED_MS) return
    this.#tracesFailedMs = nowMs
    this.#log.warn({ event: 'traces-failed', error: failureOf(error) })
  }

  #logAnswer(session: Session | null | 'unavailable'): void {
    const known = session === null || session === 'unavailable' ? {} : { session: session.uuid, user: session.user }
    const answer = session === null ? 'nobody' : session === 'unavailable' ? 'unavailable' : 'session'
    this.#log.debug({ event: 'session-answered', answer, ...known })
  }

  #answerTo(question: Question): Told[keyof Told] {
    const { recent } = this.#gateway.journal
    switch (question.kind) {
      case 'connections':
        return this.#gateway.connectionRecords
      case 'refusals':
        return recent.failures
      case 'sessions':
        return this.#sessions.all.map(({ session, trackId, usedMs }) => {
          return { session, trackId, usedMs: performance.timeOrigin + usedMs }
        })
      case 'request':
        return recent.find(question.id) ?? null
      case 'end':
        return this.#gateway.endConnection(question.id)
      case 'close-breaker':
        return this.#gateway.closeBreaker(question.id)
    }
  }

  /** Tells what is logged, some lines at once, while somebody listens; what is too much is counted. */
  #watch(isWatched: boolean): void {
    let lines: string[] = []
    let lost = 0
    const tellLines = (): void => {
      if (lost > 0) lines.push(eventsLost(lost))
      this.#tell({ type: 'logged', lines })
      lines = []
      lost = 0
    }
    this.#log.tap = isWatched
      ? (line) => {
          if (lines.length === 0) setTimeout(tellLines, EVENTS_MS)
          if (lines.length < EVENTS_MAX) lines.push(line)
          else lost++
        }
      : null
  }

  signalled(signal: NodeJS.Signals): void {
    this.#log.info({ event: 'signal-ignored', signal })
  }

  #report(): void {
    const uuids = this.#sessions.takeTouched(this.#gateway.clock.nowMs)
    if (uuids.length > 0) this.#tell({ type: 'touched', uuids })
    const heldUuids = this.#hearsEndings ? [] : this.#gateway.heldUuids
    if (heldUuids.length > 0) this.#tell({ type: 'held', uuids: heldUuids })
    if (heldUuids.length === 0 && !this.#sessions.hasNoted) this.#endReports()
  }

  #endReports(): void {
    clearInterval(this.#touchTimer)
    this.#touchTimer = undefined
  }

  /** A second call only says that the first may end sooner. */
  #drain(closesIdle: boolean, { listeners, takesUnderWay }: Takes): void {
    const drained = this.#gateway.drain(closesIdle, {
      listeners: new Set(listeners),
      takesUnderWay,
      give: (given) => this.#give(given),
    })
    if (closesIdle)
      setTimeout(() => this.#tell({ type: 'draining', connections: this.#gateway.connections }), DRAIN_LOOK_MS).unref()
    if (this.#isDraining) return
    this.#isDraining = true
    const isOver = drained.then(() => this.#spans?.close())
    isOver.then(
      () => this.#exit(),
      (error: unknown) => this.#fail(error),
    )
  }

  /** Gives a connection to newer workers. @returns whether there was room for it */
  #give(given: GivenConnection): boolean {
    if (!pass(this.#passage.giveFd, given)) return false
    if (this.#givenCount === 0) setImmediate(() => this.#tellGiven())
    if (++this.#givenCount === GIVEN_MAX) this.#tellGiven()
    return true
  }

  #tellGiven(): void {
    if (this.#givenCount > 0) this.#tell({ type: 'given', count: this.#givenCount })
    this.#givenCount = 0
  }

  /**
   * The primary is gone. Gives connections on which nothing is asked to workers of the daemon that comes next, where that gets the passage.
   * There is room for some hundred in it, and nobody takes any yet: so it is passages that go through it, each full of connections.
   */
  deserted(): void {
    if (!this.#isPassageKept || this.#isDraining) return
    let bundle: Passage | null = null
    this.#gateway.giveIdle((given) => {
      if (bundle !== null && pass(bundle.giveFd, given)) return true
      bundle = openPassage()
      if (bundle === null) return false
      const words: GivenWords = { listener: '', told: null, isBundle: true }
      const isPassed = passConnection(this.#passage.giveFd, bundle.takeFd, JSON.stringify(words)) === null
      return isPassed && pass(bundle.giveFd, given)
    })
  }

  /** Takes up to `count` connections of earlier workers. @param takeFd where they were given */
  #take(count: number, takeFd: number = this.#passage.takeFd): void {
    for (let left = count; left > 0; left--) {
      const taken = takeConnection(takeFd)
      if (taken === null) break
      const { listener, told, named = null, moved = null, isBundle = false } = JSON.parse(taken.words) as GivenWords
      const { fd, otherFd: serviceFd } = taken
      if (isBundle) {
        this.#take(Number.POSITIVE_INFINITY, fd)
        closeDescriptor(fd)
        // Other workers start as well, and have their part.
        setImmediate(() => this.#take(left - 1))
        return
      }
      const isWhole = (moved === null) === (serviceFd === -1)
      if (isWhole)
        this.#gateway.adopt({ fd, listener, told, named, underWay: moved === null ? null : { serviceFd, moved } })
      else dropTaken(taken)
    }
  }

  #exit(): void {
    this.#tellGiven()
    clearTimeout(this.#trustTimer)
    this.#report()
    this.#endReports()
    this.#log.flush()
    // What was told has to be out before the channel closes; nothing else keeps the process.
    process.removeAllListeners('disconnect')
    process.disconnect?.()
  }

  #fail(error: unknown): void {
    this.#log.error({ event: 'drain-failed', error })
    process.exit(1)
  }
}

/** @returns whether there was room for it */
function pass(giveFd: number, { fd, listener, told, named, underWay }: GivenConnection): boolean {
  const words: GivenWords = { listener, told, named, moved: underWay?.moved ?? null }
  return passConnection(giveFd, fd, JSON.stringify(words), underWay?.serviceFd ?? -1) === null
}

/** Ends what did not come whole, as for lack of descriptors: what is under way on it cannot go on. */
function dropTaken({ fd, otherFd }: PassedConnection): void {
  cutConnection(fd)
  for (const one of [fd, otherFd]) if (one !== -1) closeDescriptor(one)
}

/** What is said of a connection that is given; what a giver of an earlier version does not say is absent. */
interface GivenWords extends Pick<GivenConnection, 'listener' | 'told'> {
  readonly named?: GivenConnection['named']
  /** What is under way on it. */
  readonly moved?: Moved | null
  /** Whether it is no connection, but where more were given. */
  readonly isBundle?: boolean
}

/** What the primary reads where it is counted: nothing of it is told, and nothing is lost with this process. */
function countersAt(fd: number): Counters {
  const { memory } = mapSharedMemory(fd)
  closeSync(fd)
  return new Counters(memory)
}

/** Takes a line for each request, for the log and for the audit; null when there is neither. */
function requestsOf({ access }: LogConfig, log: Log, audit: Audit | null): ((fields: AccessFields) => void) | null {
  if (!access && audit === null) return null
  return (fields) => {
    audit?.request(fields)
    if (access) log.access(fields)
  }
}

/** The same of each channel. */
function channelsOf({ access }: LogConfig, log: Log, audit: Audit | null): ((fields: ChannelFields) => void) | null {
  if (!access && audit === null) return null
  return (fields) => {
    audit?.channel(fields)
    if (access) log.info(channelLine(fields))
  }
}

function policiesOf(services: ServicesConfig): Policies {
  const policy = { ...services.policy, [CONTROL_SERVICE]: controlPolicy(services.policy[CONTROL_SERVICE]) }
  return new Policies(policy, services.channels, services.limits)
}

// The primary process: it owns the configuration, the listening sockets, the authority and the XenAPI endpoint, and
// starts, replaces, reloads and drains the workers.
//
// Start order: state directory, authority and registry, XenAPI endpoint, listening sockets, control socket, workers. Stop is the
// reverse, but for what is not accepted yet, which is refused at once.

import type { Server } from 'node:http'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import type { Sample } from '../dom0/data-sources.ts'
import type { WorkerTrouble } from '../dom0/health.ts'
import { failureOf } from '../logging/causes.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Log } from '../logging/log.ts'
import type { EndedTask } from '../proxy/journal.ts'
import { version } from '../version.ts'
import type { Watched } from './control/answers.ts'
import { EventHub } from './control/events.ts'
import { startControlService } from './control/service.ts'
import { type ActOutcome, CONTROL_SOCKET, createControlServer } from './control-socket.ts'
import { connectionsWithin, descriptorLimit } from './descriptors.ts'
import { listenPrivately } from './listening-socket.ts'
import { privateBytes } from './memory.ts'
import { Looks, type Looked } from './looks.ts'
import { type Ailment, MetricsListener } from './metrics-listener.ts'
import { openParts, type Parts, workerAccount, xenapiPathIn } from './parts.ts'
import type { Predecessor } from './predecessor.ts'
import { Reloader, type ReloadOutcome } from './reloader.ts'
import { ServiceManager } from './service-manager.ts'
import { closeServer, retireServer } from './servers.ts'
import { takeSignals } from './signals.ts'
import { sockets } from './sockets.ts'
import type { Statistics } from './statistics.ts'
import { elsewhere, servicesOf, statusOf, workersMemoryBytes } from './status.ts'
import { startSuccessor, tellGiven, tellLastCounts, tellServing } from './upgrade.ts'
import { type GroupListener, WorkerGroup } from './worker-group.ts'

/** What the primary is started with. */
export interface PrimaryOptions {
  readonly config: Config
  /** Where it was read from; absent when it was not. */
  readonly configPath?: string
  readonly log: Log
  /** Reads the configuration again, at SIGHUP; rejects when it is not valid. Absent: SIGHUP is ignored. */
  readonly reload?: () => Promise<Config>
  /** Whose place this process takes; absent: nobody's. */
  readonly predecessor?: Predecessor | null
  /** Prints one line for people and programs that wait for it. */
  readonly print: (line: string) => void
  /** Says something to the person at the terminal; absent when there is none. */
  readonly say?: (line: string) => void
}

/** A primary that serves. */
export interface RunningPrimary {
  /** Where it listens, as printed. */
  readonly urls: readonly string[]
  /** Resolves with the exit code when everything has stopped. */
  readonly stopped: Promise<number>
}

/**
 * Starts everything, and serves until SIGTERM or SIGINT; a second one stops at once. SIGHUP reloads, and at SIGUSR2 the program that is on
 * disk by then takes the place of this process.
 * @throws with what was started stopped again, when something cannot be had
 */
export async function startPrimary(options: PrimaryOptions): Promise<RunningPrimary> {
  await using closers = new AsyncDisposableStack()
  closers.defer(() => options.log.flush())
  const parts = await openParts(options.config, options.log, closers, options.predecessor ?? null)
  const primary = new Primary(options, parts)
  await primary.start(closers)
  const { urls } = primary
  for (const url of urls) options.print(`xengate ready at ${url}`)
  return { urls, stopped: primary.serve(closers.move()) }
}

/** What is left to write to the log when everything has stopped gets this long; a reader may have stalled. */
const LAST_WORDS_MS = 1000
/** One Ctrl-C can arrive twice, from the terminal and passed on by npm: within this time it is the same one. */
const SAME_SIGNAL_MS = 300

class Primary implements GroupListener {
  readonly #options: PrimaryOptions
  readonly #log: Log
  readonly #parts: Parts
  readonly #statistics: Statistics
  readonly #metrics = new MetricsListener({
    metrics: () => this.#statistics.text(),
    ailment: () => this.#ailment,
  })
  readonly #startedMs = Date.now()
  readonly #manager = ServiceManager.fromEnvironment(process.env)
  readonly #events = new EventHub((isWatched) => {
    this.#log.tap = isWatched ? (line) => this.#events.publish(line) : null
    this.#parts.groups.watched(isWatched)
  })
  readonly #reloader: Reloader
  /** Servers of this process that end with it. */
  readonly #servers: Server[] = []
  #controlService: Server | null = null
  /** What the log was told of last that is more than descriptors allow. */
  #wantedTooMany = 0
  #isStopping = false
  #isUpgrading = false
  /** Ends `serve`; null before it is called. */
  #ended: ((exitCode: Promise<number>) => void) | null = null
  #closers: AsyncDisposableStack | null = null
  #exitCode = 0

  constructor(options: PrimaryOptions, parts: Parts) {
    this.#options = options
    this.#log = options.log
    this.#log.onProblem = ({ level, event, count }) => this.#statistics.own.logged(level, event, count)
    this.#parts = parts
    this.#statistics = parts.statistics
    this.#reloader = new Reloader({
      parts,
      log: options.log,
      metrics: this.#metrics,
      read: options.reload,
      forWorkers: (config) => this.#withinDescriptors(config),
      newGroup: (config) => this.#newGroup(config),
      hindrance: () => (this.#isStopping ? 'stopping' : this.#isUpgrading ? 'upgrading' : null),
      done: (outcome) => this.#reloaded(outcome),
    })
    const looks = new Looks()
    this.#statistics.onRead(async () => looks.seriesOf(await this.#looked()))
    this.#noteReload(true)
    parts.given.to = (count) => this.#reloader.group.take(count)
  }

  /** Why clients had better go elsewhere; null while they need not. */
  get #ailment(): Ailment {
    if (this.#isStopping) return 'draining'
    return this.#parts.groups.readyPids.length === 0 ? 'no worker serves' : null
  }

  async #looked(): Promise<Looked> {
    const { backends, groups } = this.#parts
    // What cannot be asked now is left out.
    const sessions = (await backends.xenapi?.authority.count().catch(() => null)) ?? null
    const { pids: workerPids, readyPids } = groups
    return { config: this.#config, transport: this.#reloader.group.transport, workerPids, readyPids, sessions }
  }

  /** Counts that a configuration was taken, or was not. */
  #noteReload(isTaken: boolean): void {
    const { own } = this.#statistics
    own.set('xengate_config_last_reload_successful', isTaken ? 1 : 0)
    if (isTaken) own.set('xengate_config_last_reload_success_timestamp_seconds', Date.now() / 1000)
  }

  get #config(): Config {
    return this.#parts.inForce.config
  }

  get urls(): readonly string[] {
    return this.#parts.listeners.urlsOf(this.#config)
  }

  /** @param closers takes what closes the rest. @throws when something cannot be had */
  async start(closers: AsyncDisposableStack): Promise<void> {
    const { backends, groups, predecessor } = this.#parts
    const config = this.#config
    closers.defer(() => this.#metrics.close())
    await this.#metrics.take(config.control.metrics)
    closers.defer(() => {
      groups.destroy()
      return groups.drain()
    })
    await this.#openControl(closers)
    await groups.start(this.#reloader.group)
    this.#log.info({
      event: 'started',
      listen: this.urls,
      workers: workerCount(config),
      metrics: this.#metrics.url,
      ...this.#described,
    })
    backends.health?.start()
    if (config.host.dataSources) await this.#openDataSources(config.host.metricsDirectory, closers)
    this.#manager.ready(this.urls)
    if (predecessor !== null) tellServing(predecessor, config)
    takeSignals((signal) => {
      if (signal === 'SIGHUP') void this.#reload()
      else if (signal === 'SIGUSR2') void this.#upgrade()
      else this.#log.info({ event: 'signal-ignored', signal })
    })
  }

  async #openControl(closers: AsyncDisposableStack): Promise<void> {
    const { backends } = this.#parts
    const watched = this.#watched()
    await this.#openControlService(watched, closers)
    const control = createControlServer({
      watched,
      signIn: backends.xenapi?.authority ?? null,
      changed: ({ event, ...particulars }) => this.#acted(event, particulars),
      status: () => this.#status(),
      services: () => this.#services(),
      acts: { '/reload': async () => actOf(await this.#reload()), '/upgrade': () => this.#upgrade() },
    })
    this.#ownServer(control, closers)
    await listenPrivately(control, join(this.#config.stateDir, CONTROL_SOCKET), null)
  }

  #ownServer(server: Server, closers: AsyncDisposableStack): void {
    this.#servers.push(server)
    closers.defer(() => closeServer(server))
  }

  async #services(): Promise<readonly unknown[]> {
    const found = await this.#parts.backends.localServices()
    return servicesOf(found, this.#config.host.expectedServices, this.#statistics.counts.services)
  }

  #watched(): Watched {
    const { backends, groups } = this.#parts
    return {
      status: () => this.#status(),
      services: async () => [...(await this.#services()), ...elsewhere(backends.places)],
      signIn: backends.xenapi?.authority ?? null,
      ask: (question) => groups.ask(question),
      metrics: () => this.#statistics.text(),
      events: this.#events,
      acted: (event, particulars) => this.#acted(event, particulars),
    }
  }

  /** Without the service all else goes on: its directory may come later, as services do. */
  async #openControlService(watched: Watched, closers: AsyncDisposableStack): Promise<void> {
    const [directory = ''] = this.#config.services.directories
    try {
      const server = await startControlService(watched, directory, workerAccount(this.#config))
      this.#controlService = server
      this.#ownServer(server, closers)
    } catch (error) {
      this.#log.warn({ event: 'control-unavailable', directory, error: failureOf(error) })
    }
  }

  get isWatched(): boolean {
    return this.#events.isWatched
  }

  logged(line: string): void {
    this.#events.publish(line)
  }

  async #openDataSources(directory: string, closers: AsyncDisposableStack): Promise<void> {
    const { DataSources } = await import('../dom0/data-sources.ts')
    const sample = (): Sample => ({
      counts: this.#statistics.counts.all,
      memoryBytes: privateBytes() + workersMemoryBytes(this.#parts.groups.pids),
    })
    const sources = new DataSources(directory, sample, this.#log)
    closers.defer(() => sources.close(sockets.areHandedOver))
    sources.start()
  }

  #status(): Readonly<Record<string, unknown>> {
    const { backends, groups } = this.#parts
    const { authority, registry } = backends.heard
    return statusOf({
      config: this.#config,
      configPath: this.#options.configPath ?? null,
      urls: this.urls,
      readyPids: groups.readyPids,
      workerPids: groups.pids,
      workersWanted: workerCount(this.#config),
      transport: this.#reloader.group.transport,
      isAuthorityHeard: authority,
      isRegistryHeard: registry,
      startedMs: this.#startedMs,
      statistics: this.#statistics,
    })
  }

  /** Logs an act of an administrator. */
  #acted(event: string, particulars: Readonly<Record<string, unknown>>): void {
    this.#log.info({ event, ...particulars })
    this.#parts.audit?.act(event, particulars)
  }

  /** What an operator wants to know of a running daemon. */
  get #described(): Readonly<Record<string, unknown>> {
    const { stateDir, services, sessions, pool } = this.#config
    return {
      version: version(),
      node: process.version,
      config: this.#options.configPath ?? null,
      authority: sessions.authority,
      registry: pool.registry,
      stateDir,
      directories: services.directories,
    }
  }

  #newGroup(config: Config): WorkerGroup {
    const { backends, broker, listeners, passage, returns, xenapi } = this.#parts
    return new WorkerGroup({
      config: this.#withinDescriptors(config),
      workers: workerCount(config),
      account: workerAccount(config),
      sockets: {
        listenFds: () => listeners.fdsOf(config),
        xenapiPath: xenapi === null ? null : xenapiPathIn(config),
        returns,
        passage,
      },
      sessions: broker,
      places: () => backends.places,
      log: this.#log,
      statistics: this.#statistics,
      listener: this,
    })
  }

  /** Fewer connections where descriptors would not be enough: beyond them clients are told, rather than reset by the system. */
  #withinDescriptors(config: Config): Config {
    const descriptors = descriptorLimit()
    const connections = connectionsWithin(descriptors)
    const wanted = config.limits.connections
    if (wanted <= connections) return config
    const advice = 'raise the limit of open files (LimitNOFILE in systemd), or lower limits.connections'
    if (wanted !== this.#wantedTooMany)
      this.#log.warn({ event: 'descriptors-few', descriptors, wanted, connections, advice })
    this.#wantedTooMany = wanted
    return { ...config, limits: { ...config.limits, connections } }
  }

  draining(connections: number): void {
    const seconds = Math.ceil(this.#config.limits.drainTimeoutMs / 1000)
    this.#log.info({ event: 'draining', connections, seconds })
    const what = connections === 1 ? '1 request' : `${connections} requests`
    this.#options.say?.(`waiting for ${what}, ${seconds} s at most; Ctrl-C again stops now`)
  }

  taskEnded({ session, reference, failure }: EndedTask): void {
    this.#parts.xenapi?.tasks.requestEnded(session, reference, failure)
  }

  given(count: number): void {
    this.#parts.given.to(count)
  }

  troubled(trouble: WorkerTrouble): void {
    this.#parts.backends.health?.workerTrouble(trouble)
  }

  deserted(): void {
    this.#end({ event: 'workers-gone' })
  }

  otherBuild(): void {
    this.#end({ event: 'program-replaced', version: version() })
  }

  /**
   * Ends, as at SIGTERM, and is started again by whoever started it: with no worker, so that clients are refused meanwhile, and what is in
   * front goes to xapi; or since another version was put in place of this one, which does not speak to its workers.
   */
  #end(event: LogEvent): void {
    if (this.#isStopping) return
    this.#log.error(event)
    this.#exitCode = 1
    process.kill(process.pid, 'SIGTERM')
  }

  /** Waits for signals, and keeps taking them until the process is gone. Resolves with the exit code. */
  serve(closers: AsyncDisposableStack): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>()
    this.#closers = closers
    this.#ended = resolve
    let firstMs = 0
    const onStop = (signal: NodeJS.Signals): void => {
      const nowMs = performance.now()
      if (this.#isStopping && nowMs - firstMs < SAME_SIGNAL_MS) return
      const isSecond = this.#isStopping
      this.#isStopping = true
      firstMs = nowMs
      this.#log.info({ event: 'stopping', signal, isSecond })
      if (isSecond) this.#parts.groups.destroy()
      else this.#ended?.(this.#stop(closers))
    }
    process.on('SIGTERM', onStop).on('SIGINT', onStop)
    return promise
  }

  /** Lets what is under way finish, and stops everything: see the head of this file. Returns the exit code. */
  async #stop(closers: AsyncDisposableStack): Promise<number> {
    const { backends, groups, listeners, returns, stopping } = this.#parts
    this.#manager.stopping()
    stopping.abort()
    // Whoever listens to events would be waited for.
    if (this.#controlService !== null) closeServer(this.#controlService)
    backends.withdraw()
    listeners.close()
    returns.close()
    await groups.drain()
    return this.#close(closers)
  }

  async #close(closers: AsyncDisposableStack): Promise<number> {
    await closers.disposeAsync()
    this.#log.info({ event: 'stopped' })
    this.#log.flush()
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS).unref()
    return this.#exitCode
  }

  /** Takes the configuration as it is now, and tells the service manager meanwhile. */
  async #reload(): Promise<ReloadOutcome> {
    this.#manager.reloading()
    const outcome = await this.#reloader.reload()
    if (!this.#isStopping) this.#manager.ready(this.urls)
    return outcome
  }

  /**
   * Has the program that is on disk now take the place of this process: it is started beside this one, and when it serves this one lets
   * what is under way finish, and ends. When it cannot serve, this one goes on.
   */
  async #upgrade(): Promise<ActOutcome> {
    const hindrance = this.#hindrance()
    if (hindrance !== null) {
      this.#log.warn({ event: 'upgrade-ignored', reason: hindrance })
      return { kind: 'failed', code: 'upgrade-refused', message: IGNORED[hindrance] }
    }
    this.#isUpgrading = true
    await this.#reloader.idle()
    this.#manager.reloading()
    const start = await startSuccessor(this.#parts, this.#parts.returns.key, this.#manager.environment)
    if (start.kind === 'failed') {
      this.#isUpgrading = false
      this.#manager.ready(this.urls)
      this.#log.error({ event: 'upgrade-refused', problem: start.problem })
      return { kind: 'failed', code: 'upgrade-refused', message: start.problem }
    }
    const { pid, version: newVersion } = start
    this.#acted('upgraded', { successor: pid, from: version(), to: newVersion })
    this.#manager.succeededBy(pid, this.urls)
    if (this.#closers !== null) this.#ended?.(this.#retire(this.#closers, start.takes))
    return { kind: 'done', said: { pid, version: newVersion } }
  }

  #hindrance(): keyof typeof IGNORED | null {
    if (this.#isStopping) return 'stopping'
    if (this.#isUpgrading) return 'upgrading'
    return this.#options.reload === undefined ? 'no-configuration-file' : null
  }

  /** Lets what is under way finish, while another process has what comes, and stops everything. Returns the exit code. */
  async #retire(closers: AsyncDisposableStack, takes: readonly string[]): Promise<number> {
    const { backends, groups, listeners, returns, stopping, xenapi } = this.#parts
    this.#isStopping = true
    this.#parts.given.to = (count) => tellGiven(this.#parts, count)
    sockets.handedOver()
    backends.handOver()
    stopping.abort()
    listeners.close()
    returns.close()
    const servers = xenapi === null ? this.#servers : [...this.#servers, xenapi.server]
    await Promise.all([
      groups.drain(false, takes),
      this.#metrics.retire(),
      ...servers.map((server) => retireServer(server)),
    ])
    tellLastCounts(this.#parts)
    return this.#close(closers)
  }

  /** Logs and counts what became of a reload. */
  #reloaded(outcome: ReloadOutcome): void {
    const { own } = this.#statistics
    if (outcome.kind === 'ignored') {
      this.#log.warn({ event: 'reload-ignored', reason: outcome.reason })
      return
    }
    const isTaken = outcome.kind === 'taken'
    this.#noteReload(isTaken)
    own.count('xengate_config_reloads_total', isTaken ? 'taken' : 'refused')
    if (isTaken) this.#acted('reloaded', { listen: this.urls, changed: outcome.changed, workers: outcome.workers })
    else this.#log.error({ event: 'reload-refused', problem: outcome.problem })
  }
}

/** What became of a reload, for who asked for it. */
function actOf(outcome: ReloadOutcome): ActOutcome {
  switch (outcome.kind) {
    case 'taken':
      return { kind: 'done', said: { changed: outcome.changed, workers: outcome.workers } }
    case 'refused':
      return { kind: 'failed', code: 'reload-refused', message: outcome.problem }
    case 'ignored':
      return { kind: 'failed', code: 'reload-refused', message: IGNORED[outcome.reason] }
  }
}

const IGNORED = {
  stopping: 'the daemon is stopping',
  upgrading: 'an upgrade is under way',
  'no-configuration-file': 'the daemon has no configuration file',
} as const

function workerCount(config: Config): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers
}

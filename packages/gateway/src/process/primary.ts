// The primary process: it owns the configuration, the listening sockets, the authority and the XenAPI endpoint, and
// starts, replaces, reloads and drains the workers.
//
// Start order: state directory, authority and registry, XenAPI endpoint, listening sockets, control socket, workers. Stop is the
// reverse, but for what is not accepted yet, which is refused at once.

import { availableParallelism } from 'node:os'
import type { Config } from '../config/config.ts'
import type { DataSources, Sample } from '../dom0/data-sources.ts'
import type { WorkerTrouble } from '../dom0/health.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Log } from '../logging/log.ts'
import type { EndedTask } from '../proxy/journal.ts'
import { version } from '../version.ts'
import { SCHEMA } from './control/answers.ts'
import type { ActOutcome } from './control-socket.ts'
import { connectionsWithin, descriptorLimit } from './descriptors.ts'
import { Drain } from './drain.ts'
import type { ListenerCertificate } from './listeners-tls.ts'
import { privateBytes } from './memory.ts'
import type { Takes } from './messages.ts'
import { openParts, type Parts, workerAccount, xenapiPathIn } from './parts.ts'
import type { Predecessor } from './predecessor.ts'
import { Reloader, type ReloadOutcome } from './reloader.ts'
import { ServiceManager } from './service-manager.ts'
import { retireServer } from './servers.ts'
import { takeSignals } from './signals.ts'
import { PASSAGE_GIVE, PASSAGE_TAKE, sockets } from './sockets.ts'
import type { Statistics } from './statistics.ts'
import { shownCertificate, statusOf, workersMemoryBytes } from './status.ts'
import { askAll, startSuccessor, tellGiven, tellLastCounts, tellMain, tellServing } from './upgrade.ts'
import { Watching } from './watching.ts'
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
  readonly #watching: Watching
  readonly #startedMs = Date.now()
  readonly #manager = ServiceManager.fromEnvironment(process.env)
  readonly #reloader: Reloader
  readonly #drain: Drain
  #dataSources: DataSources | null = null
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
    this.#parts = parts
    this.#statistics = parts.statistics
    this.#drain = new Drain({
      groups: parts.groups,
      ask: (question) => askAll(parts, question),
      backends: parts.backends,
      config: () => this.#config,
      earlierPids: () => this.#earlierPids,
      acted: (event, particulars) => this.#acted(event, particulars),
    })
    this.#watching = new Watching(
      parts,
      {
        status: () => this.#status(),
        isDraining: () => this.#isStopping || this.#drain.isOutOfService,
        transport: () => this.#reloader.group.transport,
        certificates: () => this.#reloader.group.certificates,
        acted: (event, particulars) => this.#acted(event, particulars),
        acts: {
          '/reload': async () => actOf(await this.#reload(), this.#reloader.group.certificates),
          '/upgrade': () => this.#upgrade(),
          '/drain': () => this.#unlessStopping(() => this.#drain.begin()),
          '/drain/undo': () => this.#unlessStopping(async () => this.#drain.undo()),
        },
      },
      options.log,
    )
    this.#reloader = new Reloader({
      parts,
      log: options.log,
      metrics: this.#watching.metrics,
      read: options.reload,
      forWorkers: (config) => this.#withinDescriptors(config),
      workers: workerCount,
      newGroup: (config) => this.#newGroup(config),
      hindrance: () => (this.#isStopping ? 'stopping' : this.#isUpgrading ? 'upgrading' : null),
      done: (outcome) => this.#reloaded(outcome),
    })
    parts.heard.given = (count) => this.#reloader.group.take(count)
    parts.heard.main = () => this.#keepSockets()
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
    closers.defer(() => {
      groups.destroy()
      return groups.drain()
    })
    await this.#watching.start(closers)
    await groups.start(this.#reloader.group)
    this.#log.info({
      event: 'started',
      listen: this.urls,
      workers: workerCount(config),
      metrics: this.#watching.metrics.url,
      ...this.#described,
    })
    backends.health?.start()
    if (config.host.dataSources) await this.#openDataSources(config.host.metricsDirectory, closers)
    this.#manager.ready(this.urls)
    sockets.closeUnused()
    backends.takeOver()
    if (predecessor === null) this.#keepSockets()
    else tellServing(predecessor, config)
    takeSignals((signal) => {
      if (signal === 'SIGHUP') void this.#reload()
      else if (signal === 'SIGUSR2') void this.#upgrade()
      else this.#log.info({ event: 'signal-ignored', signal })
    })
  }

  /** Should this process die, connections go on: those that come, and those on which nothing is asked. */
  #keepSockets(): void {
    const { listeners, passage } = this.#parts
    this.#manager.keep(new Map([...listeners.own, [PASSAGE_GIVE, passage.giveFd], [PASSAGE_TAKE, passage.takeFd]]))
  }

  get isWatched(): boolean {
    return this.#watching.events.isWatched
  }

  logged(line: string): void {
    this.#watching.events.publish(line)
  }

  async #openDataSources(directory: string, closers: AsyncDisposableStack): Promise<void> {
    const { DataSources: Loaded } = await import('../dom0/data-sources.ts')
    const sample = async (): Promise<Sample> => {
      await this.#statistics.refresh()
      const memoryBytes = privateBytes() + workersMemoryBytes(this.#parts.groups.pids)
      return { counts: this.#statistics.counts.all, memoryBytes }
    }
    const sources = new Loaded(directory, sample, this.#log)
    this.#dataSources = sources
    closers.defer(() => sources.close())
    sources.start()
  }

  get #earlierPids(): readonly number[] {
    return [...this.#parts.links].map(({ pid }) => pid)
  }

  async #status(): Promise<Readonly<Record<string, unknown>>> {
    const { backends, groups } = this.#parts
    await this.#statistics.refresh()
    const { authority, registry } = backends.heard
    return statusOf({
      config: this.#config,
      configPath: this.#options.configPath ?? null,
      urls: this.urls,
      readyPids: groups.readyPids,
      workerPids: groups.pids,
      workersWanted: workerCount(this.#config),
      transport: this.#reloader.group.transport,
      certificates: this.#reloader.group.certificates,
      isAuthorityHeard: authority,
      isRegistryHeard: registry,
      startedMs: this.#startedMs,
      overloads: groups.overloads,
      isOutOfService: this.#drain.isOutOfService,
      earlierPids: this.#earlierPids,
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
        listenFds: (of) => listeners.fdsOf(of),
        xenapiPath: xenapi === null ? null : xenapiPathIn(config),
        returns,
        passage,
        isPassageKept: this.#manager.keeps,
      },
      sessions: broker,
      places: () => backends.places,
      ownHost: () => backends.ownHost,
      isOutOfService: () => this.#drain.isOutOfService,
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
    this.#parts.heard.given(count)
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
    let lastMs: number | null = null
    const onStop = (signal: NodeJS.Signals): void => {
      const nowMs = performance.now()
      if (lastMs !== null && nowMs - lastMs < SAME_SIGNAL_MS) return
      const isSecond = lastMs !== null
      lastMs = nowMs
      this.#log.info({ event: 'stopping', signal, isSecond })
      if (isSecond) this.#parts.groups.destroy()
      // Otherwise another process has its place, and what is under way is finished already.
      else if (!this.#isStopping) this.#ended?.(this.#stop(closers))
    }
    process.on('SIGTERM', onStop).on('SIGINT', onStop)
    return promise
  }

  /** Lets what is under way finish, and stops everything: see the head of this file. Returns the exit code. */
  async #stop(closers: AsyncDisposableStack): Promise<number> {
    const { backends, groups, listeners, returns, stopping } = this.#parts
    this.#isStopping = true
    this.#manager.stopping()
    this.#manager.keep(new Map())
    stopping.abort()
    this.#watching.stopping()
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
    if (!this.#isStopping) {
      this.#manager.ready(this.urls)
      this.#keepSockets()
    }
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
    if (!this.#isStopping) this.#manager.reloading()
    const { returns, backends } = this.#parts
    const inherited = { returnKey: returns.key, ownHost: backends.ownHost }
    const start = await startSuccessor(this.#parts, inherited, this.#manager.environment)
    if (start.kind === 'failed') {
      this.#isUpgrading = false
      if (!this.#isStopping) this.#manager.ready(this.urls)
      this.#log.error({ event: 'upgrade-refused', problem: start.problem })
      return { kind: 'failed', code: 'upgrade-refused', message: start.problem }
    }
    const { pid, version: newVersion } = start
    this.#acted('upgraded', { successor: pid, from: version(), to: newVersion })
    // That one has its own kept, as soon as the manager takes its word.
    this.#manager.keep(new Map())
    this.#manager.succeededBy(pid, this.urls)
    tellMain(this.#parts)
    if (this.#closers !== null) this.#ended?.(this.#retire(this.#closers, start.takes))
    return { kind: 'done', said: { schema: SCHEMA, pid, version: newVersion } }
  }

  async #unlessStopping(act: () => Promise<ActOutcome>): Promise<ActOutcome> {
    return this.#isStopping ? { kind: 'failed', code: 'drain-refused', message: IGNORED.stopping } : act()
  }

  #hindrance(): keyof typeof IGNORED | null {
    if (this.#isStopping) return 'stopping'
    if (this.#isUpgrading) return 'upgrading'
    return this.#options.reload === undefined ? 'no-configuration-file' : null
  }

  /** Lets what is under way finish, while another process has what comes, and stops everything. Returns the exit code. */
  async #retire(closers: AsyncDisposableStack, takes: Takes): Promise<number> {
    const { backends, groups, listeners, predecessor, returns, stopping, xenapi } = this.#parts
    this.#isStopping = true
    this.#parts.heard.given = (count) => tellGiven(this.#parts, count)
    sockets.handedOver()
    backends.handOver()
    // The later one writes them now.
    this.#dataSources?.close(true)
    stopping.abort()
    listeners.close()
    returns.close()
    await Promise.all([
      groups.drain(false, takes),
      this.#watching.retire(),
      xenapi === null ? null : retireServer(xenapi.server),
      // What is told between that one and the later ones goes by this process.
      predecessor?.gone(),
    ])
    tellLastCounts(this.#parts)
    return this.#close(closers)
  }

  /** Logs and counts what became of a reload. */
  #reloaded(outcome: ReloadOutcome): void {
    if (outcome.kind === 'ignored') {
      this.#log.warn({ event: 'reload-ignored', reason: outcome.reason })
      return
    }
    const isTaken = outcome.kind === 'taken'
    this.#watching.reloaded(isTaken)
    if (isTaken) this.#acted('reloaded', { listen: this.urls, changed: outcome.changed, workers: outcome.workers })
    else this.#log.error({ event: 'reload-refused', problem: outcome.problem })
  }
}

/** What became of a reload, for who asked for it. */
function actOf(outcome: ReloadOutcome, certificates: readonly ListenerCertificate[]): ActOutcome {
  switch (outcome.kind) {
    case 'taken':
      return {
        kind: 'done',
        said: {
          schema: SCHEMA,
          changed: outcome.changed,
          workers: outcome.workers,
          certificates: certificates.map(shownCertificate),
        },
      }
    case 'refused':
      return { kind: 'failed', code: 'reload-refused', message: outcome.problem }
    case 'ignored':
      return { kind: 'failed', code: 'reload-refused', message: IGNORED[outcome.reason] }
  }
}

const IGNORED = {
  stopping: 'the daemon is stopping',
  upgrading: 'an upgrade is under way',
  'no-configuration-file':
    'the daemon has no configuration file, as that of xengate dev: start xengate serve --config FILE instead',
} as const

function workerCount(config: Config): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers
}

// The primary process: it owns the configuration, the listening sockets, the authority and the XenAPI endpoint, and
// starts, replaces, reloads and drains the workers.
//
// Start order: state directory, authority and registry, XenAPI endpoint, listening sockets, metrics and control, workers. Stop is the
// reverse, but for what is not accepted yet, which is refused at once.

import { availableParallelism } from 'node:os'
import type { Config, LogConfig } from '../config/config.ts'
import type { Sample } from '../dom0/data-sources.ts'
import type { WorkerTrouble } from '../dom0/health.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Log } from '../logging/log.ts'
import type { EndedTask } from '../proxy/journal.ts'
import { version } from '../version.ts'
import { connectionsWithin, descriptorLimit } from './descriptors.ts'
import { privateBytes } from './memory.ts'
import { checkTlsFiles, openParts, type Parts, workerAccount, xenapiPathIn } from './parts.ts'
import { ServiceManager } from './service-manager.ts'
import { takeSignals } from './signals.ts'
import type { Statistics } from './statistics.ts'
import { statusOf, workersMemoryBytes } from './status.ts'
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
 * Starts everything, and serves until SIGTERM or SIGINT; a second one stops at once. SIGHUP reloads.
 * @throws with what was started stopped again, when something cannot be had
 */
export async function startPrimary(options: PrimaryOptions): Promise<RunningPrimary> {
  await using closers = new AsyncDisposableStack()
  closers.defer(() => options.log.flush())
  const parts = await openParts(options.config, options.log, closers)
  const primary = new Primary(options, parts)
  await primary.start(closers)
  const { urls } = primary
  for (const url of urls) options.print(`xengate ready at ${url}`)
  return { urls, stopped: primary.serve(closers.move()) }
}

/** Earlier configurations whose workers may still be finishing when another is taken. */
const OTHER_GROUPS_MAX = 4
/** What is left to write to the log when everything has stopped gets this long; a reader may have stalled. */
const LAST_WORDS_MS = 1000
/** One Ctrl-C can arrive twice, from the terminal and passed on by npm: within this time it is the same one. */
const SAME_SIGNAL_MS = 300

class Primary implements GroupListener {
  readonly #options: PrimaryOptions
  readonly #log: Log
  readonly #parts: Parts
  readonly #statistics: Statistics
  readonly #startedMs = Date.now()
  readonly #manager = ServiceManager.fromEnvironment(process.env)
  readonly #watching: Watching
  /** The workers of the configuration in force. */
  #group: WorkerGroup
  #isReloading = false
  /** Whether a reload was asked for while one was under way. */
  #isToReloadAgain = false
  #isStopping = false
  #exitCode = 0

  constructor(options: PrimaryOptions, parts: Parts) {
    this.#options = options
    this.#log = options.log
    this.#parts = parts
    this.#statistics = parts.statistics
    this.#group = this.#newGroup(options.config)
    this.#watching = new Watching(
      parts,
      {
        status: () => this.#status(),
        isStopping: () => this.#isStopping,
        transport: () => this.#group.transport,
        acted: (event, particulars) => this.#acted(event, particulars),
      },
      options.log,
    )
  }

  get #config(): Config {
    return this.#parts.inForce.config
  }

  get urls(): readonly string[] {
    return this.#parts.listeners.urlsOf(this.#config)
  }

  /** @param closers takes what closes the rest. @throws when something cannot be had */
  async start(closers: AsyncDisposableStack): Promise<void> {
    const { backends, groups } = this.#parts
    const config = this.#config
    closers.defer(() => {
      groups.destroy()
      return groups.drain()
    })
    await this.#watching.start(closers)
    await groups.start(this.#group)
    this.#log.info({
      event: 'started',
      listen: this.urls,
      workers: workerCount(config),
      metrics: this.#watching.metricsUrl,
      ...this.#described,
    })
    backends.health?.start()
    if (config.host.dataSources) await this.#openDataSources(config.host.metricsDirectory, closers)
    this.#manager.ready(this.urls)
    takeSignals((signal) => {
      if (signal === 'SIGHUP') void this.#reload()
      else this.#log.info({ event: 'signal-ignored', signal })
    })
  }

  get isWatched(): boolean {
    return this.#watching.events.isWatched
  }

  logged(line: string): void {
    this.#watching.events.publish(line)
  }

  async #openDataSources(directory: string, closers: AsyncDisposableStack): Promise<void> {
    const { DataSources } = await import('../dom0/data-sources.ts')
    const sample = (): Sample => ({
      counts: this.#statistics.counts.all,
      memoryBytes: privateBytes() + workersMemoryBytes(this.#parts.groups.pids),
    })
    const sources = new DataSources(directory, sample, this.#log)
    closers.defer(() => sources.close())
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
      transport: this.#group.transport,
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
    const { backends, broker, listeners, returns, xenapi } = this.#parts
    return new WorkerGroup({
      config: this.#withinDescriptors(config),
      workers: workerCount(config),
      account: workerAccount(config),
      sockets: {
        listenFds: () => listeners.fdsOf(config),
        xenapiPath: xenapi === null ? null : xenapiPathIn(config),
        returns,
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
    this.#log.warn({ event: 'descriptors-few', descriptors, wanted, connections, advice })
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
    let firstMs = 0
    const onStop = (signal: NodeJS.Signals): void => {
      const nowMs = performance.now()
      if (this.#isStopping && nowMs - firstMs < SAME_SIGNAL_MS) return
      const isSecond = this.#isStopping
      this.#isStopping = true
      firstMs = nowMs
      this.#log.info({ event: 'stopping', signal, isSecond })
      if (isSecond) this.#parts.groups.destroy()
      else resolve(this.#stop(closers))
    }
    process.on('SIGTERM', onStop).on('SIGINT', onStop)
    return promise
  }

  /** Lets what is under way finish, and stops everything: see the head of this file. Returns the exit code. */
  async #stop(closers: AsyncDisposableStack): Promise<number> {
    const { backends, groups, listeners, returns, stopping } = this.#parts
    this.#manager.stopping()
    stopping.abort()
    backends.withdraw()
    listeners.close()
    returns.close()
    await groups.drain()
    await closers.disposeAsync()
    this.#log.info({ event: 'stopped' })
    this.#log.flush()
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS).unref()
    return this.#exitCode
  }

  /**
   * Takes a new configuration: new workers are started with it, and when they are ready those of the old one finish.
   * A configuration that is not valid, or that cannot be served, changes nothing.
   */
  async #reload(): Promise<void> {
    const { reload } = this.#options
    if (this.#isReloading) {
      // The file may have changed since it was read.
      this.#isToReloadAgain = true
      return
    }
    if (reload === undefined || this.#isStopping) {
      this.#log.warn({ event: 'reload-ignored', reason: this.#isStopping ? 'stopping' : 'no-configuration-file' })
      return
    }
    this.#isReloading = true
    try {
      await this.#take(await reload())
      this.#acted('reloaded', { listen: this.urls })
      this.#watching.reloaded(true)
    } catch (error) {
      this.#watching.reloaded(false)
      this.#log.error({ event: 'reload-refused', problem: error instanceof Error ? error.message : String(error) })
    } finally {
      this.#isReloading = false
    }
    if (!this.#isToReloadAgain) return
    this.#isToReloadAgain = false
    await this.#reload()
  }

  async #take(config: Config): Promise<void> {
    const { backends, groups, inForce } = this.#parts
    this.#checkReload(config)
    const metrics = await this.#watching.take(config)
    backends.configure(config)
    const group = await this.#startGroup(config).catch((error: unknown) => {
      backends.configure(this.#config)
      metrics.undo()
      throw error
    })
    metrics.keep()
    this.#log.level = config.log.level
    inForce.config = config
    const old = this.#group
    this.#group = group
    old.useServices(config.services)
    void groups.retire(old).then(() => this.#closeUnusedListeners())
  }

  /** @throws when `config` cannot be taken by a running daemon, or not now */
  #checkReload(config: Config): void {
    if (this.#isStopping) throw new Error('the daemon is stopping')
    for (const [key, name] of [
      ['stateDir', 'state-dir'],
      ['workerUser', 'worker-user'],
    ] as const)
      if (config[key] !== this.#config[key])
        throw new Error(`${name} cannot be changed by a reload: restart the daemon`)
    this.#parts.backends.checkReload(config)
    refuseOtherLog(config.log, this.#config.log)
    if (this.#parts.groups.size > OTHER_GROUPS_MAX) {
      throw new Error('workers of earlier configurations are still finishing their requests: try again later')
    }
  }

  /** Starts workers with a new configuration, beside the old ones; whatever fails, its new listeners are closed again. */
  async #startGroup(config: Config): Promise<WorkerGroup> {
    const { groups, listeners } = this.#parts
    try {
      checkTlsFiles(config)
      await listeners.take(config)
      const group = this.#newGroup(config)
      await groups.start(group)
      return group
    } catch (error) {
      this.#closeUnusedListeners()
      if (!this.#isStopping) await listeners.take(this.#config)
      throw error
    }
  }

  /** Closes the listeners that nobody has any more. */
  #closeUnusedListeners(): void {
    this.#parts.listeners.keep([this.#config, ...this.#parts.groups.configs])
  }
}

/** @throws when what is open already would have to be opened anew */
function refuseOtherLog(log: LogConfig, before: LogConfig): void {
  for (const key of ['to', 'audit', 'syslog'] as const)
    if (log[key] !== before[key]) throw new Error(`log.${key} cannot be changed by a reload: restart the daemon`)
}

function workerCount(config: Config): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers
}

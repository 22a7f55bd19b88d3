// The primary process: it owns the configuration, the listening sockets, the authority and the XenAPI endpoint, and
// starts, replaces, reloads and drains the workers.
//
// Start order: state directory, authority and registry, XenAPI endpoint, listening sockets, workers. Stop is the reverse.

import { randomBytes } from 'node:crypto'
import type { Server } from 'node:http'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { hostOf } from '../model/origin.ts'
import type { Config, ListenConfig, LogConfig, PoolConfig } from '../config/schema.ts'
import type { DataSources, Sample } from '../dom0/data-sources.ts'
import { Audit } from '../logging/audit.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Log } from '../logging/log.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { Identity } from '../sessions/accounts/identity.ts'
import { isNarrow, makeStateDirectory } from '../state-directory.ts'
import { version } from '../version.ts'
import type { XenApiLog } from '../xenapi/call-log.ts'
import type { XenApiPool } from '../xenapi/records.ts'
import { createXenApi, type XenApi } from '../xenapi/server.ts'
import { type Account, accountOf } from './account.ts'
import { Backends } from './backends/backends.ts'
import { CONTROL_SOCKET, createControlServer } from './control-socket.ts'
import { connectionsWithin, descriptorLimit } from './descriptors.ts'
import { privateBytes } from './memory.ts'
import {
  bindListener,
  type ListeningSocket,
  listenPrivately,
  OPEN_SOCKET_FILE,
  removeStaleSocket,
} from './listening-socket.ts'
import { SessionBroker } from './session-broker.ts'
import { ServiceManager } from './service-manager.ts'
import { takeSignals } from './signals.ts'
import { Statistics } from './statistics.ts'
import { servicesOf, statusOf } from './status.ts'
import { readTlsPair } from './tls-files.ts'
import { WorkerGroup } from './worker-group.ts'

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
  const primary = new Primary(options)
  try {
    await primary.start()
  } catch (error) {
    await primary.stop(true)
    throw error
  }
  for (const url of primary.urls) options.print(`xengate ready at ${url}`)
  return { urls: primary.urls, stopped: primary.serve() }
}

const XENAPI_SOCKET = 'xenapi.sock'
const RETURN_SOCKET = 'gateway.sock'
/** Earlier configurations whose workers may still be finishing when another is taken. */
const OTHER_GROUPS_MAX = 4
/** What is left to write to the log when everything has stopped gets this long; a reader may have stalled. */
const LAST_WORDS_MS = 1000
/** One Ctrl-C can arrive twice, from the terminal and passed on by npm: within this time it is the same one. */
const SAME_SIGNAL_MS = 300

class Primary {
  readonly #options: PrimaryOptions
  readonly #log: Log
  #config: Config
  readonly #listeners = new Map<string, ListeningSocket>()
  #backends: Backends | null = null
  #broker: SessionBroker | null = null
  #xenapi: XenApi | null = null
  #control: Server | null = null
  #returns: ListeningSocket | null = null
  /** By which the workers recognise what they told services to say on that socket. */
  readonly #returnKey = randomBytes(32).toString('hex')
  readonly #audit: Audit | null
  readonly #statistics = new Statistics()
  readonly #startedMs = Date.now()
  #dataSources: DataSources | null = null
  #group: WorkerGroup | null = null
  readonly #manager = ServiceManager.fromEnvironment(process.env)
  /** Groups of earlier configurations that are still finishing, or of one that is being taken. */
  readonly #otherGroups = new Set<WorkerGroup>()
  /** Aborts when the daemon stops: calls that wait for events are answered then. */
  readonly #draining = new AbortController()
  #hasStarted = false
  #isReloading = false
  /** Whether a reload was asked for while one was under way. */
  #isToReloadAgain = false
  #isStopping = false
  #exitCode = 0

  constructor(options: PrimaryOptions) {
    this.#options = options
    this.#log = options.log
    this.#config = options.config
    const { audit, syslog } = options.config.log
    this.#audit = audit ? new Audit(syslog) : null
  }

  get urls(): readonly string[] {
    return this.#config.listen.flatMap((listen) => {
      const url = this.#listeners.get(keyOf(listen))?.url ?? []
      return typeof url === 'string' && listen.tls !== null ? url.replace(/^http:/, 'https:') : url
    })
  }

  async start(): Promise<void> {
    const config = this.#config
    await takeStateDirectory(config.stateDir, this.#xenapiPath)
    if (isNarrow(config.stateDir))
      this.#log.warn({ event: 'state-directory-narrow', path: config.stateDir, wanted: '0711' })
    const backends = await Backends.open(config, this.#log, (changes) => this.#tellPlaces(changes))
    this.#backends = backends
    this.#broker = new SessionBroker(
      backends.authority,
      (uuids) => this.#broadcast(uuids),
      (uuids, why) => this.#groups.forEach((group) => group.forgotten(uuids, why)),
      (error) => backends.report('authority-unavailable', error),
    )
    backends.start()
    await this.#startXenapi(backends)
    this.#control = createControlServer({
      signIn: backends.xenapi?.authority ?? null,
      changed: ({ event, ...particulars }) => this.#acted(event, particulars),
      status: () => this.#status(backends),
      services: async () =>
        servicesOf(await backends.localServices(), this.#config.host.expectedServices, this.#statistics),
    })
    await listenPrivately(this.#control, join(config.stateDir, CONTROL_SOCKET), null)
    this.#returns = await bindListener({ kind: 'unix', path: this.#returnPath }, OPEN_SOCKET_FILE)
    checkTlsFiles(config)
    for (const listen of config.listen) await this.#bind(listen)
    this.#group = this.#newGroup(config, this.#broker, backends)
    await this.#group.start()
    this.#log.info({ event: 'started', listen: this.urls, workers: workerCount(config), ...this.#described })
    this.#hasStarted = true
    backends.health?.start()
    if (config.host.dataSources) await this.#startDataSources(config.host.metricsDirectory)
    this.#manager.ready(this.urls)
    takeSignals((signal) => {
      if (signal === 'SIGHUP') void this.#reload()
      else this.#log.info({ event: 'signal-ignored', signal })
    })
  }

  async #startDataSources(directory: string): Promise<void> {
    const { DataSources: Opened } = await import('../dom0/data-sources.ts')
    const sample = (): Sample => ({
      counts: this.#statistics.all,
      memoryBytes: privateBytes() + this.#statistics.workersMemoryBytes,
    })
    this.#dataSources = new Opened(directory, sample, this.#log)
    this.#dataSources.start()
  }

  #status(backends: Backends): unknown {
    const groups = this.#groups
    const { authority, registry } = backends.heard
    return statusOf({
      config: this.#config,
      configPath: this.#options.configPath ?? null,
      urls: this.urls,
      readyPids: groups.flatMap(({ readyPids }) => readyPids),
      workerPids: groups.flatMap(({ pids }) => pids),
      workersWanted: workerCount(this.#config),
      isAuthorityHeard: authority,
      isRegistryHeard: registry,
      startedMs: this.#startedMs,
      statistics: this.#statistics,
      log: this.#log,
    })
  }

  /** Logs an act of an administrator. */
  #acted(event: string, particulars: Readonly<Record<string, unknown>>): void {
    this.#log.info({ event, ...particulars })
    this.#audit?.act(event, particulars)
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

  get #xenapiPath(): string {
    return join(this.#config.stateDir, XENAPI_SOCKET)
  }

  get #returnPath(): string {
    return join(this.#config.stateDir, RETURN_SOCKET)
  }

  async #startXenapi({ xenapi }: Backends): Promise<void> {
    if (xenapi === null) return
    this.#xenapi = createXenApi({
      authority: xenapi.authority,
      pool: this.#xenapiPool(xenapi.identity),
      clock: Date.now,
      log: this.#audit === null ? this.#log : auditedLog(this.#log, this.#audit),
      draining: this.#draining.signal,
      version: version(),
    })
    // Only workers may reach it: it believes what they say of the client.
    await listenPrivately(this.#xenapi.server, this.#xenapiPath, workerAccount(this.#config))
  }

  /** What the XenAPI tells of pool and host: it follows a reload. */
  #xenapiPool({ poolUuid, hostUuid }: Identity): XenApiPool {
    const pool = (): PoolConfig => this.#config.pool
    return {
      poolUuid,
      hostUuid,
      get poolName() {
        return pool().name
      },
      get hostName() {
        return pool().host
      },
      get hostAddress() {
        const { address } = pool()
        return address === null ? '127.0.0.1' : hostOf(address)
      },
    }
  }

  async #bind(listen: ListenConfig): Promise<void> {
    this.#listeners.set(keyOf(listen), await bindListener(listen.address, listen))
  }

  #newGroup(config: Config, broker: SessionBroker, backends: Backends): WorkerGroup {
    return new WorkerGroup({
      config: this.#withinDescriptors(config),
      workers: workerCount(config),
      listenFds: () => config.listen.flatMap((listen) => this.#listeners.get(keyOf(listen))?.fd ?? []),
      xenapiPath: backends.xenapi === null ? null : this.#xenapiPath,
      places: () => backends.places,
      deafMs: () => backends.authority.deafMs,
      account: workerAccount(config),
      returns: { fd: this.#returns?.fd ?? -1, path: this.#returnPath, key: this.#returnKey },
      log: this.#log,
      statistics: this.#statistics,
      find: (id, clientAddress) => broker.find(id, clientAddress),
      touch: (uuids) => backends.authority.touch(uuids),
      held: (uuids) => backends.authority.held(uuids),
      draining: (connections) => this.#waitsFor(connections),
      taskEnded: ({ session, reference, failure }) => this.#xenapi?.tasks.requestEnded(session, reference, failure),
      troubled: (trouble) => backends.health?.workerTrouble(trouble),
      deserted: () => this.#end({ event: 'workers-gone' }),
      otherBuild: () => this.#end({ event: 'program-replaced', version: version() }),
    })
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

  /** The workers of every configuration. */
  get #groups(): readonly WorkerGroup[] {
    return this.#group === null ? [...this.#otherGroups] : [this.#group, ...this.#otherGroups]
  }

  /** Tells the workers of every configuration that sessions ended. */
  async #broadcast(uuids: readonly string[]): Promise<void> {
    await Promise.all(this.#groups.map((group) => group.ended(uuids)))
  }

  #tellPlaces(changes: ServiceChanges): void {
    for (const group of this.#groups) group.placesChanged(changes)
  }

  /** Waits for signals, and keeps taking them until the process is gone. Resolves with the exit code. */
  serve(): Promise<number> {
    return new Promise((resolve) => {
      let firstMs = 0
      const onStop = (signal: NodeJS.Signals): void => {
        const nowMs = performance.now()
        if (this.#isStopping && nowMs - firstMs < SAME_SIGNAL_MS) return
        const isSecond = this.#isStopping
        this.#isStopping = true
        firstMs = nowMs
        this.#log.info({ event: 'stopping', signal, isSecond })
        void end(isSecond)
      }
      const end = async (isNow: boolean): Promise<void> => {
        const code = await this.stop(isNow)
        setTimeout(() => process.kill(process.pid, 'SIGKILL'), LAST_WORDS_MS).unref()
        resolve(code)
      }
      process.on('SIGTERM', onStop).on('SIGINT', onStop)
    })
  }

  #waitsFor(connections: number): void {
    const seconds = Math.ceil(this.#config.limits.drainTimeoutMs / 1000)
    this.#log.info({ event: 'draining', connections, seconds })
    const what = connections === 1 ? '1 request' : `${connections} requests`
    this.#options.say?.(`waiting for ${what}, ${seconds} s at most; Ctrl-C again stops now`)
  }

  /**
   * Stops everything, in the reverse order of the start, but for the listeners: what is not accepted is refused from now on.
   * @param isNow whether requests under way are cut
   */
  async stop(isNow: boolean): Promise<number> {
    this.#isStopping = true
    this.#manager.stopping()
    this.#draining.abort()
    this.#backends?.withdraw()
    const groups = this.#groups
    if (isNow) for (const group of groups) group.destroy()
    for (const listener of this.#listeners.values()) listener.close()
    this.#listeners.clear()
    this.#returns?.close()
    await Promise.all(groups.map((group) => group.drain(true)))
    this.#xenapi?.server.close()
    this.#xenapi?.server.closeAllConnections()
    this.#control?.close()
    this.#control?.closeAllConnections()
    await this.#backends?.close()
    this.#dataSources?.close()
    if (this.#hasStarted) this.#log.info({ event: 'stopped' })
    this.#hasStarted = false
    this.#log.flush()
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
    } catch (error) {
      this.#log.error({ event: 'reload-refused', problem: error instanceof Error ? error.message : String(error) })
    } finally {
      this.#isReloading = false
    }
    if (!this.#isToReloadAgain) return
    this.#isToReloadAgain = false
    await this.#reload()
  }

  async #take(config: Config): Promise<void> {
    const [broker, backends, old] = [this.#broker, this.#backends, this.#group]
    if (broker === null || backends === null || old === null) throw new Error('the daemon is not running')
    if (config.stateDir !== this.#config.stateDir) {
      throw new Error('state-dir cannot be changed by a reload: restart the daemon')
    }
    if (config.workerUser !== this.#config.workerUser) {
      throw new Error('worker-user cannot be changed by a reload: restart the daemon')
    }
    backends.checkReload(config)
    refuseOtherLog(config.log, this.#config.log)
    const added = config.listen.filter((listen) => !this.#listeners.has(keyOf(listen)))
    if (this.#otherGroups.size >= OTHER_GROUPS_MAX) {
      throw new Error('workers of earlier configurations are still finishing their requests: try again later')
    }
    backends.configure(config)
    const group = await this.#startGroup(config, added, broker, backends).catch((error: unknown) => {
      backends.configure(this.#config)
      throw error
    })
    this.#log.level = config.log.level
    this.#config = config
    this.#group = group
    void this.#retire(old)
  }

  /** Lets the workers of an earlier configuration finish, and then closes the listeners that nobody has any more. */
  async #retire(group: WorkerGroup): Promise<void> {
    this.#otherGroups.add(group)
    group.useServices(this.#config.services)
    await group.drain(false)
    this.#otherGroups.delete(group)
    this.#closeUnusedListeners()
  }

  #closeUnusedListeners(): void {
    const configs = [this.#config, ...[...this.#otherGroups].map((group) => group.config)]
    const used = new Set(configs.flatMap(({ listen }) => listen.map((one) => keyOf(one))))
    for (const [key, listener] of this.#listeners) {
      if (used.has(key)) continue
      listener.close()
      this.#listeners.delete(key)
    }
  }

  /** Starts workers with a new configuration, beside the old ones; whatever fails, its new listeners are closed again. */
  async #startGroup(
    config: Config,
    added: readonly ListenConfig[],
    broker: SessionBroker,
    backends: Backends,
  ): Promise<WorkerGroup> {
    try {
      checkTlsFiles(config)
      for (const listen of added) await this.#bind(listen)
      this.#setFiles(config)
      const group = this.#newGroup(config, broker, backends)
      // From its first request on it has to hear of endings.
      this.#otherGroups.add(group)
      await group.start().finally(() => this.#otherGroups.delete(group))
      return group
    } catch (error) {
      this.#closeUnusedListeners()
      this.#setFiles(this.#config)
      throw error
    }
  }

  #setFiles({ listen: listeners }: Config): void {
    for (const listen of listeners) this.#listeners.get(keyOf(listen))?.setFile(listen)
  }
}

/** The state directory cannot be used: the text says why. */
export class StateDirectoryError extends Error {
  override readonly name = 'StateDirectoryError'
  readonly code = 'STATE_UNUSABLE'
}

/** Makes the state directory, unless another daemon is running with it. @throws {StateDirectoryError} */
async function takeStateDirectory(path: string, socketPath: string): Promise<void> {
  try {
    makeStateDirectory(path)
  } catch (cause) {
    throw new StateDirectoryError(`cannot use the state directory ${path}: ${String(cause)}`, { cause })
  }
  try {
    await removeStaleSocket(socketPath)
  } catch (cause) {
    throw new StateDirectoryError(`cannot use the state directory ${path}: another xengate is running with it`, {
      cause,
    })
  }
}

/** @throws {TlsFilesError} here, rather than in each worker, when a listener's certificate cannot be used */
function checkTlsFiles({ listen }: Config): void {
  for (const { tls } of listen) if (tls !== null) readTlsPair(tls)
}

function keyOf({ address }: ListenConfig): string {
  return address.kind === 'tcp' ? `${address.host} ${address.port}` : address.path
}

/** What the XenAPI's log tells of that is for the audit as well. */
const SIGNED: ReadonlySet<string> = new Set(['sign-in', 'sign-in-failed', 'sign-out'])

function auditedLog(log: Log, audit: Audit): XenApiLog {
  const audited = ({ event, ...particulars }: LogEvent): void => {
    if (SIGNED.has(event)) audit.act(event, particulars)
  }
  return {
    info: (event) => {
      log.info(event)
      audited(event)
    },
    warn: (event) => {
      log.warn(event)
      audited(event)
    },
    error: (event) => log.error(event),
  }
}

/** @throws when what is open already would have to be opened anew */
function refuseOtherLog(log: LogConfig, before: LogConfig): void {
  for (const key of ['to', 'audit', 'syslog'] as const)
    if (log[key] !== before[key]) throw new Error(`log.${key} cannot be changed by a reload: restart the daemon`)
}

/** Whom workers run as; null: this process's user. */
function workerAccount({ workerUser }: Config): Account | null {
  return workerUser === null ? null : accountOf(workerUser)
}

function workerCount(config: Config): number {
  return config.workers === 'auto' ? availableParallelism() : config.workers
}

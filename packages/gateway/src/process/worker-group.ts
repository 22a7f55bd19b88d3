// The worker processes of one configuration: as many as it asks for, each replaced when it dies.

import { type ChildProcess, fork } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config, ServicesConfig } from '../config/schema.ts'
import type { WorkerTrouble } from '../dom0/health.ts'
import type { Log } from '../logging/log.ts'
import type { EndedTask } from '../proxy/task.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { Forgetting } from '../sessions/authority.ts'
import type { Session } from '../model/session.ts'
import type { Account } from './account.ts'
import { aliveIntervalMs, monotonicMs, type ToPrimary, type ToWorker } from './messages.ts'
import type { Statistics } from './statistics.ts'
import { WITHOUT_DEBUGGER } from './signals.ts'
import { type TlsEvent, WatchedTlsFiles } from './tls-files.ts'
import { OTHER_BUILD_EXIT, build } from '../version.ts'

/** A worker that does not confirm the end of sessions in this time is killed: it may still admit them. */
const CONFIRM_TIMEOUT_MS = 2000
/** Beyond the drain timeout, what a worker gets to exit by itself. */
const EXIT_GRACE_MS = 2000
/** Pause before a worker that died is replaced: doubled, up to the last, while workers die before they are ready. */
const REPLACE_FIRST_MS = 10
const REPLACE_LAST_MS = 5000

/** Workers tell at about the same time what they wait for. */
const SAY_DRAINING_MS = 50

/** A worker that is silent for so long is asked for a sign of life, and one that stays silent is killed: within 10 s, as clients wait for it. */
const ASK_MS = 3500
const HUNG_MS = 7500
/** One that starts has longer, since nobody waits for it, unless nobody else serves. */
const START_MS = 30_000

/** Descriptors 0 to 2 are the usual ones and 3 is the channel to the primary; the listening sockets follow. */
const FIRST_LISTEN_FD = 4

const WORKER_MAIN = fileURLToPath(new URL(`./worker-main${extname(import.meta.filename)}`, import.meta.url))

/** What a group is made from. */
export interface WorkerGroupOptions {
  readonly config: Config
  readonly workers: number
  /** The descriptors, in this process, of the listening sockets, as they are now. */
  readonly listenFds: () => readonly number[]
  readonly xenapiPath: string | null
  /** Where services are on other hosts, now. */
  readonly places: () => ServiceChanges
  /** For how long the authority may not have heard of endings, in milliseconds. */
  readonly deafMs: () => number
  /** The socket where services bring back requests. */
  readonly returns: { readonly fd: number; readonly path: string; readonly key: string }
  /** Whom workers run as; null: this process's user. */
  readonly account: Account | null
  readonly log: Log
  /** Takes what workers count, and how they do. */
  readonly statistics: Statistics
  readonly find: (id: string, clientAddress: string) => Promise<Session | null | 'unavailable'>
  readonly touch: (uuids: readonly string[]) => void
  readonly held: (uuids: readonly string[]) => void
  /** Told how many connections with something under way a stop waits for, if any. */
  readonly draining: (connections: number) => void
  readonly taskEnded: (ended: EndedTask) => void
  /** A worker died that was to serve on, or hung. */
  readonly troubled: (trouble: WorkerTrouble) => void
  /** For some time no worker has served: clients wait, and would rather be refused. */
  readonly deserted: () => void
  /** The program's files are another version's: no more workers can be had. */
  readonly otherBuild: () => void
}

interface Worker {
  readonly child: ChildProcess
  readonly confirmations: Map<number, () => void>
  isReady: boolean
  /** Beats since it said anything. What is counted is beats and not time: a machine that stood still is no fault of the worker's. */
  silentBeats: number
}

/** See the head of this file. */
export class WorkerGroup {
  readonly #options: WorkerGroupOptions
  readonly #workers = new Set<Worker>()
  #endings = 0
  #hasStarted = false
  /** Beats since a worker was ready. */
  #desertedBeats = 0
  /** Connections that workers have told to be waiting for. */
  #waitedFor = 0
  #isDraining = false
  #replaceMs = REPLACE_FIRST_MS
  readonly #beatMs: number
  readonly #beats: NodeJS.Timeout
  /** By place in the list of listeners; null where there is no TLS. */
  readonly #tls: readonly (WatchedTlsFiles | null)[]
  #onReady: (() => void) | null = null
  #onFailed: ((problem: string) => void) | null = null
  readonly #gone = Promise.withResolvers<void>()
  #drained: Promise<void> | null = null

  /** @throws {TlsFilesError} */
  constructor(options: WorkerGroupOptions) {
    this.#options = options
    this.#tls = options.config.listen.map(({ tls }, index) =>
      tls === null ? null : new WatchedTlsFiles(tls, (event) => this.#tlsChanged(index, event)),
    )
    this.#beatMs = aliveIntervalMs(options.config.sessions.staleGraceMs)
    this.#beats = setInterval(() => this.#beat(), this.#beatMs).unref()
  }

  get config(): Config {
    return this.#options.config
  }

  /** Process ids of the live workers. */
  get pids(): readonly number[] {
    return [...this.#workers].flatMap(({ child }) => child.pid ?? [])
  }

  /** Those of them that serve. */
  get readyPids(): readonly number[] {
    return [...this.#workers].flatMap(({ child, isReady }) => (isReady ? (child.pid ?? []) : []))
  }

  /** Starts the workers. Resolves when all are ready; rejects, with none left, when one cannot serve. */
  async start(): Promise<void> {
    const { workers } = this.#options
    const ready = new Promise<void>((resolve, reject) => {
      this.#onReady = () => {
        if ([...this.#workers].filter((worker) => worker.isReady).length === workers) resolve()
      }
      this.#onFailed = (problem) => reject(new Error(problem))
    })
    for (let count = 0; count < workers; count++) this.#spawn()
    try {
      await ready
      this.#hasStarted = true
    } catch (error) {
      this.destroy()
      throw error
    } finally {
      this.#onFailed = null
    }
  }

  #tlsChanged(listener: number, event: TlsEvent): void {
    if (event.kind === 'refused') {
      this.#options.log.error({ event: 'tls-reload-refused', problem: event.problem })
      return
    }
    this.#options.log.info({ event: 'tls-reloaded', certificate: event.certificate })
    this.#tellAll({ type: 'tls', listener, pair: event.pair })
  }

  /** Tells workers that the primary is there, and sees to it that they are. */
  #beat(): void {
    this.#tellAll({ type: 'alive', provenMs: monotonicMs() - this.#options.deafMs() })
    for (const worker of this.#workers) this.#heed(worker)
    if (!this.#hasStarted || this.#isDraining) return
    this.#desertedBeats = this.readyPids.length > 0 ? 0 : this.#desertedBeats + 1
    if (this.#desertedBeats > HUNG_MS / this.#beatMs) this.#options.deserted()
  }

  #heed(worker: Worker): void {
    worker.silentBeats++
    if (worker.silentBeats === Math.ceil(ASK_MS / this.#beatMs)) this.#tell(worker, { type: 'are-you-there' })
    if (worker.silentBeats <= (worker.isReady ? HUNG_MS : START_MS) / this.#beatMs) return
    this.#options.log.error({ event: 'worker-hung', worker: worker.child.pid })
    this.#options.troubled('hung')
    worker.child.kill('SIGKILL')
  }

  #spawn(): void {
    const { config, xenapiPath, returns, log, places, account } = this.#options
    const listenFds = this.#options.listenFds()
    const child = fork(WORKER_MAIN, [build()], {
      execArgv: [...new Set([...process.execArgv, WITHOUT_DEBUGGER])],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...listenFds, returns.fd],
      ...account,
    })
    const worker: Worker = { child, confirmations: new Map(), isReady: false, silentBeats: 0 }
    this.#workers.add(worker)
    child.on('message', (message: ToPrimary) => this.#listen(worker, message))
    child.on('error', (error) => {
      log.error({ event: 'worker-error', worker: child.pid, error: error.message })
      // It was never started, so that it will not exit.
      if (child.pid === undefined) this.#exited(worker, null, null)
    })
    child.once('exit', (code, signal) => this.#exited(worker, code, signal))
    const fds = listenFds.map((_, index) => FIRST_LISTEN_FD + index)
    const returnFd = FIRST_LISTEN_FD + listenFds.length
    const tls = this.#tls.map((files) => files?.pair ?? null)
    const more = { tls, xenapiPath, returnFd, returnPath: returns.path, returnKey: returns.key, places: places() }
    this.#tell(worker, { type: 'start', config, listenFds: fds, ...more })
  }

  #tell(worker: Worker, message: ToWorker): void {
    // An error means that the worker is gone: its exit says so too.
    if (worker.child.connected) worker.child.send(message, () => {})
  }

  #tellAll(message: ToWorker): void {
    for (const worker of this.#workers) this.#tell(worker, message)
  }

  /** Tells every worker to ask about sessions again. */
  forgotten(uuids: readonly string[], why: Forgetting): void {
    this.#tellAll({ type: 'forgotten', uuids, why })
  }

  /** Tells every worker of places that have changed. */
  placesChanged(changes: ServiceChanges): void {
    this.#tellAll({ type: 'places', changes })
  }

  /** A worker that says what none says is not to be trusted: it may be another's. */
  #listen(worker: Worker, message: ToPrimary): void {
    try {
      this.#heard(worker, message)
    } catch (error) {
      this.#options.log.error({ event: 'worker-nonsense', worker: worker.child.pid, error })
      worker.child.kill('SIGKILL')
    }
  }

  #heard(worker: Worker, message: ToPrimary): void {
    worker.silentBeats = 0
    switch (message.type) {
      case 'here':
        this.#options.statistics.took(this.#livePid(worker), message.report)
        break
      case 'counted':
        this.#options.statistics.took(this.#livePid(worker), message.report, message.counted)
        break
      case 'ready':
        worker.isReady = true
        this.#replaceMs = REPLACE_FIRST_MS
        this.#options.log.info({ event: 'worker-ready', worker: worker.child.pid })
        this.#onReady?.()
        break
      case 'failed':
        this.#options.log.error({ event: 'worker-failed', worker: worker.child.pid, problem: message.problem })
        this.#onFailed?.(message.problem)
        worker.child.kill('SIGKILL')
        break
      case 'find':
        void this.#answer(worker, message.id, message.client)
        break
      case 'touched':
        this.#options.touch(message.uuids)
        break
      case 'held':
        this.#options.held(message.uuids)
        break
      case 'task-ended':
        this.#options.taskEnded(message.ended)
        break
      case 'confirmed':
        worker.confirmations.get(message.ending)?.()
        break
      case 'draining':
        this.#waitsFor(message.connections)
        break
    }
  }

  /** Undefined for one that has ended: what it said last may be read after that. */
  #livePid(worker: Worker): number | undefined {
    return this.#workers.has(worker) ? worker.child.pid : undefined
  }

  async #answer(worker: Worker, id: string, clientAddress: string): Promise<void> {
    let session: Session | null | 'unavailable'
    try {
      session = await this.#options.find(id, clientAddress)
    } catch (error) {
      this.#options.log.error({ event: 'session-lookup-failed', error: String(error) })
      session = 'unavailable'
    }
    this.#tell(worker, { type: 'found', id, session })
  }

  #exited(worker: Worker, code: number | null, signal: NodeJS.Signals | null): void {
    this.#workers.delete(worker)
    this.#options.statistics.gone(worker.child.pid)
    for (const confirm of worker.confirmations.values()) confirm()
    if (!worker.isReady) this.#onFailed?.('a worker died before it was ready; see the log')
    if (code === OTHER_BUILD_EXIT) this.#options.otherBuild()
    if (this.#isDraining) {
      this.#options.log.info({ event: 'worker-stopped', worker: worker.child.pid })
      if (this.#workers.size === 0) this.#allGone()
      return
    }
    this.#options.log.error({ event: 'worker-died', worker: worker.child.pid, code, signal })
    this.#options.troubled('died')
    const pauseMs = this.#replaceMs
    this.#replaceMs = Math.min(this.#replaceMs * 2, REPLACE_LAST_MS)
    setTimeout(() => {
      if (!this.#isDraining) this.#spawn()
    }, pauseMs).unref()
  }

  #allGone(): void {
    clearInterval(this.#beats)
    this.#gone.resolve()
  }

  /** Tells every worker that sessions ended. Resolves when none of them admits these any more. */
  async ended(uuids: readonly string[]): Promise<void> {
    const ending = this.#endings++
    await Promise.all([...this.#workers].map((worker) => this.#endedIn(worker, ending, uuids)))
  }

  #endedIn(worker: Worker, ending: number, uuids: readonly string[]): Promise<void> {
    // One that is still starting has asked nothing yet, so that it knows no session.
    if (!worker.isReady) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#options.log.error({ event: 'worker-silent', worker: worker.child.pid })
        worker.child.kill('SIGKILL')
      }, CONFIRM_TIMEOUT_MS)
      worker.confirmations.set(ending, () => {
        clearTimeout(timer)
        worker.confirmations.delete(ending)
        resolve()
      })
      this.#tell(worker, { type: 'ended', ending, uuids })
    })
  }

  /** Tells the workers what a newer configuration says of services. */
  useServices(services: ServicesConfig): void {
    for (const worker of this.#workers) this.#tell(worker, { type: 'services', services })
  }

  /**
   * Lets the workers finish what is under way, and exit. Resolves when all are gone.
   * @param closesIdle whether connections on which nothing is asked end at once; may be said later, too
   */
  drain(closesIdle: boolean): Promise<void> {
    if (this.#drained === null) this.#drained = this.#drain(closesIdle)
    else if (closesIdle) this.#tellAll({ type: 'drain', closesIdle })
    return this.#drained
  }

  async #drain(closesIdle: boolean): Promise<void> {
    this.#isDraining = true
    for (const files of this.#tls) files?.close()
    if (this.#workers.size === 0) {
      this.#allGone()
      return
    }
    this.#tellAll({ type: 'drain', closesIdle })
    const timer = setTimeout(() => this.destroy(), this.#options.config.limits.drainTimeoutMs + EXIT_GRACE_MS)
    await this.#gone.promise
    clearTimeout(timer)
  }

  /** Says once for all workers what a stop waits for. */
  #waitsFor(connections: number): void {
    if (connections === 0) return
    if (this.#waitedFor === 0) setTimeout(() => this.#options.draining(this.#waitedFor), SAY_DRAINING_MS)
    this.#waitedFor += connections
  }

  /** Ends the workers now. */
  destroy(): void {
    this.#isDraining = true
    for (const files of this.#tls) files?.close()
    for (const { child } of this.#workers) child.kill('SIGKILL')
  }
}

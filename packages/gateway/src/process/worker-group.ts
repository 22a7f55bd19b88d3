// The worker processes of one configuration: as many as it asks for, each replaced when it dies.

import { closeDescriptor, openPassage, type Passage } from '@xengate/channel'
import type { Config } from '../config/config.ts'
import type { WorkerTrouble } from '../dom0/health.ts'
import { failureOf } from '../logging/causes.ts'
import type { Log } from '../logging/log.ts'
import type { OverloadState } from '../model/overload.ts'
import type { Session } from '../model/session.ts'
import type { EndedTask } from '../proxy/journal.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { Forgetting } from '../sessions/authority.ts'
import { OTHER_BUILD_EXIT } from '../version.ts'
import type { Account } from './account.ts'
import {
  aliveIntervalMs,
  monotonicMs,
  TAKES_NOTHING,
  type Takes,
  type ToPrimary,
  type ToWorker,
  type TransportSaid,
} from './messages.ts'
import { otherListeners } from './changes.ts'
import type { Question, Told } from './control/questions.ts'
import type { SessionBroker } from './session-broker.ts'
import type { Statistics, WorkerCounters } from './statistics.ts'
import { type ListenerCertificate, ListenersTls } from './listeners-tls.ts'
import type { TlsEvent } from './tls-files.ts'
import { type Inherited, WorkerProcess } from './worker-process.ts'

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

/** The sockets that workers are given, or told of. */
export interface WorkerSockets {
  /** The descriptors, in this process, of the listening sockets of a configuration, in its order. */
  readonly listenFds: (config: Config) => readonly number[]
  /** Of the XenAPI endpoint; null when there is none. */
  readonly xenapiPath: string | null
  /** The socket where services bring back requests, and the key of what they say there of themselves. */
  readonly returns: { readonly fd: number; readonly path: string; readonly key: string }
  /** Where workers give connections on which nothing is asked to newer ones. */
  readonly passage: Passage
  /** Whether another daemon gets it when this one dies. */
  readonly isPassageKept: boolean
}

/** Who hears what becomes of the workers. */
export interface GroupListener {
  /** How many connections with something under way a stop waits for, if any. */
  draining(connections: number): void
  taskEnded(ended: EndedTask): void
  /** Whether somebody listens to the log's events; then what workers log is told. */
  readonly isWatched: boolean
  logged(line: string): void
  /** Workers of a group have given so many connections to newer workers. */
  given(count: number): void
  /** A worker died that was to serve on, or hung. */
  troubled(trouble: WorkerTrouble): void
  /** For some time no worker has served: clients wait, and would rather be refused. */
  deserted(): void
  /** The program's files are another version's: no more workers can be had. */
  otherBuild(): void
}

/** A worker, and its stage of overload; null as long as it never had another than 0. */
export interface WorkerOverload {
  readonly pid: number
  readonly overload: OverloadState | null
}

/** What a group is made from. */
export interface WorkerGroupOptions {
  readonly config: Config
  readonly workers: number
  /** Whom workers run as; null: this process's user. */
  readonly account: Account | null
  readonly sockets: WorkerSockets
  readonly sessions: SessionBroker
  /** Where services are on other hosts, now. */
  readonly places: () => ServiceChanges
  /** xapi's reference of this host, where it is known. */
  readonly ownHost: () => string | null
  /** Whether the gateway is out of service now. */
  readonly isOutOfService: () => boolean
  readonly log: Log
  /** Has the memory that workers count in. */
  readonly statistics: Statistics
  readonly listener: GroupListener
}

/** See the head of this file. */
export class WorkerGroup {
  readonly #options: WorkerGroupOptions
  #config: Config
  readonly #workers = new Set<WorkerProcess>()
  #endings = 0
  #changes = 0
  #hasStarted = false
  /** Beats since a worker was ready. */
  #desertedBeats = 0
  /** Connections that workers have told to be waiting for. */
  #waitedFor = 0
  #isDraining = false
  #turn = 0
  #replaceMs = REPLACE_FIRST_MS
  #beatMs = 0
  #beats: NodeJS.Timeout | undefined
  readonly #tls: ListenersTls
  /** Resolves when every certificate that workers were told of is in force. */
  #tlsTold: Promise<unknown> = Promise.resolve()
  /** How many workers are wanted. */
  #wanted: number
  #onReady: (() => void) | null = null
  #onFailed: ((problem: string) => void) | null = null
  readonly #gone = Promise.withResolvers<void>()
  #drained: Promise<void> | null = null

  /** @throws {TlsFilesError} */
  constructor(options: WorkerGroupOptions) {
    this.#options = options
    this.#config = options.config
    this.#wanted = options.workers
    this.#tls = new ListenersTls(options.config.listen, (listener, event) => this.#tlsChanged(listener, event))
    this.#setBeat()
  }

  /** As often as the configuration wants it; what beats so already beats on, however often there is another configuration. */
  #setBeat(): void {
    const beatMs = aliveIntervalMs(this.#config.sessions.staleGraceMs)
    if (beatMs === this.#beatMs) return
    this.#beatMs = beatMs
    clearInterval(this.#beats)
    this.#beats = setInterval(() => this.#beat(), this.#beatMs).unref()
  }

  get config(): Config {
    return this.#config
  }

  /** Process ids of the live workers. */
  get pids(): readonly number[] {
    return [...this.#workers].flatMap(({ pid }) => pid ?? [])
  }

  /** Those of them that serve. */
  get readyPids(): readonly number[] {
    return this.#serving.flatMap(({ pid }) => pid ?? [])
  }

  get #serving(): readonly WorkerProcess[] {
    return [...this.#workers].filter(({ isReady, isRetiring }) => isReady && !isRetiring)
  }

  /** How those that serve are, by their process ids. */
  get overloads(): readonly WorkerOverload[] {
    return [...this.#workers].flatMap(({ pid, isReady, overload }) =>
      isReady && pid !== undefined ? [{ pid, overload }] : [],
    )
  }

  /** How they have their connections, as the one that was ready last said; null before that. */
  get transport(): TransportSaid | null {
    return [...this.#workers].findLast(({ isReady }) => isReady)?.transport ?? null
  }

  /** Starts the workers. Resolves when all are ready; rejects, with none left, when one cannot serve. */
  async start(): Promise<void> {
    try {
      await this.#spawnMissing()
      this.#hasStarted = true
    } catch (error) {
      this.destroy()
      throw error
    }
  }

  /** Starts workers where there are fewer than are wanted. Resolves when all are ready; rejects when one cannot serve. */
  async #spawnMissing(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      this.#onReady = () => {
        if (this.#serving.length >= this.#wanted) resolve()
      }
      this.#onFailed = (problem) => reject(new Error(problem))
    })
    for (let count = this.#staying.length; count < this.#wanted; count++) this.#spawn()
    this.#onReady?.()
    try {
      await ready
    } finally {
      this.#onFailed = null
    }
  }

  get #staying(): readonly WorkerProcess[] {
    return [...this.#workers].filter(({ isRetiring }) => !isRetiring)
  }

  /** Starts workers until there are `count`. Resolves when they serve; rejects, with as many as there were, when one cannot. */
  async grow(count: number): Promise<void> {
    const before = this.#wanted
    if (count <= before) return
    this.#wanted = count
    try {
      await this.#spawnMissing()
    } catch (error) {
      this.shrink(before, TAKES_NOTHING)
      throw error
    }
  }

  /**
   * Lets workers finish and end until there are `count`, the latest first.
   * @param gives which connections the others take
   */
  shrink(count: number, gives: Takes): void {
    if (count >= this.#wanted || this.#isDraining) return
    this.#wanted = count
    const graceMs = this.#config.limits.drainTimeoutMs + EXIT_GRACE_MS
    for (const worker of this.#staying.slice(count)) {
      worker.isRetiring = true
      worker.tell({ type: 'drain', closesIdle: false, gives })
      setTimeout(() => worker.kill(), graceMs).unref()
    }
  }

  #tlsChanged(listener: string, event: TlsEvent): void {
    if (event.kind === 'refused') {
      this.#options.log.error({ event: 'tls-reload-refused', problem: event.problem })
      return
    }
    this.#options.log.info({ event: 'tls-reloaded', certificate: event.certificate })
    const told = this.#configureAll({ type: 'tls', change: this.#changes++, listener, pair: event.pair })
    this.#tlsTold = Promise.all([this.#tlsTold, told])
  }

  async #configureAll(
    message: Extract<ToWorker, { type: 'configure' | 'tls' }>,
    sockets: readonly number[] = [],
  ): Promise<void> {
    await Promise.all([...this.#workers].map((one) => one.configure(message, sockets, () => this.#silent(one))))
  }

  /** Tells workers that the primary is there, and sees to it that they are. */
  #beat(): void {
    this.#tellAlive()
    for (const worker of this.#workers) this.#heed(worker)
    if (!this.#hasStarted || this.#isDraining) return
    this.#desertedBeats = this.readyPids.length > 0 ? 0 : this.#desertedBeats + 1
    if (this.#desertedBeats > HUNG_MS / this.#beatMs) this.#options.listener.deserted()
  }

  #tellAlive(): void {
    this.#tellAll({ type: 'alive', provenMs: monotonicMs() - this.#options.sessions.stalenessMs })
  }

  #heed(worker: WorkerProcess): void {
    worker.silentBeats++
    if (worker.silentBeats === Math.ceil(ASK_MS / this.#beatMs)) worker.tell({ type: 'are-you-there' })
    if (worker.silentBeats <= (worker.isReady ? HUNG_MS : START_MS) / this.#beatMs) return
    this.#options.log.error({ event: 'worker-hung', worker: worker.pid })
    this.#options.listener.troubled('hung')
    worker.kill()
  }

  #spawn(): void {
    const { sockets, log, places, ownHost, account, isOutOfService } = this.#options
    const { returns, xenapiPath, passage, isPassageKept } = sockets
    const own = this.#openOwn()
    if (own === null) return
    const { counters } = own
    const inherited: Inherited = {
      listen: sockets.listenFds(this.#config),
      counters: counters.fd,
      returns: returns.fd,
      passage,
      sockets: own.sockets,
    }
    const worker: WorkerProcess = new WorkerProcess(inherited, account, {
      said: (message) => this.#listen(worker, message),
      failed: (error) => log.error({ event: 'worker-error', worker: worker.pid, error: failureOf(error) }),
      exited: (code, signal) => {
        counters.ended()
        this.#exited(worker, code, signal)
      },
    })
    counters.given()
    this.#workers.add(worker)
    worker.tell({
      type: 'start',
      ...worker.given,
      config: this.#config,
      tls: this.#tls.pairs,
      xenapiPath,
      places: places(),
      ownHost: ownHost(),
      returnPath: returns.path,
      returnKey: returns.key,
      isOutOfService: isOutOfService(),
      isPassageKept,
    })
  }

  /**
   * Memory for a worker to count in, and a way to give it sockets; null when these cannot be had now: it is tried again, as is a worker
   * that died.
   */
  #openOwn(): { readonly counters: WorkerCounters; readonly sockets: Passage } | null {
    const sockets = openPassage()
    try {
      if (sockets === null) throw new Error('there is no pair of sockets for a worker')
      return { sockets, counters: this.#options.statistics.openWorker() }
    } catch (error) {
      if (sockets !== null) for (const fd of [sockets.giveFd, sockets.takeFd]) closeDescriptor(fd)
      this.#options.log.error({ event: 'worker-error', error: failureOf(error) })
      this.#onFailed?.(error instanceof Error ? error.message : String(error))
      this.#spawnLater()
      return null
    }
  }

  #tellAll(message: ToWorker): void {
    for (const worker of this.#workers) worker.tell(message)
  }

  /** One of the workers takes connections that others have given, each in its turn. */
  take(count: number): void {
    const ready = this.#serving
    // One that gets ready later takes what is there.
    ready[this.#turn++ % ready.length]?.tell({ type: 'take', count })
  }

  /** Tells every worker to ask about sessions again. */
  forgotten(uuids: readonly string[], why: Forgetting): void {
    this.#tellAll({ type: 'forgotten', uuids, why })
  }

  /** Tells every worker of places that have changed. */
  placesChanged(changes: ServiceChanges): void {
    this.#tellAll({ type: 'places', changes })
  }

  /** Tells every worker which of xapi's hosts this one is. */
  ownHostKnown(ref: string): void {
    this.#tellAll({ type: 'own-host', ref })
  }

  /** A worker that says what none says is not to be trusted: it may be another's. */
  #listen(worker: WorkerProcess, message: ToPrimary): void {
    try {
      this.#heard(worker, message)
    } catch (error) {
      this.#options.log.error({ event: 'worker-nonsense', worker: worker.pid, error })
      worker.kill()
    }
  }

  #heard(worker: WorkerProcess, message: ToPrimary): void {
    switch (message.type) {
      case 'here':
        break
      case 'overload':
        worker.overload = message.overload
        break
      case 'told':
        worker.told(message.question, message.told)
        break
      case 'logged':
        for (const line of message.lines) this.#options.listener.logged(line)
        break
      case 'ready':
        worker.isReady = true
        worker.transport = message.transport
        this.#replaceMs = REPLACE_FIRST_MS
        this.#options.log.info({ event: 'worker-ready', worker: worker.pid, transport: message.transport })
        if (this.#options.listener.isWatched) worker.tell({ type: 'watched', isWatched: true })
        this.#onReady?.()
        break
      case 'failed':
        this.#options.log.error({ event: 'worker-failed', worker: worker.pid, problem: message.problem })
        this.#onFailed?.(message.problem)
        worker.kill()
        break
      case 'find':
        void this.#answer(worker, message.id, message.client)
        break
      case 'touched':
        this.#options.sessions.touch(message.uuids)
        break
      case 'held':
        this.#options.sessions.held(message.uuids)
        break
      case 'task-ended':
        this.#options.listener.taskEnded(message.ended)
        break
      case 'confirmed':
        worker.confirmed(message.ending)
        break
      case 'configured':
        worker.configured(message.change)
        break
      case 'given':
        this.#options.listener.given(message.count)
        break
      case 'draining':
        this.#waitsFor(message.connections)
        break
    }
  }

  async #answer(worker: WorkerProcess, id: string, clientAddress: string): Promise<void> {
    const startedMs = performance.now()
    const session = await this.#find(id, clientAddress)
    worker.tell({ type: 'found', id, session })
    const { statistics } = this.#options
    const { authority } = this.#config.sessions
    const result = session === null ? 'nobody' : session === 'unavailable' ? 'unavailable' : 'session'
    statistics.own.count('xengate_session_lookups_total', authority, result)
    const at = statistics.own.place('xengate_session_lookup_duration_seconds', authority)
    statistics.own.observe(at, performance.now() - startedMs)
  }

  async #find(id: string, clientAddress: string): Promise<Session | null | 'unavailable'> {
    try {
      return await this.#options.sessions.find(id, clientAddress)
    } catch (error) {
      this.#options.log.error({ event: 'session-lookup-failed', error: failureOf(error) })
      return 'unavailable'
    }
  }

  #exited(worker: WorkerProcess, code: number | null, signal: NodeJS.Signals | null): void {
    this.#workers.delete(worker)
    if (!worker.isReady) this.#onFailed?.('a worker died before it was ready; see the log')
    if (code === OTHER_BUILD_EXIT) this.#options.listener.otherBuild()
    if (this.#isDraining || worker.isRetiring) {
      this.#options.log.info({ event: 'worker-stopped', worker: worker.pid })
      if (this.#isDraining && this.#workers.size === 0) this.#allGone()
      return
    }
    this.#options.log.error({ event: 'worker-died', worker: worker.pid, code, signal })
    this.#options.listener.troubled('died')
    this.#spawnLater()
  }

  #spawnLater(): void {
    const pauseMs = this.#replaceMs
    this.#replaceMs = Math.min(this.#replaceMs * 2, REPLACE_LAST_MS)
    setTimeout(() => {
      if (!this.#isDraining && this.#staying.length < this.#wanted) this.#spawn()
    }, pauseMs).unref()
  }

  #allGone(): void {
    clearInterval(this.#beats)
    this.#gone.resolve()
  }

  /** Tells every worker that sessions ended. Resolves when none of them admits these any more. */
  async ended(uuids: readonly string[]): Promise<void> {
    const ending = this.#endings++
    await Promise.all([...this.#workers].map((worker) => worker.ended(ending, uuids, () => this.#silent(worker))))
  }

  #silent({ pid }: WorkerProcess): void {
    this.#options.log.error({ event: 'worker-silent', worker: pid })
  }

  /** Asks every worker. Those that do not answer are left out. */
  async ask<Kind extends keyof Told>(question: Question<Kind>): Promise<readonly Told[Kind][]> {
    const told = await Promise.all([...this.#workers].map((worker) => worker.ask(question)))
    return told.filter((one) => one !== undefined)
  }

  /** Tells every worker that the gateway is out of service, or in service again. */
  outOfService(isOutOfService: boolean): void {
    this.#tellAll({ type: 'out-of-service', isOutOfService })
  }

  /** Tells every worker whether somebody listens to the log's events. */
  watched(isWatched: boolean): void {
    this.#tellAll({ type: 'watched', isWatched })
  }

  /**
   * Gives the workers what of a newer configuration they can take while they run; the rest stays as it was. Resolves when it is in force
   * in all of them. Files of TLS that are named anew have been looked at.
   */
  async configure(newer: Config): Promise<void> {
    if (this.#isDraining && this.#workers.size === 0) return
    const { transport, listen: before, front, traces } = this.#config
    // Workers that finish have closed theirs.
    const listen = this.#isDraining ? before : newer.listen
    this.#config = { ...newer, transport, listen, front, traces }
    if (!this.#isDraining) this.#tls.take(listen)
    this.#setBeat()
    this.#tellAlive()
    const opened = otherListeners(listen, before)
    const { config } = this
    const change = this.#changes++
    const message = {
      type: 'configure',
      change,
      config,
      tls: this.#tls.pairs,
      opened,
      places: this.#options.places(),
    } as const
    const fds = this.#options.sockets.listenFds(config)
    const given = opened.flatMap((index) => fds[index] ?? [])
    await this.#configureAll(message, given)
  }

  /** Certificates that are in force. */
  get certificates(): readonly ListenerCertificate[] {
    return this.#tls.certificates
  }

  /** Looks at the files of TLS now. Resolves when what was read, by now or before, is in force in all workers. */
  async lookAtTls(): Promise<void> {
    this.#tls.look()
    await this.#tlsTold
  }

  /**
   * Lets the workers finish what is under way, and exit. Resolves when all are gone.
   * @param closesIdle whether connections on which nothing is asked end at once; may be said later, too
   * @param gives which connections newer workers take
   */
  drain(closesIdle: boolean, gives: Takes): Promise<void> {
    if (this.#drained === null) this.#drained = this.#drain(closesIdle, gives)
    else if (closesIdle) this.#tellAll({ type: 'drain', closesIdle, gives: TAKES_NOTHING })
    return this.#drained
  }

  async #drain(closesIdle: boolean, gives: Takes): Promise<void> {
    this.#isDraining = true
    this.#tls.close()
    if (this.#workers.size === 0) {
      this.#allGone()
      return
    }
    this.#tellAll({ type: 'drain', closesIdle, gives })
    const timer = setTimeout(() => this.destroy(), this.#config.limits.drainTimeoutMs + EXIT_GRACE_MS)
    await this.#gone.promise
    clearTimeout(timer)
  }

  /** Says once for all workers what a stop waits for. */
  #waitsFor(connections: number): void {
    if (connections === 0) return
    if (this.#waitedFor === 0) setTimeout(() => this.#options.listener.draining(this.#waitedFor), SAY_DRAINING_MS)
    this.#waitedFor += connections
  }

  /** Ends the workers now. */
  destroy(): void {
    this.#isDraining = true
    this.#tls.close()
    for (const worker of this.#workers) worker.kill()
  }
}

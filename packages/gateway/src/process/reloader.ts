// Takes another configuration while the daemon runs. What is equal is not touched, what the workers that run can take is told them, and
// only for the rest are workers started beside them, which then finish. Where their number is another, some are started or finish. A configuration that is not valid, or that cannot be served,
// changes nothing.

import { isDeepStrictEqual } from 'node:util'
import type { Config, LogConfig } from '../config/config.ts'
import type { Log } from '../logging/log.ts'
import { changedKeys, needsNewWorkers, takesOf } from './changes.ts'
import type { MetricsListener } from './metrics-listener.ts'
import { checkTlsFiles, type Parts } from './parts.ts'
import type { WorkerGroup } from './worker-group.ts'

/** Why a reload is not looked at. */
export type Hindrance = 'stopping' | 'upgrading'

/** What became of the workers: nothing, or they were told, or others took their places. */
export type WorkersAfter = 'untouched' | 'told' | 'new'

/** What became of a reload. */
export type ReloadOutcome =
  | { readonly kind: 'taken'; readonly changed: readonly string[]; readonly workers: WorkersAfter }
  /** Nothing was changed. */
  | { readonly kind: 'refused'; readonly problem: string }
  /** It was not looked at. */
  | { readonly kind: 'ignored'; readonly reason: Hindrance | 'no-configuration-file' }

/** What a reloader is made from. */
export interface ReloaderOptions {
  readonly parts: Parts
  readonly log: Log
  readonly metrics: MetricsListener
  /** Reads the configuration; rejects when it is not valid. Absent when there is no file. */
  readonly read: (() => Promise<Config>) | undefined
  /** A configuration as workers get it. */
  readonly forWorkers: (config: Config) => Config
  /** How many workers it wants. */
  readonly workers: (config: Config) => number
  /** Not started yet. */
  readonly newGroup: (config: Config) => WorkerGroup
  /** Why nothing is taken now; null when it is. */
  readonly hindrance: () => Hindrance | null
  /** Told of each outcome. */
  readonly done: (outcome: ReloadOutcome) => void
}

/** Earlier configurations whose workers may still be finishing when another is taken. */
const OTHER_GROUPS_MAX = 4

/** See the head of this file. */
export class Reloader {
  readonly #options: ReloaderOptions
  readonly #parts: Parts
  /** The workers of the configuration in force. */
  #group: WorkerGroup
  /** The reload that is under way, and the one that follows it for all who have asked meanwhile: the file may have changed since it was read. */
  #current: Promise<ReloadOutcome> | null = null
  #next: Promise<ReloadOutcome> | null = null

  constructor(options: ReloaderOptions) {
    this.#options = options
    this.#parts = options.parts
    this.#group = options.newGroup(options.parts.inForce.config)
  }

  get group(): WorkerGroup {
    return this.#group
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    while (this.#current !== null) await this.#current
  }

  /** Resolves when the new configuration is in force in every worker, or is refused. */
  reload(): Promise<ReloadOutcome> {
    if (this.#current !== null) {
      this.#next ??= this.#current.then(() => {
        this.#next = null
        return this.reload()
      })
      return this.#next
    }
    this.#current = this.#reload().finally(() => {
      this.#current = null
    })
    return this.#current
  }

  async #reload(): Promise<ReloadOutcome> {
    const outcome = await this.#outcome()
    this.#options.done(outcome)
    return outcome
  }

  async #outcome(): Promise<ReloadOutcome> {
    const { read, hindrance } = this.#options
    const reason = hindrance()
    if (reason !== null) return { kind: 'ignored', reason }
    if (read === undefined) return { kind: 'ignored', reason: 'no-configuration-file' }
    try {
      const config = await read()
      const changed = changedKeys(config, this.#config)
      return { kind: 'taken', changed, workers: await this.#take(config) }
    } catch (error) {
      return { kind: 'refused', problem: error instanceof Error ? error.message : String(error) }
    }
  }

  get #config(): Config {
    return this.#parts.inForce.config
  }

  async #take(config: Config): Promise<WorkersAfter> {
    const { backends, inForce } = this.#parts
    this.#check(config)
    if (isDeepStrictEqual(config, this.#config)) {
      await this.#group.lookAtTls()
      return 'untouched'
    }
    const needsNew = needsNewWorkers(config, this.#config)
    const metrics = await this.#options.metrics.take(config.control.metrics)
    backends.configure(config)
    try {
      if (needsNew) await this.#replace(config)
      else await this.#tell(config)
    } catch (error) {
      backends.configure(this.#config)
      metrics.undo()
      throw error
    }
    metrics.keep()
    this.#options.log.level = config.log.level
    inForce.config = config
    return needsNew ? 'new' : 'told'
  }

  /** @throws when `config` cannot be taken by a running daemon, or not now */
  #check(config: Config): void {
    if (this.#options.hindrance() === 'stopping') throw new Error('the daemon is stopping')
    for (const [key, name] of [
      ['stateDir', 'state-dir'],
      ['workerUser', 'worker-user'],
    ] as const)
      if (config[key] !== this.#config[key])
        throw new Error(`${name} cannot be changed by a reload: restart the daemon`)
    this.#parts.backends.checkReload(config)
    refuseOtherLog(config.log, this.#config.log)
    checkTlsFiles(config)
  }

  /** Gives all workers what of `config` they can take while they run, which is all of it. */
  async #tell(config: Config): Promise<void> {
    const { groups, listeners } = this.#parts
    const workers = this.#options.workers(config)
    try {
      await listeners.take(config)
      await this.#group.grow(workers)
    } catch (error) {
      await this.#restoreListeners()
      throw error
    }
    const told = groups.configure(this.#options.forWorkers(config))
    // In this order: the workers, which take what waits there, are the last to close a listener.
    listeners.keep(config)
    await told
    this.#group.shrink(workers, takesOf(config))
  }

  /** Of a configuration that is not taken nothing stays. */
  async #restoreListeners(): Promise<void> {
    const { listeners } = this.#parts
    if (this.#options.hindrance() === 'stopping') return
    listeners.keep(this.#config)
    await listeners.take(this.#config)
  }

  /** Starts workers beside those that run, which finish; whatever fails, new listeners are closed again. */
  async #replace(config: Config): Promise<void> {
    const { groups, listeners } = this.#parts
    if (groups.size > OTHER_GROUPS_MAX) {
      throw new Error('workers of earlier configurations are still finishing their requests: try again later')
    }
    const group = await this.#startGroup(config).catch(async (error: unknown) => {
      await this.#restoreListeners()
      throw error
    })
    const old = this.#group
    this.#group = group
    const told = groups.configure(this.#options.forWorkers(config))
    listeners.keep(config)
    await told
    void groups.retire(old, takesOf(config))
  }

  async #startGroup(config: Config): Promise<WorkerGroup> {
    await this.#parts.listeners.take(config)
    const group = this.#options.newGroup(config)
    await this.#parts.groups.start(group)
    return group
  }
}

/** @throws when what is open already would have to be opened anew */
function refuseOtherLog(log: LogConfig, before: LogConfig): void {
  for (const key of ['to', 'audit', 'syslog'] as const)
    if (log[key] !== before[key]) throw new Error(`log.${key} cannot be changed by a reload: restart the daemon`)
}

// The authority and the registry of a configuration, and what they share. A further one is a folder of its own in sessions or
// services, an opener beside this file, and a line here.
//
// Start: the connection to Valkey, if one of them has it, then authority and registry; none waits for what is not there
// yet. Stop is the reverse.

import { join } from 'node:path'
import { BoundedMap } from '../../bounded-map.ts'
import type { Config, PoolConfig, SessionsConfig } from '../../config/config.ts'
import type { Health } from '../../dom0/health.ts'
import { failureOf } from '../../logging/causes.ts'
import type { Log } from '../../logging/log.ts'
import { type FoundService, LocalServices, WATCHED_INTERVAL_MS } from '../../services/local-services.ts'
import { type ServiceChanges, staticRegistry } from '../../services/registry.ts'
import { Whereabouts } from '../../services/whereabouts.ts'
import { poolPrefix } from '../../valkey/keys.ts'
import type { ValkeyLink } from '../../valkey/link.ts'
import { aliveIntervalMs } from '../messages.ts'
import type { OpenContext, OpenedAuthority, OpenedRegistry } from './opened.ts'

type OpenAuthority = (context: OpenContext) => OpenedAuthority
type OpenRegistry = (context: OpenContext) => OpenedRegistry

// Each is loaded when it is asked for: what the others are made of would take some ten megabytes of the host's memory.
const AUTHORITIES: Readonly<Record<SessionsConfig['authority'], () => Promise<OpenAuthority>>> = {
  embedded: async () => (await import('./embedded.ts')).openEmbedded,
  valkey: async () => (await import('./valkey.ts')).openValkeyAuthority,
  xapi: async () => (await import('./xapi.ts')).openXapiAuthority,
}

const REGISTRIES: Readonly<Record<PoolConfig['registry'], () => Promise<OpenRegistry>>> = {
  none: () => Promise.resolve(openFixed),
  static: () => Promise.resolve(openFixed),
  valkey: async () => (await import('./valkey.ts')).openValkeyRegistry,
  xapi: async () => (await import('./xapi.ts')).openXapiRegistry,
}

/** What the configuration says; it follows a reload. */
const openFixed: OpenRegistry = ({ config: { pool } }) => ({
  registry: staticRegistry(pool.registry === 'static' ? pool.static : {}, pool.address),
  announces: false,
})

/** What a configuration's authority and registry are made by. */
interface Makers {
  readonly openAuthority: OpenAuthority
  readonly openRegistry: OpenRegistry
  /** Null where neither uses Valkey. */
  readonly Link: typeof ValkeyLink | null
  /** Null where xapi is not told of anything. */
  readonly health: Health | null
}

/** What xapi was told of, in the state directory. */
const ALERTS_FILE = 'alerts.json'

/** The same failure is logged at most once in this time, and so many of one event are told apart. */
const SAY_AGAIN_MS = 60_000
const SAID_MAX = 100

/** Events that say that a failure is over, with the failure's. */
const FAILURE_OF: Readonly<Record<string, string>> = {
  'valkey-connected': 'valkey-lost',
  'xapi-reachable': 'xapi-unreachable',
  'registry-reachable': 'registry-unreachable',
}

/** Is told what workers have to know. */
export interface BackendsTold {
  /** Services on other hosts have come or gone. */
  readonly placesChanged: (changes: ServiceChanges) => void
  /** xapi's reference of this host is known. */
  readonly ownHostKnown: (ref: string) => void
}

/** See the head of this file. */
export class Backends {
  /** xapi's reference of this host; null while, or where, that is not known. */
  ownHost: string | null = null
  /** When each failure was logged last, by event and by text. */
  readonly #said = new Map<string, BoundedMap<string, number>>()
  readonly #log: Log
  readonly #Link: typeof ValkeyLink | null
  readonly #limited: OpenContext['limited']
  readonly #health: Health | null
  readonly #opened: OpenedAuthority
  #config: Config
  #link: ValkeyLink | null = null
  #registry: OpenedRegistry
  /** What the registry in force says, for workers that start later. */
  #places = new Whereabouts()
  #local: LocalServices | null = null
  /** Whether another process serves here: what was told of this host is that one's to take back. */
  #isOthers = false
  /** Services that the log has told of. */
  #running: ReadonlySet<string> = new Set()
  /** Whether other hosts are to send nobody here. */
  #isAway = false
  readonly #told: BackendsTold

  /**
   * @param limited told of limits that are hit
   * @param told what workers have to know
   * @throws when what stands in the state directory cannot be used
   */
  static async open(config: Config, log: Log, limited: OpenContext['limited'], told: BackendsTold): Promise<Backends> {
    const makers: Makers = {
      openAuthority: await AUTHORITIES[config.sessions.authority](),
      openRegistry: await REGISTRIES[config.pool.registry](),
      Link: usesValkey(config) ? (await import('../../valkey/link.ts')).ValkeyLink : null,
      health: usesXapi(config) && config.host.alerts ? await openHealth(config, log) : null,
    }
    return new Backends(config, log, makers, limited, told)
  }

  private constructor(config: Config, log: Log, makers: Makers, limited: OpenContext['limited'], told: BackendsTold) {
    this.#told = told
    this.#limited = limited
    this.#config = config
    this.#log = log
    this.#Link = makers.Link
    this.#health = makers.health
    this.#opened = makers.openAuthority(this.#context(config))
    this.#registry = makers.openRegistry(this.#context(config))
    this.#registry.registry.onChanged((changes) => {
      this.#places.take(changes)
      told.placesChanged(changes)
    })
  }

  get authority(): OpenedAuthority['authority'] {
    return this.#opened.authority
  }

  /** What a XenAPI of the gateway's own is made from, if it has one. */
  get xenapi(): OpenedAuthority['xenapi'] {
    return this.#opened.xenapi
  }

  /** Where services are on other hosts, now. */
  get places(): ServiceChanges {
    return this.#places.all
  }

  /** Whether authority and registry are heard, as far as anything was asked of them. */
  get heard(): { readonly authority: boolean; readonly registry: boolean } {
    const { sessions, pool } = this.#config
    const isValkeyLost = this.#said.has('valkey-lost')
    return {
      authority: !(this.#said.has('xapi-unreachable') || (sessions.authority === 'valkey' && isValkeyLost)),
      registry: !(this.#said.has('registry-unreachable') || (pool.registry === 'valkey' && isValkeyLost)),
    }
  }

  /** The services that have a socket here. */
  async localServices(): Promise<readonly FoundService[]> {
    return (await this.#local?.all()) ?? []
  }

  /** @param hasPredecessor whether this process takes the place of another one, which still serves */
  start(hasPredecessor: boolean): void {
    this.#isOthers = hasPredecessor
    this.#opened.authority.start(hasPredecessor)
    this.#registry.registry.start()
    this.#link?.start()
    this.#watchServices()
  }

  /** What xapi is told of this host; null where it is not. */
  get health(): Health | null {
    return this.#health
  }

  /** Tells the log, and the other hosts, which services run here. */
  #watchServices(): void {
    const { registry, announces } = this.#registry
    this.#local?.close()
    const how = announces ? 'surely' : 'quietly'
    const onChanged = (names: readonly string[]): void => {
      const now = new Set(names)
      for (const service of names)
        if (!this.#running.has(service)) this.#log.info({ event: 'service-found', name: service })
      for (const service of this.#running)
        if (!now.has(service)) this.#log.info({ event: 'service-gone', name: service })
      this.#running = now
      if (announces && !this.#isAway) registry.announce(names)
      this.#health?.servicesAre(names)
    }
    const intervalMs = this.#isWatched(this.#config) ? WATCHED_INTERVAL_MS : Number.POSITIVE_INFINITY
    this.#local = new LocalServices(this.#config.services.directories, how, onChanged, intervalMs)
  }

  #isWatched({ host }: Config): boolean {
    return this.#health !== null && host.expectedServices.length > 0
  }

  /** @throws when `config` asks for another authority or registry, or for other settings of one that is running */
  checkReload(config: Config): void {
    const before = this.#config
    refuseOther('sessions.authority', config.sessions.authority, before.sessions.authority)
    if (usesXapi(config)) refuseOther('[sessions.xapi]', config.sessions.xapi, before.sessions.xapi)
    if (usesValkey(config)) refuseOther('[valkey]', config.valkey, before.valkey)
    for (const key of ['alerts', 'dataSources', 'metricsDirectory'] as const)
      refuseOther(`host.${kebab(key)}`, config.host[key], before.host[key])
    if (config.sessions.authority === 'valkey') refuseOther('pool.name', config.pool.name, before.pool.name)
    if (!this.#registry.announces && !tellsOthers(config)) return
    const { static: _, ...pool } = config.pool
    const { static: _before, ...poolBefore } = before.pool
    refuseOther('[pool]', pool, poolBefore)
    refuseOther('services.directories', config.services.directories, before.services.directories)
  }

  /** Takes a reloaded configuration that `checkReload` has accepted; the places are those of the new table. */
  configure(config: Config): void {
    const isMoved = config.services.directories.join('\n') !== this.#config.services.directories.join('\n')
    const isOtherwise = this.#isWatched(config) !== this.#isWatched(this.#config)
    this.#config = config
    if (isMoved || isOtherwise) this.#watchServices()
    this.#health?.configure(config.host)
    this.#opened.configure(config)
    if (this.#registry.announces) return
    this.#registry = openFixed(this.#context(config))
    // Workers of the earlier configuration keep the table that they began with.
    const places = new Whereabouts()
    this.#places = places
    this.#registry.registry.onChanged((changes) => places.take(changes))
    this.#registry.registry.start()
  }

  /** This process serves, and no other does. */
  takeOver(): void {
    this.#isOthers = false
  }

  /** Another process has this one's place. */
  handOver(): void {
    this.#isOthers = true
    this.#local?.close()
  }

  /** Has nobody sent here by other hosts, or again those that want what runs here. */
  setAway(isAway: boolean): void {
    this.#isAway = isAway
    const { registry, announces } = this.#registry
    if (announces) registry.announce(isAway ? [] : [...this.#running])
  }

  /** Has nobody sent here any more: what is under way may take a while. */
  withdraw(): void {
    this.#health?.stopping()
    this.#local?.close()
    this.#registry.registry.announce([])
  }

  async close(): Promise<void> {
    if (this.#isOthers) this.#local?.close()
    else this.withdraw()
    await this.#health?.close()
    await this.#registry.registry.close(!this.#isOthers)
    await this.#opened.close()
    await this.#link?.close()
  }

  #context(config: Config): OpenContext {
    return {
      config,
      report: (event, error) => this.report(event, error),
      limited: this.#limited,
      ownHostKnown: (ref) => {
        this.ownHost = ref
        this.#told.ownHostKnown(ref)
      },
      valkey: () => {
        if (this.#Link === null) throw new Error('neither the authority nor the registry is in Valkey')
        this.#link ??= new this.#Link({
          config: config.valkey,
          key: `${poolPrefix(config.pool.name)}active`,
          heartbeatMs: aliveIntervalMs(config.sessions.staleGraceMs),
          noticed: (error) => this.report(error === null ? 'valkey-connected' : 'valkey-lost', error),
          refused: (error) => this.report('valkey-refused', error),
        })
        return this.#link
      },
    }
  }

  /** Logs a failure, and what it came from, now and then: what fails with each request, or each tick of a clock, is one line a minute. */
  report(event: string, error: unknown): void {
    if (error === null) {
      this.#said.delete(FAILURE_OF[event] ?? event)
      this.#log.info({ event })
      return
    }
    const failure = failureOf(error)
    const said = this.#said.get(event) ?? new BoundedMap<string, number>(SAID_MAX)
    this.#said.set(event, said)
    const nowMs = performance.now()
    if (nowMs - (said.get(failure.message) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return
    said.setLast(failure.message, nowMs)
    this.#log.error({ event, error: failure })
  }
}

async function openHealth(config: Config, log: Log): Promise<Health> {
  const [{ Health: Opened }, { hostAt }] = await Promise.all([
    import('../../dom0/health.ts'),
    import('../../dom0/host.ts'),
  ])
  return new Opened(config.host, {
    xapi: config.sessions.xapi,
    inventory: hostAt('').inventory,
    hostName: config.pool.host,
    path: join(config.stateDir, ALERTS_FILE),
    log,
  })
}

/** `metricsDirectory` as the file has it. */
function kebab(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function tellsOthers({ pool: { registry } }: Config): boolean {
  return registry === 'valkey' || registry === 'xapi'
}

function usesXapi({ sessions: { authority }, pool: { registry } }: Config): boolean {
  return authority === 'xapi' || registry === 'xapi'
}

function usesValkey({ sessions: { authority }, pool: { registry } }: Config): boolean {
  return authority === 'valkey' || registry === 'valkey'
}

function refuseOther(name: string, value: unknown, before: unknown): void {
  if (JSON.stringify(value) === JSON.stringify(before)) return
  throw new Error(`${name} cannot be changed by a reload: restart the daemon`)
}

// One gateway of the simulation: what the daemon has between a request and Valkey. The connection, the authority and the
// registry of its primary process, the broker, and one worker's table; without sockets for clients, and with calls where
// the daemon has messages between its processes.

import type { ValkeySettings } from '../../packages/gateway/src/valkey/url.ts'
import { SessionBroker } from '../../packages/gateway/src/process/session-broker.ts'
import * as registryScripts from '../../packages/gateway/src/services/valkey/scripts.ts'
import { VALKEY_TIMES, ValkeyRegistry } from '../../packages/gateway/src/services/valkey/registry.ts'
import { SessionTable } from '../../packages/gateway/src/sessions/table.ts'
import { ValkeyAuthority } from '../../packages/gateway/src/sessions/valkey/authority.ts'
import * as sessionScripts from '../../packages/gateway/src/sessions/valkey/scripts.ts'
import { poolPrefix } from '../../packages/gateway/src/valkey/keys.ts'
import { Script, ValkeyLink } from '../../packages/gateway/src/valkey/link.ts'

/** Most sessions of a user and of an originator, as by default. */
const SESSIONS_MAX = 500
/** How often a worker tells of activity. */
export const TELL_MS = 1000

const SCRIPT_NAMES: ReadonlyMap<string, string> = new Map(
  [...Object.entries(sessionScripts), ...Object.entries(registryScripts)].flatMap(([name, value]) =>
    value instanceof Script ? [[value.sha1, name] as const] : [],
  ),
)

/** How often each thing was done. */
export type Counts = Record<string, number>

/** Adds one to the count of `name`. */
export function count(counts: Counts, name: string, by: number = 1): void {
  counts[name] = (counts[name] ?? 0) + by
}

/** What a fleet's gateways share. */
export interface GatewaySettings {
  readonly config: ValkeySettings
  readonly pool: string
  /** Decides how often activity is written: each quarter of it, and at most once a minute. */
  readonly idleTimeoutMs: number
}

/** Who is told of what a gateway hears: an ending by its uuid, a service's move by its name. */
export type Heard = (what: string) => void

/** Counts commands that are sent, scripts by their names. The heartbeat's TIME passes it by. */
class CountingLink extends ValkeyLink {
  readonly calls: Counts = {}

  override run(command: string[]): Promise<unknown> {
    const [name = '', sha1 = ''] = command
    count(this.calls, name === 'EVALSHA' ? (SCRIPT_NAMES.get(sha1) ?? name) : name)
    return super.run(command)
  }
}

function report(error: unknown): never {
  throw error
}

/** See the head of this file. */
export class Gateway {
  /** What the server pushed: news of keys, and published messages. */
  readonly pushes: Counts = {}
  readonly table: SessionTable
  readonly #link: CountingLink
  readonly #authority: ValkeyAuthority
  readonly #registry: ValkeyRegistry
  readonly #broker: SessionBroker
  #timer: NodeJS.Timeout | undefined

  constructor({ config, pool, idleTimeoutMs }: GatewaySettings, host: string, heard: Heard) {
    const prefix = poolPrefix(pool)
    this.#link = new CountingLink({ config, key: `${prefix}active`, noticed: () => {}, refused: report })
    const settings = { idleTimeoutMs, maxPerUser: SESSIONS_MAX, maxPerOriginator: SESSIONS_MAX }
    this.#authority = new ValkeyAuthority({ link: this.#link, pool, settings, report })
    this.#registry = new ValkeyRegistry({
      link: this.#link,
      pool,
      own: { host, origin: `https://${host}` },
      report,
      times: VALKEY_TIMES,
    })
    this.#link.add({
      channels: [`${prefix}hosts`],
      connected: () => Promise.resolve(),
      invalidated: (keys) => count(this.pushes, 'keys', keys?.length ?? 1),
      published: () => count(this.pushes, 'messages'),
    })
    this.table = new SessionTable(
      (id) => void this.#ask(id),
      (uuids) => uuids.forEach(heard),
      () => {},
      { idleTimeoutMs, tellIntervalMs: TELL_MS, silenceMs: idleTimeoutMs / 8 },
    )
    this.#broker = new SessionBroker(
      this.#authority,
      async (uuids) => this.table.ended(uuids),
      (uuids, why) => this.table.forget(uuids, why === 'unused'),
      () => {},
    )
    this.#registry.onChanged((changes) => {
      for (const [name] of changes) heard(name)
    })
  }

  get calls(): Readonly<Counts> {
    return this.#link.calls
  }

  /** Connects, and says that `names` run here. */
  async start(names: readonly string[]): Promise<void> {
    this.#authority.start()
    this.#registry.start()
    this.#registry.announce(names)
    this.#link.start()
    await this.#link.whenCurrent(60_000)
    this.#timer = setInterval(() => this.#authority.touch(this.table.takeTouched(performance.now())), TELL_MS)
  }

  /** Answers how many commands it took at once. */
  announce(names: readonly string[]): number {
    const before = this.#link.calls['ANNOUNCE'] ?? 0
    this.#registry.announce(names)
    return (this.#link.calls['ANNOUNCE'] ?? 0) - before
  }

  /** A request with the session `id`. Answers whether it is admitted without a question; otherwise when it is answered. */
  request(id: string): true | Promise<boolean> {
    const nowMs = performance.now()
    const entry = this.table.find(id, nowMs)
    if (entry !== undefined) {
      this.table.touch(entry, nowMs)
      return true
    }
    return new Promise((resolve) => {
      this.table.question(id, '', (answer) => resolve(typeof answer !== 'string'))
    })
  }

  async logout(id: string): Promise<void> {
    if (!(await this.#authority.logout(id))) throw new Error('log out: there is no such session')
  }

  /** Ends the connection; what was announced goes with its lease. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#registry.close()
    await this.#authority.close()
    await this.#link.close()
  }

  async #ask(id: string): Promise<void> {
    this.table.answered(id, await this.#broker.find(id, ''), performance.now())
  }
}

// The registry valkey: each gateway announces what runs on its host under a lease that it renews, and hears of the others'
// changes at once, by a published message that holds the change itself.
//
// Changes are counted. Who sees a number that does not follow the last one has missed some, and reads all again; so does
// who has a new connection. Any gateway's heartbeat removes hosts whose lease is over and says so. A gateway that has
// heard nothing from the server for the length of a lease forgets all others, as they forget it.

import { poolPrefix } from '../../valkey/keys.ts'
import type { Script, ValkeyConsumer, ValkeyLink } from '../../valkey/link.ts'
import { type Announcement, formatAnnouncement, parseAnnouncement } from '../announcement.ts'
import { HostTable, type OwnHost } from '../host-table.ts'
import type { PoolRegistry, RegistryTimes, ServiceChanges } from '../registry.ts'
import { ANNOUNCE, READ, WITHDRAW } from './scripts.ts'

export const VALKEY_TIMES: RegistryTimes = { beatMs: 3000, leaseMs: 10_000 }
const LOOK_MS = 500

/** What a `ValkeyRegistry` is built from. */
export interface ValkeyRegistryOptions {
  readonly link: ValkeyLink
  readonly pool: string
  readonly own: OwnHost
  /** Told of what an operator has to see to. */
  readonly report: (error: unknown) => void
  readonly times: RegistryTimes
}

/** See the head of this file, and `PoolRegistry`. */
export class ValkeyRegistry implements PoolRegistry, ValkeyConsumer {
  readonly channels: readonly string[]
  readonly #link: ValkeyLink
  readonly #prefix: string
  readonly #own: OwnHost
  readonly #report: (error: unknown) => void
  readonly #table: HostTable
  readonly #times: RegistryTimes
  #listener: (changes: ServiceChanges) => void = () => {}
  #timers: NodeJS.Timeout[] = []
  #version = 0
  #isReading = false
  /** Whether there was news while all was read. */
  #isToRead = false
  #isNameTaken = false
  #isClosed = false

  constructor(options: ValkeyRegistryOptions) {
    const { link, pool, own, report, times } = options
    this.#times = times
    this.#link = link
    this.#prefix = poolPrefix(pool)
    this.#own = own
    this.#report = report
    this.#table = new HostTable(own, (changes) => this.#listener(changes))
    this.channels = [`${this.#prefix}hosts`]
    link.add(this)
  }

  start(): void {
    if (this.#timers.length > 0) return
    const heartbeat = setInterval(() => this.#say(), this.#times.beatMs).unref()
    const look = setInterval(
      () => {
        if (this.#link.stalenessMs > this.#times.leaseMs) this.#table.keepOnly(new Set())
      },
      Math.min(LOOK_MS, this.#times.leaseMs / 4),
    ).unref()
    this.#timers = [heartbeat, look]
  }

  announce(names: readonly string[]): void {
    if (this.#table.announce(names)) this.#say()
  }

  onChanged(listener: (changes: ServiceChanges) => void): void {
    this.#listener = listener
  }

  async close(withdraws = true): Promise<void> {
    this.#isClosed = true
    for (const timer of this.#timers) clearInterval(timer)
    // Without a connection the lease ends by itself.
    if (withdraws) await this.#script(WITHDRAW, this.#own.host).catch(() => {})
  }

  async connected(): Promise<void> {
    if (this.#isClosed) return
    await this.#readAll(true)
    await this.#renew()
  }

  /** None of its keys is tracked. */
  invalidated(): void {}

  published(message: string): void {
    const change = parseChange(message)
    // The gateway is one of several that share the connection's messages: those of sessions are not for this one.
    if (change === undefined || change.version <= this.#version) return
    const isNext = change.version === this.#version + 1
    if (!isNext) {
      this.#read()
      return
    }
    this.#version = change.version
    if (change.text === '') this.#table.forget([change.host])
    else this.#take(parseAnnouncement(change.host, change.text))
  }

  #take(announcement: Announcement | undefined): void {
    if (announcement === undefined) return
    if (announcement.host === this.#own.host) this.#checkOwn(announcement)
    else if (this.#table.take(announcement)) this.#say()
  }

  /** Two hosts of one name would take turns: the operator has to know. */
  #checkOwn(announcement: Announcement): void {
    const isOwn = announcement.stamp <= this.#table.announced.stamp && announcement.origin === this.#own.origin
    if (isOwn || this.#isNameTaken) return
    this.#isNameTaken = true
    this.#report(new Error(`announce services: another gateway has the name "${this.#own.host}" too; set pool.host`))
  }

  /** Says what runs here, now; without a connection it is said when there is one. */
  #say(): void {
    if (this.#isClosed) return
    this.#renew().catch(() => {})
  }

  async #renew(): Promise<void> {
    const text = formatAnnouncement(this.#table.announced)
    const version = await this.#script(ANNOUNCE, this.#own.host, text, this.#times.leaseMs)
    if (Number(version) > this.#version) this.#read()
  }

  #read(): void {
    this.#isToRead = true
    if (this.#isReading) return
    this.#isReading = true
    this.#isToRead = false
    this.#readAll(false)
      .catch(() => {
        // The connection is lost: all is read with the next one.
        this.#isToRead = false
      })
      .finally(() => {
        this.#isReading = false
        if (this.#isToRead) this.#read()
      })
  }

  /** @param isFirst whether the own announcement may be one from before a restart */
  async #readAll(isFirst: boolean): Promise<void> {
    const [version, ...rest] = (await this.#script(READ)) as unknown[]
    this.#version = Number(version)
    const found = Array.from({ length: rest.length / 2 }, (_, index) =>
      parseAnnouncement(String(rest[2 * index]), String(rest[2 * index + 1])),
    ).filter((announcement) => announcement !== undefined)
    this.#table.keepOnly(new Set(found.map(({ host }) => host)))
    for (const announcement of found) {
      if (isFirst && announcement.host === this.#own.host) this.#table.take(announcement)
      else this.#take(announcement)
    }
  }

  #script(script: Script, ...argv: (string | number)[]): Promise<unknown> {
    return this.#link.script(script, [`${this.#prefix}announcements`], [this.#prefix, ...argv])
  }
}

interface Change {
  readonly version: number
  readonly host: string
  readonly text: string
}

function parseChange(message: string): Change | undefined {
  try {
    const { version, host, text } = JSON.parse(message) as Readonly<Record<string, unknown>>
    if (typeof version !== 'number' || typeof host !== 'string' || typeof text !== 'string') return undefined
    return { version, host, text }
  } catch {
    return undefined
  }
}

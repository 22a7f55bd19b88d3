// The registry xapi: each gateway announces what runs on its host in `host.other_config`, which xapi replicates, and
// follows the others by `event.from`. Nothing but the pool itself is needed.
//
// A host is forgotten when xapi says that it does not live (`host_metrics.live`, which takes xapi some minutes when a
// host dies), and when its announcement, which is written anew every minute, has not changed for two and a half. After
// lost events, a lost connection, a restart of xapi and a change of coordinator all hosts are read again.

import { setTimeout as pause } from 'node:timers/promises'
import { hostOf } from '../../model/origin.ts'
import type { XapiClient } from '../../xapi/client.ts'
import { XapiFailure } from '../../xapi/errors.ts'
import { formatAnnouncement } from '../announcement.ts'
import { HostTable } from '../host-table.ts'
import type { PoolRegistry, RegistryTimes, ServiceChanges } from '../registry.ts'
import { type HostRecord, HostRecords, SERVICES_KEY } from './host-records.ts'

/** xapi replicates each write to all hosts of the pool. */
export const XAPI_TIMES: RegistryTimes = { beatMs: 60_000, leaseMs: 150_000 }
/** How long xapi may wait for events, and how much longer its answer may take. */
const EVENTS_SECONDS = 30.1
const EVENTS_TIMEOUT_MS = 40_000
const RETRY_FIRST_MS = 100
const RETRY_LAST_MS = 5000
const LOOK_MS = 500
/** Errors after which the next call goes to another xapi, or under another session, at once. */
const MENDED: ReadonlySet<string> = new Set(['HOST_IS_SLAVE', 'SESSION_INVALID', 'EVENTS_LOST'])

/** How to recognize this host among xapi's, and where clients reach it. */
export interface XapiHost {
  /** The host's uuid, host name or label. */
  readonly name: string
  readonly origin: string
}

/** What a `XapiRegistry` is built from. */
export interface XapiRegistryOptions {
  /** The registry's own: it is closed with it. */
  readonly client: XapiClient
  readonly own: XapiHost
  /** Told of what an operator has to see to. */
  readonly report: (error: unknown) => void
  /** Told xapi's reference of this host, once it is known, and each time that it is another. */
  readonly ownHostKnown: (ref: string) => void
  readonly times: RegistryTimes
}

/** See the head of this file, and `PoolRegistry`. */
export class XapiRegistry implements PoolRegistry {
  readonly #client: XapiClient
  readonly #own: XapiHost
  readonly #report: (error: unknown) => void
  readonly #ownHostKnown: (ref: string) => void
  readonly #times: RegistryTimes
  readonly #records: HostRecords
  readonly #closing = new AbortController()
  #listener: (changes: ServiceChanges) => void = () => {}
  /** From when this host is known among xapi's. */
  #table: HostTable | null = null
  #ownRef = ''
  #names: readonly string[] = []
  #beat = 0
  #heardMs = 0
  #timers: NodeJS.Timeout[] = []
  #following: Promise<void> | null = null
  #writing: Promise<void> | null = null
  #isToWrite = false
  #isUnknown = false

  constructor({ client, own, report, ownHostKnown, times }: XapiRegistryOptions) {
    this.#client = client
    this.#own = own
    this.#report = report
    this.#ownHostKnown = ownHostKnown
    this.#times = times
    this.#records = new HostRecords(times.leaseMs)
  }

  start(): void {
    if (this.#following !== null) return
    this.#following = this.#follow()
    const look = setInterval(() => this.#look(), Math.min(LOOK_MS, this.#times.leaseMs / 4)).unref()
    const beat = setInterval(() => {
      this.#beat += 1
      this.#write()
    }, this.#times.beatMs).unref()
    this.#timers = [look, beat]
  }

  announce(names: readonly string[]): void {
    this.#names = names
    if (this.#table?.announce(names) === true) this.#write()
  }

  onChanged(listener: (changes: ServiceChanges) => void): void {
    this.#listener = listener
  }

  async close(withdraws = true): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    if (withdraws) this.announce([])
    this.#closing.abort()
    await this.#writing
    await this.#client.close()
    await this.#following
  }

  async #follow(): Promise<void> {
    let retryMs = RETRY_FIRST_MS
    let token = ''
    while (!this.#closing.signal.aborted) {
      try {
        token = await this.#events(token)
        retryMs = RETRY_FIRST_MS
      } catch (error) {
        // A token is one xapi's and one run's: all is read again.
        token = ''
        const isRefused = error instanceof XapiFailure && !MENDED.has(error.code)
        if (isRefused) this.#report(error)
        const isMended = error instanceof XapiFailure && !isRefused && retryMs === RETRY_FIRST_MS
        if (!isMended) await pause(retryMs, undefined, { signal: this.#closing.signal }).catch(() => {})
        retryMs = Math.min(retryMs * 2, RETRY_LAST_MS)
      }
    }
  }

  /** Takes the events after `token`; all there is after the empty one. @returns the next token */
  async #events(token: string): Promise<string> {
    const params = [['host', 'host_metrics'], token, EVENTS_SECONDS]
    const answer = await this.#client.ownOnce('event.from', params, EVENTS_TIMEOUT_MS)
    const { events, token: next } = (answer ?? {}) as { readonly events?: unknown; readonly token?: unknown }
    if (!Array.isArray(events) || typeof next !== 'string') throw new Error('read events of xapi: they are none')
    const nowMs = performance.now()
    this.#heardMs = nowMs
    this.#records.take(events, token === '', nowMs)
    this.#look()
    return next
  }

  /** Brings the table in step with what is known. */
  #look(): void {
    const nowMs = performance.now()
    const own = this.#ownRecord()
    if (own !== undefined && own.ref !== this.#ownRef) this.#isNow(own)
    const table = this.#table
    if (table === null) {
      this.#sayUnknown()
      return
    }
    // Who hears nothing knows nothing.
    const isDeaf = nowMs - this.#heardMs > this.#times.leaseMs
    const there = isDeaf ? [] : this.#records.announcements(nowMs)
    table.keepOnly(new Set(there.map(({ host }) => host)))
    const isAgain = there.map((announcement) => table.take(announcement)).includes(true)
    if (isAgain) this.#write()
  }

  /** This host is known, or has another reference: it has joined a pool or left one, or the database was restored. */
  #isNow({ ref, uuid }: HostRecord): void {
    this.#ownRef = ref
    this.#ownHostKnown(ref)
    this.#table ??= this.#makeTable(uuid)
    this.#write()
  }

  #makeTable(host: string): HostTable {
    const table = new HostTable({ host, origin: this.#own.origin }, (changes) => this.#listener(changes))
    table.announce(this.#names, true)
    return table
  }

  /** The host that has the name, or else the address, of this one. */
  #ownRecord(): HostRecord | undefined {
    const { name, origin } = this.#own
    const hosts = this.#records.all
    const named = hosts.find(({ uuid, hostname, nameLabel }) => [uuid, hostname, nameLabel].includes(name))
    return named ?? hosts.find(({ address }) => address === hostOf(origin))
  }

  #sayUnknown(): void {
    if (this.#isUnknown || this.#records.all.length === 0) return
    this.#isUnknown = true
    const known = this.#records.all.map(({ hostname }) => hostname).join(', ')
    const text = `announce services: xapi has no host "${this.#own.name}"; set pool.host to one of ${known}`
    this.#report(new Error(text))
  }

  /** Writes the announcement: one writing at a time, and once more when there was news meanwhile. */
  #write(): void {
    this.#isToWrite = true
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null
      // There may have been news after the last look.
      if (this.#isToWrite && this.#table !== null && !this.#closing.signal.aborted) this.#write()
    })
  }

  async #writeAll(): Promise<void> {
    for (let retryMs = RETRY_FIRST_MS; this.#isToWrite && this.#table !== null;) {
      this.#isToWrite = false
      try {
        await this.#put(`${formatAnnouncement(this.#table.announced).slice(0, -1)},"beat":${this.#beat}}`)
        retryMs = RETRY_FIRST_MS
      } catch (error) {
        if (this.#closing.signal.aborted) return
        if (error instanceof XapiFailure && error.code !== 'MAP_DUPLICATE_KEY') this.#report(error)
        this.#isToWrite = true
        await pause(retryMs, undefined, { signal: this.#closing.signal }).catch(() => {})
        retryMs = Math.min(retryMs * 2, RETRY_LAST_MS)
      }
    }
  }

  /** There is no step that replaces one key: setting the whole map could undo what others set in it. */
  async #put(text: string): Promise<void> {
    await this.#client.own('host.remove_from_other_config', [this.#ownRef, SERVICES_KEY])
    await this.#client.own('host.add_to_other_config', [this.#ownRef, SERVICES_KEY, text])
  }
}

// Messages of this host in xapi, which its clients show to people: one when something fails, and one when it is well again.
//
// What was told is kept in the state directory, so that a daemon that is started again neither repeats it nor forgets to take it back.
// xapi may be away, and there may have been many messages in the last hour: then what is true when it can be told is told, and what came and
// went meanwhile is not.

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { failureOf } from '../logging/causes.ts'
import type { Log } from '../logging/log.ts'
import { XapiClient } from '../xapi/client.ts'
import type { XapiSettings } from '../xapi/address.ts'
import { readKeys } from './inventory.ts'

/** What alerts are about: the gateway itself, or an expected service by its name. */
export type Subject = 'gateway' | `service:${string}`

/** What `Alerts` are made from. */
export interface AlertOptions {
  readonly xapi: XapiSettings
  /** File with the host's uuid, and the host's name, uuid or label for where there is no such file. */
  readonly inventory: string
  readonly hostName: string
  /** File of what was told. */
  readonly path: string
  readonly log: Log
  /** For tests; default: see below. */
  readonly retryMs?: number
}

interface State {
  /** What was told to have failed. */
  readonly told: readonly string[]
  /** When messages were sent in the last hour, in milliseconds since the epoch. */
  readonly sentMs: readonly number[]
  /** When the machine had started, of a daemon that has not stopped as it was asked; null where none runs. */
  readonly runningSinceBootMs: number | null
}

const NOTHING: State = { told: [], sentMs: [], runningSinceBootMs: null }

/** Messages in an hour: services leave some to the gateway itself. */
const SERVICES_HOURLY_MAX = 12
const HOURLY_MAX = 16
const HOUR_MS = 3_600_000
/** How long after a failure xapi is told again: doubled, up to the last. */
const RETRY_FIRST_MS = 15_000
const RETRY_LAST_MS = 600_000
/** How long a call of xapi may take. */
const CALL_MS = 4000

/** Of xapi's scale: 2 a service is lost, 3 a service is degraded, 4 it is well again. */
const PRIORITY = { gateway: 2, service: 3, well: 4 } as const

/** See the head of this file. */
export class Alerts {
  readonly #options: AlertOptions
  #state: State
  /** What is known to be well or not; the text says what has failed. */
  readonly #now = new Map<Subject, { readonly isWell: boolean; readonly text: string }>()
  #telling: Promise<void> | null = null
  #hasNews = false
  #timer: NodeJS.Timeout | undefined
  #hasBegun = false
  #isClosed = false
  #retryMs: number

  constructor(options: AlertOptions) {
    this.#options = options
    this.#retryMs = options.retryMs ?? RETRY_FIRST_MS
    this.#state = readState(options.path)
  }

  /** Says that the daemon runs. @returns whether the one before ended without being asked to, while the machine ran on */
  begin(bootMs: number): boolean {
    this.#hasBegun = true
    const before = this.#state.runningSinceBootMs
    this.#keep({ runningSinceBootMs: bootMs })
    // The clock may have been set a little since.
    return before !== null && Math.abs(before - bootMs) < CLOCK_DOUBT_MS
  }

  /** Something is well, or is not; told when that is news. */
  set(subject: Subject, isWell: boolean, text: string): void {
    if (this.#now.get(subject)?.isWell === isWell) return
    this.#now.set(subject, { isWell, text })
    this.#tellSoon()
  }

  /** Nobody wants to know of `subject` any more. */
  forget(subject: Subject): void {
    this.#now.delete(subject)
    if (this.#state.told.includes(subject)) this.#keep({ told: this.#state.told.filter((one) => one !== subject) })
  }

  /** What was told of that failed, and was not said to be well again. */
  get told(): readonly string[] {
    return this.#state.told
  }

  /** The daemon stops as it was asked. */
  end(): void {
    if (this.#hasBegun) this.#keep({ runningSinceBootMs: null })
    this.#hasBegun = false
  }

  /** Tells no more. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
    await this.#telling
  }

  #tellSoon(): void {
    this.#hasNews = true
    if (this.#isClosed) return
    this.#telling ??= this.#tellAll().finally(() => {
      this.#telling = null
      // There may have been news after the last look.
      if (this.#hasNews) this.#tellSoon()
    })
  }

  async #tellAll(): Promise<void> {
    this.#hasNews = false
    clearTimeout(this.#timer)
    try {
      for (let next = this.#next(); next !== undefined && !this.#isClosed; next = this.#next()) await this.#tell(next)
    } catch (error) {
      this.#options.log.warn({ event: 'alert-failed', error: failureOf(error) })
      this.#tellLater(this.#retryMs)
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_LAST_MS)
    }
  }

  #tellLater(ms: number): void {
    if (!this.#isClosed) this.#timer = setTimeout(() => this.#tellSoon(), ms).unref()
  }

  /** The first of what is to be told and may be. */
  #next(): Subject | undefined {
    const news = [...this.#now].filter(([subject, { isWell }]) => isWell === this.#state.told.includes(subject))
    if (news.length === 0) return undefined
    const nowMs = Date.now()
    // A clock that was set back makes no message later than now.
    const sentMs = this.#state.sentMs.filter((ms) => ms <= nowMs && nowMs - ms < HOUR_MS)
    const isAllowed = ([subject]: readonly [Subject, unknown]): boolean =>
      sentMs.length < (subject === 'gateway' ? HOURLY_MAX : SERVICES_HOURLY_MAX)
    const next = news.find(isAllowed)
    if (next !== undefined) return next[0]
    this.#options.log.warn({ event: 'alerts-held-back', subjects: news.length, sent: sentMs.length })
    this.#tellLater(Math.max(RETRY_FIRST_MS, HOUR_MS - (nowMs - (sentMs[0] ?? nowMs))))
    return undefined
  }

  async #tell(subject: Subject): Promise<void> {
    const { isWell, text } = this.#now.get(subject) ?? { isWell: true, text: '' }
    const kind = subject === 'gateway' ? 'gateway' : 'service'
    const name = NAMES[kind][isWell ? 1 : 0]
    await this.#send(name, isWell ? PRIORITY.well : PRIORITY[kind], text)
    this.#retryMs = this.#options.retryMs ?? RETRY_FIRST_MS
    this.#options.log.info({ event: 'alert-told', name, subject })
    const others = this.#state.told.filter((one) => one !== subject)
    const nowMs = Date.now()
    const sentMs = [...this.#state.sentMs.filter((ms) => ms <= nowMs && nowMs - ms < HOUR_MS), nowMs]
    this.#keep({ told: isWell ? others : [...others, subject], sentMs })
  }

  /** With a client of its own, since this is rare: nothing is kept for it. */
  async #send(name: string, priority: number, body: string): Promise<void> {
    const client = new XapiClient(this.#options.xapi)
    try {
      await client.own('message.create', [name, priority, 'Host', await this.#hostUuid(client), body], CALL_MS)
    } finally {
      await client.close()
    }
  }

  async #hostUuid(client: XapiClient): Promise<string> {
    const own = readKeys(this.#options.inventory).get('INSTALLATION_UUID')
    if (own !== undefined) return own
    const { hostName } = this.#options
    const hosts = Object.values(
      Object(await client.own('host.get_all_records', [], CALL_MS)) as Record<string, unknown>,
    )
    for (const host of hosts) {
      const { uuid, hostname, name_label: label } = Object(host) as Readonly<Record<string, unknown>>
      if ([uuid, hostname, label].includes(hostName)) return String(uuid)
    }
    throw new Error(`xapi has no host "${hostName}"; set pool.host to its uuid, host name or label`)
  }

  #keep(changed: Partial<State>): void {
    this.#state = { ...this.#state, ...changed }
    const beside = `${this.#options.path}.new`
    try {
      writeFileSync(beside, `${JSON.stringify(this.#state)}\n`, { mode: 0o600 })
      renameSync(beside, this.#options.path)
    } catch (error) {
      this.#options.log.warn({ event: 'alerts-not-kept', error: failureOf(error) })
    }
  }
}

const CLOCK_DOUBT_MS = 60_000

/** Names of messages: of what has failed, and of what is well again. */
const NAMES = {
  gateway: ['XENGATE_FAILED', 'XENGATE_RECOVERED'],
  service: ['XENGATE_SERVICE_DOWN', 'XENGATE_SERVICE_UP'],
} as const

/** What is no such file says nothing. */
function readState(path: string): State {
  try {
    const read = Object(JSON.parse(readFileSync(path, 'utf8'))) as Readonly<Record<string, unknown>>
    const { told, sentMs, runningSinceBootMs: bootMs } = read
    return {
      told: Array.isArray(told) ? told.map(String) : [],
      sentMs: Array.isArray(sentMs) ? sentMs.filter((ms): ms is number => typeof ms === 'number') : [],
      runningSinceBootMs: typeof bootMs === 'number' ? bootMs : null,
    }
  } catch {
    return NOTHING
  }
}

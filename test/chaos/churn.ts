// What comes and goes during a long load: sessions, services, channels, and configurations.

import { callXenApi, type DaemonSettings, login, type Place } from '../harness/daemon.ts'
import { RawClient } from '../harness/raw.ts'
import { Scope } from '../harness/scope.ts'
import { serveHttp } from '../harness/services.ts'
import { answer } from './answer.ts'
import { Checker, type Signed } from './checker.ts'

const SESSION_MS = 500
const CHANNEL_MS = 300
const SERVICE_MS = 1000
const RELOAD_MS = 20_000
/** Names that services come and go by. */
const NAMES = 20

/** What it needs. */
export interface ChurnOptions {
  readonly place: Place
  readonly url: string
  readonly settings: DaemonSettings
  readonly signed: Signed
  /** Path of what is asked under sessions that come and go. */
  readonly target: string
  /** Name of a service that takes channels. */
  readonly passed: string
  /** Told of what may not be. */
  readonly wrong: (text: string) => void
}

/** How often each of them has come and gone. */
export interface ChurnCount {
  sessions: number
  channels: number
  /** Of the channels: how many the service did not get, so that they were relayed. */
  relayed: number
  services: number
  reloads: number
}

export class Churn {
  readonly count: ChurnCount = { sessions: 0, channels: 0, relayed: 0, services: 0, reloads: 0 }
  readonly #options: ChurnOptions
  readonly #running: readonly Promise<void>[]
  #isStopping = false

  constructor(options: ChurnOptions) {
    this.#options = options
    this.#running = [
      this.#again('sessions', SESSION_MS, () => this.#session()),
      this.#again('channels', CHANNEL_MS, () => this.#channel()),
      this.#again('services', SERVICE_MS, (number) => this.#service(number)),
      this.#again('reloads', RELOAD_MS, (number) => this.#reload(number)),
    ]
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(this.#running)
  }

  async #again(
    what: Exclude<keyof ChurnCount, 'relayed'>,
    everyMs: number,
    act: (number: number) => Promise<void>,
  ): Promise<void> {
    for (let number = 0; !this.#isStopping; number++) {
      await new Promise((resolve) => setTimeout(resolve, everyMs))
      try {
        await act(number)
        this.count[what]++
      } catch (error) {
        this.#options.wrong(`${what}: ${String(error)}`)
      }
    }
  }

  async #session(): Promise<void> {
    const { url, target, signed } = this.#options
    const session = await login(url)
    await this.#ask(target, { user: signed.user, session })
    const { error } = await callXenApi(url, 'session.logout', [session])
    if (error !== undefined) throw new Error(JSON.stringify(error))
  }

  async #channel(): Promise<void> {
    const { url, signed, passed } = this.#options
    using client = await RawClient.connect(url)
    const lines = `Host: gate\r\nCookie: session_id=${signed.session}\r\n\r\n`
    const { status, text } = await client.exchange(`GET /services/plugin/${passed}/way HTTP/1.1\r\n${lines}`)
    if (status === 200 && text === 'relay') this.count.relayed++
    else if (status !== 200 || text !== 'channel') throw new Error(`${status} ${text}`)
  }

  async #service(number: number): Promise<void> {
    const { place, signed } = this.#options
    const name = `com.example.s${number % NAMES}`
    const scope = new Scope()
    try {
      await serveHttp(scope, place.socket(name), (request, response) => answer(request, response, () => {}))
      await this.#ask(`/services/plugin/${name}`, signed)
    } finally {
      await scope.close()
    }
  }

  async #ask(target: string, signed: Signed): Promise<void> {
    const checker = new Checker(this.#options.url, target, [], 0)
    const outcome = await checker.ask(signed, false)
    await checker.stop()
    if (outcome !== 'right' || checker.wrong.length > 0) throw new Error([outcome, ...checker.wrong].join(' '))
  }

  async #reload(number: number): Promise<void> {
    const { place, settings } = this.#options
    const limits = `[limits]\nconnections = ${5000 + (number % 2)}\n`
    await place.configure({ ...settings, tables: `${settings.tables}${limits}` })
    const { code, stderr } = await place.command(['reload'])
    // While an upgrade is under way it is not taken.
    if (code !== 0 && !stderr.includes('upgrade')) throw new Error(stderr)
  }
}

// What alerts tell of: expected services that do not accept connections for some time, and the gateway itself, whose workers die or hang, or
// which ended without being asked to.

import { uptime } from 'node:os'
import { type AlertOptions, Alerts, type Subject } from './alerts.ts'

/** Workers that die in this time are one failure of the gateway, and after it, without another, the gateway is well again. */
const WELL_AFTER_MS = 60_000
const DEATHS_MAX = 3

/** What became of a worker. */
export type WorkerTrouble = 'died' | 'hung'

/** What the operator expects of services. */
export interface Expectations {
  /** Names of services that are to accept connections. */
  readonly expectedServices: readonly string[]
  /** How long one may not, in milliseconds, before that is told. */
  readonly alertAfterMs: number
}

/** See the head of this file. */
export class Health {
  readonly #alerts: Alerts
  readonly #hostName: string
  readonly #wellAfterMs: number
  #config: Expectations
  #running: ReadonlySet<string> = new Set()
  /** Of expected services that do not accept connections: until that is told. */
  readonly #waiting = new Map<string, NodeJS.Timeout>()
  #deaths: number[] = []
  #wellTimer: NodeJS.Timeout | undefined

  /** @param wellAfterMs for tests; default: see above */
  constructor(config: Expectations, options: AlertOptions, wellAfterMs: number = WELL_AFTER_MS) {
    this.#wellAfterMs = wellAfterMs
    this.#config = config
    this.#hostName = options.hostName
    this.#alerts = new Alerts(options)
  }

  /** The daemon has started. */
  start(): void {
    const hasEnded = this.#alerts.begin(Date.now() - uptime() * 1000)
    if (hasEnded) this.#failed('It had ended without being asked to, and was started again.')
    else this.#awaitWell()
    this.#look()
  }

  /** @param running names of the services that accept connections */
  servicesAre(running: readonly string[]): void {
    this.#running = new Set(running)
    this.#look()
  }

  configure(config: Expectations): void {
    this.#config = config
    this.#look()
  }

  workerTrouble(trouble: WorkerTrouble): void {
    const nowMs = performance.now()
    this.#deaths = [...this.#deaths, nowMs].filter((ms) => nowMs - ms < WELL_AFTER_MS).slice(-DEATHS_MAX)
    if (trouble === 'hung') this.#failed('A worker process hung, and was ended.')
    else if (this.#deaths.length === DEATHS_MAX) this.#failed('Its worker processes keep dying.')
    else this.#awaitWell()
  }

  /** The daemon stops as it was asked, and finishes what is under way. */
  stopping(): void {
    this.#alerts.end()
  }

  async close(): Promise<void> {
    clearTimeout(this.#wellTimer)
    for (const timer of this.#waiting.values()) clearTimeout(timer)
    await this.#alerts.close()
  }

  #failed(what: string): void {
    const where = 'See /var/log/daemon.log, and journalctl -u xengate.'
    this.#alerts.set('gateway', false, `Xengate on ${this.#hostName} has failed. ${what} ${where}`)
    this.#awaitWell()
  }

  /** Each failure begins the wait anew. */
  #awaitWell(): void {
    clearTimeout(this.#wellTimer)
    this.#wellTimer = setTimeout(() => {
      this.#alerts.set('gateway', true, `Xengate on ${this.#hostName} is well again.`)
    }, this.#wellAfterMs).unref()
  }

  #look(): void {
    const { expectedServices, alertAfterMs } = this.#config
    for (const name of expectedServices) {
      if (this.#running.has(name)) this.#isUp(name)
      else this.#isDown(name, alertAfterMs)
    }
    const told = this.#alerts.told.filter((one): one is `service:${string}` => one.startsWith('service:'))
    const watched = [...this.#waiting.keys()].map(subjectOf)
    for (const subject of [...told, ...watched])
      if (!expectedServices.includes(subject.slice('service:'.length))) this.#dropped(subject)
  }

  #isUp(name: string): void {
    clearTimeout(this.#waiting.get(name))
    this.#waiting.delete(name)
    this.#alerts.set(subjectOf(name), true, `The service ${name} on ${this.#hostName} accepts connections again.`)
  }

  #isDown(name: string, afterMs: number): void {
    if (this.#waiting.has(name)) return
    const timer = setTimeout(() => {
      const what = `The service ${name} on ${this.#hostName} does not accept connections: it has stopped, or was not started.`
      this.#alerts.set(subjectOf(name), false, what)
    }, afterMs).unref()
    this.#waiting.set(name, timer)
  }

  /** It is expected no more. */
  #dropped(subject: `service:${string}`): void {
    const name = subject.slice('service:'.length)
    clearTimeout(this.#waiting.get(name))
    this.#waiting.delete(name)
    this.#alerts.forget(subject)
  }
}

function subjectOf(name: string): `service:${string}` & Subject {
  return `service:${name}`
}

// What the daemon tells the service manager that started it, if that wants to hear (sd_notify(3), sd_watchdog_enabled(3)).

import { DatagramSender } from '@xengate/channel'
import { keptName, sockets } from './sockets.ts'

/** In which part of the time that the manager waits for a sign of life it gets one. */
const WATCHDOG_PARTS = 4
/** What the manager had no room for is said again so much later, in milliseconds. */
const AGAIN_MS = 1000
/** For so long the manager is asked to wait at a time while the daemon stops. */
const EXTEND_MS = 10_000

/** See the head of this file. */
export class ServiceManager {
  readonly #sender: DatagramSender | null
  readonly #watchdogMs: number
  /** For a process that takes this one's place. */
  readonly environment: Readonly<Record<string, string>>
  #hasSigns = false
  /** Names of the sockets that it keeps. */
  readonly #kept: Set<string>
  #again: NodeJS.Timeout | undefined
  /** Whether it keeps any: see `keep`. */
  readonly keeps: boolean

  /**
   * @param path of the manager's socket; null when there is none
   * @param watchdogMs how long the manager waits for a sign of life; 0: for ever
   * @param socketsMax how many sockets it keeps in case that the daemon dies
   * @param kept names of those that it keeps
   */
  constructor(path: string | null, watchdogMs: number, socketsMax: number, kept: readonly string[]) {
    this.environment =
      path === null
        ? {}
        : {
            NOTIFY_SOCKET: path,
            ...(watchdogMs > 0 && { WATCHDOG_USEC: String(watchdogMs * 1000) }),
            ...(socketsMax > 0 && { FDSTORE: String(socketsMax) }),
          }
    this.keeps = socketsMax > 0
    this.#kept = new Set(kept)
    this.#sender = path === null ? null : new DatagramSender(path)
    this.#watchdogMs = watchdogMs
  }

  /** The manager that `env` names. The names are taken out of `env`: no process that this one starts may speak for it. */
  static fromEnvironment(env: NodeJS.ProcessEnv): ServiceManager {
    const { NOTIFY_SOCKET: path, WATCHDOG_USEC: usec, WATCHDOG_PID: pid, FDSTORE: socketsMax = '0' } = env
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'FDSTORE']) delete env[name]
    const isMeant = pid === undefined || Number(pid) === process.pid
    return new ServiceManager(path ?? null, isMeant ? Number(usec ?? 0) / 1000 : 0, Number(socketsMax), sockets.kept)
  }

  /**
   * Has the manager keep these sockets, and no others, and give them to the daemon that it starts when this one has died: meanwhile connections
   * wait. Where they are to listen they do already: what does not is taken for over.
   * @param own descriptors by key
   */
  keep(own: ReadonlyMap<string, number>): void {
    if (!this.keeps) return
    clearTimeout(this.#again)
    const wanted = new Map([...own].map(([key, fd]) => [keptName(key), fd]))
    const removed = [...this.#kept].filter((name) => !wanted.has(name))
    const added = [...wanted].filter(([name]) => !this.#kept.has(name))
    for (const name of removed) if (this.#say(`FDSTOREREMOVE=1\nFDNAME=${name}`)) this.#kept.delete(name)
    for (const [name, fd] of added) if (this.#say(`FDSTORE=1\nFDPOLL=0\nFDNAME=${name}`, fd)) this.#kept.add(name)
    const isSaid = this.#kept.size === wanted.size && added.every(([name]) => this.#kept.has(name))
    if (!isSaid) this.#again = setTimeout(() => this.keep(own), AGAIN_MS).unref()
  }

  /** The daemon serves, or serves again. From the first time on it gives signs of life. */
  ready(urls: readonly string[]): void {
    this.#say(`READY=1\nSTATUS=serving at ${urls.join(', ')}`)
    if (this.#watchdogMs === 0 || this.#sender === null || this.#hasSigns) return
    this.#hasSigns = true
    setInterval(() => this.#say('WATCHDOG=1'), this.#watchdogMs / WATCHDOG_PARTS).unref()
  }

  /** The daemon takes another configuration; `ready` follows, whatever becomes of it. */
  reloading(): void {
    this.#say(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}\nSTATUS=taking the configuration`)
  }

  /** Another process serves in place of this one: from now on the manager hears that one alone. */
  succeededBy(pid: number, urls: readonly string[]): void {
    this.#say(`READY=1\nMAINPID=${pid}\nSTATUS=serving at ${urls.join(', ')}`)
  }

  /** The daemon stops, and asks again and again for more time while something is under way; signs of life go on as before. */
  stopping(): void {
    this.#say('STOPPING=1\nSTATUS=finishing what is under way')
    const extend = (): unknown => this.#say(`EXTEND_TIMEOUT_USEC=${EXTEND_MS * 1000}`)
    extend()
    setInterval(extend, EXTEND_MS / 2).unref()
  }

  /** @param fd a descriptor that goes with it; absent when none does. @returns whether it could be said: what could not the manager will see */
  #say(text: string, fd?: number): boolean {
    const bytes = Buffer.from(text)
    return (fd === undefined ? this.#sender?.send(bytes) : this.#sender?.sendWith(bytes, fd)) === null
  }
}

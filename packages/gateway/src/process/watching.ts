// How the primary is watched: what is counted, metrics and health without a session, and the control service with its second door.

import type { Server } from 'node:http'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import type { Log } from '../logging/log.ts'
import type { Watched } from './control/answers.ts'
import { EventHub } from './control/events.ts'
import { startControlService } from './control/service.ts'
import { CONTROL_SOCKET, type Controlled, createControlServer } from './control-socket.ts'
import { listenPrivately } from './listening-socket.ts'
import type { ListenerCertificate } from './listeners-tls.ts'
import { HostNames } from '../proxy/admission/host-names.ts'
import { Looks } from './looks.ts'
import type { TransportSaid } from './messages.ts'
import { type Ailment, MetricsListener } from './metrics-listener.ts'
import { dashboardPathIn } from './dashboard/path.ts'
import { createDashboardServer } from './dashboard/server.ts'
import { signOutAt } from './dashboard/sign-out.ts'
import { type Parts, workerAccount, xenapiPathIn } from './parts.ts'
import { closeServer, retireServer } from './servers.ts'
import { busynessOf, elsewhere, servicesOf } from './status.ts'
import { askAll } from './upgrade.ts'

/** What is asked of the primary. */
export interface WatchedPrimary {
  readonly status: () => Promise<Readonly<Record<string, unknown>>>
  /** Whether clients had better go elsewhere, since it stops or is out of service. */
  readonly isDraining: () => boolean
  readonly transport: () => TransportSaid | null
  /** Certificates that are in force. */
  readonly certificates: () => readonly ListenerCertificate[]
  /** Logs an act of an administrator. */
  readonly acted: (event: string, particulars: Readonly<Record<string, unknown>>) => void
  /** What can be asked of it on the control socket, by path. */
  readonly acts: Controlled['acts']
}

/** See the head of this file. */
export class Watching {
  readonly events: EventHub
  readonly #parts: Parts
  readonly #primary: WatchedPrimary
  readonly #log: Log
  /** Where metrics and health are read. */
  readonly metrics: MetricsListener
  /** Servers that end with this process. */
  readonly #servers: Server[] = []
  /** Whether another process has this one's place. */
  #isRetired = false
  #reload = { isTaken: true, takenMs: Date.now() }

  constructor(parts: Parts, primary: WatchedPrimary, log: Log) {
    this.#parts = parts
    this.#primary = primary
    this.#log = log
    const { statistics, groups } = parts
    log.onProblem = ({ level, event, count }) => statistics.own.logged(level, event, count)
    this.events = new EventHub((isWatched) => {
      log.tap = isWatched ? (line) => this.events.publish(line) : null
      groups.watched(isWatched)
    })
    this.metrics = new MetricsListener({
      metrics: () => statistics.text(),
      ailment: () => this.#ailment,
      answersTo: (host) => new HostNames(this.#config.hostNames).allows({ host }),
    })
    this.#lookAtProcesses()
  }

  #lookAtProcesses(): void {
    const { statistics, backends, groups } = this.#parts
    const looks = new Looks()
    statistics.onRead(async () => {
      // What cannot be asked now is left out.
      const sessions = (await backends.xenapi?.authority.count().catch(() => null)) ?? null
      const { pids: workerPids, readyPids, overloads } = groups
      return looks.seriesOf({
        config: this.#config,
        transport: this.#primary.transport(),
        certificates: this.#primary.certificates(),
        workerPids,
        readyPids,
        overloads,
        sessions,
        reload: this.#reload,
      })
    })
  }

  get #config(): Config {
    return this.#parts.inForce.config
  }

  /** Why clients had better go elsewhere; null while they need not. */
  get #ailment(): Ailment {
    // The other one is there for clients, also for those who ask here on a connection that was kept.
    if (this.#isRetired) return null
    if (this.#primary.isDraining()) return 'draining'
    return this.#parts.groups.readyPids.length === 0 ? 'no worker serves' : null
  }

  /** Opens the listener of metrics, and both doors. @param closers takes what closes them. @throws {ListenError} */
  async start(closers: AsyncDisposableStack): Promise<void> {
    closers.defer(() => this.metrics.close())
    await this.metrics.take(this.#config.control.metrics)
    const watched = this.#watched()
    await this.#openService(watched, closers)
    await this.#openSocket(watched, closers)
    await this.#openDashboard(closers)
  }

  /** It is there in any case, since a reload may ask for it; workers know whether it is served. */
  async #openDashboard(closers: AsyncDisposableStack): Promise<void> {
    const server = createDashboardServer((session) => {
      const { front } = this.#config
      if (front !== null) return signOutAt({ host: front.upstream.host, port: front.upstream.port }, session)
      return signOutAt({ socketPath: xenapiPathIn(this.#config) }, session)
    })
    this.#owns(server, closers)
    await listenPrivately(server, dashboardPathIn(this.#config), workerAccount(this.#config))
  }

  #owns(server: Server, closers: AsyncDisposableStack): void {
    this.#servers.push(server)
    closers.defer(() => closeServer(server))
  }

  /** The daemon stops. */
  stopping(): void {
    this.events.close()
  }

  /** Leaves what comes to a newer process, and answers what is asked here. */
  async retire(): Promise<void> {
    this.#isRetired = true
    this.events.close()
    await Promise.all([this.metrics.retire(), ...this.#servers.map((server) => retireServer(server))])
  }

  /** Counts that a reload was taken, or was not. */
  reloaded(isTaken: boolean): void {
    this.#parts.statistics.own.count('xengate_config_reloads_total', isTaken ? 'taken' : 'refused')
    this.#reload = { isTaken, takenMs: isTaken ? Date.now() : this.#reload.takenMs }
  }

  #watched(): Watched {
    const { backends, statistics } = this.#parts
    return {
      status: this.#primary.status,
      services: async () => [...(await this.#services()), ...elsewhere(backends.places)],
      signIn: backends.xenapi?.authority ?? null,
      ask: (question) => askAll(this.#parts, question),
      metrics: () => statistics.text(),
      events: this.events,
      failed: (error) => this.#log.error({ event: 'control-failed', error }),
      acted: this.#primary.acted,
    }
  }

  async #services(): Promise<readonly unknown[]> {
    const { backends, statistics } = this.#parts
    const [found] = await Promise.all([backends.localServices(), statistics.refresh()])
    const counts = statistics.counts.services
    return servicesOf(found, this.#config.host.expectedServices, counts, busynessOf(statistics.series))
  }

  async #openService(watched: Watched, closers: AsyncDisposableStack): Promise<void> {
    const { stateDir } = this.#config
    this.#owns(await startControlService(watched, stateDir, workerAccount(this.#config)), closers)
  }

  async #openSocket(watched: Watched, closers: AsyncDisposableStack): Promise<void> {
    const control = createControlServer({
      watched,
      signIn: watched.signIn,
      changed: ({ event, ...particulars }) => this.#primary.acted(event, particulars),
      status: this.#primary.status,
      services: () => this.#services(),
      acts: this.#primary.acts,
    })
    this.#owns(control, closers)
    await listenPrivately(control, join(this.#config.stateDir, CONTROL_SOCKET), null)
  }
}

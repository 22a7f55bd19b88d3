// What nobody counts, and is looked at when somebody reads the metrics: the processes, the program, certificates, and sessions.

import type { Config } from '../config/config.ts'
import { bootTimeMs, nodeSeries, processSeries } from '../metrics/processes.ts'
import { type Series, seriesOf } from '../metrics/sums.ts'
import { version } from '../version.ts'
import type { ListenerCertificate } from './listeners-tls.ts'
import type { TransportSaid } from './messages.ts'
import type { WorkerOverload } from './worker-group.ts'

/** What is looked at. */
export interface Looked {
  readonly config: Config
  readonly transport: TransportSaid | null
  readonly certificates: readonly ListenerCertificate[]
  readonly workerPids: readonly number[]
  readonly readyPids: readonly number[]
  /** Stages of overload, by process id. */
  readonly overloads: readonly WorkerOverload[]
  /** Null where nobody can tell. */
  readonly sessions: number | null
  /** Whether the last reload was taken, and when a configuration was last, in milliseconds since the epoch. */
  readonly reload: { readonly isTaken: boolean; readonly takenMs: number }
}

/** See the head of this file. */
export class Looks {
  readonly #bootMs = bootTimeMs()
  /** By process id, so that a worker keeps its name as long as it lives. */
  readonly #slots = new Map<number, number>()

  seriesOf({
    config,
    transport,
    certificates,
    workerPids,
    readyPids,
    overloads,
    sessions,
    reload,
  }: Looked): readonly Series[] {
    const { authority } = config.sessions
    const named = this.#named(workerPids)
    const names = new Map(named)
    return [
      seriesOf('xengate_build_info', 1, version(), process.version, transport?.name ?? ''),
      seriesOf('xengate_workers', readyPids.length, 'ready'),
      seriesOf('xengate_workers', workerPids.length - readyPids.length, 'other'),
      ...(sessions === null ? [] : [seriesOf('xengate_sessions', sessions, authority)]),
      seriesOf('xengate_config_last_reload_successful', reload.isTaken ? 1 : 0),
      seriesOf('xengate_config_last_reload_success_timestamp_seconds', reload.takenMs / 1000),
      ...certificates.map(({ listener, untilMs }) =>
        seriesOf('xengate_certificate_not_after_timestamp_seconds', untilMs / 1000, listener),
      ),
      ...processSeries(process.pid, 'primary', this.#bootMs),
      ...overloads.map(({ pid, overload }) =>
        seriesOf('xengate_overload_stage', overload?.stage ?? 0, names.get(pid) ?? ''),
      ),
      ...named.flatMap(([pid, name]) => processSeries(pid, name, this.#bootMs)),
      ...nodeSeries('primary'),
    ]
  }

  /** `worker-1` and so on: the lowest number that no other live worker has. */
  #named(pids: readonly number[]): [pid: number, name: string][] {
    const live = new Set(pids)
    for (const pid of this.#slots.keys()) if (!live.has(pid)) this.#slots.delete(pid)
    const taken = new Set(this.#slots.values())
    let slot = 1
    for (const pid of pids) {
      if (this.#slots.has(pid)) continue
      while (taken.has(slot)) slot++
      taken.add(slot)
      this.#slots.set(pid, slot)
    }
    return [...this.#slots].map(([pid, number]) => [pid, `worker-${number}`])
  }
}

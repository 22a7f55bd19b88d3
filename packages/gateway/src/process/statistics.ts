// What all processes have counted since the daemon started: what workers count in memory that is read here, and what the primary counts
// itself.

import { closeSync } from 'node:fs'
import { Counters } from '../metrics/counters.ts'
import { type AllCounts, countsOf } from '../metrics/counts.ts'
import { exposition } from '../metrics/exposition.ts'
import { createSharedMemory, mapSharedMemory, type SharedMemory } from '../metrics/shared-memory.ts'
import { type Series, Sums } from '../metrics/sums.ts'
import type { Counted } from './link.ts'

/** Memory that a worker counts in. */
export interface WorkerCounters {
  /** Its descriptor here, until it is given to the worker: see `given`. */
  readonly fd: number
  /** The worker has it. */
  given(): void
  /** The worker has ended, or never came to be. */
  ended(): void
}

function newSharedMemory(): { readonly fd: number; readonly shared: SharedMemory } {
  const fd = createSharedMemory()
  try {
    return { fd, shared: mapSharedMemory(fd) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** An event of level `warn` or `error`, and how often it was logged. */
export interface CountedProblem {
  readonly event: string
  readonly count: number
  /** When it was last, in milliseconds since the epoch. */
  readonly lastMs: number
}

/** Looks at what nobody counts. */
export type Look = () => Promise<readonly Series[]>

/** See the head of this file. */
export class Statistics {
  /** Of the primary. */
  readonly own: Counters = Counters.private()
  readonly #sums = new Sums()
  readonly #looks: Look[] = []
  #ask: () => Promise<unknown> = async () => {}

  constructor() {
    this.#sums.add(this.own.memory)
  }

  /** Makes memory for a worker. @throws {SharedMemoryError} */
  openWorker(): WorkerCounters {
    const { fd, shared } = newSharedMemory()
    const source = this.#sums.add(shared.memory)
    let isHere = true
    const given = (): void => {
      if (isHere) closeSync(fd)
      isHere = false
    }
    return {
      fd,
      given,
      ended: () => {
        given()
        // Once: the addresses may be others' after that.
        if (this.#sums.end(source)) shared.unmap()
      },
    }
  }

  /** All that is counted, for a process that takes this one's place: see `refresh`. */
  get counted(): Counted {
    return this.#sums.counted
  }

  /** Goes on from what another process has counted, which it says again and again while it lives. */
  inherit(counted: Counted): void {
    this.#sums.inherit(counted)
  }

  /** The other process is gone: what it had is no more, and what it has counted stays. */
  leaveInherited(): void {
    this.#sums.leaveInherited()
  }

  /** Has another process say what it has counted, by `ask`, whenever that is wanted. */
  inheritFrom(ask: () => Promise<unknown>): void {
    this.#ask = ask
  }

  /** Brings up to date what another process counts: to be awaited before what is read here is shown. */
  async refresh(): Promise<void> {
    await this.#ask()
  }

  /** Has `look` called whenever all is read for others. */
  onRead(look: Look): void {
    this.#looks.push(look)
  }

  /** All series, as text for Prometheus. */
  async text(): Promise<string> {
    const [looked] = await Promise.all([Promise.all(this.#looks.map((look) => look())), this.refresh()])
    return exposition([...this.#sums.all(), ...looked.flat()])
  }

  /** All series now, without what has to be asked for: good until this, or another of these, is called again. */
  get series(): readonly Series[] {
    return this.#sums.all()
  }

  get counts(): AllCounts {
    return countsOf(this.#sums.all())
  }

  /** Warnings and errors of the log, the latest first. */
  get problems(): readonly CountedProblem[] {
    const series = this.#sums.all()
    const lastOf = new Map(
      series
        .filter(({ name }) => name === 'xengate_log_event_last_timestamp_seconds')
        .map(({ values, total }) => [values[0], total[0]! * 1000]),
    )
    const counts = new Map<string, number>()
    for (const { name, values, total } of series) {
      if (name !== 'xengate_log_events_total') continue
      const [, event = ''] = values
      counts.set(event, (counts.get(event) ?? 0) + total[0]!)
    }
    return [...counts]
      .map(([event, count]) => ({ event, count, lastMs: lastOf.get(event) ?? 0 }))
      .toSorted((one, other) => other.lastMs - one.lastMs)
  }
}

// What workers have counted since the daemon started, added up; what a worker that was killed had not told yet is not in it.

import type { Problem } from '../logging/log.ts'
import { addCounts, type Counted, type Counts, noCounts } from '../proxy/tally.ts'
import type { WorkerReport } from './messages.ts'

/** More services than a host has; what is beyond them is counted in all alone. */
const SERVICES_MAX = 1000

/** More events than the log has. */
const PROBLEMS_MAX = 200

/** See the head of this file. */
export class Statistics {
  readonly #all = noCounts()
  readonly #services = new Map<string, ReturnType<typeof noCounts>>()
  readonly #problems = new Map<string, Problem>()
  /** Of workers, by process id, as they told last. */
  readonly #memory = new Map<number, number>()

  get all(): Counts {
    return this.#all
  }

  /** All zero for a service that nothing was asked of. */
  of(service: string): Counts {
    return this.#services.get(service) ?? noCounts()
  }

  /** Warnings and errors of the log, the latest first. */
  get problems(): readonly Problem[] {
    return [...this.#problems.values()].toSorted((one, other) => other.lastMs - one.lastMs)
  }

  /** What workers take of the host's memory, each alone, in bytes. */
  get workersMemoryBytes(): number {
    return [...this.#memory.values()].reduce((sum, bytes) => sum + bytes, 0)
  }

  /** Takes what the worker `pid` tells. */
  took(pid: number | undefined, { memoryBytes, problems }: WorkerReport, counted?: Counted): void {
    if (!Number.isSafeInteger(memoryBytes)) throw new RangeError('a worker says that it takes no number of bytes')
    if (pid !== undefined) this.#memory.set(pid, memoryBytes)
    this.noteProblems(problems)
    if (counted === undefined) return
    addCounts(this.#all, counted.all)
    for (const [name, counts] of counted.services) this.#add(name, counts)
  }

  #add(name: string, counts: Counts): void {
    const sums = this.#services.get(name) ?? noCounts()
    if (!this.#services.has(name) && this.#services.size >= SERVICES_MAX) return
    this.#services.set(name, sums)
    addCounts(sums, counts)
  }

  noteProblems(problems: readonly Problem[]): void {
    for (const { event, count, lastMs } of problems) {
      const before = this.#problems.get(event)
      if (before === undefined && this.#problems.size >= PROBLEMS_MAX) continue
      const later = Math.max(lastMs, before?.lastMs ?? 0)
      this.#problems.set(event, { event, count: count + (before?.count ?? 0), lastMs: later })
    }
  }

  /** The worker `pid` has ended. */
  gone(pid: number | undefined): void {
    if (pid !== undefined) this.#memory.delete(pid)
  }
}

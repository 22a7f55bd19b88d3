// The workers of every configuration: of the one in force, of one that is being taken, and of earlier ones that are finishing.

import type { Config } from '../config/config.ts'
import type { ServiceChanges } from '../services/registry.ts'
import type { Forgetting } from '../sessions/authority.ts'
import type { Question, Told } from './control/questions.ts'
import { TAKES_NOTHING, type Takes } from './messages.ts'
import type { WorkerGroup, WorkerOverload } from './worker-group.ts'

/** See the head of this file. */
export class WorkerGroups {
  readonly #groups = new Set<WorkerGroup>()

  get size(): number {
    return this.#groups.size
  }

  /** Process ids of all workers, and of those that serve. */
  get pids(): readonly number[] {
    return [...this.#groups].flatMap(({ pids }) => pids)
  }

  get readyPids(): readonly number[] {
    return [...this.#groups].flatMap(({ readyPids }) => readyPids)
  }

  /** How those that serve are. */
  get overloads(): readonly WorkerOverload[] {
    return [...this.#groups].flatMap(({ overloads }) => overloads)
  }

  /** Starts a group, which from its first request on has to hear of endings. @throws when it cannot serve; it is gone then */
  async start(group: WorkerGroup): Promise<void> {
    this.#groups.add(group)
    try {
      await group.start()
    } catch (error) {
      await group.drain(true, TAKES_NOTHING)
      this.#groups.delete(group)
      throw error
    }
  }

  /**
   * Lets a group finish what is under way, since another takes its place.
   * @param gives which connections that one takes
   */
  async retire(group: WorkerGroup, gives: Takes): Promise<void> {
    await group.drain(false, gives)
    this.#groups.delete(group)
  }

  /** Tells every worker that sessions ended. Resolves when none admits these any more. */
  async ended(uuids: readonly string[]): Promise<void> {
    await Promise.all([...this.#groups].map((group) => group.ended(uuids)))
  }

  /** Tells every worker to ask about sessions again. */
  forgotten(uuids: readonly string[], why: Forgetting): void {
    for (const group of this.#groups) group.forgotten(uuids, why)
  }

  /** Gives every worker what of a newer configuration it can take while it runs. Resolves when that is in force. */
  async configure(config: Config): Promise<void> {
    await Promise.all([...this.#groups].map((group) => group.configure(config)))
  }

  /** Tells every worker of services' places that have changed. */
  placesChanged(changes: ServiceChanges): void {
    for (const group of this.#groups) group.placesChanged(changes)
  }

  /** Tells every worker which of xapi's hosts this one is. */
  ownHostKnown(ref: string): void {
    for (const group of this.#groups) group.ownHostKnown(ref)
  }

  /** Tells every worker that the gateway is out of service, or in service again. */
  outOfService(isOutOfService: boolean): void {
    for (const group of this.#groups) group.outOfService(isOutOfService)
  }

  /** Asks every worker. */
  async ask<Kind extends keyof Told>(question: Question<Kind>): Promise<readonly Told[Kind][]> {
    const told = await Promise.all([...this.#groups].map((group) => group.ask(question)))
    const all: Told[Kind][] = []
    for (const some of told) all.push(...some)
    return all
  }

  /** Tells every worker whether somebody listens to the log's events. */
  watched(isWatched: boolean): void {
    for (const group of this.#groups) group.watched(isWatched)
  }

  /**
   * Lets all finish. Resolves when every worker is gone.
   * @param closesIdle whether nobody else takes new connections
   * @param gives which connections another process takes
   */
  async drain(closesIdle = true, gives: Takes = TAKES_NOTHING): Promise<void> {
    await Promise.all([...this.#groups].map((group) => group.drain(closesIdle, gives)))
  }

  /** Ends all workers now. */
  destroy(): void {
    for (const group of this.#groups) group.destroy()
  }
}

// Watches what a worker uses, and says at which stage it is. Descriptors are counted rather than looked up: those that the process had
// when it began, and one for each connection that the gateway has. So that is known when a connection comes, and costs an addition.

import { readdirSync } from 'node:fs'
import { type OverloadConfig, type OverloadState, STAGE, type Stage } from '../../model/overload.ts'
import { MemoryUse } from './memory.ts'
import { Overload } from './overload.ts'

/** The event loop is as late as it was at the best of so many ticks in a row: a single long turn is no overload. */
const TICKS = 4

/** What a watch is made from. */
export interface OverloadWatchOptions {
  readonly config: OverloadConfig
  /** How many descriptors this process may have; infinity where nobody can tell. */
  readonly descriptorsMax: number
  /** How many connections of all kinds it has now. */
  readonly connections: () => number
  /** Told of each other stage. */
  readonly changed: (state: OverloadState, before: Stage) => void
}

/** See the head of this file. */
export class OverloadWatch {
  /** What `state` has: each request looks at it. */
  stage: Stage = STAGE.NORMAL
  readonly #overload: Overload
  readonly #options: OverloadWatchOptions
  readonly #memory = new MemoryUse()
  /** Descriptors that are no connection's. */
  readonly #others: number = openDescriptors()
  readonly #lateMs: number[] = Array.from({ length: TICKS }, () => 0)
  #ticks = 0
  /** Connections at which it has to be judged at once. */
  #judgeAt = 0

  constructor(options: OverloadWatchOptions) {
    this.#options = options
    this.#overload = new Overload(options.config)
    this.#setNext()
  }

  configure(config: OverloadConfig): void {
    this.#overload.configure(config)
    this.#setNext()
  }

  get state(): OverloadState {
    return this.#overload.state
  }

  /** The clock has ticked so late. */
  ticked(lateMs: number): void {
    this.#lateMs[this.#ticks++ % TICKS] = lateMs
  }

  /** The clock ticks so rarely that nothing is late. */
  rested(): void {
    this.#lateMs.fill(0)
  }

  /** A connection comes. */
  opening(nowMs: number): void {
    if (this.#options.connections() >= this.#judgeAt) this.judge(nowMs)
  }

  /** Looks at everything. */
  judge(nowMs: number): void {
    const before = this.stage
    const descriptors = { used: this.#others + this.#options.connections(), limit: this.#options.descriptorsMax }
    const uses = { descriptors, memory: this.#memory.at(nowMs), delayMs: Math.min(...this.#lateMs) }
    const hasChanged = this.#overload.judge(uses, nowMs)
    if (!hasChanged) return
    this.stage = this.#overload.state.stage
    this.#setNext()
    this.#options.changed(this.#overload.state, before)
  }

  #setNext(): void {
    this.#judgeAt = this.#overload.descriptorsAtNext(this.#options.descriptorsMax) - this.#others
  }
}

/** How many descriptors this process has; without the one by which they are looked at. */
function openDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return 0
  }
}

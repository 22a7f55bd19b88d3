// How much a worker has too much to do, in steps: see model/overload.ts. Values in, a stage out; what is done at each is the gateway's.
//
//   from   to          when
//   any    higher      at once, when some resource's use reaches a part of its limit
//   any    one less    when every resource has been below nine tenths of the part that led here, for CALM_MS
//
// So that it does not flap: what is used falls by what a stage does, and would rise again without it.

import { type OverloadConfig, type OverloadState, type Resource, STAGE, type Stage } from '../../model/overload.ts'

/** How long it has to be calm for each stage less, in milliseconds. */
const CALM_MS = 1000
const CALM_PERCENT = 90
/** Percent of what the configuration gives for each resource that lead to stages 1 to 4. */
const PARTS: Readonly<Record<Resource, readonly number[]>> = {
  descriptors: [80, 90, 100, 110],
  memory: [80, 90, 100, 110],
  // What has too little time gains nothing from connections that are made anew, until it is much too late.
  'event-loop-delay': [50, 75, 100, 200],
}

/** How much of something is used. */
export interface Use {
  readonly used: number
  /** How much there is; infinity where there is no bound. */
  readonly limit: number
}

/** All that is looked at. Of the event loop: by how much it is late, in milliseconds. */
export interface Uses {
  readonly descriptors: Use
  readonly memory: Use
  readonly delayMs: number
}

/** See the head of this file. */
export class Overload {
  #config: OverloadConfig
  #state: OverloadState = { stage: STAGE.NORMAL, resource: 'descriptors', used: 0, limit: Number.POSITIVE_INFINITY }
  /** Since when it is calm; null while it is not. */
  #calmMs: number | null = null

  constructor(config: OverloadConfig) {
    this.#config = config
  }

  configure(config: OverloadConfig): void {
    this.#config = config
  }

  get state(): OverloadState {
    return this.#state
  }

  /** Descriptors of `limit` at which it has to be judged, whenever that was to be: the next higher stage begins there. */
  descriptorsAtNext(limit: number): number {
    const part = PARTS.descriptors[this.#state.stage] ?? Number.POSITIVE_INFINITY
    return (limit * part * this.#config.descriptors) / 10_000
  }

  /** Takes what is used now. @param nowMs on a clock that does not go back. @returns whether the stage is another one */
  judge(uses: Uses, nowMs: number): boolean {
    const before = this.#state.stage
    const loads = this.#loadsOf(uses)
    const highest = loads.reduce((most, one) => (one.stage > most.stage ? one : most))
    if (highest.stage > before) {
      this.#enter(highest.stage, highest, nowMs)
      return true
    }
    const isCalm = loads.every(({ calmStage }) => calmStage < before)
    // Who asks sees the numbers of now.
    const why = loads.find(({ resource }) => resource === this.#state.resource) ?? highest
    if (before === STAGE.NORMAL || !isCalm) {
      this.#calmMs = null
      if (before !== STAGE.NORMAL) this.#enter(before, why, nowMs)
      return false
    }
    this.#calmMs ??= nowMs
    if (nowMs - this.#calmMs < CALM_MS) return false
    this.#calmMs = nowMs
    this.#enter((before - 1) as Stage, highest.stage > STAGE.NORMAL ? highest : why, nowMs)
    return true
  }

  #enter(stage: Stage, { resource, used, limit }: Load, nowMs: number): void {
    if (stage > this.#state.stage) this.#calmMs = null
    else if (stage < this.#state.stage) this.#calmMs = nowMs
    this.#state = { stage, resource, used, limit }
  }

  #loadsOf({ descriptors, memory, delayMs }: Uses): readonly Load[] {
    const { eventLoopDelayMs } = this.#config
    return [
      loadOf('descriptors', descriptors, this.#config.descriptors),
      loadOf('memory', memory, this.#config.memory),
      loadOf('event-loop-delay', { used: delayMs, limit: eventLoopDelayMs }, 100),
    ]
  }
}

/** How far a resource is used: to which stage that leads, and in which it would be calm. */
interface Load extends Use {
  readonly resource: Resource
  readonly stage: Stage
  readonly calmStage: Stage
}

/** @param percent of the limit, at which new requests are refused */
function loadOf(resource: Resource, { used, limit }: Use, percent: number): Load {
  // Whole numbers, so that what is just reached is reached.
  const stageAt = (part: number): Stage =>
    PARTS[resource].filter((each) => used * 1_000_000 >= limit * percent * each * part).length as Stage
  return { resource, used, limit, stage: stageAt(100), calmStage: stageAt(CALM_PERCENT) }
}

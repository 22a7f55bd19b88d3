// Overload, as the configuration, the data plane and who asks how the gateway does know it.

/** From where on new requests are refused; the other stages are at parts of it. */
export interface OverloadConfig {
  /** Percent of the descriptors that a worker may have. */
  readonly descriptors: number
  /** Percent of the memory that it may have. */
  readonly memory: number
  /** How late its event loop is, for two seconds at least, in milliseconds. */
  readonly eventLoopDelayMs: number
}

/** What a worker may have too little of. */
export type Resource = 'descriptors' | 'memory' | 'event-loop-delay'

/**
 * What is done, each with what is before it. 1 `idle`: idle connections end sooner; 2 `close`: answers end their connection; 3 `refuse`: new
 * requests get 503; 4 `deaf`: nothing is accepted.
 */
export const STAGE = { NORMAL: 0, IDLE: 1, CLOSE: 2, REFUSE: 3, DEAF: 4 } as const
export type Stage = (typeof STAGE)[keyof typeof STAGE]

/** What is done at each stage, in a clause. */
export const STAGE_TEXTS: readonly string[] = [
  'normal',
  'idle connections end sooner',
  'answers end their connection',
  'new requests get 503',
  'nothing is accepted',
]

/** How a worker is, and why. */
export interface OverloadState {
  readonly stage: Stage
  /** What there is too little of, how much of it is used, and of how much: descriptors, bytes, milliseconds. Of stage 0 what is nearest. */
  readonly resource: Resource
  readonly used: number
  readonly limit: number
}

/** What is changed for more of each. */
export const OVERLOAD_KEYS: Readonly<Record<Resource, string>> = {
  descriptors: 'the limit of open files (LimitNOFILE of the unit), or overload.descriptors',
  memory: 'the memory that it may have (MemoryMax of the unit, --max-old-space-size), or overload.memory',
  'event-loop-delay': 'workers, or overload.event-loop-delay',
}

// What is bounded for the clients of one gateway, and by how much.

/** Bytes, counts, and times in milliseconds. */
export interface LimitsConfig {
  readonly headBytes: number
  readonly targetBytes: number
  /** For each worker. */
  readonly connections: number
  /** Percent of these that clients of one address may have, and that requests of one session may be under way on. */
  readonly share: number
  readonly headTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly responseTimeoutMs: number
  readonly bodyIdleTimeoutMs: number
  /** Least rates of a client that is sending a body, and taking a response, in bytes a second; 0: any. */
  readonly requestMinRate: number
  readonly responseMinRate: number
  readonly drainTimeoutMs: number
}

// What a client's connection is given to while a request is under way: a relay, or a tunnel after 101.

import type { RelayedRequest } from './relay.ts'

/** Hears what happens on the client's connection while it owns it. */
export interface Exchange {
  /** Whether it takes bytes of the client now. What it does not take is kept for the next request. */
  readonly wantsBytes: boolean
  /**
   * Takes bytes of the client, borrowed until this returns.
   * @returns the offset of the first byte that is not taken
   */
  clientBytes(bytes: Buffer, from: number, to: number): number
  /** The client will send no more. */
  clientEnded(): void
  /** The client's connection is gone. */
  clientClosed(): void
  /** What was written to the client has gone out: write on. */
  clientDrained(): void
  /** Called at each sweep. */
  swept(nowMs: number): void
  /** The relayed request that ends with its session; null for tunnels and channels, which are held to theirs by themselves. */
  readonly transfer: RelayedRequest | null
  /** The session of `transfer` has ended. */
  cutTransfer(): void
  /** The client takes what is written to it more slowly than it has to. */
  clientTooSlow(): void
  /** The connection's deadline has passed. */
  timedOut(): void
  /** The gateway stops now. */
  drainTimedOut(): void
}

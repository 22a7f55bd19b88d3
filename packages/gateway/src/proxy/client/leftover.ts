// What a client sends that nobody takes: the rest of a body whose request was answered, or whatever comes on a connection that is to
// end. It is read and dropped, since closing on it would reset the connection, and take along what the client has not taken of its
// answers. That goes on as long as the client does: takes, or sends.

import type { LimitsConfig } from '../../model/limits.ts'
import type { Wire } from '../../transport/transport.ts'
import { RateWatch } from '../exchange/rate-watch.ts'

/** How much is read, in bytes. Beyond it the client waits, until it has taken its answers and the connection ends. */
const DROPPED_BYTES_MAX = 16 * 1024 * 1024
/** How long a client that has taken its answers may send nothing, in milliseconds, at least. */
const QUIET_MS = 5000
/** How often `body-idle-timeout` fits into all the time that a client which has taken its answers may go on sending. */
const PATIENCES_MAX = 2
/** An end of the connection waits to be taken like a byte. */
const END_BYTES = 1

/** See the head of this file. */
export class Leftover {
  readonly #wire: Wire
  readonly #limits: LimitsConfig
  readonly #sinceMs: number
  /** When the client was seen to have taken something last. */
  #takenMs: number
  #takenBytes: number
  /** Bytes that came, and how many of them had at the last sweep. */
  #droppedBytes = 0
  #sweptBytes = 0
  readonly #rate = new RateWatch()

  constructor(wire: Wire, limits: LimitsConfig, nowMs: number) {
    this.#wire = wire
    this.#limits = limits
    this.#sinceMs = nowMs
    this.#takenMs = nowMs
    this.#takenBytes = wire.takenBytes
  }

  /** Whether the client has not taken all of its answers; what its own system holds for it is taken. */
  get isTaking(): boolean {
    return this.#wire.pendingBytes > END_BYTES
  }

  /** @returns whether more may be read */
  drop(count: number): boolean {
    this.#droppedBytes += count
    return this.#droppedBytes <= DROPPED_BYTES_MAX
  }

  /**
   * How long the client may do nothing, in milliseconds. Its system may hold as much for it as the gateway's did: who needed long for
   * that needs as long again, and a reset would end it for programs that send meanwhile.
   */
  get patienceMs(): number {
    const { bodyIdleTimeoutMs } = this.#limits
    if (this.isTaking) return bodyIdleTimeoutMs
    return Math.max(QUIET_MS, Math.min(2 * (this.#takenMs - this.#sinceMs), bodyIdleTimeoutMs))
  }

  /** Called at each sweep. @returns whether the client has taken or sent something since the last one */
  hasMoved(nowMs: number): boolean {
    const { takenBytes } = this.#wire
    const hasTaken = takenBytes > this.#takenBytes
    const hasSent = this.#droppedBytes > this.#sweptBytes
    if (hasTaken) this.#takenMs = nowMs
    this.#takenBytes = takenBytes
    this.#sweptBytes = this.#droppedBytes
    return hasTaken || hasSent
  }

  /** Whether the client, which has taken all, sends more slowly than it has to, or has sent for too long. Called at each sweep. */
  isTooSlow(nowMs: number): boolean {
    if (this.isTaking) {
      this.#rate.reset()
      return false
    }
    const { requestMinRate, bodyIdleTimeoutMs } = this.#limits
    if (nowMs - this.#takenMs > PATIENCES_MAX * Math.max(QUIET_MS, bodyIdleTimeoutMs)) return true
    return this.#rate.isTooSlow(nowMs, this.#droppedBytes, requestMinRate)
  }
}

// A request that waits: for what the primary says of its session, or for a connection that takes a while. Its head is kept, and decided
// on again with what was learned.

import type { SessionTable } from '../../sessions/table.ts'
import { type About, type Client, Exchange, type Shared } from '../exchange/ports.ts'
import type { Request } from '../exchange/request.ts'
import { AUTHORITY_UNAVAILABLE, DRAINING, SERVICE_SLOW } from '../heads/refusals.ts'
import type { Target } from '../upstream/target.ts'
import type { Learned } from './decide.ts'

/** How long an answer about a session is waited for, in milliseconds. */
const ANSWER_TIMEOUT_MS = 5000

/** What is waited for: an answer about the session with this id, or a connection to this target. */
export type Awaited = { readonly session: string } | { readonly target: Target }

/** See the head of this file. */
export class Pending extends Exchange {
  readonly wantsBytes = false
  override readonly holdsHead = true
  readonly request: Request
  /** Whether the service would not take the client's connection. */
  readonly wasDeclined: boolean
  readonly #shared: Shared
  readonly #sessions: SessionTable
  readonly #client: Client
  readonly #awaited: Awaited
  #learned: Learned

  /**
   * @param request what is known of it by now
   * @param learned what is known from an earlier wait
   */
  constructor(
    shared: Shared,
    sessions: SessionTable,
    client: Client,
    request: Request,
    awaited: Awaited,
    learned: Learned,
    wasDeclined: boolean,
  ) {
    super()
    this.#shared = shared
    this.#sessions = sessions
    this.#client = client
    this.request = request
    this.#awaited = awaited
    this.#learned = learned
    this.wasDeclined = wasDeclined
  }

  /** What was waited for, and what was known before. A connection in it is whose who asks. */
  get learned(): Learned {
    return this.#learned
  }

  override start(): void {
    const { limits, pool, counters } = this.#shared
    if ('session' in this.#awaited) {
      const id = this.#awaited.session
      this.#client.expectWithin(ANSWER_TIMEOUT_MS)
      this.#sessions.question(id, this.#client.peer.address, (answer) =>
        this.#learn({ answer: { id, answer }, connected: null }),
      )
      return
    }
    this.#client.expectWithin(limits.connectTimeoutMs + ANSWER_TIMEOUT_MS)
    const { answer } = this.#learned
    const startedMs = performance.now()
    pool.connect(this.#awaited.target, (connected) => {
      this.request.connectMs = performance.now() - startedMs
      counters.observe(counters.connect, this.request.connectMs)
      if (this.#client.isIn(this)) this.#learn({ answer, connected })
      else if (typeof connected !== 'string') connected.destroy()
    })
  }

  #learn(learned: Learned): void {
    if (!this.#client.isIn(this)) return
    this.#learned = learned
    this.#client.again()
  }

  override get about(): About {
    return { request: this.request, way: 'waiting', channel: null }
  }

  override clientClosed(): void {
    const { connected } = this.#learned
    if (connected !== null && typeof connected !== 'string') connected.destroy()
  }

  override timedOut(): void {
    this.#client.refuse('session' in this.#awaited ? AUTHORITY_UNAVAILABLE : SERVICE_SLOW, this.request)
  }

  override drainTimedOut(): void {
    this.#client.refuse(DRAINING, this.request)
  }
}

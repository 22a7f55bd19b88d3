// A request that waits: for what the primary says of its session, for its turn at a service, or for a connection that takes a while. Its
// head is kept, and decided on again with what was learned.

import { CLIENT, type ClientState } from '../../metrics/counters.ts'
import type { Session } from '../../model/session.ts'
import type { SessionTable } from '../../sessions/table.ts'
import { type About, type Client, Exchange, type Shared } from '../exchange/ports.ts'
import type { Request } from '../exchange/request.ts'
import { AUTHORITY_UNAVAILABLE, DRAINING, QUEUE_LEFT, type Refusal, SERVICE_SLOW } from '../heads/refusals.ts'
import type { Target } from '../upstream/target.ts'
import type { AdmissionRules, Learned } from './decide.ts'
import type { Gates } from './gates.ts'

/** How long an answer about a session is waited for, in milliseconds. */
const ANSWER_TIMEOUT_MS = 5000

/** What is waited for: an answer about the session with this id, a turn at a service for this session, or a connection to this target. */
export type Awaited =
  | { readonly sessionId: string }
  | { readonly service: string; readonly session: Session; readonly timeoutMs: number }
  | { readonly target: Target }

/** Bytes that are kept of who waits for a turn: who ends its side behind more of them is heard later. */
const UNREAD_BYTES_MAX = 65_536

/** See the head of this file. */
export class Pending extends Exchange {
  readonly wantsBytes = false
  override readonly holdsHead = true
  override readonly countedAs: ClientState = CLIENT.WAITING
  override readonly unreadBytesMax: number
  readonly request: Request
  /** Whether the service would not take the client's connection. */
  readonly wasDeclined: boolean
  readonly #shared: Shared
  readonly #sessions: SessionTable
  readonly #gates: Gates
  readonly #client: Client
  readonly #awaited: Awaited
  #learned: Learned
  /** Takes back that a turn is waited for. */
  #leave: (() => void) | null = null

  /**
   * @param request what is known of it by now
   * @param learned what is known from an earlier wait
   */
  constructor(
    shared: Shared,
    { sessions, gates }: Pick<AdmissionRules, 'sessions' | 'gates'>,
    client: Client,
    request: Request,
    awaited: Awaited,
    learned: Learned,
    wasDeclined: boolean,
  ) {
    super()
    this.#shared = shared
    this.#sessions = sessions
    this.#gates = gates
    this.#client = client
    this.request = request
    this.#awaited = awaited
    this.unreadBytesMax = 'service' in awaited ? UNREAD_BYTES_MAX : 0
    this.#learned = learned
    this.wasDeclined = wasDeclined
  }

  /** What was waited for, and what was known before. A connection in it is whose who asks. */
  get learned(): Learned {
    return this.#learned
  }

  override start(): void {
    const { limits, pool, counters } = this.#shared
    if ('sessionId' in this.#awaited) {
      const id = this.#awaited.sessionId
      this.#client.expectWithin(ANSWER_TIMEOUT_MS)
      this.#sessions.question(id, this.#client.peer.address, (answer) =>
        this.#learn({ answer: { id, answer }, connected: null }),
      )
      return
    }
    if ('service' in this.#awaited) {
      this.#waitForTurn(this.#awaited)
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

  #waitForTurn({ service, session, timeoutMs }: Extract<Awaited, { service: string }>): void {
    this.#client.expectWithin(timeoutMs)
    this.#leave = this.#gates.wait(service, session, (turn) => {
      this.#leave = null
      if ('status' in turn) this.#client.refuse(turn, this.request)
      else {
        this.request.turn = turn
        this.#learn(this.#learned)
      }
    })
  }

  /** Waits for no turn any more. */
  #leaveQueue(): void {
    this.#leave?.()
    this.#leave = null
  }

  /** What was there to be served is there no more, or reads on: then it sees why it is not served. */
  override clientEnded(): void {
    if (this.#leave === null) return
    this.#leaveQueue()
    this.#client.refuse(QUEUE_LEFT, this.request)
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
    this.#leaveQueue()
    this.request.turn?.end()
    const { connected } = this.#learned
    if (connected !== null && typeof connected !== 'string') connected.destroy()
  }

  override timedOut(): void {
    this.#leaveQueue()
    this.#client.refuse(this.#lateness(), this.request)
  }

  #lateness(): Refusal {
    if ('sessionId' in this.#awaited) return AUTHORITY_UNAVAILABLE
    return 'service' in this.#awaited ? this.#gates.waitedTooLong(this.#awaited.service) : SERVICE_SLOW
  }

  override drainTimedOut(): void {
    this.#leaveQueue()
    this.#client.refuse(DRAINING, this.request)
  }
}

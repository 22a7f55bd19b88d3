// A POST to xapi that may be a call of a plugin which a custom service answers. Its head and its body stay where they are, unread, until it
// is known what it is; then the head is read again, and the request goes to xapi as any other does, or its body is dropped and it is answered.
//
//   from        to          method
//   GATHERING   ASKING      #look        the body is whole, and names a session that is not known here: it is asked about
//   GATHERING,  CALLING     #call        it is a call for a service here, by a session that may make it: the service is asked
//   ASKING
//   CALLING     DECIDED     #decide      the service has answered, is late, or does not run here; or the session has ended
//   any         DECIDED     #decide      any doubt: it is xapi's
//   any         DECIDED     #leave       the client is gone, or the gateway stops
//
// Whoever has no session can send such a request. A worker holds no more of them together than it does of calls for the gateway's own
// XenAPI; beyond that they are xapi's.

import { performance } from 'node:perf_hooks'
import type { RequestHead } from '@xengate/http1'
import type { ReasonName } from '../../model/reasons.ts'
import { isPermitted, type Policies } from '../../model/policy.ts'
import type { Answer, SessionEntry, SessionTable } from '../../sessions/table.ts'
import type { PluginAnswer, PluginAnswers } from '../../xenapi/plugin-answers.ts'
import type { PluginRequest } from '../../xenapi/plugin-request.ts'
import { DRAINING } from '../heads/refusals.ts'
import type { ServiceDirectories } from '../upstream/target.ts'
import { HeldBytes } from './held-bytes.ts'
import { type About, type Client, Exchange, type Shared } from './ports.ts'
import type { Request } from './request.ts'

/** Bytes of the body of a call. */
export const PLUGIN_BODY_BYTES_MAX = 65_536
/** How long an answer about a session may take, in milliseconds. */
const ANSWER_TIMEOUT_MS = 5000

const STATE = { GATHERING: 0, ASKING: 1, CALLING: 2, DECIDED: 3 } as const

/** What a call rests on. */
export interface PluginRules {
  readonly sessions: SessionTable
  readonly policies: Policies
  readonly directories: ServiceDirectories
  /** Methods that services may be reached with. */
  readonly methods: readonly string[]
}

/** See the head of this file. */
export class PluginCall extends Exchange {
  readonly wantsBytes = false
  override readonly holdsHead = true
  override readonly unreadBytesMax: number
  readonly request: Request
  readonly #shared: Shared
  readonly #client: Client
  readonly #rules: PluginRules
  readonly #plugins: PluginAnswers
  readonly #bodyBytes: number
  readonly #held = new HeldBytes()
  readonly #gone = new AbortController()
  #state: number = STATE.GATHERING
  #call: PluginRequest | null = null
  #cutsWith: SessionEntry | null = null
  #answer: PluginAnswer | null = null

  /** @param head which is held; its body has a length */
  constructor(
    shared: Shared,
    rules: PluginRules,
    plugins: PluginAnswers,
    client: Client,
    request: Request,
    head: RequestHead,
  ) {
    super()
    this.#shared = shared
    this.#rules = rules
    this.#plugins = plugins
    this.#client = client
    this.request = request
    this.#bodyBytes = head.contentLength
    this.unreadBytesMax = shared.limits.headBytes + head.contentLength
  }

  /** What the client is answered; null when the request is xapi's. */
  get answer(): PluginAnswer | null {
    return this.#answer
  }

  /** The body is waited for as long as a head would be. */
  override start(): void {
    this.#client.expectWithin(this.#shared.limits.headTimeoutMs)
  }

  /** More of the body may have come. */
  override flush(): void {
    if (this.#state !== STATE.GATHERING) return
    const { length } = this.#client.unread
    if (!this.#held.hold(Math.min(length, this.#bodyBytes))) this.#decide(null)
    else if (length >= this.#bodyBytes) this.#look()
  }

  /** Looks whose call it may be, before all of it is read. */
  #look(): void {
    const { sessions } = this.#rules
    const id = this.#plugins.sessionIn(this.#body)
    if (id === null || !sessions.isTrusted) {
      this.#decide(null)
      return
    }
    const entry = sessions.find(id, this.#shared.clock.nowMs)
    if (entry !== undefined) {
      this.#read(id, entry)
      return
    }
    this.#state = STATE.ASKING
    this.#client.expectWithin(ANSWER_TIMEOUT_MS)
    sessions.question(id, this.#client.peer.address, (answer) => this.#learned(id, answer))
  }

  #learned(id: string, answer: Answer): void {
    if (this.#state !== STATE.ASKING) return
    if (typeof answer === 'string') this.#decide(null)
    else this.#read(id, answer)
  }

  #read(id: string, entry: SessionEntry): void {
    const { policies, methods } = this.#rules
    const call = entry.state === 'live' ? this.#plugins.read(this.request.target, this.#body) : null
    const policy = call === null ? null : policies.of(call.plugin)
    const isAllowed = policy !== null && methods.includes('POST') && isPermitted(policy, 'POST', entry.roles)
    if (call === null || call.sessionId !== id || !isAllowed) {
      this.#decide(null)
      return
    }
    this.#state = STATE.CALLING
    this.#call = call
    this.#cutsWith = policy.cutTransfers ? entry : null
    this.#ask(call, entry)
  }

  #ask(call: PluginRequest, entry: SessionEntry): void {
    const { policies, directories } = this.#rules
    const { responseTimeoutMs } = this.#shared.limits
    this.#shared.touch(entry)
    this.#client.expectWithin(responseTimeoutMs)
    const caller = {
      session: entry.session,
      clientAddress: this.#client.peer.address,
      directories: directories(call.plugin),
      policy: policies.of(call.plugin),
      responseTimeoutMs,
      asked: () => this.#asked(call, entry),
      gone: this.#gone.signal,
    }
    this.request.service = call.plugin
    this.request.isOf(entry)
    void this.#plugins.ask(call, caller).then((answer) => this.#decide(answer))
  }

  /** The service is there: from now on it has the request. Names that no service has are not counted. */
  #asked(call: PluginRequest, entry: SessionEntry): void {
    if (this.#state !== STATE.CALLING) return
    const { request } = this
    request.counters = this.#shared.counters.service(call.plugin)
    request.counters.began()
    entry.underWay++
    request.waitedMs = performance.now() - request.startedMs
    request.bytesIn = this.#bodyBytes
  }

  get #body(): Buffer {
    return this.#client.unread.subarray(0, this.#bodyBytes)
  }

  /** @param answer null when the request is xapi's */
  #decide(answer: PluginAnswer | null): void {
    if (!this.#leave()) return
    this.#answer = answer
    this.#client.again()
  }

  /** What is held is given back, and nobody waits for the service. @returns whether it was under way */
  #leave(): boolean {
    if (this.#state === STATE.DECIDED) return false
    this.#state = STATE.DECIDED
    this.#held.release()
    this.#gone.abort()
    return true
  }

  /** Without the rest of its body it is refused, as any. Who has sent all may end its side, and wait. */
  override clientEnded(): void {
    if (this.#state === STATE.GATHERING) this.#decide(null)
  }

  override get about(): About {
    return { request: this.request, way: 'waiting', channel: null }
  }

  /** A call that no service was asked is not told of. */
  override clientClosed(why: ReasonName = 'client-gone'): void {
    this.#leave()
    if (this.request.counters === null) return
    this.#shared.journal.exchanged(this.#client.peer, this.request, why === 'client-gone' ? why : 'cut', why)
  }

  /** A service that was asked has failed; all else is for xapi, which has patience of its own. */
  override timedOut(): void {
    const wasAsked = this.request.counters !== null
    this.#decide(wasAsked && this.#call !== null ? this.#plugins.late(this.#call) : null)
  }

  override drainTimedOut(): void {
    if (this.#leave()) this.#client.refuse(DRAINING, this.request)
  }

  override get cutsWith(): SessionEntry | null {
    return this.#cutsWith
  }

  override cutWithSession(): void {
    if (this.#call !== null) this.#decide(this.#plugins.sessionEnded(this.#call))
  }
}

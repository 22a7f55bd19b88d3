// The gate of a service: how many requests it has at once, who waits for their turn, and whether it is asked at all. A service has one only
// while there is something to know of it: where nothing is limited and nothing fails there is none.
//
// A request that passes a gate has a turn, which it gives back when it is over, whatever ends it. Turns are of this worker alone.

import { type Counters, OTHER, type ServiceCounters } from '../../metrics/counters.ts'
import type { LimitHits } from '../../metrics/limit-hits.ts'
import type { LogEvent } from '../../logging/event.ts'
import type { ServiceLimits } from '../../model/service-limits.ts'
import type { Session } from '../../model/session.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import type { Clock } from '../clock.ts'
import { BREAKER_OPEN, QUEUE_FULL, QUEUE_SLOW, type Refusal, retryIn, SESSION_RATE } from '../heads/refusals.ts'
import type { Turn as RequestTurn } from '../exchange/request.ts'
import { Breaker } from './breaker.ts'
import { FairQueue } from './fair-queue.ts'
import { SessionRates } from './session-rates.ts'

/** What all gates of one worker share. */
export interface GatesOptions {
  readonly limitsOf: (service: string) => ServiceLimits
  readonly clock: Clock
  readonly counters: Counters
  readonly limits: LimitHits
  /** Told when a breaker opens or closes. */
  readonly say: (level: 'info' | 'warn', event: LogEvent) => void
}

/** Hears what became of a request that waited. */
export type Waited = (turn: Turn | Refusal) => void

/** See the head of this file. */
export class Gates {
  readonly #options: GatesOptions
  readonly #gates = new Map<string, Gate>()
  readonly #rates = new SessionRates()
  /** How many have a breaker, which each request has to do with. */
  #breakers = 0

  constructor(options: GatesOptions) {
    this.#options = options
  }

  /** Whether a request to a service with these limits has to pass a gate. */
  concerns({ requests, sessionRate: rate }: ServiceLimits): boolean {
    return requests > 0 || rate > 0 || this.#breakers > 0
  }

  /** Takes a turn at `service`; `queue` says that it has to be waited for, now. Null where the service has no gate. */
  enter(service: string, limits: ServiceLimits, entry: SessionEntry): Turn | Refusal | 'queue' | null {
    const refused = this.#overRate(service, limits, entry)
    if (refused !== null) return refused
    const gate = limits.requests > 0 ? this.#gateOf(service) : this.#gates.get(service)
    return gate === undefined ? null : gate.enter(limits, entry.session)
  }

  #overRate(service: string, { sessionRate: rate }: ServiceLimits, entry: SessionEntry): Refusal | null {
    if (rate === 0) return null
    const { counters, clock, limits } = this.#options
    const { name } = counters.known(service)
    const waitMs = this.#rates.take(entry, name, rate, clock.nowMs)
    if (waitMs === 0) return null
    this.#overflowed(service, 'session-rate')
    limits.hit('service-session-rate', name === OTHER ? null : name)
    return retryIn(SESSION_RATE, waitMs)
  }

  /** The turn of a request that another process has let in: it is there, whether there is room for it or not. */
  goesOn(service: string, { requests }: ServiceLimits, { session }: SessionEntry): Turn | null {
    return requests > 0 ? this.#gateOf(service).begin('pass', session.user) : null
  }

  /** Waits for a turn. @param session whose requests take turns with others'. @returns what takes that back */
  wait(service: string, session: Session, waited: Waited): () => void {
    return this.#gateOf(service).wait(session, waited)
  }

  /** A request waited for too long. */
  waitedTooLong(service: string): Refusal {
    this.#overflowed(service, 'queue-timeout')
    this.#options.limits.hit('service-queue-timeout', service)
    return QUEUE_SLOW
  }

  /** The service could not be had, or did not answer. @param turn that of the request, if it had one */
  failed(service: string, turn: RequestTurn | null, user: string): void {
    const limits = this.#options.limitsOf(service)
    if (limits.breakerFailures === 0) return
    const isTry = turn instanceof Turn && turn.takeTry()
    this.#gateOf(service).failed(isTry, user, limits)
  }

  /** Takes what is limited otherwise from now on: breakers that are off close, and more may have their turn. */
  reconfigured(): void {
    for (const [service, gate] of this.#gates) {
      const limits = this.#options.limitsOf(service)
      if (limits.breakerFailures === 0) gate.closeBreaker('configuration')
      gate.pump(limits)
      this.#forget(gate)
    }
  }

  /** An operator has the service asked again. @returns whether its breaker was open */
  closeBreaker(service: string): boolean {
    const gate = this.#gates.get(service)
    const wasOpen = gate?.closeBreaker('operator') ?? false
    if (gate !== undefined) this.#forget(gate)
    return wasOpen
  }

  /** Lets go of what is not worth knowing any more; called now and then. */
  sweep(): void {
    if (this.#breakers === 0) return
    for (const gate of this.#gates.values()) this.#forget(gate)
  }

  #gateOf(service: string): Gate {
    const known = this.#gates.get(service)
    if (known !== undefined) return known
    const gate: Gate = new Gate(service, {
      ...this.#options,
      forget: () => this.#forget(gate),
      overflowed: (why) => this.#overflowed(service, why),
      hasBreaker: (more) => (this.#breakers += more),
    })
    this.#gates.set(service, gate)
    return gate
  }

  #overflowed(service: string, why: string): void {
    const { counters } = this.#options
    counters.count('xengate_service_overflow_total', counters.known(service).name, why)
  }

  #forget(gate: Gate): void {
    if (gate.isIdle() && this.#gates.get(gate.service) === gate) this.#gates.delete(gate.service)
  }
}

interface GateOptions extends GatesOptions {
  /** Called when there may be nothing to know of it. */
  readonly forget: () => void
  readonly overflowed: (why: string) => void
  /** It has a breaker, or with -1 it has none any more. */
  readonly hasBreaker: (more: 1 | -1) => void
}

interface Waiting {
  readonly waited: Waited
  readonly session: Session
  /** Where it is counted that it waits. */
  readonly counted: ServiceCounters
}

/** Of one service. */
class Gate {
  readonly service: string
  readonly #options: GateOptions
  readonly #queue = new FairQueue<Waiting>()
  #active = 0
  #isPumping = false
  #breaker: Breaker | null = null

  constructor(service: string, options: GateOptions) {
    this.service = service
    this.#options = options
  }

  /** Whether there is nothing to know of it. */
  isIdle(): boolean {
    if (this.#breaker?.isForgettable(this.#options.clock.nowMs) === true) this.#setBreaker(null)
    return this.#active === 0 && this.#queue.size === 0 && this.#breaker === null
  }

  enter(limits: ServiceLimits, session: Session): Turn | Refusal | 'queue' {
    const leave = this.#leave(limits, session.user)
    if (typeof leave !== 'string') return leave
    // Whoever waits was there before.
    const isFull = limits.requests > 0 && (this.#active >= limits.requests || this.#queue.size > 0)
    if (!isFull) return this.begin(leave, session.user)
    this.#options.limits.hit('service-requests', this.service)
    return this.#hasRoom(session.uuid, limits.queue) ? 'queue' : QUEUE_FULL
  }

  /** Whether the breaker lets a request pass, or tries the service by it. */
  #leave({ requests, breakerPauseMs }: ServiceLimits, user: string): Refusal | 'pass' | 'try' {
    const breaker = this.#breaker
    if (breaker === null || breaker.isClosed) return 'pass'
    const { nowMs } = this.#options.clock
    const isFull = requests > 0 && this.#active >= requests
    if (!isFull && breaker.admits(user, breakerPauseMs, nowMs)) return 'try'
    this.#options.overflowed('breaker-open')
    return retryIn(BREAKER_OPEN, breaker.waitMs(nowMs))
  }

  begin(leave: 'pass' | 'try', user: string): Turn {
    this.#active++
    return new Turn(this, leave === 'try', user)
  }

  wait(session: Session, waited: Waited): () => void {
    const counted = this.#counters
    const waiting = { waited, counted, session }
    counted.queued(1)
    this.#queue.add(session.uuid, waiting)
    return () => {
      if (!this.#queue.remove(session.uuid, waiting)) return
      counted.queued(-1)
      this.#options.forget()
    }
  }

  /** Makes room where a session has more in a full queue than this one would have. */
  #hasRoom(session: string, queueMax: number): boolean {
    if (this.#queue.size < queueMax) return true
    this.#options.overflowed('queue-full')
    this.#options.limits.hit('service-queue', this.service)
    const dropped = this.#queue.takeFromLongest(session)
    if (dropped !== undefined) this.#waited(dropped, QUEUE_FULL)
    return dropped !== undefined
  }

  #waited({ counted, waited }: Waiting, turn: Turn | Refusal): void {
    counted.queued(-1)
    waited(turn)
  }

  /** Gives turns to those who wait, as far as there are some. One that is over at once makes room for the next, here. */
  pump(limits: ServiceLimits): void {
    if (this.#isPumping) return
    this.#isPumping = true
    try {
      while (this.#queue.size > 0 && (limits.requests === 0 || this.#active < limits.requests)) {
        const next = this.#queue.take()
        if (next === undefined) break
        const { user } = next.session
        const leave = this.#leave(limits, user)
        this.#waited(next, typeof leave === 'string' ? this.begin(leave, user) : leave)
      }
    } finally {
      this.#isPumping = false
    }
  }

  /** A turn is over. */
  ended(isTry: boolean): void {
    this.#active--
    if (isTry) this.#breaker?.gaveUp()
    this.pump(this.#options.limitsOf(this.service))
    this.#options.forget()
  }

  /** The service has answered, or is not there any more: either way it can be asked. */
  answered(isTry: boolean, user: string): void {
    if (this.#breaker?.answered(isTry, user) === true) this.#closed('answered')
  }

  failed(isTry: boolean, user: string, { breakerFailures, breakerPauseMs }: ServiceLimits): void {
    if (this.#breaker === null) this.#setBreaker(new Breaker())
    const { clock, say } = this.#options
    if (this.#breaker?.failed(isTry, user, breakerFailures, breakerPauseMs, clock.nowMs) !== true) return
    this.#setOpen(1)
    const key = `services.policy."${this.service}".limits.breaker-failures`
    say('warn', { event: 'breaker-opened', service: this.service, pauseMs: breakerPauseMs, isTry, key })
    // Nobody waits for what is not asked.
    for (let next = this.#queue.take(); next !== undefined; next = this.#queue.take()) {
      this.#options.overflowed('breaker-open')
      this.#waited(next, retryIn(BREAKER_OPEN, breakerPauseMs))
    }
  }

  /** @returns whether it was open */
  closeBreaker(by: 'operator' | 'configuration'): boolean {
    const wasOpen = this.#breaker !== null && !this.#breaker.isClosed
    this.#setBreaker(null)
    if (wasOpen) this.#closed(by)
    return wasOpen
  }

  #closed(by: string): void {
    this.#setOpen(0)
    this.#options.say('info', { event: 'breaker-closed', service: this.service, by })
  }

  #setBreaker(breaker: Breaker | null): void {
    if (this.#breaker === null && breaker !== null) this.#options.hasBreaker(1)
    if (this.#breaker !== null && breaker === null) this.#options.hasBreaker(-1)
    this.#breaker = breaker
  }

  #setOpen(open: 0 | 1): void {
    const { counters } = this.#options
    // What has failed has a socket.
    counters.cells[counters.place('xengate_breaker_open', counters.service(this.service).name)] = open
  }

  /** One that waits has not been there yet, perhaps. */
  get #counters(): ServiceCounters {
    return this.#options.counters.known(this.service)
  }
}

/** Leave to be with a service, to be given back once. */
export class Turn implements RequestTurn {
  readonly #gate: Gate
  /** Whether it tries a service that had failed, and nothing is known of that yet. */
  #isTry: boolean
  readonly #user: string
  #isOver = false

  constructor(gate: Gate, isTry: boolean, user: string) {
    this.#gate = gate
    this.#isTry = isTry
    this.#user = user
  }

  answered(): void {
    this.#gate.answered(this.takeTry(), this.#user)
  }

  /** Whether it tries the service, which is known once. */
  takeTry(): boolean {
    const isTry = this.#isTry
    this.#isTry = false
    return isTry
  }

  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#gate.ended(this.takeTry())
  }
}

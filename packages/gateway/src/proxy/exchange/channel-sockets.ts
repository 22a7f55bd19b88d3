// Services' second sockets, where they take clients' connections: which of them are worth trying, and the hand-over itself.

import { CHANNEL_SUFFIX, type ChannelOffer, openChannel } from '@xengate/channel'
import type { Clock } from '../clock.ts'

/** How long a service that takes no channels is not asked again, in milliseconds: asking costs as much as relaying does. */
const ABSENT_MS = 1000
/** The same for one whose answer is not of the protocol: it gets session ids that it has no use for, and may log them. */
const AVOIDED_MS = 60_000
/** What says so, rather than something about this one connection. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'EACCES', 'EAGAIN', 'ENAMETOOLONG', 'ENOTDIR'])
/** Services that are remembered to take none; past it all are forgotten. */
const ABSENT_MAX = 10_000

/** A hand-over that is under way. */
export interface OpenedChannel {
  /** The control connection. */
  readonly fd: number
  /** What of the message is still to be written to it, before anything else. */
  readonly unsent: Buffer | null
}

/** Channel sockets of the services of one worker. */
export class ChannelSockets {
  readonly #pathsOf: (name: string) => readonly string[]
  readonly #clock: Clock
  /** Until when, on the clock, a service is taken to have no channel socket. Anybody can name services that there are not. */
  readonly #absentUntilMs = new Map<string, number>()
  /** Until when a service that has answered is offered nothing. */
  readonly #avoidedUntilMs = new Map<string, number>()

  /** @param pathsOf where the socket of a service can be, in the order to try */
  constructor(pathsOf: (name: string) => readonly string[], clock: Clock) {
    this.#pathsOf = pathsOf
    this.#clock = clock
  }

  /** Whether the service `name` may take channels, as far as is known. */
  mayTake(name: string): boolean {
    return !this.#isLeft(this.#absentUntilMs, name) && !this.#isLeft(this.#avoidedUntilMs, name)
  }

  #isLeft(left: Map<string, number>, name: string): boolean {
    const untilMs = left.size === 0 ? undefined : left.get(name)
    if (untilMs === undefined) return false
    if (this.#clock.nowMs < untilMs) return true
    left.delete(name)
    return false
  }

  /**
   * Offers the connection `clientFd` to the service that `offer` names. Null when nobody takes it: the connection is as it was.
   * @param received what was read from the client and not used yet
   */
  open(clientFd: number, offer: ChannelOffer, received: Uint8Array): OpenedChannel | null {
    let isAbsent = true
    for (const path of this.#pathsOf(offer.service)) {
      const opened = openChannel(path + CHANNEL_SUFFIX, clientFd, offer, received)
      if (opened.kind === 'opened') return opened
      isAbsent &&= ABSENT.has(opened.code)
    }
    if (isAbsent) this.#leave(this.#absentUntilMs, offer.service, ABSENT_MS)
    return null
  }

  /** The service `name` has answered an offer with something else than the protocol has. */
  avoid(name: string): void {
    this.#leave(this.#avoidedUntilMs, name, AVOIDED_MS)
  }

  #leave(left: Map<string, number>, name: string, ms: number): void {
    if (left.size >= ABSENT_MAX) left.clear()
    left.set(name, this.#clock.nowMs + ms)
  }
}

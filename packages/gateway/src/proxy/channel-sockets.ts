// Services' second sockets, where they take clients' connections: which of them are worth trying, and the hand-over itself.

import { CHANNEL_SUFFIX, type ChannelOffer, openChannel } from '@xengate/channel'
import type { Clock } from './clock.ts'

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
  /** Until when, on the clock, a service is taken to have no channel socket. */
  readonly #absentUntilMs = new Map<string, number>()

  /** @param pathsOf where the socket of a service can be, in the order to try */
  constructor(pathsOf: (name: string) => readonly string[], clock: Clock) {
    this.#pathsOf = pathsOf
    this.#clock = clock
  }

  /** Whether the service `name` may take channels, as far as is known. */
  mayTake(name: string): boolean {
    const untilMs = this.#absentUntilMs.get(name)
    if (untilMs === undefined) return true
    if (this.#clock.nowMs < untilMs) return false
    this.#absentUntilMs.delete(name)
    return true
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
    if (isAbsent) this.#leave(offer.service, ABSENT_MS)
    return null
  }

  /** The service `name` has answered an offer with something else than the protocol has. */
  avoid(name: string): void {
    this.#leave(name, AVOIDED_MS)
  }

  #leave(name: string, ms: number): void {
    if (this.#absentUntilMs.size >= ABSENT_MAX) this.#absentUntilMs.clear()
    this.#absentUntilMs.set(name, this.#clock.nowMs + ms)
  }
}

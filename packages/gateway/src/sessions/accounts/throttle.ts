// Slows down guessing of passwords, for each name and for each client address.
//
// A name or an address has five failures free; then it waits after each failure, from 1 s, doubling, to 30 s. Attempts
// that are being checked count as failures until they prove otherwise: beyond the free ones the next attempt is held
// until an earlier one is decided, so that guessing in parallel gains nothing, and signing in in parallel works.

import { addressKey } from '../address-key.ts'
import { AccountError } from './errors.ts'

const FREE_FAILURES = 5
const FIRST_WAIT_MS = 1_000
const WAIT_MS_MAX = 30_000
const FORGET_AFTER_MS = 15 * 60_000
const KEYS_MAX = 10_000
const HELD_MAX = 256

/** What became of an attempt that was let in. Exactly one of its methods is called, once. */
export interface Attempt {
  /** The password was right: the name's failures are forgotten, the address's are not. */
  succeeded(): void
  /** The password was wrong. */
  failed(): void
  /** The attempt was not checked after all. */
  cancelled(): void
}

/** Let in, or refused for so many whole seconds (at least 1). */
export type Admission =
  | { readonly kind: 'admitted'; readonly attempt: Attempt }
  | { readonly kind: 'refused'; readonly seconds: number }

/** What is known of one name or one address. */
interface Track {
  failures: number
  lastFailureMs: number
  /** Attempts let in and not decided. */
  undecided: number
}

interface Held {
  readonly name: string
  readonly address: string | undefined
  readonly settle: (admission: Admission) => void
}

/** Judges sign-in attempts, in memory: a restart forgets. */
export class SignInThrottle {
  readonly #clock: () => number
  readonly #names = new TrackTable()
  readonly #addresses = new TrackTable()
  #held: Held[] = []

  /** @param clock ms since some fixed moment. */
  constructor(clock: () => number) {
    this.#clock = clock
  }

  /**
   * Asks to check a password for `name`, by the client at `address` (empty: not counted by address).
   *
   * Resolves at once, or when an earlier attempt of the same name or address is decided.
   *
   * @throws {AccountError} `BUSY` when too many attempts are held.
   */
  enter(name: string, address: string): Promise<Admission> {
    const key = addressKey(address)
    const admission = this.#judge(name, key)
    if (admission !== undefined) return Promise.resolve(admission)
    if (this.#held.length >= HELD_MAX) {
      const text = `sign in: ${HELD_MAX} attempts are waiting already; try again in a second`
      return Promise.reject(new AccountError('BUSY', text))
    }
    return new Promise((resolve) => {
      this.#held.push({ name, address: key, settle: resolve })
    })
  }

  /** `undefined`: to be held. */
  #judge(name: string, address: string | undefined): Admission | undefined {
    const nowMs = this.#clock()
    const tracks = [
      this.#names.peek(name, nowMs),
      address === undefined ? undefined : this.#addresses.peek(address, nowMs),
    ]
    const known = tracks.filter((track) => track !== undefined)
    const waitMs = Math.max(0, ...known.map((track) => waitOf(track, nowMs)))
    if (waitMs > 0) return { kind: 'refused', seconds: Math.ceil(waitMs / 1_000) }
    if (known.some((track) => track.undecided > 0 && track.failures + track.undecided >= FREE_FAILURES))
      return undefined
    return { kind: 'admitted', attempt: this.#admit(name, address, nowMs) }
  }

  #admit(name: string, address: string | undefined, nowMs: number): Attempt {
    this.#names.open(name, nowMs)
    if (address !== undefined) this.#addresses.open(address, nowMs)
    const decide = (nameOutcome: Outcome, addressOutcome: Outcome): void => {
      this.#names.decide(name, nameOutcome, this.#clock())
      if (address !== undefined) this.#addresses.decide(address, addressOutcome, this.#clock())
      this.#release()
    }
    return {
      succeeded: () => {
        decide('forget', 'keep')
      },
      failed: () => {
        decide('fail', 'fail')
      },
      cancelled: () => {
        decide('keep', 'keep')
      },
    }
  }

  /** Judges the held attempts again, in their order; at most `HELD_MAX`. */
  #release(): void {
    const held = this.#held
    this.#held = []
    for (const one of held) {
      const admission = this.#judge(one.name, one.address)
      if (admission === undefined) this.#held.push(one)
      else one.settle(admission)
    }
  }
}

/** What a decided attempt does to its track: count a failure, leave the failures, forget them. */
type Outcome = 'fail' | 'keep' | 'forget'

/** Tracks by key, least recently failed first; bounded. */
class TrackTable {
  readonly #tracks = new Map<string, Track>()

  /** The track of `key`, without failures that are too long ago. */
  peek(key: string, nowMs: number): Track | undefined {
    const track = this.#tracks.get(key)
    if (track !== undefined && nowMs - track.lastFailureMs >= FORGET_AFTER_MS) {
      track.failures = 0
      this.#dropIfIdle(key, track)
    }
    return track
  }

  /** Counts an undecided attempt. */
  open(key: string, nowMs: number): void {
    const track = this.#tracks.get(key)
    if (track !== undefined) {
      track.undecided += 1
      return
    }
    if (this.#tracks.size >= KEYS_MAX) this.#dropOldest()
    this.#tracks.set(key, { failures: 0, lastFailureMs: nowMs, undecided: 1 })
  }

  decide(key: string, outcome: Outcome, nowMs: number): void {
    const track = this.#tracks.get(key)
    if (track === undefined) return
    track.undecided -= 1
    if (outcome === 'forget') track.failures = 0
    if (outcome === 'fail') {
      track.failures += 1
      track.lastFailureMs = nowMs
      // To the end: the order of the map is the order of the last failures.
      this.#tracks.delete(key)
      this.#tracks.set(key, track)
    }
    this.#dropIfIdle(key, track)
  }

  #dropIfIdle(key: string, track: Track): void {
    if (track.failures === 0 && track.undecided === 0) this.#tracks.delete(key)
  }

  /** Those with undecided attempts stay; password checks at once are bounded, so the loop is short. */
  #dropOldest(): void {
    for (const [key, track] of this.#tracks) {
      if (track.undecided > 0) continue
      this.#tracks.delete(key)
      return
    }
  }
}

function waitOf(track: Track, nowMs: number): number {
  if (track.failures < FREE_FAILURES) return 0
  const delayMs = Math.min(WAIT_MS_MAX, FIRST_WAIT_MS * 2 ** (track.failures - FREE_FAILURES))
  // The clock may have been set back: never wait longer than the delay itself.
  return Math.min(delayMs, track.lastFailureMs + delayMs - nowMs)
}

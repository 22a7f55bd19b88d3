// Slows down guessing of passwords, so that nobody can keep others from signing in by it.
//
//   who                                       waits for
//   an address that this name has signed in   its own failures with this name: five are free, then 1 s after each, doubling,
//   from before                               to 30 s; its turn is before all others
//   another address                           its own failures, whatever the names, in the same way; and, once the name has
//                                             five failures from such addresses, a turn: one each 250 ms for this name
//   no address (a Unix listener)              a turn, as those; it is never refused for failures
//
// Of those who wait, networks have equal shares, and in one of them the address with the fewest failures is next (see Shares). Who
// could not have a turn within 2 s is refused. Attempts that are being checked count as failures until they prove otherwise: beyond the free ones the next
// attempt is held until an earlier one is decided, so that guessing in parallel gains nothing, and signing in in parallel
// works. Checks at once are bounded, so that a turn is never far away.

import { BoundedMap } from '../../bounded-map.ts'
import { addressKey } from '../address-key.ts'
import { AccountError } from './errors.ts'
import { mostCrowded, Shares, type Waiter } from './shares.ts'
import { type Outcome, type Track, TrackTable } from './tracks.ts'

const FREE_FAILURES = 5
const FIRST_WAIT_MS = 1_000
const WAIT_MS_MAX = 30_000
/** Between two turns of a name that is being guessed at. */
const TURN_MS = 250
/** How long a turn is waited for, and how many can wait for one name. */
const TURN_WAIT_MS_MAX = 2_000
const TURNS_MAX = TURN_WAIT_MS_MAX / TURN_MS
/** Checks at once: enough to keep the hash queue busy. */
const CHECKS_MAX = 6
/** Attempts that wait, of those that are known and of others; past it one goes of where most come from. */
const HELD_MAX = 256
/** Names and addresses that have signed in, and for how long that counts. */
const SIGNED_IN_MAX = 10_000
const SIGNED_IN_MS = 30 * 86_400_000

const CROWDED: Admission = { kind: 'refused', seconds: TURN_WAIT_MS_MAX / 1_000 }

/** What became of an attempt that was let in. Exactly one of its methods is called, once. */
export interface Attempt {
  /** The password was right: what this client failed at with this name is forgotten. */
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

/** Who is held up: an address, or a name whose attempts from elsewhere take turns; for so many seconds from now. */
export interface HeldUp {
  readonly kind: 'address' | 'name' | 'name-at-address'
  readonly name: string | null
  readonly address: string | null
  readonly failures: number
  readonly seconds: number
}

/** Who asks: a name, and an address as `addressKey` gives it. */
interface Asker {
  readonly name: string
  readonly address: string | undefined
}

interface Held extends Waiter {
  readonly settle: (admission: Admission) => void
  readonly refuse: (error: AccountError) => void
}

/** Judges sign-in attempts, in memory: a restart forgets. */
export class SignInThrottle {
  readonly #clock: () => number
  /** Failures by name, of those that have not signed in with it before. */
  readonly #names = new TrackTable()
  readonly #addresses = new TrackTable()
  /** By name and address. */
  readonly #pairs = new TrackTable()
  /** When each name last signed in from each address. */
  readonly #signedIn = new BoundedMap<string, number>(SIGNED_IN_MAX)
  readonly #shares = new Shares()
  #checks = 0
  #held: Held[] = []
  #timer: NodeJS.Timeout | undefined

  /** @param clock one that does not go back, in ms */
  constructor(clock: () => number) {
    this.#clock = clock
  }

  /**
   * Asks to check a password for `name`, by the client at `address` (empty: not known).
   *
   * Resolves at once, or when it is its turn.
   *
   * @throws {AccountError} `BUSY` when too many attempts are held.
   */
  enter(name: string, address: string): Promise<Admission> {
    const asker = { name, address: addressKey(address) }
    const refusal = this.#refusalOf(asker) ?? this.#refuseCrowd(asker)
    if (refusal !== undefined) return Promise.resolve(refusal)
    const { promise, resolve, reject } = Promise.withResolvers<Admission>()
    this.#held.push({ ...asker, sinceMs: this.#clock(), settle: resolve, refuse: reject })
    this.#dropBeyond(this.#isKnown(asker))
    // Even when it could be let in: others may have waited for this turn.
    if (this.#checks < CHECKS_MAX) this.#release()
    else this.#arm()
    return promise
  }

  /** Who is held up now. */
  heldUp(): HeldUp[] {
    const nowMs = this.#clock()
    const failing = (table: TrackTable): (readonly [string, Track])[] => [...table.failing(FREE_FAILURES, nowMs)]
    const secondsOf = (track: Track): number => Math.ceil(Math.max(0, waitOf(track, nowMs)) / 1_000)
    return [
      ...failing(this.#addresses).map(([address, track]) => {
        return { kind: 'address' as const, name: null, address, failures: track.failures, seconds: secondsOf(track) }
      }),
      ...failing(this.#names).map(([name, { failures }]) => {
        return { kind: 'name' as const, name, address: null, failures, seconds: 0 }
      }),
      ...failing(this.#pairs).map(([key, track]) => {
        const { name, address } = ofPair(key)
        return { kind: 'name-at-address' as const, name, address, failures: track.failures, seconds: secondsOf(track) }
      }),
    ]
  }

  /** Forgets failures of a name, of an address, or, when neither is given, all. */
  clear({ name, address }: { readonly name?: string; readonly address?: string } = {}): void {
    const key = address === undefined ? undefined : (addressKey(address) ?? '')
    for (const one of this.heldUp()) {
      if (name !== undefined && one.name !== name && one.kind !== 'address') continue
      if (key !== undefined && one.address !== key && one.kind !== 'name') continue
      if (one.kind === 'address' && (key !== undefined || name === undefined))
        this.#addresses.forgive(one.address ?? '')
      if (one.kind === 'name' && (name !== undefined || key === undefined)) this.#names.forgive(one.name ?? '')
      if (one.kind === 'name-at-address')
        this.#pairs.forgive(pairOf({ name: one.name ?? '', address: one.address ?? '' }))
    }
    this.#release()
  }

  #dropBeyond(isKnown: boolean): void {
    const waiting = this.#held.filter((one) => this.#isKnown(one) === isKnown)
    const dropped = waiting.length > HELD_MAX ? mostCrowded(waiting) : undefined
    if (dropped === undefined) return
    this.#held.splice(this.#held.indexOf(dropped), 1)
    const text = `sign in: ${HELD_MAX} attempts are waiting already; try again in a second`
    dropped.refuse(new AccountError('BUSY', text))
  }

  /** `undefined`: to be held. */
  #judge(asker: Asker): Admission | undefined {
    const refusal = this.#refusalOf(asker)
    if (refusal !== undefined) return refusal
    const nowMs = this.#clock()
    const isKnown = this.#isKnown(asker)
    const own = this.#ownTrack(asker, isKnown, nowMs)
    if (this.#checks >= CHECKS_MAX || isAtLimit(own)) return undefined
    if (!isKnown && this.#turnInMs(asker.name, nowMs) > 0) return undefined
    return { kind: 'admitted', attempt: this.#admit(asker, isKnown, nowMs) }
  }

  /** Refused for what the asker itself has failed at. */
  #refusalOf(asker: Asker): Admission | undefined {
    const nowMs = this.#clock()
    const own = this.#ownTrack(asker, this.#isKnown(asker), nowMs)
    const waitMs = own === undefined || asker.address === undefined ? 0 : waitOf(own, nowMs)
    return waitMs > 0 ? { kind: 'refused', seconds: Math.ceil(waitMs / 1_000) } : undefined
  }

  /** What the asker itself has failed at. */
  #ownTrack(asker: Asker, isKnown: boolean, nowMs: number): Track | undefined {
    if (isKnown || asker.address === undefined) return this.#pairs.peek(pairOf(asker), nowMs)
    return this.#addresses.peek(asker.address, nowMs)
  }

  /** How long until one who is not known can be checked for `name`. */
  #turnInMs(name: string, nowMs: number): number {
    const track = this.#names.peek(name, nowMs)
    if (track === undefined) return 0
    if (isAtLimit(track)) return TURN_MS
    return track.failures < FREE_FAILURES ? 0 : track.lastStartMs + TURN_MS - nowMs
  }

  /** Refuses one when too many wait for a turn of the same name: who has failed most, and the last of those. */
  #refuseCrowd(asker: Asker): Admission | undefined {
    const nowMs = this.#clock()
    if (this.#turnInMs(asker.name, nowMs) <= 0 || !this.#takesTurns(asker, nowMs)) return undefined
    const waiting = this.#held.filter((one) => one.name === asker.name && !this.#isKnown(one))
    if (waiting.length < TURNS_MAX) return undefined
    const failures = (one: Asker): number => this.#failuresOf(one, nowMs)
    const worst = waiting.reduce((most, one) => (failures(one) >= failures(most) ? one : most))
    if (failures(worst) <= failures(asker)) return CROWDED
    this.#held.splice(this.#held.indexOf(worst), 1)
    worst.settle(CROWDED)
    return undefined
  }

  /** Whether the name is being guessed at, and the asker one of those who may do it. */
  #takesTurns(asker: Asker, nowMs: number): boolean {
    return !this.#isKnown(asker) && (this.#names.peek(asker.name, nowMs)?.failures ?? 0) >= FREE_FAILURES
  }

  #failuresOf({ address }: Asker, nowMs: number): number {
    return address === undefined ? 0 : (this.#addresses.peek(address, nowMs)?.failures ?? 0)
  }

  #isKnown(asker: Asker): boolean {
    if (asker.address === undefined) return false
    const signedInMs = this.#signedIn.get(pairOf(asker))
    return signedInMs !== undefined && this.#clock() - signedInMs < SIGNED_IN_MS
  }

  #admit(asker: Asker, isKnown: boolean, nowMs: number): Attempt {
    const { name, address } = asker
    const tables: [TrackTable, string][] = [[this.#pairs, pairOf(asker)]]
    if (address !== undefined) tables.push([this.#addresses, address])
    if (!isKnown) tables.push([this.#names, name])
    for (const [table, key] of tables) table.open(key, nowMs)
    this.#shares.took(asker)
    this.#checks += 1
    const decide = (outcome: Outcome, ofPairs: Outcome = outcome): void => {
      for (const [table, key] of tables) table.decide(key, table === this.#pairs ? ofPairs : outcome, this.#clock())
      this.#checks -= 1
      this.#release()
    }
    return {
      succeeded: () => {
        if (address !== undefined) this.#noteSignedIn(pairOf(asker))
        decide('keep', 'forget')
      },
      failed: () => decide('fail'),
      cancelled: () => decide('keep'),
    }
  }

  #noteSignedIn(pair: string): void {
    // To the end: the order of the map is the order of the last sign-ins.
    this.#signedIn.setLast(pair, this.#clock())
  }

  /** Judges the held attempts again, at most `2 * HELD_MAX`: those that are known first, then the others in their order. */
  #release(): void {
    const nowMs = this.#clock()
    const { known = [], others = [] } = Object.groupBy(this.#held, (one) => (this.#isKnown(one) ? 'known' : 'others'))
    const held = [...known, ...this.#shares.inOrder(others, (one) => this.#failuresOf(one, nowMs))]
    this.#held = []
    for (const one of held) {
      const admission = this.#judge(one)
      if (admission !== undefined) one.settle(admission)
      else if (this.#takesTurns(one, nowMs) && nowMs - one.sinceMs >= TURN_WAIT_MS_MAX) one.settle(CROWDED)
      else this.#held.push(one)
    }
    this.#arm()
  }

  /** Turns come by time. */
  #arm(): void {
    if (this.#held.length === 0 || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#release()
    }, TURN_MS / 5).unref()
  }
}

function isAtLimit(track: Track | undefined): boolean {
  return track !== undefined && track.undecided > 0 && track.failures + track.undecided >= FREE_FAILURES
}

function waitOf(track: Track, nowMs: number): number {
  if (track.failures < FREE_FAILURES) return 0
  const delayMs = Math.min(WAIT_MS_MAX, FIRST_WAIT_MS * 2 ** (track.failures - FREE_FAILURES))
  return track.lastFailureMs + delayMs - nowMs
}

/** An address has no line feed, and neither has a name. */
function pairOf({ name, address }: Asker): string {
  return `${address ?? ''}\n${name}`
}

function ofPair(pair: string): { readonly name: string; readonly address: string } {
  const [address = '', name = ''] = pair.split('\n')
  return { name, address }
}

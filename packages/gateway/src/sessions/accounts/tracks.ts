// Failures of sign-in attempts by key, in a bounded table.

const FORGET_AFTER_MS = 15 * 60_000
const KEYS_MAX = 10_000

/** What is known of one key. */
export interface Track {
  failures: number
  lastFailureMs: number
  /** When an attempt was last let in. */
  lastStartMs: number
  /** Attempts let in and not decided. */
  undecided: number
}

/** What a decided attempt does to its track: count a failure, leave the failures, forget them. */
export type Outcome = 'fail' | 'keep' | 'forget'

/** Tracks by key, least recently failed first; bounded. */
export class TrackTable {
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
      track.lastStartMs = nowMs
      return
    }
    if (this.#tracks.size >= KEYS_MAX) this.#dropOldest()
    this.#tracks.set(key, { failures: 0, lastFailureMs: nowMs, lastStartMs: nowMs, undecided: 1 })
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

  /** Keys with at least so many failures, with their tracks. */
  *failing(failuresMin: number, nowMs: number): Iterable<readonly [string, Track]> {
    for (const key of this.#tracks.keys()) {
      const track = this.peek(key, nowMs)
      if (track !== undefined && track.failures >= failuresMin) yield [key, track]
    }
  }

  /** Forgets the failures of `key`. */
  forgive(key: string): void {
    const track = this.#tracks.get(key)
    if (track === undefined) return
    track.failures = 0
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

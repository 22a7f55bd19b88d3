// How many requests a second a session makes to each service: a bucket of tokens for both, which fills by the rate and holds as much as one
// second brings. They go with the session. A name that no service ever had shares one bucket with all such, so that there are no more
// of them than services.

import type { SessionEntry } from '../../sessions/table.ts'

interface Bucket {
  tokens: number
  /** When that was. */
  atMs: number
}

/** See the head of this file. */
export class SessionRates {
  readonly #buckets = new WeakMap<SessionEntry, Map<string, Bucket>>()

  /** Takes a token. @param name of the service, or of all that are none. @returns how long there is none, in milliseconds; 0 when it was taken */
  take(entry: SessionEntry, name: string, rate: number, nowMs: number): number {
    const bucket = this.#bucketOf(entry, name, rate, nowMs)
    bucket.tokens = Math.min(rate, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * rate)
    bucket.atMs = nowMs
    if (bucket.tokens < 1) return ((1 - bucket.tokens) / rate) * 1000
    bucket.tokens--
    return 0
  }

  #bucketOf(entry: SessionEntry, name: string, rate: number, nowMs: number): Bucket {
    let buckets = this.#buckets.get(entry)
    if (buckets === undefined) {
      buckets = new Map()
      this.#buckets.set(entry, buckets)
    }
    let bucket = buckets.get(name)
    if (bucket === undefined) {
      bucket = { tokens: rate, atMs: nowMs }
      buckets.set(name, bucket)
    }
    return bucket
  }
}

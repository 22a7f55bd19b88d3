// How many connections each address of clients has: a limit for one keeps it from taking all.

import { addressKey } from '../../sessions/address-key.ts'

/** The loopback is a proxy's in front that does not tell of its clients, or this host's own. */
const LOOPBACK = /^(?:127\.|::1$|::ffff:127\.)/i

/** See the head of this file. */
export class AddressCounts {
  readonly #counts = new Map<string, number>()

  /** Whether clients of `address` have `max` connections, or more. */
  has(address: string, max: number): boolean {
    const key = keyOf(address)
    return key !== undefined && (this.#counts.get(key) ?? 0) >= max
  }

  /** One comes, or with -1 one has ended. */
  add(address: string, more: 1 | -1): void {
    const key = keyOf(address)
    if (key === undefined) return
    const count = (this.#counts.get(key) ?? 0) + more
    if (count === 0) this.#counts.delete(key)
    else this.#counts.set(key, count)
  }
}

function keyOf(address: string): string | undefined {
  return LOOPBACK.test(address) ? undefined : addressKey(address)
}

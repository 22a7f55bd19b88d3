// Bounded places, shared among clients by their addresses: one client cannot take them all.
//
// Half of the places are anybody's. Of the other half an address gets one only while it has less than an eighth of all.

import { addressKey } from './address-key.ts'

const PARTS = 8

/** See the head of this file. */
export class Shares {
  readonly #max: number
  readonly #taken = new Map<string, number>()
  #total = 0

  constructor(max: number) {
    this.#max = max
  }

  /** Takes a place for the client at `address`, if there is one for it; who gets one gives it back. */
  take(address: string): boolean {
    const key = addressKey(address) ?? ''
    const own = this.#taken.get(key) ?? 0
    if (this.#total >= this.#max) return false
    if (this.#total >= this.#max / 2 && own >= this.#max / PARTS) return false
    this.#taken.set(key, own + 1)
    this.#total += 1
    return true
  }

  give(address: string): void {
    const key = addressKey(address) ?? ''
    const own = this.#taken.get(key) ?? 0
    if (own <= 1) this.#taken.delete(key)
    else this.#taken.set(key, own - 1)
    this.#total -= 1
  }
}

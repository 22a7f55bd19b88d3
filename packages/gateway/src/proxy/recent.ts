// The latest that was refused, or failed, and with the access log the latest of all: for who looks for a fault. Bounded, in this process,
// and gone with it.

import type { AccessFields } from '../logging/access.ts'
import type { Offence } from './heads/offence.ts'

/** Requests that are remembered: refused or failed ones, and the last of all. */
const FAILED_MAX = 500
const LAST_MAX = 500

/** A request that is over. */
export interface EndedRequest {
  /** When, in milliseconds since the epoch. */
  readonly endedMs: number
  readonly fields: AccessFields
  /** What could not be read; null where that was not the fault. */
  readonly offence: Offence | null
}

/** The last of them, up to a number: adding costs an assignment. */
class Ring<Value> {
  readonly #values: Value[] = []
  readonly #max: number
  #next = 0

  constructor(max: number) {
    this.#max = max
  }

  add(value: Value): void {
    this.#values[this.#next] = value
    this.#next = (this.#next + 1) % this.#max
  }

  /** The latest first. */
  get all(): readonly Value[] {
    return [...this.#values.slice(this.#next), ...this.#values.slice(0, this.#next)].toReversed()
  }
}

/** See the head of this file. */
export class Recent {
  readonly #failed = new Ring<EndedRequest>(FAILED_MAX)
  readonly #last = new Ring<EndedRequest>(LAST_MAX)

  /** A request was refused, or failed. */
  failed(fields: AccessFields, offence: Offence | null): void {
    this.#failed.add({ endedMs: Date.now(), fields, offence })
  }

  /** One was answered. */
  answered(fields: AccessFields): void {
    this.#last.add({ endedMs: Date.now(), fields, offence: null })
  }

  /** Those that were refused or failed, the latest first. */
  get failures(): readonly EndedRequest[] {
    return this.#failed.all
  }

  /** What is known of the request with this id. */
  find(requestId: string): EndedRequest | undefined {
    return [...this.#failed.all, ...this.#last.all].find(({ fields }) => fields.requestId === requestId)
  }
}

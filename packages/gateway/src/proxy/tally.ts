// What a worker counts of its requests, for whoever asks how the gateway does: integers, added up where a request is over, and taken by
// the primary now and then. Nobody is told of what did not happen: an idle worker does not wake up for it.

/** Counts of one service, or of all requests. */
export interface Counts {
  /** Requests that are over; those on a channel are its service's. */
  readonly requests: number
  /** Of these, refused by the gateway with a status below 500. */
  readonly refusals: number
  /** Of these, with a status of 500 or more, or with a response that broke off on the service's side. */
  readonly errors: number
  /** Responses of services, and how long their heads took in all, in milliseconds. */
  readonly answers: number
  readonly latencyMs: number
}

/** Counts since they were taken last. */
export interface Counted {
  readonly all: Counts
  readonly services: readonly (readonly [name: string, counts: Counts])[]
}

/** More services than a host has; what is beyond them is counted in all alone. */
const SERVICES_MAX = 1000

type Sums = { -readonly [Key in keyof Counts]: number }

export function noCounts(): Sums {
  return { requests: 0, refusals: 0, errors: 0, answers: 0, latencyMs: 0 }
}

export function addCounts(sums: Sums, counts: Counts): void {
  sums.requests += counts.requests
  sums.refusals += counts.refusals
  sums.errors += counts.errors
  sums.answers += counts.answers
  sums.latencyMs += counts.latencyMs
}

/** See the head of this file. */
export class Tally {
  readonly #began: () => void
  #all = noCounts()
  readonly #services = new Map<string, Sums>()

  /** @param began told of the first request after the counts were taken */
  constructor(began: () => void) {
    this.#began = began
  }

  /**
   * A request that was relayed is over.
   * @param service null for what is no custom service
   * @param latencyMs to the head of its response; null when there was none
   */
  relayed(service: string | null, isError: boolean, latencyMs: number | null): void {
    if (this.#all.requests === 0) this.#began()
    this.#all.requests++
    if (isError) this.#all.errors++
    const sums = service === null ? undefined : this.#sumsOf(service)
    if (sums === undefined) return
    sums.requests++
    if (isError) sums.errors++
    if (latencyMs === null) return
    sums.answers++
    sums.latencyMs += latencyMs
    this.#all.answers++
    this.#all.latencyMs += latencyMs
  }

  /**
   * A request was refused.
   * @param service that it was for, as the client named it
   * @param wasFound whether there is a socket of that name: clients do not make up names that are kept
   */
  refused(service: string | null, status: number, wasFound: boolean): void {
    if (this.#all.requests === 0) this.#began()
    const sums = service === null ? undefined : wasFound ? this.#sumsOf(service) : this.#services.get(service)
    for (const each of sums === undefined ? [this.#all] : [this.#all, sums]) {
      each.requests++
      if (status >= 500) each.errors++
      else each.refusals++
    }
  }

  /** What was counted since this was called last; null when that is nothing. */
  take(): Counted | null {
    if (this.#all.requests === 0) return null
    const services = [...this.#services].filter(([, { requests }]) => requests > 0)
    const taken = { all: this.#all, services }
    this.#all = noCounts()
    // The names stay: what is refused of them is counted as theirs.
    for (const [name] of services) this.#services.set(name, noCounts())
    return taken
  }

  #sumsOf(service: string): Sums | undefined {
    const known = this.#services.get(service)
    if (known !== undefined || this.#services.size >= SERVICES_MAX) return known
    const sums = noCounts()
    this.#services.set(service, sums)
    return sums
  }
}

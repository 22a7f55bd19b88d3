// Where services are that do not run on this host: what a 302 is made from. One registry is in force, in the primary
// process; workers have its table.

/** Tells where a service is. Asked for a service that does not run here: whoever asks has tried. */
export interface ServiceRegistry {
  /**
   * Origin (`http(s)://host[:port]`, no trailing slash) of a host that has the service `name`, or undefined. Of several it
   * is the same one for the same session while they stay the same.
   */
  whereIs(name: string, sessionUuid: string): string | undefined
}

/** News for workers: services, each with the origins of all hosts that have it now; none when it is nowhere. */
export type ServiceChanges = readonly (readonly [name: string, origins: readonly string[]])[]

/** How often a host's announcement is renewed, and how long one holds; in milliseconds. */
export interface RegistryTimes {
  readonly beatMs: number
  readonly leaseMs: number
}

/**
 * What knows where services are in the pool.
 *
 * - `announce` says which services run here, all of them each time; others learn of it soon, and forget it when this host
 *   is gone. It never fails: what cannot be said now is said when it can be.
 * - The listener of `onChanged` is told of every service whose places change, from the start on. No place is ever this host.
 * - A host that others can no longer hear of is forgotten, and so are all others when nothing can be heard here.
 * - `close` takes back what was announced, if that is possible, unless `withdraws` is false: another process has it announced.
 */
export interface PoolRegistry {
  start(): void
  announce(names: readonly string[]): void
  onChanged(listener: (changes: ServiceChanges) => void): void
  close(withdraws?: boolean): Promise<void>
}

/**
 * The registry whose table stands in the configuration.
 * @param origins service name → origin
 * @param ownOrigin this host's own origin: a service said to be there that does not run here runs nowhere
 */
export function staticRegistry(origins: Readonly<Record<string, string>>, ownOrigin: string | null): StaticRegistry {
  return new StaticRegistry(Object.entries(origins).filter(([, origin]) => origin !== ownOrigin))
}

/** See `staticRegistry`. It hears of nothing and tells nobody. */
export class StaticRegistry implements ServiceRegistry, PoolRegistry {
  readonly #byName: ReadonlyMap<string, string>
  #listener: (changes: ServiceChanges) => void = () => {}

  constructor(origins: readonly (readonly [name: string, origin: string])[]) {
    this.#byName = new Map(origins)
  }

  whereIs(name: string): string | undefined {
    return this.#byName.get(name)
  }

  start(): void {
    this.#listener([...this.#byName].map(([name, origin]) => [name, [origin]]))
  }

  announce(): void {}

  onChanged(listener: (changes: ServiceChanges) => void): void {
    this.#listener = listener
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

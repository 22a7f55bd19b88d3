// What the hosts of the pool said last, and where a service is by that.
//
// No client is ever sent in a circle, however old what each host knows of the others may be. Announcements are numbered:
// a host's next number is higher than any that it has seen. A host that does not have a service sends clients only to a
// host whose announcement of it has a higher number than its own last one of that service (of equal numbers the host's
// name decides). Along a chain of redirects the number of each host's last announcement of the service so rises, and
// what a host knows of another is at most that; a chain that comes back would have to rise above itself.
//
// A host that still runs a service which another had, and announced with a higher number, announces it again, so that
// the other may send clients to it.

import { type Announcement, HAD_MAX, NAMES_MAX } from './announcement.ts'
import type { ServiceChanges } from './registry.ts'

/** Hosts that are kept; what further ones say is not heard. */
const HOSTS_MAX = 10_000

/** This host. */
export interface OwnHost {
  readonly host: string
  readonly origin: string | null
}

/** See the head of this file. */
export class HostTable {
  readonly #own: OwnHost
  readonly #onChanged: (changes: ServiceChanges) => void
  readonly #hosts = new Map<string, Announcement>()
  /** The number of the own last announcement of each service. */
  readonly #ownStamps = new Map<string, number>()
  #announced: Announcement
  #highest = 0
  /** What was told, by service. */
  #places: ReadonlyMap<string, readonly string[]> = new Map()

  /** @param onChanged told of services whose places have changed */
  constructor(own: OwnHost, onChanged: (changes: ServiceChanges) => void) {
    this.#own = own
    this.#onChanged = onChanged
    this.#announced = { ...own, names: [], stamp: 0, had: [] }
  }

  /** The own announcement, as it is to be said. */
  get announced(): Announcement {
    return this.#announced
  }

  /** Names of the other hosts. */
  get hosts(): readonly string[] {
    return [...this.#hosts.keys()]
  }

  /** Makes the own announcement anew. @returns whether it is to be said: always when `names` are others than before */
  announce(names: readonly string[], isAgain = false): boolean {
    const sorted = names.toSorted().slice(0, NAMES_MAX)
    if (!isAgain && isSameList(sorted, this.#announced.names)) return false
    const stamp = ++this.#highest
    for (const name of sorted) this.#ownStamps.set(name, stamp)
    this.#announced = { ...this.#own, names: sorted, stamp, had: this.#had(new Set(sorted)) }
    this.#tell()
    return true
  }

  /** Those of which there is news last come last; with too many the first are left out. */
  #had(running: ReadonlySet<string>): [string, number][] {
    const had = [...this.#ownStamps].filter(([name]) => !running.has(name)).toSorted((a, b) => a[1] - b[1])
    for (const [name] of had.splice(0, Math.max(0, had.length - HAD_MAX))) this.#ownStamps.delete(name)
    return had
  }

  /**
   * Takes a host's announcement. One of this host's own, from before a restart, tells what it had.
   *
   * @returns whether the own announcement has to be said again: the table has made it anew
   */
  take(announcement: Announcement): boolean {
    this.#highest = Math.max(this.#highest, announcement.stamp)
    if (announcement.host === this.#own.host) return this.#takeOwn(announcement)
    const before = this.#hosts.get(announcement.host)
    if (before?.stamp === announcement.stamp && before.origin === announcement.origin) return false
    if (before === undefined && this.#hosts.size >= HOSTS_MAX) return false
    this.#hosts.set(announcement.host, announcement)
    const { names } = this.#announced
    const isOutdone = announcement.had.some(([name, stamp]) => names.includes(name) && stamp >= this.#announced.stamp)
    if (isOutdone) this.announce(names, true)
    else this.#tell()
    return isOutdone
  }

  /** Every number that was used counts as seen; so the own next one is higher. */
  #takeOwn({ names, stamp, had }: Announcement): boolean {
    if (stamp <= this.#announced.stamp) return false
    for (const [name, last] of [...names.map((each) => [each, stamp] as const), ...had]) {
      this.#ownStamps.set(name, Math.max(last, this.#ownStamps.get(name) ?? 0))
    }
    return this.announce(this.#announced.names, true)
  }

  /** Forgets hosts that are gone. */
  forget(hosts: readonly string[]): void {
    const isAnyKnown = hosts.map((host) => this.#hosts.delete(host)).includes(true)
    if (isAnyKnown) this.#tell()
  }

  /** Forgets every host but these. */
  keepOnly(hosts: ReadonlySet<string>): void {
    this.forget(this.hosts.filter((host) => !hosts.has(host)))
  }

  #tell(): void {
    const before = this.#places
    const places = this.#placesNow()
    this.#places = places
    const changes = [...places].filter(([name, origins]) => !isSameList(origins, before.get(name) ?? []))
    const gone = [...before.keys()].filter((name) => !places.has(name)).map((name) => [name, []] as const)
    if (changes.length + gone.length > 0) this.#onChanged([...changes, ...gone])
  }

  #placesNow(): ReadonlyMap<string, readonly string[]> {
    const places = new Map<string, string[]>()
    for (const { host, origin, names, stamp } of this.#hosts.values()) {
      if (origin === null || origin === this.#own.origin) continue
      for (const name of names) {
        if (!this.#maySendTo(host, stamp, name)) continue
        const origins = places.get(name)
        if (origins === undefined) places.set(name, [origin])
        else if (!origins.includes(origin)) origins.push(origin)
      }
    }
    for (const origins of places.values()) origins.sort()
    return places
  }

  #maySendTo(host: string, stamp: number, name: string): boolean {
    const own = this.#ownStamps.get(name)
    return own === undefined || stamp > own || (stamp === own && host > this.#own.host)
  }
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index])
}

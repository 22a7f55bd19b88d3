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
  /** Hosts that announce a service, by its name. */
  readonly #hostsOf = new Map<string, Set<string>>()
  /** What was told, by service. */
  readonly #places = new Map<string, readonly string[]>()

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
    const stamped = [...this.#ownStamps.keys()]
    for (const name of sorted) this.#ownStamps.set(name, stamp)
    this.#announced = { ...this.#own, names: sorted, stamp, had: this.#had(new Set(sorted)) }
    this.#tell([...stamped, ...sorted])
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
    this.#replace(announcement.host, announcement)
    const { names } = this.#announced
    const isOutdone = announcement.had.some(([name, stamp]) => names.includes(name) && stamp >= this.#announced.stamp)
    if (isOutdone) this.announce(names, true)
    this.#tell([...(before?.names ?? []), ...announcement.names])
    return isOutdone
  }

  /** Puts `now` in the place of what the host announced before. */
  #replace(host: string, now: Announcement | undefined): void {
    for (const name of this.#hosts.get(host)?.names ?? []) {
      const hosts = this.#hostsOf.get(name)
      hosts?.delete(host)
      if (hosts?.size === 0) this.#hostsOf.delete(name)
    }
    if (now === undefined) this.#hosts.delete(host)
    else this.#hosts.set(host, now)
    for (const name of now?.names ?? []) {
      const hosts = this.#hostsOf.get(name)
      if (hosts === undefined) this.#hostsOf.set(name, new Set([host]))
      else hosts.add(host)
    }
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
    const names = hosts.flatMap((host) => this.#hosts.get(host)?.names ?? [])
    for (const host of hosts) this.#replace(host, undefined)
    this.#tell(names)
  }

  /** Forgets every host but these. */
  keepOnly(hosts: ReadonlySet<string>): void {
    this.forget(this.hosts.filter((host) => !hosts.has(host)))
  }

  /** Tells of those of the services `names` whose places are others than were told. */
  #tell(names: readonly string[]): void {
    const changes: [string, readonly string[]][] = []
    for (const name of new Set(names)) {
      const origins = this.#placesOf(name)
      if (isSameList(origins, this.#places.get(name) ?? [])) continue
      if (origins.length === 0) this.#places.delete(name)
      else this.#places.set(name, origins)
      changes.push([name, origins])
    }
    if (changes.length > 0) this.#onChanged(changes)
  }

  #placesOf(name: string): readonly string[] {
    const origins = new Set<string>()
    for (const each of this.#hostsOf.get(name) ?? []) {
      const { host, origin, stamp } = this.#hosts.get(each) ?? this.#announced
      if (origin !== null && origin !== this.#own.origin && this.#maySendTo(host, stamp, name)) origins.add(origin)
    }
    return [...origins].toSorted()
  }

  #maySendTo(host: string, stamp: number, name: string): boolean {
    const own = this.#ownStamps.get(name)
    return own === undefined || stamp > own || (stamp === own && host > this.#own.host)
  }
}

function isSameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, index) => each === b[index])
}

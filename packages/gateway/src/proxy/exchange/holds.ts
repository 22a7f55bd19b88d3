// What holds on to a session beyond one exchange: tunnels and channels. They end with it.

import type { Policies } from '../../model/policy.ts'
import type { ReasonName } from '../../model/reasons.ts'
import type { SessionEntry } from '../../sessions/table.ts'

/** Something that holds on to a session. */
export interface Held {
  /** Null when no session ends it. */
  readonly entry: SessionEntry | null
  /** Whether requests are admitted on it that the gateway does not see. */
  readonly admitsByItself: boolean
  /** Whether `policies` allow it. */
  isAllowed(policies: Policies, methods: readonly string[]): boolean
  /** Ends it for both sides, now. */
  cut(why: ReasonName): void
  /** The same, and nothing of it is waited for. */
  destroy(): void
}

/** Those of one worker. */
export class Holds {
  readonly #byUuid = new Map<string, Set<Held>>()
  /** How many there are that admit requests by themselves: channels, each with a connection to its service. */
  channels = 0

  /** Uuids of the sessions that something lives under. */
  get uuids(): Iterable<string> {
    return this.#byUuid.keys()
  }

  hold(held: Held): void {
    if (held.entry === null) return
    const { uuid } = held.entry.session
    const same = this.#byUuid.get(uuid)
    if (held.admitsByItself) this.channels++
    if (same === undefined) this.#byUuid.set(uuid, new Set([held]))
    else same.add(held)
  }

  letGo(held: Held): void {
    if (held.entry === null) return
    const { uuid } = held.entry.session
    const same = this.#byUuid.get(uuid)
    if (same?.delete(held) === true && held.admitsByItself) this.channels--
    if (same?.size === 0) this.#byUuid.delete(uuid)
  }

  /** The session has ended. */
  sessionEnded(uuid: string): void {
    for (const held of this.#byUuid.get(uuid) ?? []) held.cut('session-ended')
  }

  /** Ends what `policies` no longer allow. */
  judge(policies: Policies, methods: readonly string[]): void {
    for (const held of this.#all()) if (!held.isAllowed(policies, methods)) held.cut('policy-changed')
  }

  /** Endings of sessions may not be heard of: what admits requests by itself ends. */
  distrust(): void {
    for (const held of this.#all()) if (held.admitsByItself) held.cut('authority-silent')
  }

  destroy(): void {
    for (const held of this.#all()) held.destroy()
  }

  #all(): Held[] {
    return [...this.#byUuid.values()].flatMap((same) => [...same])
  }
}

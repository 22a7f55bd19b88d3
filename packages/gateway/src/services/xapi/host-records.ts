// What xapi's events say of the pool's hosts: their announcements, and whether they are there.

import { type Announcement, parseAnnouncement } from '../announcement.ts'

/** Key in a host's `other_config`. */
export const SERVICES_KEY = 'xengate:services'

/** A key cannot be replaced in one step: one that is missing for less than this is about to come back. */
const ABSENT_MS = 2000

/** A host, as xapi has it. */
export interface HostRecord {
  readonly ref: string
  readonly uuid: string
  readonly hostname: string
  readonly nameLabel: string
  readonly address: string
  /** Reference of its metrics, which say whether it lives. */
  readonly metrics: string
  /** Its announcement's text; while it is missing, the last one. */
  readonly text: string
  /** When the text last changed, or the host was first seen, on the caller's clock. */
  readonly changedMs: number
  /** Since when the text is missing. */
  readonly absentMs: number | null
}

/** All hosts that were told of. */
export class HostRecords {
  readonly #hosts = new Map<string, HostRecord>()
  /** By reference of the metrics. */
  readonly #live = new Map<string, boolean>()
  readonly #leaseMs: number

  /** @param leaseMs a host whose announcement does not change for so long is not there any more */
  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs
  }

  get all(): readonly HostRecord[] {
    return [...this.#hosts.values()]
  }

  /** Takes the events of one answer. @param isAll whether they are all there is, not what changed */
  take(events: readonly unknown[], isAll: boolean, nowMs: number): void {
    const told = new Set(events.map((event) => this.#takeEvent(event, nowMs)))
    if (!isAll) return
    for (const ref of this.#hosts.keys()) if (!told.has(ref)) this.#hosts.delete(ref)
    for (const ref of this.#live.keys()) if (!told.has(ref)) this.#live.delete(ref)
  }

  #takeEvent(event: unknown, nowMs: number): string {
    const { class: className, operation, ref, snapshot } = recordOf(event)
    if (typeof ref !== 'string') return ''
    const isGone = operation === 'del'
    if (className === 'host') this.#takeHost(ref, isGone ? undefined : recordOf(snapshot), nowMs)
    if (className === 'host_metrics') {
      if (isGone) this.#live.delete(ref)
      else this.#live.set(ref, recordOf(snapshot)['live'] !== false)
    }
    return ref
  }

  #takeHost(ref: string, snapshot: Readonly<Record<string, unknown>> | undefined, nowMs: number): void {
    if (snapshot === undefined) {
      this.#hosts.delete(ref)
      return
    }
    const before = this.#hosts.get(ref)
    const text = recordOf(snapshot['other_config'])[SERVICES_KEY]
    const isAbsent = typeof text !== 'string'
    const isSame = before !== undefined && (isAbsent || text === before.text)
    this.#hosts.set(ref, {
      ref,
      uuid: String(snapshot['uuid']),
      hostname: String(snapshot['hostname']),
      nameLabel: String(snapshot['name_label']),
      address: String(snapshot['address']),
      metrics: String(snapshot['metrics']),
      text: isAbsent ? (before?.text ?? '') : text,
      changedMs: isSame ? before.changedMs : nowMs,
      absentMs: isAbsent ? (before?.absentMs ?? nowMs) : null,
    })
  }

  /** The announcements of hosts that are there now. */
  announcements(nowMs: number): Announcement[] {
    return this.all
      .filter(
        ({ metrics, changedMs, absentMs }) =>
          this.#live.get(metrics) !== false &&
          nowMs - changedMs < this.#leaseMs &&
          (absentMs === null || nowMs - absentMs < ABSENT_MS),
      )
      .map(({ uuid, text }) => parseAnnouncement(uuid, text))
      .filter((announcement) => announcement !== undefined)
  }
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

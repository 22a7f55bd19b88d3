// What a host says about itself: the services that run on it, and where clients reach them. Other hosts wrote it, so that
// it is read with care.

import { parseOrigin } from '../model/origin.ts'
import { isServiceName } from '@xengate/channel/contract'

/** Services that one host announces at most, and services that it still says it had. */
export const NAMES_MAX = 1000
export const HAD_MAX = 100
/** Longest text that is read: twice the longest that is written. */
const TEXT_CHARACTERS_MAX = 300_000

/** A host's announcement. */
export interface Announcement {
  /** The host's name, unique in the pool. */
  readonly host: string
  /** Origin under which clients reach the host; null when it has none, and nobody is sent there. */
  readonly origin: string | null
  /** Sorted. */
  readonly names: readonly string[]
  /** Number of the announcement: higher than that of any announcement that the host had seen. See host-table.ts. */
  readonly stamp: number
  /** Services that no longer run on the host, with the number of its last announcement of each. */
  readonly had: readonly (readonly [name: string, stamp: number])[]
}

/** The announcement as it is stored, without the host's name, which is where it is stored. */
export function formatAnnouncement({ origin, names, stamp, had }: Announcement): string {
  return JSON.stringify({ v: 1, stamp, address: origin, services: names, had })
}

/** Reads what `formatAnnouncement` wrote; undefined for anything else. */
export function parseAnnouncement(host: string, text: string): Announcement | undefined {
  if (host === '' || host.length > 100 || text.length > TEXT_CHARACTERS_MAX) return undefined
  const value = parseJson(text)
  if (typeof value !== 'object' || value === null) return undefined
  const { v, stamp, address, services, had = [] } = value as Readonly<Record<string, unknown>>
  if (v !== 1 || !isStamp(stamp) || !Array.isArray(services) || !Array.isArray(had)) return undefined
  if (services.length > NAMES_MAX || had.length > HAD_MAX) return undefined
  return {
    host,
    origin: typeof address === 'string' ? (parseOrigin(address) ?? null) : null,
    names: services.filter((name) => typeof name === 'string' && isServiceName(name)),
    stamp,
    had: had.filter((each) => isHad(each)),
  }
}

function isStamp(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isHad(value: unknown): value is [string, number] {
  return Array.isArray(value) && typeof value[0] === 'string' && isServiceName(value[0]) && isStamp(value[1])
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

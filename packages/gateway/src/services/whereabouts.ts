// A table of where services are on other hosts: each worker's, filled by the primary, and the primary's own, for workers that start later.

import type { ServiceChanges, ServiceRegistry } from './registry.ts'

/** See the head of this file. */
export class Whereabouts implements ServiceRegistry {
  readonly #origins = new Map<string, readonly string[]>()

  take(changes: ServiceChanges): void {
    for (const [name, origins] of changes) {
      if (origins.length === 0) this.#origins.delete(name)
      else this.#origins.set(name, origins)
    }
  }

  /** Forgets all but these. */
  replace(all: ServiceChanges): void {
    this.#origins.clear()
    this.take(all)
  }

  /** All that was taken, as it is now. */
  get all(): ServiceChanges {
    return [...this.#origins]
  }

  /**
   * Of several hosts the one that weighs most for this session: sessions spread evenly, and when a host comes or goes
   * only those move whose host it is (rendezvous hashing).
   */
  whereIs(name: string, sessionUuid: string): string | undefined {
    const origins = this.#origins.get(name)
    if (origins === undefined || origins.length === 1) return origins?.[0]
    let chosen: string | undefined
    let heaviest = -1
    for (const origin of origins) {
      const weight = weightOf(sessionUuid, origin)
      if (weight <= heaviest) continue
      heaviest = weight
      chosen = origin
    }
    return chosen
  }
}

/** 32 bits of FNV-1a over both texts, mixed as in MurmurHash3, since FNV alone leaves the last characters' traces. */
function weightOf(sessionUuid: string, origin: string): number {
  let hash = 0x81_1c_9d_c5
  for (const text of [sessionUuid, origin]) {
    for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01_00_01_93)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85_eb_ca_6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2_b2_ae_35)
  return (hash ^ (hash >>> 16)) >>> 0
}

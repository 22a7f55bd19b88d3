// All that a registry has told, for workers that start later.

import type { PoolRegistry, ServiceChanges } from './registry.ts'

/** What the registry in force says, now. */
export class Places {
  readonly #origins = new Map<string, readonly string[]>()

  /** Listens to `registry`, and passes on what it tells. */
  constructor(registry: PoolRegistry, onChanged: (changes: ServiceChanges) => void) {
    registry.onChanged((changes) => {
      for (const [name, origins] of changes) {
        if (origins.length === 0) this.#origins.delete(name)
        else this.#origins.set(name, origins)
      }
      onChanged(changes)
    })
  }

  get all(): ServiceChanges {
    return [...this.#origins]
  }
}

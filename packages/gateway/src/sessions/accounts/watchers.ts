// Who waits for the end of one session: calls of `event.from`, which are answered then.

/** Callbacks by session uuid. */
export class Watchers {
  readonly #callbacks = new Map<string, Set<() => void>>()

  /** Calls `ended` once when `tell` names `uuid`. Answers what stops that; the caller must call it. */
  watch(uuid: string, ended: () => void): () => void {
    const callbacks = this.#callbacks.get(uuid) ?? new Set()
    this.#callbacks.set(uuid, callbacks.add(ended))
    return () => {
      callbacks.delete(ended)
      if (callbacks.size === 0 && this.#callbacks.get(uuid) === callbacks) this.#callbacks.delete(uuid)
    }
  }

  tell(uuids: readonly string[]): void {
    for (const uuid of uuids) {
      const callbacks = this.#callbacks.get(uuid)
      this.#callbacks.delete(uuid)
      for (const ended of callbacks ?? []) ended()
    }
  }

  clear(): void {
    this.#callbacks.clear()
  }
}

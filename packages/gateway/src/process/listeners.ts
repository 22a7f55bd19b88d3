// The listening sockets of the configuration in force, and of one that is being taken: one that both have is bound once, and stays.

import type { Config, ListenConfig } from '../config/config.ts'
import { bindListener, type ListeningSocket } from './listening-socket.ts'

/** See the head of this file. */
export class Listeners {
  readonly #byAddress = new Map<string, ListeningSocket>()
  #isClosed = false

  /**
   * Binds what `config` has and nobody has bound, and gives files of sockets their owners and modes.
   * @throws {ListenError} with some bound: see `keep`
   */
  async take({ listen: listeners }: Config): Promise<void> {
    for (const listen of listeners) {
      const bound = this.#byAddress.get(keyOf(listen))
      if (bound === undefined) this.#add(keyOf(listen), await bindListener(listen.address, listen))
      else bound.setFile(listen)
    }
  }

  /** Binding takes a moment, in which the daemon may have been told to stop. */
  #add(key: string, listener: ListeningSocket): void {
    this.#byAddress.set(key, listener)
    if (this.#isClosed) this.close()
  }

  /** Closes what `config` does not have: what waits there is the workers' to take, before they close it as well. */
  keep({ listen: listeners }: Config): void {
    const used = new Set(listeners.map(keyOf))
    for (const [key, listener] of this.#byAddress) {
      if (used.has(key)) continue
      listener.close()
      this.#byAddress.delete(key)
    }
  }

  /** Descriptors in this process, in the order of the configuration. */
  fdsOf({ listen: listeners }: Config): readonly number[] {
    return listeners.flatMap((listen) => this.#byAddress.get(keyOf(listen))?.fd ?? [])
  }

  /** Where a configuration's listeners are reached. */
  urlsOf({ listen: listeners }: Config): readonly string[] {
    return listeners.flatMap((listen) => {
      const url = this.#byAddress.get(keyOf(listen))?.url ?? []
      return typeof url === 'string' && listen.tls !== null ? url.replace(/^http:/, 'https:') : url
    })
  }

  /** Those of this daemon's own, by key. */
  get own(): ReadonlyMap<string, number> {
    const own = [...this.#byAddress].filter(([, { isManagers }]) => !isManagers)
    return new Map(own.map(([key, { fd }]) => [key, fd]))
  }

  close(): void {
    this.#isClosed = true
    for (const listener of this.#byAddress.values()) listener.close()
    this.#byAddress.clear()
  }
}

function keyOf({ address }: ListenConfig): string {
  return address.kind === 'tcp' ? `${address.host} ${address.port}` : address.path
}

// The certificates and keys of a configuration's listeners, looked at while it is in force.

import { X509Certificate } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { formatListenAddress } from '../config/addresses.ts'
import type { ListenConfig } from '../config/config.ts'
import type { TlsPair } from '../transport/tls-pair.ts'
import { type TlsEvent, WatchedTlsFiles } from './tls-files.ts'

/** A certificate that is in force, and until when it is valid. */
export interface ListenerCertificate {
  readonly listener: string
  readonly untilMs: number
}

interface Watched {
  readonly listen: ListenConfig
  /** Null where there is no TLS. */
  readonly files: WatchedTlsFiles | null
}

/** See the head of this file. */
export class ListenersTls {
  readonly #changed: (listener: string, event: TlsEvent) => void
  #watched: readonly Watched[] = []

  /**
   * @param changed told what became of files that have changed, with the name of their listener
   * @throws {TlsFilesError}
   */
  constructor(listen: readonly ListenConfig[], changed: (listener: string, event: TlsEvent) => void) {
    this.#changed = changed
    this.take(listen)
  }

  /** In the order of the listeners; null where there is no TLS. */
  get pairs(): readonly (TlsPair | null)[] {
    return this.#watched.map(({ files }) => files?.pair ?? null)
  }

  /** Of the listeners that have one. */
  get certificates(): readonly ListenerCertificate[] {
    return this.#watched.flatMap(({ listen, files }) => {
      if (files === null) return []
      const { validToDate } = new X509Certificate(files.pair.certificate)
      return [{ listener: nameOf(listen), untilMs: validToDate.getTime() }]
    })
  }

  /** Takes other listeners; of those that stay the files are looked at now. @throws {TlsFilesError} */
  take(listen: readonly ListenConfig[]): void {
    const before = new Map(this.#watched.map((one) => [nameOf(one.listen), one]))
    this.#watched = listen.map((one) => {
      const name = nameOf(one)
      const known = before.get(name)
      if (known === undefined || !isDeepStrictEqual(one.tls, known.listen.tls)) return this.#watch(one, name)
      before.delete(name)
      known.files?.look()
      return { listen: one, files: known.files }
    })
    for (const { files } of before.values()) files?.close()
  }

  #watch(listen: ListenConfig, name: string): Watched {
    const { tls } = listen
    const files = tls === null ? null : new WatchedTlsFiles(tls, (event) => this.#changed(name, event))
    return { listen, files }
  }

  /** Looks at all files now. */
  look(): void {
    for (const { files } of this.#watched) files?.look()
  }

  close(): void {
    for (const { files } of this.#watched) files?.close()
  }
}

function nameOf({ address }: ListenConfig): string {
  return formatListenAddress(address)
}

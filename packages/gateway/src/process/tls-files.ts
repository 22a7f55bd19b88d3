// The files of a listener's certificate and key. The primary reads them, so that workers need not be allowed to, and looks at them
// again and again: whoever renews a certificate need not tell the gateway. A pair that cannot be used changes nothing.

import { X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { secureContextOf, type TlsPair } from '../transport/tls-pair.ts'

/** Paths of PEM files. */
export interface TlsFiles {
  /** The certificate, followed by those that signed it. */
  readonly certificate: string
  readonly key: string
}

/** A certificate and its key cannot be used: the text says which and why. */
export class TlsFilesError extends Error {
  override readonly name = 'TlsFilesError'
  readonly code = 'TLS_UNUSABLE'
}

/** How often the files are looked at, in milliseconds. */
const LOOK_INTERVAL_MS = 1000

/** Reads a pair, and tries it. @throws {TlsFilesError} */
export function readTlsPair({ certificate, key }: TlsFiles): TlsPair {
  const pair = { certificate: readPem(certificate, 'the certificate'), key: readPem(key, 'the key') }
  try {
    void new X509Certificate(pair.certificate)
  } catch (cause) {
    throw new TlsFilesError(`cannot use the certificate ${certificate}: it is no certificate in PEM`, { cause })
  }
  try {
    secureContextOf(pair)
    return pair
  } catch (cause) {
    throw new TlsFilesError(`cannot use ${certificate} with the key ${key}: ${whyNot(cause)}`, { cause })
  }
}

function readPem(path: string, what: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch (cause) {
    throw new TlsFilesError(`cannot read ${what} ${path}: ${codeOf(cause)}`, { cause })
  }
}

function whyNot(error: unknown): string {
  const code = codeOf(error)
  if (code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH') return 'the key is not that of the certificate'
  if (code === 'ERR_MISSING_PASSPHRASE' || code === 'ERR_OSSL_BAD_DECRYPT') return 'the key is encrypted'
  return `not a private key in PEM, or too weak (${code})`
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

/** One listener's files, looked at until `close`. */
export class WatchedTlsFiles {
  /** What could be used last. */
  pair: TlsPair
  readonly #files: TlsFiles
  readonly #changed: (event: TlsEvent) => void
  readonly #timer: NodeJS.Timeout
  #seen: string

  /**
   * @param changed told what became of files that have changed
   * @throws {TlsFilesError} when the files cannot be used now
   */
  constructor(files: TlsFiles, changed: (event: TlsEvent) => void) {
    this.#files = files
    this.#changed = changed
    this.#seen = stateOf(files)
    this.pair = readTlsPair(files)
    this.#timer = setInterval(() => this.look(), LOOK_INTERVAL_MS).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Looks now. A pair that is being written is seen twice at most: when one file is there, and when both are. */
  look(): void {
    const state = stateOf(this.#files)
    if (state === this.#seen) return
    this.#seen = state
    try {
      this.pair = readTlsPair(this.#files)
      this.#changed({ kind: 'reloaded', certificate: this.#files.certificate, pair: this.pair })
    } catch (error) {
      this.#changed({ kind: 'refused', problem: error instanceof Error ? error.message : String(error) })
    }
  }
}

/** What became of files that have changed. */
export type TlsEvent =
  | { readonly kind: 'reloaded'; readonly certificate: string; readonly pair: TlsPair }
  | { readonly kind: 'refused'; readonly problem: string }

/** What tells one state of the files from another; links are followed. */
function stateOf({ certificate, key }: TlsFiles): string {
  return [certificate, key]
    .map((path) => {
      try {
        const { ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
        return `${ino}-${size}-${mtimeNs}-${ctimeNs}`
      } catch (error) {
        return codeOf(error)
      }
    })
    .join(' ')
}

// A listener's certificate and key. New connections get what was given last.

import type { SecureContext } from 'node:tls'
import { secureContextOf, type TlsPair } from '../../transport/tls-pair.ts'

/** The credentials of one listener. */
export class TlsCredentials {
  /** For new connections. */
  context: SecureContext

  /** @throws {Error} when these are no pair */
  constructor(pair: TlsPair) {
    this.context = secureContextOf(pair)
  }

  /** Takes another pair. @throws {Error} when these are no pair; the earlier one stays */
  use(pair: TlsPair): void {
    this.context = secureContextOf(pair)
  }
}

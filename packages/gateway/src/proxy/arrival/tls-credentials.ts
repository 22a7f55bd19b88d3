// A listener's certificate and key. New connections get what was given last.

import { createSecureContext, type SecureContext } from 'node:tls'

/** A certificate, followed by those that signed it, and its key, in PEM. */
export interface TlsPair {
  readonly certificate: string
  readonly key: string
}

/** @throws {Error} of OpenSSL, when these are no pair */
export function secureContextOf({ certificate, key }: TlsPair): SecureContext {
  return createSecureContext({ cert: certificate, key, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' })
}

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

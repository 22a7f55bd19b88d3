// A certificate and its key: the primary reads and tries them, and workers secure connections by them.

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

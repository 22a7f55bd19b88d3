// Whose certificates a command believes.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { CliError } from './errors.ts'
import type { Io } from './io.ts'

/** The options of that. */
export interface TrustOptions {
  /** File of certificates in PEM. */
  readonly ca?: string
  readonly insecure?: boolean
}

/** Has this process believe them: it is a command's, and ends with that. @throws {CliError} `ca-unusable` */
export function trust({ ca, insecure }: TrustOptions, io: Io): void {
  if (ca !== undefined) trustFile(resolve(io.cwd, ca))
  if (insecure !== true) return
  // Node.js would say on standard error what was just asked for.
  process.removeAllListeners('warning')
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
}

function trustFile(path: string): void {
  try {
    const text = readFileSync(path, 'utf8')
    const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
    if (found === null) throw new TypeError('there is no certificate in it')
    setDefaultCACertificates([...getCACertificates('default'), ...found])
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new CliError('ca-unusable', `cannot use the certificates in ${path}: ${why}`, { cause })
  }
}

// Certificates for tests, made by openssl.

import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { TlsFiles } from '../../process/tls-files.ts'

/** Writes a new key and a certificate for `name`, which it signs itself, into `directory`; what was there is replaced. */
export function makeCertificate(directory: string, name = 'localhost'): TlsFiles {
  const files = { certificate: join(directory, 'cert.pem'), key: join(directory, 'key.pem') }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', files.key]
  const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name},IP:127.0.0.1`]
  execFileSync('openssl', ['req', '-x509', ...key, '-out', files.certificate, '-days', '2', ...subject], {
    stdio: 'pipe',
  })
  return files
}

// Signatures by gpg. rpm 4.11 knows RSA only, and so do hosts.

import { run } from './run.ts'

/** OpenPGP's number of RSA. */
const RSA = '1'

/** Returns the fingerprint of the key `name`. @throws {Error} when gpg has no secret part of it, or it is of another kind */
export function checkSigningKey(name: string): string {
  const lines = listKey(name).map((line) => line.split(':'))
  const secret = lines.find(([kind]) => kind === 'sec')
  const fingerprint = lines.find(([kind]) => kind === 'fpr')?.[9]
  if (secret === undefined || fingerprint === undefined) throw new Error(`gpg has no secret key "${name}"`)
  if (secret[3] !== RSA) {
    throw new Error(
      `the key "${name}" is not an RSA key: rpm 4.11, which XenServer 8 and XCP-ng 8.3 have, checks no other. ` +
        'Make one with: gpg --quick-generate-key NAME rsa3072 sign never',
    )
  }
  return fingerprint
}

function listKey(name: string): string[] {
  try {
    return run('gpg', ['--batch', '--with-colons', '--list-secret-keys', name]).split('\n')
  } catch {
    return []
  }
}

export function signRpm(path: string, key: string): void {
  // Debian's rpm looks for gpg2, which Debian does not have.
  const macros = { __gpg: '/usr/bin/gpg', _gpg_name: key, _gpg_digest_algo: 'sha256' }
  const defines = Object.entries(macros).flatMap(([name, value]) => ['--define', `${name} ${value}`])
  run('rpmsign', [...defines, '--addsign', path])
}

/** Writes a detached signature beside the file: its name with `.asc`. */
export function signFile(path: string, key: string): void {
  run('gpg', ['--batch', '--yes', '--armor', '--digest-algo', 'SHA256', '--local-user', key, '--detach-sign', path])
}

/** The public part, for those who check. */
export function publicKey(key: string): string {
  return run('gpg', ['--batch', '--armor', '--export', key])
}

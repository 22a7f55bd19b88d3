// A repository for yum 3.4 and dnf, which any web server can serve.

import { lutimesSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Making } from './making.ts'
import { copy, run } from './run.ts'
import { publicKey, signFile } from './sign.ts'

/** Where the key is on a host that checks signatures. */
export const KEY_FILE = 'RPM-GPG-KEY-xengate'

/** Makes the repository of `rpm`, and returns its directory. */
export function makeYumRepository(making: Making, rpm: string): string {
  const { out, identity, key } = making
  const directory = join(out, 'yum')
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  copy(rpm, join(directory, basename(rpm)))
  indexRepository(directory, making)
  if (key !== undefined) writeFileSync(join(directory, KEY_FILE), publicKey(key))
  writeFileSync(join(directory, 'xengate.repo'), repoFile(key !== undefined))
  for (const name of ['.', 'xengate.repo']) lutimesSync(join(directory, name), identity.epoch, identity.epoch)
  return directory
}

/**
 * Writes `repodata` below `directory`, in the forms that yum 3.4 reads.
 *
 * @param groups file that names groups of packages
 */
export function indexRepository(directory: string, { identity, key }: Making, groups?: string): void {
  const epoch = String(identity.epoch)
  for (const file of rpmsBelow(directory)) lutimesSync(file, identity.epoch, identity.epoch)
  const forms = ['--no-database', '--compress-type', 'gz', '--general-compress-type', 'gz', '--checksum', 'sha256']
  const same = ['--revision', epoch, '--set-timestamp-to-revision']
  run('createrepo_c', [...forms, ...same, ...(groups === undefined ? [] : ['-g', groups]), directory], {
    env: { SOURCE_DATE_EPOCH: epoch },
  })
  if (key !== undefined) signFile(join(directory, 'repodata/repomd.xml'), key)
}

function rpmsBelow(directory: string): string[] {
  return run('find', [directory, '-name', '*.rpm'])
    .split('\n')
    .filter((line) => line !== '')
}

/** Not enabled: a host takes nothing from here unless it is told to, as with --enablerepo=xengate. */
function repoFile(isSigned: boolean): string {
  const check = isSigned ? 1 : 0
  return `# Put into /etc/yum.repos.d, with the address of this directory.
[xengate]
name=Xengate
baseurl=https://example.com/xengate/
enabled=0
gpgcheck=${check}
repo_gpgcheck=${check}
${isSigned ? `gpgkey=file:///etc/pki/rpm-gpg/${KEY_FILE}\n` : ''}`
}

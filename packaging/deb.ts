// The package of Debian: the same tree, with the unit and the configuration of a host without xapi.

import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './identity.ts'
import { layOut } from './layout.ts'
import type { Compression, Making } from './making.ts'
import { run } from './run.ts'
import { FILES, settle } from './tree.ts'

/** With two threads, always: one thread writes other bytes than several do. */
const PAYLOADS: Readonly<Record<Compression, readonly string[]>> = {
  xz: ['-Zxz', '-z6', '--threads-max=2'],
  none: ['-Znone'],
}

/** Makes the package of `tree`, and returns its path. */
export function makeDeb({ out, tree, identity, compression }: Making): string {
  const root = mkdtempSync(join(tmpdir(), 'xengate-deb-'))
  try {
    layOut(root, tree, 'debian')
    const documentation = join(root, 'usr/share/doc/xengate')
    mkdirSync(documentation, { recursive: true })
    cpSync(join(ROOT, 'packaging/files/debian/copyright'), join(documentation, 'copyright'))
    const version = debVersion(identity.version)
    const path = join(out, `xengate_${version}_amd64.deb`)
    writeControl(join(root, 'DEBIAN'), version, kilobytesOf(root))
    settle(root, identity.epoch)
    const env = { SOURCE_DATE_EPOCH: String(identity.epoch) }
    run('dpkg-deb', ['--root-owner-group', ...PAYLOADS[compression], '--build', root, path], { env })
    return path
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** A version as dpkg compares it: 1.0.0-rc.1 is before 1.0.0. */
function debVersion(version: string): string {
  return version.replaceAll('-', '~')
}

function writeControl(directory: string, version: string, kilobytes: number): void {
  mkdirSync(directory)
  for (const name of ['postinst', 'prerm', 'postrm']) {
    cpSync(join(FILES, 'debian', name), join(directory, name))
    chmodSync(join(directory, name), 0o755)
  }
  writeFileSync(join(directory, 'conffiles'), '/etc/xengate/xengate.toml\n')
  writeFileSync(
    join(directory, 'control'),
    `Package: xengate
Version: ${version}
Architecture: amd64
Maintainer: Xengate developers <xengate@localhost>
Installed-Size: ${kilobytes}
Depends: passwd
Section: net
Priority: optional
Description: authenticated HTTP access to custom services
 An HTTP gateway for services on Unix sockets: clients reach them by a session of the
 XenAPI. It brings its own Node.js and C library in /opt/xengate. Installing it starts
 nothing.
`,
  )
}

function kilobytesOf(root: string): number {
  return Number(run('du', ['-sk', '--apparent-size', root]).split('\t')[0])
}

// RPMs that rpm 4.11 and later take: no payload, digest or dependency that it does not know.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { layOut } from './layout.ts'
import type { Compression, Making } from './making.ts'
import { run } from './run.ts'
import { signRpm } from './sign.ts'
import { FILES, settle } from './tree.ts'

/** The whole pack, with repository and control package, is to be little more than this. */
const RPM_BYTES_MAX = 31_000_000

/** With two threads, always: one thread writes other bytes than several do. */
const PAYLOADS: Readonly<Record<Compression, string>> = { xz: 'w6T2.xzdio', none: 'w.ufdio' }

/** Every build is the same: no name of this host, no time but the commit's, nothing changed behind our back. */
const MACROS: Readonly<Record<string, string>> = {
  _buildhost: 'xengate',
  use_source_date_epoch_as_buildtime: '1',
  clamp_mtime_to_source_date_epoch: '1',
  source_date_epoch_from_changelog: '0',
  __os_install_post: '%{nil}',
  debug_package: '%{nil}',
  _build_id_links: 'none',
  // SHA-256.
  _binary_filedigest_algorithm: '8',
  _build_name_fmt: '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
}

export interface RpmOptions {
  readonly spec: string
  readonly architecture: 'x86_64' | 'noarch'
  readonly fileName: string
}

/** Makes the package of `tree`, and returns its path. */
export function makeRpm(making: Making): string {
  const { out, tree, identity } = making
  const root = mkdtempSync(join(tmpdir(), 'xengate-rpm-'))
  try {
    layOut(root, tree, 'dom0')
    settle(root, identity.epoch)
    const version = rpmVersion(identity.version)
    const fileName = `xengate-${version}-1.x86_64.rpm`
    const path = buildRpm(making, { spec: specOf(version, root), architecture: 'x86_64', fileName }, out)
    const { length } = readFileSync(path)
    if (making.compression === 'xz' && length > RPM_BYTES_MAX) {
      throw new Error(`${fileName} has ${length} bytes, and may have ${RPM_BYTES_MAX}`)
    }
    return path
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** Builds, and signs when that is asked for, any RPM into the directory `out`; returns its path. */
export function buildRpm({ identity, compression, key }: Making, options: RpmOptions, out: string): string {
  const top = mkdtempSync(join(tmpdir(), 'xengate-rpmbuild-'))
  try {
    const spec = join(top, 'xengate.spec')
    writeFileSync(spec, options.spec)
    const macros = { ...MACROS, _topdir: top, _rpmdir: top, _binary_payload: PAYLOADS[compression] }
    const defines = Object.entries(macros).flatMap(([name, value]) => ['--define', `${name} ${value}`])
    const argv = ['-bb', '--target', options.architecture, ...defines, spec]
    run('rpmbuild', argv, { env: { SOURCE_DATE_EPOCH: String(identity.epoch), HOME: top } })
    const built = join(top, options.fileName)
    if (key !== undefined) signRpm(built, key)
    mkdirSync(out, { recursive: true })
    run('mv', [built, out]) // to another file system as well
    return join(out, options.fileName)
  } finally {
    rmSync(top, { recursive: true, force: true })
  }
}

/** A version as rpm compares it: 1.0.0-rc.1 is before 1.0.0. */
export function rpmVersion(version: string): string {
  return version.replaceAll('-', '~')
}

function specOf(version: string, root: string): string {
  return `Name: xengate
Version: ${version}
Release: 1
Summary: Authenticated HTTP access to custom services
License: Apache-2.0 and MIT and LGPLv2+ and GPLv3+ with exceptions
Group: System Environment/Daemons
# Its libraries are its own: it asks the host for none, and gives it none.
AutoReqProv: no
Requires(pre): shadow-utils
Requires(post): systemd
Requires(preun): systemd
Requires(postun): systemd

%description
An HTTP gateway for custom services on a XenServer or XCP-ng host: clients reach them under their XenAPI session, at the
host's own port. It brings its own Node.js and C library in /opt/xengate. Installing it starts nothing.

%install
mkdir -p %{buildroot}
cp -al ${root}/. %{buildroot}

${(['pre', 'post', 'preun', 'postun'] as const).map((name) => `%${name}\n${scriptlet(name)}`).join('\n')}
%files
%defattr(-,root,root,-)
/opt/xengate
/usr/bin/xengate
/usr/lib/systemd/system/xengate.service
/usr/lib/systemd/system/xengate-plugins.service
%dir /usr/lib/systemd/system/xengate.service.d
%ghost /usr/lib/systemd/system/xengate.service.d/hardening.conf
%dir /usr/share/bash-completion
%dir /usr/share/bash-completion/completions
/usr/share/bash-completion/completions/xengate
/usr/share/man/man1/xengate.1
/usr/share/man/man5/xengate.toml.5
# The directories of these are xapi's, those of its web server too, and of the host's status reports.
/etc/xapi.d/plugins/xengate
/etc/xapi.d/extensions/Xengate.get_services
/etc/xapi.d/extensions/Xengate.get_status
/etc/xensource/bugtool/xengate.xml
/etc/xensource/bugtool/xengate
/opt/xensource/www/xengate
%dir %attr(0750,root,xengate) /etc/xengate
%config(noreplace) %attr(0640,root,xengate) /etc/xengate/xengate.toml
%dir %attr(0711,root,root) /var/lib/xengate
`
}

function scriptlet(name: string): string {
  return readFileSync(join(FILES, 'dom0', `${name}.sh`), 'utf8').replaceAll('%', '%%')
}

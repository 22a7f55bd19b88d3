// The supplemental pack: an ISO that xe-install-supplemental-pack takes. It is a yum repository with update.xml, which says what
// it is, and a control package, which puts that where xapi looks for what is installed.

import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { uuidOf } from './identity.ts'
import type { Making } from './making.ts'
import { buildRpm, rpmVersion } from './rpm.ts'
import { copy, run } from './run.ts'
import { publicKey, signFile } from './sign.ts'
import { settle } from './tree.ts'
import { indexRepository, KEY_FILE } from './yum.ts'

const CONTROL = 'control-xengate'

/** Makes the pack of `rpm`, and returns its path. */
export function makePack(making: Making, rpm: string): string {
  const { out, identity, key } = making
  const directory = mkdtempSync(join(tmpdir(), 'xengate-pack-'))
  try {
    const packages = join(directory, 'Packages')
    mkdirSync(packages)
    copy(rpm, join(packages, basename(rpm)))
    const update = join(directory, 'update.xml')
    writeFileSync(update, updateXml(making, rpm))
    makeControlPackage(making, update, packages)
    const groups = join(directory, 'comps.xml')
    writeFileSync(groups, GROUPS)
    if (key !== undefined) {
      signFile(update, key)
      writeFileSync(join(directory, KEY_FILE), publicKey(key))
    }
    indexRepository(directory, making, groups)
    settle(directory, identity.epoch)
    const path = join(out, `xengate-${rpmVersion(identity.version)}.iso`)
    writeIso(directory, path, identity.epoch)
    return path
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Each version has an id of its own, or xapi takes it for one that it has. */
function updateXml({ identity }: Making, rpm: string): string {
  const { version } = identity
  const attributes = {
    uuid: uuidOf('supplemental pack', identity),
    'name-label': 'xengate',
    version,
    key: KEY_FILE,
    control: CONTROL,
    'installation-size': String(statSync(rpm).size),
    'after-apply-guidance': '',
    'enforce-homogeneity': 'false',
  }
  const text = Object.entries(attributes)
    .map(([name, value]) => `${name}="${value}"`)
    .join(' ')
  return `<?xml version="1.0" encoding="utf-8"?>
<update ${text}>
  <name-description>Xengate ${version}: authenticated HTTP access to custom services</name-description>
</update>
`
}

/** xapi installs the group of this name. */
const GROUPS = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>update</id>
    <name>update</name>
    <packagelist>
      <packagereq type="mandatory">xengate</packagereq>
      <packagereq type="mandatory">${CONTROL}</packagereq>
    </packagelist>
  </group>
</comps>
`

function makeControlPackage(making: Making, update: string, out: string): void {
  const { identity } = making
  const version = rpmVersion(identity.version)
  const applied = `/var/update/applied/${uuidOf('supplemental pack', identity)}`
  const spec = `Name: ${CONTROL}
Version: ${version}
Release: 1
Summary: What xapi knows of the pack of Xengate
License: Apache-2.0
Group: System Environment/Base
AutoReqProv: no

%description
Tells xapi which version of the supplemental pack of Xengate is installed.

%install
install -D -m 0644 ${update} %{buildroot}${applied}

%files
%defattr(-,root,root,-)
${applied}
`
  buildRpm(making, { spec, architecture: 'noarch', fileName: `${CONTROL}-${version}-1.noarch.rpm` }, out)
}

/** xorriso takes all times from SOURCE_DATE_EPOCH; genisoimage writes those of the build. */
function writeIso(directory: string, path: string, epoch: number): void {
  rmSync(path, { force: true })
  const names = ['-volid', 'XENGATE', '-joliet', '-rational-rock', '-quiet']
  run('xorriso', ['-as', 'mkisofs', ...names, '-o', path, directory], { env: { SOURCE_DATE_EPOCH: String(epoch) } })
}

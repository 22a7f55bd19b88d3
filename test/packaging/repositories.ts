// The repository and the supplemental pack, signed, as hosts take them: by dnf, with what yum and xapi would have for a configuration.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { readIdentity } from '../../packaging/identity.ts'
import { makePack } from '../../packaging/pack.ts'
import type { Making } from '../../packaging/making.ts'
import { buildRpm, makeRpm } from '../../packaging/rpm.ts'
import { checkSigningKey } from '../../packaging/sign.ts'
import { KEY_FILE, makeYumRepository } from '../../packaging/yum.ts'
import { type Scope, scopeOf, scopeOfSuite } from '../harness/scope.ts'
import { packagesOfThis } from './packages.ts'
import { Root } from './root.ts'

const DEADLINE = { timeout: 90_000 }
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root: installs below a directory'

const OWNER = 'packages@example.com'
const OTHER_KIND = 'ed25519@example.com'

/** Debian's rpm has its database in the home directory, and below a root at the same place there. */
const ENV = { ...process.env, HOME: '/root' }

interface Signed {
  readonly rpm: string
  readonly yum: string
  readonly pack: string
}

export function testRepositories(): void {
  describe('signed packages', testSigned)
}

function testSigned(): void {
  const scope = scopeOfSuite()
  let signed: Signed

  before(async () => {
    await useKeyring(scope)
    const { tree } = await packagesOfThis()
    const key = checkSigningKey(OWNER)
    const making: Making = { out: await scope.directory(), tree, identity: readIdentity(), compression: 'none', key }
    const rpm = makeRpm(making)
    signed = { rpm, yum: makeYumRepository(making, rpm), pack: makePack(making, rpm) }
  }, DEADLINE)

  test('a key of another kind than RSA is refused', DEADLINE, () => {
    assert.throws(() => checkSigningKey(OTHER_KIND), /"ed25519@example.com" is not an RSA key/)
  })

  test('a host that has the key takes the signatures, and one that has not does not', DEADLINE, async (t) => {
    const own = scopeOf(t)
    const check = (database: string): number | null => {
      const argv = ['--dbpath', database, '--define', '_pkgverify_level all', '--checksig', signed.rpm]
      return spawnSync('rpmkeys', argv, { encoding: 'utf8' }).status
    }
    const database = await own.directory()
    assert.notEqual(check(database), 0)
    execFileSync('rpmkeys', ['--dbpath', database, '--import', join(signed.yum, KEY_FILE)], { stdio: 'pipe' })
    assert.equal(check(database), 0)
    verifySignature(join(signed.yum, 'repodata/repomd.xml'))
  })

  test(
    'the repository is not enabled, and is installed from when it is named',
    { ...DEADLINE, skip: NEEDS_ROOT },
    async (t) => {
      const own = scopeOf(t)
      const root = await hostRoot(own)
      const file = readFileSync(join(signed.yum, 'xengate.repo'), 'utf8')
        .replace(/^baseurl=.*$/m, `baseurl=file://${signed.yum}`)
        .replace(/^gpgkey=.*$/m, `gpgkey=file://${join(signed.yum, KEY_FILE)}`)
      const configuration = join(await own.directory(), 'dnf.conf')
      writeFileSync(configuration, file)
      assert.match(file, /^gpgcheck=1\nrepo_gpgcheck=1\n/m)
      assert.throws(() => dnf(root, configuration, 'install', 'xengate'), /enabled repositories|Unable to find a match/)
      dnf(root, configuration, '--enablerepo=xengate', 'install', 'xengate')
      assert.match(await root.run(['/usr/bin/xengate', '--version']), /Node\.js v26/)
    },
  )

  test('the pack is installed as xapi does it', { ...DEADLINE, skip: NEEDS_ROOT }, async (t) => {
    const own = scopeOf(t)
    const root = await hostRoot(own)
    const disc = join(await own.directory(), 'disc')
    execFileSync('xorriso', ['-osirrox', 'on', '-indev', signed.pack, '-extract', '/', disc], { stdio: 'pipe' })
    const update = readFileSync(join(disc, 'update.xml'), 'utf8')
    for (const file of ['update.xml', 'repodata/repomd.xml']) verifySignature(join(disc, file))
    const attribute = (name: string): string => new RegExp(` ${name}="([^"]*)"`).exec(update)?.[1] ?? ''
    assert.equal(attribute('key'), KEY_FILE)
    const configuration = join(await own.directory(), 'yum.conf')
    writeFileSync(configuration, xapiConfiguration(attribute('uuid'), disc, attribute('key')))
    // What precheck and apply run.
    dnf(root, configuration, 'install', attribute('control'))
    dnf(root, configuration, 'install', '@update')
    assert.equal(root.read(`var/update/applied/${attribute('uuid')}`), update)
    assert.match(await root.run(['/usr/bin/xengate', '--version']), /Node\.js v26/)
    dnf(root, configuration, 'remove', 'xengate', attribute('control'))
    assert.ok(
      !existsSync(root.path('opt/xengate')) && !existsSync(root.path(`var/update/applied/${attribute('uuid')}`)),
    )
  })
}

/** A keyring for this process, with a key that signs and one of a kind that is refused. */
async function useKeyring(scope: Scope): Promise<void> {
  const directory = await scope.directory()
  const former = process.env['GNUPGHOME']
  process.env['GNUPGHOME'] = directory
  scope.defer(() => {
    execFileSync('gpgconf', ['--kill', 'gpg-agent'])
    if (former === undefined) delete process.env['GNUPGHOME']
    else process.env['GNUPGHOME'] = former
  })
  for (const [owner, kind] of Object.entries({ [OWNER]: 'rsa2048', [OTHER_KIND]: 'ed25519' })) {
    const key = ['--quick-generate-key', owner, kind, 'sign', 'never']
    execFileSync('gpg', ['--batch', '--passphrase', '', ...key], { stdio: 'pipe' })
  }
}

function verifySignature(file: string): void {
  execFileSync('gpg', ['--batch', '--verify', `${file}.asc`, file], { stdio: 'pipe' })
}

/** A root that has what the RPM asks for, as its database of packages says. */
async function hostRoot(scope: Scope): Promise<Root> {
  const root = await Root.make(scope)
  const out = await scope.directory()
  const spec = `Name: host
Version: 1
Release: 1
Summary: What a host has
License: none
Provides: systemd, shadow-utils, /bin/sh
AutoReqProv: no
%description
What a host has.
%files
`
  const making = { out, tree: '', identity: readIdentity(), compression: 'none', key: undefined } as const
  const rpm = buildRpm(making, { spec, architecture: 'noarch', fileName: 'host-1-1.noarch.rpm' }, out)
  execFileSync('rpm', ['--root', root.directory, '-i', rpm], { stdio: 'pipe', env: ENV })
  return root
}

/** As xapi writes it (xapi_pool_update.ml), where it has mounted the pack. */
function xapiConfiguration(uuid: string, disc: string, key: string): string {
  return `[main]
keepcache=0
reposdir=/dev/null
gpgcheck=1
repo_gpgcheck=1
installonlypkgs=

[${uuid}]
name=${uuid}
baseurl=file://${disc}
gpgkey=file://${join(disc, key)}
`
}

function dnf(root: Root, configuration: string, ...argv: string[]): void {
  const places = { reposdir: '/dev/null', cachedir: root.path('var/cache'), logdir: root.path('var/log') }
  const options = Object.entries(places).map(([key, value]) => `--setopt=${key}=${value}`)
  const common = ['-y', '--noplugins', '-c', configuration, `--installroot=${root.directory}`, '--releasever=1']
  const { status, stdout, stderr } = spawnSync('dnf', [...common, ...options, ...argv], { encoding: 'utf8', env: ENV })
  if (status !== 0) throw new Error(`dnf ${argv.join(' ')}: ${stdout}${stderr}`)
}

// The packages that the tests install: made once, of this checkout, not pressed.

import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeDeb } from '../../packaging/deb.ts'
import { type Identity, readIdentity } from '../../packaging/identity.ts'
import { FORMATS, makePackages } from '../../packaging/packages.ts'
import type { Making } from '../../packaging/making.ts'
import { makeRpm } from '../../packaging/rpm.ts'
import { run } from '../../packaging/run.ts'

export interface Packages {
  readonly directory: string
  readonly tree: string
  readonly rpm: string
  readonly deb: string
  readonly yum: string
  readonly pack: string
}

/** The version that follows, in tests of an upgrade. */
export const NEXT_VERSION = '99.0.0'

let made: Promise<Packages> | undefined

/** All packages of this checkout, made when they are asked for first. */
export function packagesOfThis(): Promise<Packages> {
  made ??= makePackagesIn(temporary())
  return made
}

/** Makes all packages into `directory`. */
export async function makePackagesIn(directory: string): Promise<Packages> {
  const paths = await makePackages(FORMATS, { out: directory, compression: 'none' })
  const [tree = '', rpm = '', deb = '', yum = '', pack = ''] = paths
  return { directory, tree, rpm, deb, yum, pack }
}

let next: Pick<Packages, 'rpm' | 'deb'> | undefined

/** An RPM and a deb of the version that follows: the same program with another number. */
export function nextPackages(tree: string): Pick<Packages, 'rpm' | 'deb'> {
  next ??= makeNextPackages(tree)
  return next
}

function makeNextPackages(tree: string): Pick<Packages, 'rpm' | 'deb'> {
  const out = temporary()
  const identity: Identity = { ...readIdentity(), version: NEXT_VERSION }
  const copied = join(out, 'opt/xengate')
  run('mkdir', ['-p', join(out, 'opt')])
  run('cp', ['-al', tree, copied])
  const manifest = join(copied, 'app/package.json')
  const text = readFileSync(manifest, 'utf8').replace(/("version": )"[^"]*"/, `$1"${NEXT_VERSION}"`)
  writeFileSync(`${manifest}.new`, text)
  renameSync(`${manifest}.new`, manifest)
  const making: Making = { out, tree: copied, identity, compression: 'none', key: undefined }
  return { rpm: makeRpm(making), deb: makeDeb(making) }
}

/** A directory that goes with this process. */
function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-packages-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

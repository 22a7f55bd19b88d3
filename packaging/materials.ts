// What the tree consists of: the licences of all parts, and a bill of materials (CycloneDX).

import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Identity, ROOT, uuidOf } from './identity.ts'
import type { Part } from './runtime.ts'

/** Of package-lock.json, what is read here. */
interface Locked {
  readonly version: string
  readonly license?: string
  readonly integrity?: string
  readonly dev?: boolean
  readonly link?: boolean
}

interface NpmPart {
  readonly name: string
  readonly directory: string
  readonly locked: Locked
}

/** Writes LICENSES and bom.json below `tree`. */
export function describeMaterials(tree: string, identity: Identity, parts: readonly Part[]): void {
  const npmParts = npmPartsIn(ROOT)
  const licences = join(tree, 'LICENSES')
  mkdirSync(licences, { recursive: true })
  copyFileSync(join(ROOT, 'LICENSE'), join(licences, 'xengate.txt'))
  for (const part of parts) copyFileSync(part.licenceFile, join(licences, `${part.name}.txt`))
  writeFileSync(join(licences, 'npm-packages.txt'), npmParts.map((part) => npmLicence(part)).join('\n'))
  writeFileSync(join(tree, 'bom.json'), `${JSON.stringify(billOf(identity, parts, npmParts), null, 2)}\n`)
}

/** What is installed for more than development: all that the application may contain. Workspaces are no part: they are Xengate. */
function npmPartsIn(root: string): NpmPart[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }
  return Object.entries(lock.packages)
    .filter(([path, { dev, link }]) => path.includes('node_modules/') && dev !== true && link !== true)
    .filter(([path]) => existsSync(join(root, path, 'package.json'))) // koffi's builds for other machines are not there
    .map(([path, locked]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
      return { name, directory: join(root, path), locked }
    })
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
}

function npmLicence({ name, directory, locked }: NpmPart): string {
  const [file] = globSync('{LICENSE,LICENCE,License,license}*', { cwd: directory }).toSorted()
  const text = file === undefined ? `License: ${locked.license}` : readFileSync(join(directory, file), 'utf8').trimEnd()
  return `──── ${name} ${locked.version} (${locked.license})\n\n${text}\n`
}

function billOf(identity: Identity, parts: readonly Part[], npmParts: readonly NpmPart[]): object {
  const { version, commit, epoch } = identity
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    serialNumber: `urn:uuid:${uuidOf('bill of materials', identity)}`,
    version: 1,
    metadata: {
      timestamp: new Date(epoch * 1000).toISOString(),
      component: {
        type: 'application',
        'bom-ref': 'xengate',
        name: 'xengate',
        version,
        licenses: [{ license: { id: 'Apache-2.0' } }],
        properties: [{ name: 'commit', value: commit }],
      },
    },
    components: [...parts.map((part) => component(part)), ...npmParts.map((part) => npmComponent(part))],
    dependencies: [
      { ref: 'xengate', dependsOn: [...parts.map(({ purl }) => purl), ...npmParts.map((part) => npmPurl(part))] },
    ],
  }
}

function component({ name, version, purl, licences }: Part): object {
  const type = name === 'node' ? 'platform' : 'library'
  return { type, 'bom-ref': purl, name, version, purl, licenses: [{ expression: licences }] }
}

function npmComponent(part: NpmPart): object {
  const { version, license = 'unknown', integrity } = part.locked
  const purl = npmPurl(part)
  const [algorithm = '', digest = ''] = integrity?.split(/-(.*)/) ?? []
  const content = Buffer.from(digest, 'base64').toString('hex')
  const hashes = integrity === undefined ? {} : { hashes: [{ alg: algorithm.replace('sha', 'SHA-'), content }] }
  return {
    type: 'library',
    'bom-ref': purl,
    name: part.name,
    version,
    purl,
    licenses: [{ expression: license }],
    ...hashes,
  }
}

function npmPurl({ name, locked }: NpmPart): string {
  return `pkg:npm/${name.replace('@', '%40')}@${locked.version}`
}

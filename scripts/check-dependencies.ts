// Checks what others' packages bring: where they come from, their licences, that none but those that are known runs a script when it is
// installed, that docs/dependencies.md has each, and, where the registry tells, that no weakness of them is known.

import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const ROOT = dirname(import.meta.dirname)
const REGISTRY = 'https://registry.npmjs.org/'

/** Licences of what users get: they may be passed on with Apache-2.0. */
const LICENCES: ReadonlySet<string> = new Set(['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD'])
/** Of what only tests and building use. */
const DEVELOPMENT_LICENCES: ReadonlySet<string> = new Set([
  ...LICENCES,
  'BlueOak-1.0.0',
  'MPL-2.0',
  'AGPL-3.0-or-later',
])
/** AGPL with less, as its README says, in a field that npm does not read; for development alone. */
const LICENCE_ELSEWHERE: ReadonlySet<string> = new Set(['node_modules/kindof'])

interface Locked {
  readonly version?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly license?: string
  readonly dev?: boolean
  readonly devOptional?: boolean
  readonly link?: boolean
  readonly hasInstallScript?: boolean
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly allowScripts?: Readonly<Record<string, boolean>>
}

process.exitCode = main()

function main(): number {
  const wrong = [...wrongInLockfile(), ...missingOnPage(), ...knownWeaknesses()]
  for (const line of wrong) process.stderr.write(`${line}\n`)
  return wrong.length === 0 ? 0 : 1
}

function json(path: string): unknown {
  return JSON.parse(readFileSync(join(ROOT, path), 'utf8'))
}

function wrongInLockfile(): string[] {
  const { packages } = json('package-lock.json') as { packages: Readonly<Record<string, Locked>> }
  const { allowScripts = {} } = json('package.json') as Manifest
  return Object.entries(packages)
    .filter(([path, { link }]) => path.includes('node_modules/') && link !== true)
    .flatMap(([path, { resolved, integrity, license = '', dev, devOptional, hasInstallScript }]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
      const licences = dev === true || devOptional === true ? DEVELOPMENT_LICENCES : LICENCES
      return [
        ...(resolved === undefined || resolved.startsWith(REGISTRY) ? [] : [`${path}: comes from ${resolved}`]),
        ...(integrity === undefined ? [`${path}: package-lock.json has no integrity of it`] : []),
        ...(licences.has(license) || LICENCE_ELSEWHERE.has(path) ? [] : [`${path}: its licence is "${license}"`]),
        ...(hasInstallScript === true && !(name in allowScripts)
          ? [
              `${path}: has a script that runs when it is installed; say in package.json, under allowScripts, whether it may`,
            ]
          : []),
      ]
    })
}

/** Every dependency has a row on the page, and every row is one. */
function missingOnPage(): string[] {
  const manifests = ['package.json', ...globSync('packages/*/package.json', { cwd: ROOT })].map(
    (path) => json(path) as Manifest,
  )
  const used = new Set(
    manifests
      .flatMap(({ dependencies = {}, devDependencies = {} }) => [
        ...Object.keys(dependencies),
        ...Object.keys(devDependencies),
      ])
      .filter((name) => !name.startsWith('@xengate/')),
  )
  const page = readFileSync(join(ROOT, 'docs/dependencies.md'), 'utf8')
  const rows = new Set([...page.matchAll(/^\| `([^`]+)`/gm)].map(([, name = '']) => name))
  return [
    ...[...used.difference(rows)].map((name) => `docs/dependencies.md has no row for ${name}`),
    ...[...rows.difference(used)].map((name) => `docs/dependencies.md has a row for ${name}, which nothing depends on`),
  ]
}

/** What the registry knows of packages that users get. Without the registry nothing can be told, and that is said. */
function knownWeaknesses(): string[] {
  const { stdout } = spawnSync('npm', ['audit', '--omit=dev', '--json'], { cwd: ROOT, encoding: 'utf8' })
  const report = parsed(stdout)
  if (report.vulnerabilities === undefined) {
    process.stderr.write('npm audit: the registry does not tell of known weaknesses; nothing was looked up\n')
    return []
  }
  return Object.entries(report.vulnerabilities).map(
    ([name, { severity }]) => `${name}: npm audit knows of a weakness (${severity})`,
  )
}

function parsed(text: string): { readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string }>> } {
  try {
    return JSON.parse(text) as ReturnType<typeof parsed>
  } catch {
    return {}
  }
}

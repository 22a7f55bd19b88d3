// Checks every package as it would be published: its manifest, that its types resolve as its code does, and that whoever unpacks it
// finds a README and the license. Runs after `npm run build`.

import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const ROOT = dirname(import.meta.dirname)
const CHECKS: readonly (readonly [command: string, ...argv: string[]])[] = [
  ['publint', '--strict', '.'],
  ['attw', '--pack', '.', '--profile', 'esm-only'],
]
/** What is in a package beside its code. */
const DOCUMENTS: readonly string[] = ['README.md', 'LICENSE']

process.exitCode = main()

function main(): number {
  const directories = globSync('packages/*/package.json', { cwd: ROOT })
    .filter((manifest) => !isPrivate(join(ROOT, manifest)))
    .map((manifest) => join(ROOT, dirname(manifest)))
  const unfit = directories.toSorted().filter((directory) => !isPublishable(directory))
  if (unfit.length > 0) process.stderr.write(`Not fit to publish: ${unfit.join(', ')}\n`)
  return unfit.length === 0 ? 0 : 1
}

/** Whether the package is a part of another, and is not published. */
function isPrivate(manifest: string): boolean {
  return readFileSync(manifest, 'utf8').includes('"private": true')
}

function isPublishable(directory: string): boolean {
  if (!existsSync(join(directory, 'dist'))) {
    process.stderr.write(`${directory} has not been built: run npm run build first\n`)
    return false
  }
  // All of them run, so that everything wrong is said at once.
  return [...CHECKS.map((check) => passes(check, directory)), hasDocuments(directory)].every(Boolean)
}

function hasDocuments(directory: string): boolean {
  const packed = run('npm', ['pack', '--dry-run', '--json'], directory)
  if (packed.status !== 0) return failed('npm pack', directory, packed.stderr)
  const [{ files }] = JSON.parse(packed.stdout) as [{ files: { path: string }[] }]
  const missing = DOCUMENTS.filter((name) => !files.some(({ path }) => path === name))
  if (missing.length > 0) return failed('npm pack', directory, `its tarball has no ${missing.join(', ')}`)
  const [own, root] = [directory, ROOT].map((at) => readFileSync(join(at, 'LICENSE'), 'utf8'))
  return own === root || failed('npm pack', directory, 'its LICENSE is not the one of the repository')
}

function passes([command = '', ...argv]: readonly string[], directory: string): boolean {
  const { status, stdout, stderr } = run(join(ROOT, 'node_modules/.bin', command), argv, directory)
  return status === 0 || failed(command, directory, `${stdout}${stderr}`)
}

function run(command: string, argv: readonly string[], cwd: string): SpawnSyncReturns<string> {
  return spawnSync(command, argv, { cwd, encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } })
}

function failed(command: string, directory: string, why: string): false {
  process.stderr.write(`${command} in ${directory}:\n${why}\n`)
  return false
}

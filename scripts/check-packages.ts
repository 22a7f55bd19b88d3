// Checks every package as it would be published: its manifest, and that its types resolve as its code does. Runs after
// `npm run build`.

import { spawnSync } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import { dirname, join } from 'node:path'

const ROOT = dirname(import.meta.dirname)
const CHECKS: readonly (readonly [command: string, ...argv: string[]])[] = [
  ['publint', '--strict', '.'],
  ['attw', '--pack', '.', '--profile', 'esm-only'],
]

process.exitCode = main()

function main(): number {
  const directories = globSync('packages/*/package.json', { cwd: ROOT }).map((manifest) =>
    join(ROOT, dirname(manifest)),
  )
  const failed = directories.toSorted().filter((directory) => !isPublishable(directory))
  if (failed.length > 0) process.stderr.write(`Not fit to publish: ${failed.join(', ')}\n`)
  return failed.length === 0 ? 0 : 1
}

function isPublishable(directory: string): boolean {
  if (!existsSync(join(directory, 'dist'))) {
    process.stderr.write(`${directory} has not been built: run npm run build first\n`)
    return false
  }
  // All of them run, so that everything wrong is said at once.
  return CHECKS.map((check) => passes(check, directory)).every(Boolean)
}

function passes([command = '', ...argv]: readonly string[], directory: string): boolean {
  const { status, stdout, stderr } = spawnSync(join(ROOT, 'node_modules/.bin', command), argv, {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  if (status === 0) return true
  process.stderr.write(`${command} in ${directory}:\n${stdout}${stderr}\n`)
  return false
}

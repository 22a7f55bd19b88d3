// The command line as it is packed: tests run what users run, and a daemon starts in half the time that it takes from source.

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from '../../packaging/bundle.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CACHE = join(ROOT, 'node_modules/.cache/app')
/** What the application is made from. */
const SOURCES = [
  'packages/gateway',
  'packages/channel',
  'packages/client',
  'packages/http1',
  'packages/service',
  'packaging',
  'libraries',
] as const

/** What it is made from that `npm run build` makes. */
const BUILT = [
  'packages/gateway/dist/dashboard/index.html',
  'packages/gateway/dist/dashboard/docs/passages.json',
] as const

/** Path of the application's main.js, which is made anew when a source has changed. */
export async function builtApp(): Promise<string> {
  const directory = join(CACHE, stateOfSources())
  if (!existsSync(directory)) await build(directory)
  return join(directory, 'dist/main.js')
}

/** What tells one state of the sources from another: how many there are, and when the last one changed. */
function stateOfSources(): string {
  const paths = SOURCES.flatMap((directory) =>
    readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
      .filter((entry) => /\.(?:ts|js|json|py|go)$/.test(entry.name) && !/dist|node_modules/.test(entry.parentPath))
      .map((entry) => join(entry.parentPath, entry.name)),
  )
  const newestMs = Math.max(
    ...[...paths, ...BUILT.map((path) => join(ROOT, path))].map((path) => statSync(path).mtimeMs),
  )
  return `${paths.length}-${Math.floor(newestMs)}`
}

/** Several test files may do so at once: the first one that is done counts. */
async function build(directory: string): Promise<void> {
  mkdirSync(CACHE, { recursive: true })
  const own = mkdtempSync(join(CACHE, 'new-'))
  await bundle(own)
  // Other users run it, too.
  chmodSync(own, 0o755)
  try {
    renameSync(own, directory)
  } catch (error) {
    rmSync(own, { recursive: true, force: true })
    if (!existsSync(directory)) throw error
  }
}

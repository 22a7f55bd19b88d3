import { readFileSync } from 'node:fs'

interface Manifest {
  readonly version: string
  /** What tells apart builds of one version, in packages. */
  readonly build: string
}

const MANIFEST = readManifest()

/** The version of this program, from its manifest. */
export function version(): string {
  return MANIFEST.version
}

/** What tells this program from every other, as it was when this process began. */
export function build(): string {
  return `${MANIFEST.version} ${MANIFEST.build}`
}

/** Exit code of a worker that is of another build than its primary. */
export const OTHER_BUILD_EXIT = 78

function readManifest(): Manifest {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const field = (name: string): string => String(new Map(Object.entries(manifest ?? {})).get(name) ?? '')
  return { version: field('version'), build: field('build') }
}

// The dashboard's files and the documentation's, as they were built: read when somebody first asks, and kept, as they are and compressed.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { extname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** Where they may be: beside the bundled application, beside the built package, and in a checkout, built. */
const PLACES: readonly string[] = ['dashboard', '../../dashboard', '../../../dist/dashboard']

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
}

/** A file as it is sent. */
export interface DashboardFile {
  readonly type: string
  readonly bytes: Buffer
  /** By gzip. */
  readonly compressed: Buffer
  /** Value of ETag. */
  readonly tag: string
}

let files: ReadonlyMap<string, DashboardFile> | null = null

/** All of them by their path, `/index.html` and others; empty where they were not built. */
export function dashboardFiles(): ReadonlyMap<string, DashboardFile> {
  files ??= readAll()
  return files
}

function readAll(): ReadonlyMap<string, DashboardFile> {
  const directory = PLACES.map((place) => join(import.meta.dirname, place)).find((place) =>
    existsSync(join(place, 'index.html')),
  )
  if (directory === undefined) return new Map()
  const names = readdirSync(directory, { recursive: true, withFileTypes: true })
  return new Map(
    names
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const path = join(entry.parentPath, entry.name)
        return [path.slice(directory.length), fileOf(path)]
      }),
  )
}

function fileOf(path: string): DashboardFile {
  const bytes = readFileSync(path)
  const digest = createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
  const type = TYPES[extname(path)] ?? 'application/octet-stream'
  return { type, bytes, compressed: gzipSync(bytes, { level: 9 }), tag: `"${digest}"` }
}

// Runs the programs that packages are made with.

import { execFileSync } from 'node:child_process'

/** Nothing here takes longer, on a slow machine. */
const TIMEOUT_MS = 20 * 60_000
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
}

/**
 * Runs a program to its end, and returns what it printed.
 *
 * @throws {Error} when it fails, with what it said
 */
export function run(command: string, argv: readonly string[], { env, ...options }: RunOptions = {}): string {
  return execFileSync(command, argv, {
    ...options,
    // One language and one time zone, whoever builds.
    env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC', ...env },
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
  })
}

/** Copies a file or a directory to the new path `to`: by hard links, which are free, where both are on one file system. */
export function copy(from: string, to: string): void {
  try {
    run('cp', ['-al', from, to])
  } catch {
    run('rm', ['-rf', to])
    run('cp', ['-a', from, to])
  }
}

// The directory that the daemon keeps its files in.

import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Services of any user get to the sockets in it; its other files are for their owner alone. */
const MODE = 0o711

/** Makes the directory at `path`, whatever the umask says; one that is there stays as it is. */
export function makeStateDirectory(path: string): void {
  if (makeDirectories(path, MODE)) chmodSync(path, MODE)
}

/**
 * Makes the directory at `path` and those above it; answers whether it was not there. Step by step: where the file system takes
 * none, as /proc, `mkdirSync` with `recursive` tries for ever.
 */
export function makeDirectories(path: string, mode: number): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return false
  if (dirname(path) !== path) makeDirectories(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
    return true
  } catch (error) {
    // Another process may have made it since.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return false
    throw error
  }
}

/** Whether services of other users cannot get to the sockets in the directory at `path`. */
export function isNarrow(path: string): boolean {
  return (statSync(path).mode & 0o011) !== 0o011
}

/** Why a directory cannot be had, in the system's words: without the call and the path, which the text around it has. */
export function whyNot(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).replace(/, \w+ '.*'$/s, '')
}

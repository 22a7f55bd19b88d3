// The directory that the daemon keeps its files in.

import { chmodSync, mkdirSync, statSync } from 'node:fs'

/** Services of any user get to the sockets in it; its other files are for their owner alone. */
const MODE = 0o711

/** Makes the directory at `path`, whatever the umask says; one that is there stays as it is. */
export function makeStateDirectory(path: string): void {
  if (mkdirSync(path, { recursive: true, mode: MODE }) !== undefined) chmodSync(path, MODE)
}

/** Whether services of other users cannot get to the sockets in the directory at `path`. */
export function isNarrow(path: string): boolean {
  return (statSync(path).mode & 0o011) !== 0o011
}

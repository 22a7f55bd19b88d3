// File systems without room, as only root can make them.

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import type { Scope } from './scope.ts'

/** Mounts a file system of `size` (such as `600k`) at `path`, until the scope ends. @returns whether this user may */
export function mountSmall(scope: Scope, path: string, size: string): boolean {
  if (process.getuid?.() !== 0) return false
  const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0711`, 'tmpfs', path]).status === 0
  if (isMounted) scope.defer(() => void spawnSync('umount', ['-l', path]))
  return isMounted
}

/** Writes into the file at `path` until there is no room, to the last byte. */
export function fill(path: string): void {
  for (let bytes = 65_536; bytes >= 1; bytes = Math.floor(bytes / 2)) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(bytes), { flag: 'a' })
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
    }
  }
}

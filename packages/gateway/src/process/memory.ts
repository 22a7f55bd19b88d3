// What a process takes of the host's memory.

import { readFileSync } from 'node:fs'

/** Bytes that are the process's alone, and cannot be given back: what files are mapped is not counted. 0 where nobody can tell. */
export function privateBytes(pid: number | 'self' = 'self'): number {
  try {
    return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

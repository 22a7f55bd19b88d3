// Connecting to a Unix socket as another user, as whom the other side then sees it (unix(7), SO_PEERCRED).

import { connect, type Socket } from 'node:net'
import { systemCall } from '../transport/ring/system.ts'
import type { Account } from './account.ts'

/** Of setresuid, by architecture; those that are younger have the same one. */
const SETRESUID: Readonly<Record<string, number>> = { x64: 117 }
const SETRESUID_YOUNGER = 147
/** Leaves the id as it is. */
const SAME = -1

/**
 * Connects to the socket at `path`. Services believe the gateway's workers alone, so that root, as which the primary runs on a host, does so
 * as they. The call by its number changes this thread alone; the C library's would change those that read and write files as well.
 *
 * @param account whom workers run as; null: this process's user
 */
export function connectAs(account: Account | null, path: string): Socket {
  if (account === null || process.geteuid?.() !== 0) return connect(path)
  setEffectiveUser(account.uid)
  try {
    return connect(path)
  } finally {
    setEffectiveUser(0)
  }
}

function setEffectiveUser(uid: number): void {
  const result = systemCall(SETRESUID[process.arch] ?? SETRESUID_YOUNGER, SAME, uid, SAME, 0, 0, 0)
  if (result !== 0) throw new Error(`cannot become user ${uid}`)
}

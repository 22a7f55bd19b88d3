// The program that says whose a session is, for peers that ask one: as fast as can be made, in C, on the peer's core.

import { startService, type Bench } from '../bench.ts'
import type { Started } from '../host.ts'

/** @returns the checker, and the Unix socket that it answers at */
export async function startChecker({
  host,
  programs,
  sessions,
}: Bench): Promise<{ readonly checker: Started; readonly socket: string }> {
  const socket = host.path('checker')
  return { checker: await startService(host, programs, 'peer', ['-u', socket, '-k', sessions]), socket }
}

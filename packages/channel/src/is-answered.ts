// Whether a Unix socket's file is in use, to be asked before it is removed.

import { connect } from 'node:net'

/** Errors that say that nobody is there: a file without a listener, or by now no file at all. */
const NOBODY: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT'])

/** Whether somebody may listen at `path`; a full queue, or no permission to find out, is somebody's. */
export function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ path })
  socket.once('connect', () => {
    socket.destroy()
    resolve(true)
  })
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(!NOBODY.has(error.code ?? '')))
  return promise
}

// Runs the demo service as a process of its own, as every custom service is.

import { type ChildProcess, fork } from 'node:child_process'
import { chmod } from 'node:fs/promises'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { removeStaleSocket } from '../process/listening-socket.ts'

const MAIN = fileURLToPath(new URL(`./demo-main${extname(import.meta.filename)}`, import.meta.url))

/** A demo service that listens. */
export interface DemoProcess {
  /** Resolves when the process has ended, with its exit code or signal. */
  readonly ended: Promise<number | string>
  /** Ends the process; resolves when it has. */
  close(): Promise<void>
}

/**
 * Starts the demo service on the Unix socket `path`, where only this user may connect.
 *
 * @throws {ListenError} when another program listens there.
 * @throws {Error} when the process ends before it listens; it has said why on standard error.
 */
export async function startDemo(path: string): Promise<DemoProcess> {
  await removeStaleSocket(path)
  const child = fork(MAIN, [path], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] })
  const ended = endOf(child)
  await Promise.race([readyOf(child), ended.then((code) => Promise.reject(new Error(`it ended with ${code}`)))])
  await chmod(path, 0o600)
  return {
    ended,
    close: async () => {
      if (child.connected) child.disconnect()
      await ended
    },
  }
}

function readyOf(child: ChildProcess): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  child.once('message', () => resolve())
  return promise
}

function endOf(child: ChildProcess): Promise<number | string> {
  const { promise, resolve } = Promise.withResolvers<number | string>()
  child.once('exit', (code, signal) => resolve(code ?? signal ?? 'nothing'))
  return promise
}

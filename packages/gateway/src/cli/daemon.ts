// The running daemon, by its control socket: see process/control-socket.ts.

import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { AccountChange } from '../process/account-change.ts'
import { CONTROL_SOCKET } from '../process/control-socket.ts'
import { CliError } from './errors.ts'
import { type Io, say } from './io.ts'

/** How long the daemon may take to answer. */
const WAIT_MS = 5000
/** And may work: new workers have half a minute to get ready. */
const ACT_WAIT_MS = 90_000
/** Codes by which connecting says that no daemon is there. */
const NOT_RUNNING: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTDIR'])

/**
 * Asks the daemon that runs with the state directory `stateDir`. Answers null when none does.
 *
 * @throws {CliError} `daemon-unreachable`
 */
export async function askDaemon(stateDir: string, method: string, path: string, body?: unknown): Promise<unknown> {
  try {
    const answer = await exchange(join(stateDir, CONTROL_SOCKET), method, path, body)
    if (answer.status === 200) return JSON.parse(answer.text)
    throw new Error(`it answers ${answer.status}`)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
    if (NOT_RUNNING.has(code)) return null
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new CliError('daemon-unreachable', `cannot ask the daemon that runs with ${stateDir}: ${why}`, { cause })
  }
}

/** What the daemon says of an act. */
export interface ActAnswer {
  readonly isDone: boolean
  /** Fields of its answer: with `message` where it is not done. */
  readonly said: Readonly<Record<string, unknown>>
}

/**
 * Has the daemon that runs with `stateDir` do something, and waits until it is done.
 *
 * @param waitMs for how long
 * @throws {CliError} `daemon-absent`, `daemon-unreachable`
 */
export async function haveDaemon(stateDir: string, path: string, waitMs: number = ACT_WAIT_MS): Promise<ActAnswer> {
  const answer = await exchange(join(stateDir, CONTROL_SOCKET), 'POST', path, undefined, waitMs).catch(
    (cause: unknown) => {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
      if (NOT_RUNNING.has(code)) throw new CliError('daemon-absent', `the daemon with ${stateDir} is not running`)
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new CliError('daemon-unreachable', `cannot ask the daemon that runs with ${stateDir}: ${why}`, { cause })
    },
  )
  if (answer.status !== 200 && answer.status !== 409) {
    throw new CliError('daemon-unreachable', `the daemon that runs with ${stateDir} answers ${answer.status}`)
  }
  return { isDone: answer.status === 200, said: JSON.parse(answer.text) as ActAnswer['said'] }
}

/** Has the daemon log what was changed, if it is running. What has been done is not undone when it cannot be told. */
export async function tellDaemon(
  stateDir: string,
  change: Omit<AccountChange, 'uid' | 'sudoUser'>,
  io: Io,
): Promise<void> {
  const sudoUser = io.env['SUDO_USER']
  const who = { uid: process.getuid?.() ?? -1, ...(sudoUser !== undefined && { sudoUser }) }
  try {
    await askDaemon(stateDir, 'POST', '/changes', { ...change, ...who })
  } catch (error) {
    say(io, `warning: the log of the daemon does not tell of this: ${error instanceof Error ? error.message : ''}`)
  }
}

async function exchange(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
  waitMs = WAIT_MS,
): Promise<{ readonly status: number; readonly text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const sent = request({ socketPath, method, path, signal: AbortSignal.timeout(waitMs), agent: false })
  sent.once('error', reject)
  sent.once('response', (response) => {
    text(response).then((content) => resolve({ status: response.statusCode ?? 0, text: content }), reject)
  })
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  return promise
}

// The running daemon, by its control socket: see process/control-socket.ts.

import { request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { AccountChange } from '../process/account-change.ts'
import { CONTROL_SOCKET } from '../process/control-socket.ts'
import { CliError } from './errors.ts'
import { type Io, say } from './io.ts'
import type { NamedState } from './state.ts'

/** How long the daemon may take to answer. */
const WAIT_MS = 5000
/** And may work: new workers have half a minute to get ready. */
const ACT_WAIT_MS = 90_000
/** Codes by which connecting says that no daemon is there. */
const NOT_RUNNING: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTDIR'])

/** The socket at which a daemon is asked. */
export function controlSocketIn({ stateDir }: NamedState): string {
  return join(stateDir, CONTROL_SOCKET)
}

/** A daemon in words: where it is asked, and what named that. */
export function daemonText(state: NamedState): string {
  return `the daemon at ${controlSocketIn(state)} (from ${state.from})`
}

/** Why the daemon of `state` could not be asked. */
export function daemonFailure(state: NamedState, cause: unknown): CliError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  if (NOT_RUNNING.has(code)) return new CliError('daemon-absent', `${daemonText(state)} is not running`, { cause })
  const why = cause instanceof Error ? cause.message : String(cause)
  return new CliError('daemon-unreachable', `cannot ask ${daemonText(state)}: ${why}`, { cause })
}

/**
 * Asks the daemon that runs with `state`. Answers null when none does.
 *
 * @throws {CliError} `daemon-unreachable`
 */
export async function askDaemon(state: NamedState, method: string, path: string, body?: unknown): Promise<unknown> {
  try {
    const answer = await exchange(controlSocketIn(state), method, path, body)
    if (answer.status === 200) return JSON.parse(answer.text)
    throw new Error(`it answers ${answer.status}`)
  } catch (cause) {
    const failure = daemonFailure(state, cause)
    if (failure.code === 'daemon-absent') return null
    throw failure
  }
}

/** What the daemon says of an act. */
export interface ActAnswer {
  readonly isDone: boolean
  /** Fields of its answer: with `message` where it is not done. */
  readonly said: Readonly<Record<string, unknown>>
}

/**
 * Has the daemon that runs with `state` do something, and waits until it is done.
 *
 * @param waitMs for how long
 * @throws {CliError} `daemon-absent`, `daemon-unreachable`
 */
export async function haveDaemon(state: NamedState, path: string, waitMs: number = ACT_WAIT_MS): Promise<ActAnswer> {
  const answer = await exchange(controlSocketIn(state), 'POST', path, undefined, waitMs).catch((cause: unknown) => {
    throw daemonFailure(state, cause)
  })
  if (answer.status !== 200 && answer.status !== 409) {
    throw daemonFailure(state, new Error(`it answers ${answer.status}`))
  }
  return { isDone: answer.status === 200, said: JSON.parse(answer.text) as ActAnswer['said'] }
}

/** Has the daemon log what was changed, if it is running. What has been done is not undone when it cannot be told. */
export async function tellDaemon(
  state: NamedState,
  change: Omit<AccountChange, 'uid' | 'sudoUser'>,
  io: Io,
): Promise<void> {
  const sudoUser = io.env['SUDO_USER']
  const who = { uid: process.getuid?.() ?? -1, ...(sudoUser !== undefined && { sudoUser }) }
  try {
    await askDaemon(state, 'POST', '/changes', { ...change, ...who })
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

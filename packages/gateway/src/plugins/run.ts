// One run of a plugin script: a process group of its own, with bounds for its time and output, that ends when nobody waits for it.

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { MalformedCallError, XenApiError } from '../xenapi/errors.ts'
import { valueIn } from './script-call.ts'

/** Bounds of each run. */
export interface RunLimits {
  /** How long it may take, in milliseconds. */
  readonly timeoutMs: number
  /** Bytes that it may print on standard output. */
  readonly outputBytesMax: number
}

/** What scripts find in their environment, as when xapi starts them. */
const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
}
/** How long a group has from SIGTERM to SIGKILL, in milliseconds. */
const KILL_MS = 5000
/** Characters at the end of standard error that a failure is told with. */
const COMPLAINT_CHARACTERS_MAX = 4000

/**
 * Runs a script, and answers its value.
 *
 * @param told is given what it writes on standard error, as it comes
 * @param gone ends it when it is aborted
 * @throws {XenApiError} the failure that the script tells of, or XENAPI_PLUGIN_FAILURE
 */
export async function runScript(
  path: string,
  argument: string,
  { timeoutMs, outputBytesMax }: RunLimits,
  told: (text: string) => void,
  gone: AbortSignal,
): Promise<string> {
  const script = started(path, argument)
  let why: string | null = null
  const end = (reason: string): void => {
    why ??= reason
    endGroup(script)
  }
  let complaint = ''
  const output = collected(script.stdout, outputBytesMax, () => end(`it printed more than ${outputBytesMax} bytes`))
  script.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-COMPLAINT_CHARACTERS_MAX)
    told(text)
  })
  const timer = setTimeout(() => end(`it took longer than ${timeoutMs / 1000} s`), timeoutMs)
  const leave = (): void => end('nobody waits for it any more')
  gone.addEventListener('abort', leave)
  if (gone.aborted) leave()
  try {
    const how = await ending(script)
    if (why !== null) throw failure(why, '', complaint)
    if (how !== '0') throw failure(`it ended with ${how}`, output(), complaint)
    return valueIn(output())
  } catch (error) {
    if (error instanceof MalformedCallError) throw failure(error.message, output(), complaint)
    throw error
  } finally {
    clearTimeout(timer)
    gone.removeEventListener('abort', leave)
  }
}

type Script = ChildProcessByStdio<null, Readable, Readable>

function started(path: string, argument: string): Script {
  try {
    return spawn(path, [argument], { stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT, cwd: '/', detached: true })
  } catch (error) {
    throw notStarted(error)
  }
}

/** How it ended: its exit code, or the signal that ended it. What it left behind may keep its output for a while, and no longer. */
async function ending(script: Script): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  script.once('error', (error) => reject(notStarted(error)))
  script.once('exit', () => {
    const timer = setTimeout(() => {
      script.stdout.destroy()
      script.stderr.destroy()
    }, KILL_MS)
    script.once('close', () => clearTimeout(timer))
  })
  script.once('close', (code, signal) => resolve(signal ?? String(code)))
  return promise
}

/** Answers what came so far. @param tooMuch called at each piece past `bytesMax`, which is let go */
function collected(from: Readable, bytesMax: number, tooMuch: () => void): () => string {
  const chunks: Buffer[] = []
  let bytes = 0
  from.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > bytesMax) tooMuch()
    else chunks.push(chunk)
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

/** Ends the script and all that it started, but for what left its group. */
function endGroup(script: Script): void {
  const { pid } = script
  if (pid === undefined || !signalled(pid, 'SIGTERM')) return
  const kill = (): void => void signalled(pid, 'SIGKILL')
  const timer = setTimeout(kill, KILL_MS)
  // While any of the group lives no other has its number.
  script.once('close', () => {
    clearTimeout(timer)
    kill()
  })
}

function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, signal)
  } catch {
    return false // it has ended
  }
}

function notStarted(error: unknown): XenApiError {
  return failure(`it does not start: ${error instanceof Error ? error.message : String(error)}`, '', '')
}

function failure(why: string, output: string, complaint: string): XenApiError {
  return new XenApiError('XENAPI_PLUGIN_FAILURE', [why, output.slice(-COMPLAINT_CHARACTERS_MAX), complaint])
}

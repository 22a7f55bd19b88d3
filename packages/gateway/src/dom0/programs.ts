// Programs of the host.

import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** What a program that has ended said. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** How programs are looked for and started. */
export interface ProgramOptions {
  readonly env: Readonly<NodeJS.ProcessEnv>
  /** Who runs it; default: this user. */
  readonly uid?: number
  readonly gid?: number
  readonly timeoutMs?: number
}

/** A restart of stunnel waits until it has started. */
const TIMEOUT_MS = 60_000
/** How long what a program has said is waited for after its end. */
const PIPES_MS = 500
/** What a shell answers for a program that is not there, or takes too long. */
const NOT_FOUND = 127

/** Runs a program to its end. Never rejects: one that is not there, or is too slow, has failed. */
export async function runProgram(name: string, argv: readonly string[], options: ProgramOptions): Promise<Ran> {
  const { timeoutMs = TIMEOUT_MS, ...how } = options
  const child = spawn(name, argv, {
    ...how,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const closed = once(child, 'close')
  try {
    const [code] = (await once(child, 'exit')) as [number | null]
    // What the program leaves running may keep the pipes open.
    const timer = setTimeout(() => [child.stdout, child.stderr].forEach((pipe) => pipe.destroy()), PIPES_MS)
    await closed
    clearTimeout(timer)
    if (code === null) stderr += `${name} was ended: it took more than ${timeoutMs / 1000} s\n`
    return { code: code ?? NOT_FOUND, stdout, stderr }
  } catch (error) {
    closed.catch(() => {})
    return { code: NOT_FOUND, stdout: '', stderr: error instanceof Error ? error.message : String(error) }
  }
}

/** The last line of what a program said, for a message. */
export function lastLine({ code, stdout, stderr }: Ran): string {
  const line = `${stdout}\n${stderr}`.trim().split('\n').at(-1) ?? ''
  return line === '' ? `it ended with code ${code}` : line
}

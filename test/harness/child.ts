// Child processes of a test: what they print is kept, and they are gone when the test is.

import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { DEADLINE_MS, until, within } from './deadline.ts'
import type { Scope } from './scope.ts'

/** How long a process may take to end after SIGTERM, before it is killed. */
const STOP_MS = 20_000

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A running program. */
export class Child {
  readonly process: ChildProcess
  /** Resolves when the program has ended and all that it printed is here. */
  readonly exited: Promise<Exit>
  /** What it printed so far. */
  stdout = ''
  stderr = ''
  readonly #listeners = new Set<() => void>()
  readonly #command: string
  #isForced = false

  constructor(scope: Scope, command: string, argv: readonly string[], options: SpawnOptions = {}) {
    this.#command = [command, ...argv].join(' ')
    this.process = spawn(command, argv, { stdio: ['pipe', 'pipe', 'pipe'], ...options })
    this.process.stdout?.setEncoding('utf8').on('data', (text: string) => this.#printed(() => (this.stdout += text)))
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => this.#printed(() => (this.stderr += text)))
    this.exited = once(this.process, 'close').then((of) => ({ code: of[0], signal: of[1] }))
    this.exited.then(
      () => this.#printed(() => {}),
      () => {}, // whoever awaits `exited` is told
    )
    scope.defer(async () => {
      if ((await this.stop()).signal === 'SIGKILL' && this.#isForced)
        throw new Error(`"${this.#command}" had to be killed`)
    })
  }

  get pid(): number {
    if (this.process.pid === undefined) throw new Error(`"${this.#command}" did not start`)
    return this.process.pid
  }

  get hasEnded(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  #printed(note: () => void): void {
    note()
    for (const listener of this.#listeners) listener()
  }

  /** Waits until `find` finds something in what was printed. */
  async printed<Found>(
    find: (child: Child) => Found | undefined,
    what: string,
    ms: number = DEADLINE_MS,
  ): Promise<Found> {
    const { promise, resolve, reject } = Promise.withResolvers<Found>()
    const look = (): void => {
      const found = find(this)
      if (found !== undefined) resolve(found)
      else if (this.hasEnded && this.process.stdout?.readableEnded !== false) {
        reject(new Error(`"${this.#command}" ended before ${what}:\n${this.stdout}${this.stderr}`))
      }
    }
    this.#listeners.add(look)
    this.process.once('error', reject)
    look()
    try {
      return await within(promise, `${what} of "${this.#command}"`, ms)
    } finally {
      this.#listeners.delete(look)
      this.process.off('error', reject)
    }
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name)
  }

  /** Halts it, until SIGCONT; resolves when none of its threads runs any more. */
  async halt(): Promise<void> {
    this.signal('SIGSTOP')
    const tasks = `/proc/${this.pid}/task`
    const isHalted = (task: string): boolean => /\) T /.test(readFileSync(`${tasks}/${task}/stat`, 'utf8'))
    await until(() => readdirSync(tasks).every(isHalted), `"${this.#command}" to halt`)
  }

  /** Ends the program: politely, then by force. */
  async stop(): Promise<Exit> {
    if (this.hasEnded || this.process.pid === undefined) return this.exited
    this.signal('SIGTERM')
    const timer = setTimeout(() => {
      this.#isForced = true
      this.signal('SIGKILL')
    }, STOP_MS)
    try {
      return await within(this.exited, `the end of "${this.#command}"`, 2 * STOP_MS)
    } finally {
      clearTimeout(timer)
    }
  }
}

/** What a program that ran to its end has to say. */
export interface Ran extends Exit {
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end; `input` is its standard input. */
export async function run(
  scope: Scope,
  command: string,
  argv: readonly string[],
  options: SpawnOptions & { readonly input?: string | Uint8Array; readonly deadlineMs?: number } = {},
): Promise<Ran> {
  const { input = '', deadlineMs = DEADLINE_MS, ...rest } = options
  const child = new Child(scope, command, argv, rest)
  child.process.stdin?.on('error', () => {}) // it need not read all of it
  child.process.stdin?.end(input)
  const exit = await within(child.exited, `"${command} ${argv.join(' ')}" to end`, deadlineMs)
  return { ...exit, stdout: child.stdout, stderr: child.stderr }
}

/** Whether a process runs; one that has ended and that nobody has asked about yet does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/**
 * Process ids of programs that a process has started, and that have not ended; none where there is no process. One that is not yet a program of
 * its own is left out: whoever stopped it would stop its parent too, which waits for that.
 */
export function childrenOf(pid: number | undefined): readonly number[] {
  if (pid === undefined || !isAlive(pid)) return []
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return children.split(' ').flatMap((child) => (isProgram(Number(child)) ? Number(child) : []))
}

/** In the flags of `/proc/<pid>/stat`: forked, and nothing executed since (PF_FORKNOEXEC of sched.h). */
const FORKED = 0x40

function isProgram(pid: number): boolean {
  if (pid === 0) return false
  try {
    // The name in parentheses may hold anything; flags are the seventh field behind it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return (Number(fields[6]) & FORKED) === 0
  } catch {
    return false // it has ended
  }
}

// The daemon of a package, as its unit runs it, and what its processes are.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import type { Child } from '../harness/child.ts'
import type { LogEvent } from '../harness/daemon.ts'
import { within } from '../harness/deadline.ts'
import { childrenOf, type Inside, type Root, unitProcess, type UnitProcess, XENGATE_ID } from './root.ts'

/** Where the log goes to syslog, this line is on standard error alone. */
function isReady({ stderr }: Child): true | undefined {
  return stderr.includes('xengate ready at') || undefined
}

/** The daemon of the package, as its unit runs it. */
export class Service {
  readonly #root: Root
  readonly #unit: string
  #inside: Inside | undefined

  constructor(root: Root, unit: string) {
    this.#root = root
    this.#unit = unit
  }

  /** @param more what is to be otherwise than the unit says */
  async start(more: Partial<UnitProcess> = {}): Promise<void> {
    const said = unitProcess(this.#root.read(this.#unit))
    const unit = { ...said, ...more, env: { ...said.env, ...more.env } }
    // systemd makes it before, and takes it away after.
    execFileSync('mkdir', ['-p', this.#root.path('run/xengate')])
    const owner = unit.user === 'root' ? '0:0' : `${XENGATE_ID}:${XENGATE_ID}`
    execFileSync('chown', [owner, this.#root.path('run/xengate')])
    this.#inside = await this.#root.start(unit)
    await this.#inside.child.printed(isReady, 'its start')
  }

  get #running(): Inside {
    if (this.#inside === undefined) throw new Error('the daemon was not started')
    return this.#inside
  }

  async stop(): Promise<void> {
    await this.#running.end()
    execFileSync('rm', ['-rf', this.#root.path('run/xengate')])
  }

  /** Ends all its processes at once. */
  async kill(): Promise<void> {
    for (const pid of await this.pids()) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // A worker that ended with the primary.
      }
    }
    await within(this.#running.child.exited, 'the end of the daemon')
  }

  async reload(): Promise<void> {
    await this.#running.signal('SIGHUP')
    await this.event('reloaded')
  }

  /** Ends a worker, which has to be replaced, and waits until the daemon has ended. */
  async endsWithAWorker(): Promise<void> {
    process.kill((await this.pids()).at(-1) ?? 0, 'SIGKILL')
    await within(this.#running.child.exited, 'the end of the daemon')
  }

  event(name: string): Promise<LogEvent> {
    return this.#running.child.printed(
      ({ stdout }) => eventsIn(stdout).find(({ event }) => event === name),
      `${name} in the log`,
    )
  }

  /** Of all its processes. */
  async pids(): Promise<number[]> {
    const pid = await this.#running.pid()
    return [pid, ...childrenOf(pid)]
  }
}

function eventsIn(stdout: string): LogEvent[] {
  const lines = stdout.split('\n').slice(0, -1)
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogEvent)
}

/** Nothing of the host is mapped, and no child is told to look elsewhere for libraries. */
export async function assertOwnLibraries(service: Service): Promise<void> {
  const looked = (await service.pids()).filter((pid) => isOnOwnLibraries(pid))
  assert.ok(looked.length > 1, 'the primary and a worker at least')
}

/** @returns `false` when the process has ended, as workers do after a reload */
function isOnOwnLibraries(pid: number): boolean {
  let maps, program, environment
  try {
    maps = readFileSync(`/proc/${pid}/maps`, 'utf8')
    program = readlinkSync(`/proc/${pid}/exe`)
    environment = readFileSync(`/proc/${pid}/environ`, 'latin1')
  } catch {
    return false
  }
  const files = new Set([...maps.matchAll(/ (\/\S+)$/gm)].map(([, path]) => path ?? ''))
  const ours = /\/opt\/xengate\/(bin|lib|app)\/|\/var\/lib\/xengate\/xengate\.db/
  assert.deepEqual(
    [...files].filter((path) => !ours.test(path)),
    [],
  )
  assert.match(program, /\/opt\/xengate\/bin\/node$/)
  assert.doesNotMatch(environment, /(^|\0)LD_/)
  return true
}

export function uidOf(pid: number): number {
  return Number(/^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

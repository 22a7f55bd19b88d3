// The machine during a run: a directory, two cores, and the processes that are started on them. Everything that is
// started here is ended here, by its process id.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { NEWEST_PEERS } from './newest-peers.ts'
import { allowedCores, treeOf } from './proc.ts'

/** How long a process may take to start or to stop. */
const START_MS = 20_000
const STOP_MS = 3000
const LOOK_AGAIN_MS = 20

/** Descriptors that are asked for: connections to 10,000 clients and as many to a service. */
const DESCRIPTORS_WANTED = 65_536

const LAST_LINES = 10

/** Where a process runs. `both`: on every core of the run. */
export type Place = 'peer' | 'load' | 'both'

/** How a process is started beyond its command. */
export interface ProcessSettings {
  readonly env?: NodeJS.ProcessEnv
  readonly input?: 'pipe' | 'ignore'
}

/** A process that runs until it is stopped. */
export interface Started {
  readonly pid: number
  readonly child: ChildProcess
  /** What it printed so far, both streams. */
  readonly output: () => string
  readonly stop: () => Promise<void>
}

export class Host {
  readonly directory: string
  readonly peerCore: number
  readonly loadCore: number
  readonly #running = new Map<number, ChildProcess>()
  #files = 0

  /** @throws when there are fewer than two cores */
  constructor() {
    const [peerCore, loadCore] = allowedCores()
    if (peerCore === undefined || loadCore === undefined) {
      throw new Error('the benchmark needs two cores: one for the peer, one for the load and the service')
    }
    this.peerCore = peerCore
    this.loadCore = loadCore
    this.directory = mkdtempSync(join(tmpdir(), 'xg-bench-'))
    // This process itself stays out of the peer's way. A higher limit of descriptors is inherited; it may be refused.
    spawnSync('taskset', ['-a', '-p', '-c', String(loadCore), String(process.pid)])
    spawnSync('prlimit', [`--pid=${process.pid}`, `--nofile=${DESCRIPTORS_WANTED}:${DESCRIPTORS_WANTED}`])
  }

  /** A path for a file called like `name` that no other has. */
  path(name: string): string {
    return join(this.directory, `${this.#files++}-${name}`)
  }

  /** A fresh directory. */
  makeDirectory(name: string): string {
    const path = this.path(name)
    mkdirSync(path)
    return path
  }

  /** How many descriptors a process may have. */
  get descriptorsMax(): number {
    const found = /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))
    return Number(found?.[1] ?? 1024)
  }

  /** Starts `command` pinned to its core. It prints into a file, so that nobody has to read along. */
  start(place: Place, command: string, argv: readonly string[], settings: ProcessSettings = {}): Started {
    const path = this.path('output')
    const output = openSync(path, 'w')
    const child = this.#spawn(place, command, argv, [settings.input ?? 'ignore', output, output], settings.env)
    closeSync(output)
    const { pid } = child
    if (pid === undefined) throw new Error(`cannot start ${command}`)
    return { pid, child, output: () => readFileSync(path, 'utf8'), stop: () => this.#stop(child, pid) }
  }

  /** Runs `command` to its end. @returns its standard output @throws when it fails */
  async run(place: Place, command: string, argv: readonly string[], input = ''): Promise<string> {
    const child = this.#spawn(place, command, argv, ['pipe', 'pipe', 'pipe'])
    let [output, problems] = ['', '']
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (problems += text))
    child.stdin?.on('error', () => {}) // it need not read its input
    child.stdin?.end(input)
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    if (code !== 0) throw new Error(`${command} ${argv.join(' ')} failed (${code ?? signal}):\n${output}${problems}`)
    return output
  }

  #spawn(
    place: Place,
    command: string,
    argv: readonly string[],
    stdio: (number | 'pipe' | 'ignore')[],
    env: NodeJS.ProcessEnv = {},
  ): ChildProcess {
    const cores = { peer: [this.peerCore], load: [this.loadCore], both: [this.peerCore, this.loadCore] }[place]
    const child = spawn('taskset', ['-c', cores.join(','), command, ...argv], {
      stdio,
      cwd: this.directory,
      env: { ...process.env, PATH: SYSTEM_PATH, ...env },
    })
    const { pid } = child
    child.on('error', () => {}) // a pid that is missing says so
    if (pid === undefined) return child
    this.#running.set(pid, child)
    child.once('exit', () => this.#running.delete(pid))
    return child
  }

  async #stop(child: ChildProcess, pid: number): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const tree = treeOf([pid])
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    const isGone = await Promise.race([exited.then(() => true), sleep(STOP_MS, false, { ref: false })])
    for (const each of tree) if (!isGone || each !== pid) kill(each)
    await exited
  }

  /** Waits until `look` finds something in what `started` printed. */
  async printed<Found>(started: Started, look: (output: string) => Found | undefined): Promise<Found> {
    return until(started, () => look(started.output()))
  }

  /** Waits until somebody listens where `started` is to. */
  async listens(started: Started, where: { readonly port: number } | { readonly path: string }): Promise<void> {
    await until(started, async () => ((await isAnswered(where)) ? true : undefined))
  }

  /** Ends everything now, and removes what was written. Does not wait, so that it can be the last thing done. */
  close(): void {
    for (const pid of treeOf([...this.#running.keys()])) kill(pid)
    this.#running.clear()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** The newest peers first, where they could be had. Daemons are in sbin, which the path of a user who is not root often lacks. */
export const SYSTEM_PATH: string = [
  NEWEST_PEERS,
  process.env['PATH'] ?? '',
  '/usr/local/sbin',
  '/usr/sbin',
  '/sbin',
].join(delimiter)

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It is gone already.
  }
}

async function until<Found>(
  started: Started,
  look: () => Found | undefined | Promise<Found | undefined>,
): Promise<Found> {
  const lastMs = performance.now() + START_MS
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (started.child.exitCode !== null || started.child.signalCode !== null || performance.now() > lastMs) {
      const last = started.output().trimEnd().split('\n').slice(-LAST_LINES).join('\n')
      throw new Error(`${started.child.spawnargs.slice(3).join(' ')} did not start; it printed last:\n${last}`)
    }
    await sleep(LOOK_AGAIN_MS)
  }
}

function isAnswered(where: { readonly port: number } | { readonly path: string }): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect('port' in where ? { host: '127.0.0.1', port: where.port } : where)
  socket.once('connect', () => {
    socket.destroy()
    resolve(true)
  })
  socket.once('error', () => resolve(false))
  return promise
}

/** A port of 127.0.0.1 that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port is free')
  return address.port
}

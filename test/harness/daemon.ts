// The real daemon, as it is packed, run as a child process in a fresh directory.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { chmod, cp, mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { builtApp } from './app.ts'
import { Child, type Exit, run } from './child.ts'
import { DEADLINE_MS } from './deadline.ts'
import { exchange } from './raw.ts'
import type { Scope } from './scope.ts'

/** What node is given to run the command line. */
export const XENGATE: readonly string[] = [await builtApp()]

/** What daemons have their connections by: `npm run test:ring` runs the same tests on the ring. */
const TRANSPORT = process.env['XENGATE_TEST_TRANSPORT'] ?? 'auto'
/** Another name, by which a reload needs new workers. */
export const OTHER_TRANSPORT: string = TRANSPORT === 'auto' ? 'net' : 'auto'

/** Lines of output that are shown when a test fails. */
const LAST_LINES = 20

/** The user that every daemon has. */
export const USER = { name: 'alice', password: 'correct horse battery', role: 'pool-admin' } as const

/** A listener with more than an address. */
export interface ListenSettings {
  readonly address: string
  /** More keys of its [[listen]]. */
  readonly keys: string
}

/** What a daemon is configured with; each text is TOML. */
export interface DaemonSettings {
  /** Default: 1. */
  readonly workers?: number
  /** Default: a free port of 127.0.0.1. Relative paths are in the daemon's directory. */
  readonly listen?: readonly (string | ListenSettings)[]
  /** Default: what XENGATE_TEST_TRANSPORT says, else auto. */
  readonly transport?: string
  /** More keys at the top. */
  readonly top?: string
  /** More keys of [services]. */
  readonly services?: string
  /** More tables. */
  readonly tables?: string
}

/** Event of the daemon's log. */
export type LogEvent = Readonly<Record<string, unknown>> & { readonly event: string }

/** A directory with a configuration, a state directory and a directory for services' sockets. */
export class Place {
  readonly directory: string
  readonly #scope: Scope

  private constructor(scope: Scope, directory: string) {
    this.#scope = scope
    this.directory = directory
  }

  static async make(scope: Scope, settings: DaemonSettings = {}): Promise<Place> {
    const place = new Place(scope, await scope.directory())
    await mkdir(place.plugin)
    await place.configure(settings)
    return place
  }

  get configuration(): string {
    return join(this.directory, 'xengate.toml')
  }

  get state(): string {
    return join(this.directory, 'state')
  }

  /** Where services' sockets are. */
  get plugin(): string {
    return join(this.directory, 'plugin')
  }

  /** Path of the socket of the service `name`. */
  socket(name: string): string {
    return join(this.plugin, name)
  }

  /** Asks the daemon that runs here by its control socket. */
  async ask(path: string): Promise<unknown> {
    const request = `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
    const { status, text } = await exchange(`unix:${join(this.state, 'control.sock')}`, request)
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`)
    return JSON.parse(text)
  }

  async configure(settings: DaemonSettings): Promise<void> {
    await writeFile(this.configuration, configurationText(settings))
  }

  /** Runs `xengate …` to its end. */
  async command(argv: readonly string[], input = ''): ReturnType<typeof run> {
    return run(this.#scope, process.execPath, [...XENGATE, ...argv, '--config', this.configuration], {
      cwd: this.directory,
      input,
    })
  }

  async addUser(name: string, password: string, role: string): Promise<void> {
    const ran = await this.command(['user', 'add', name, '--role', role, '--password-stdin'], `${password}\n`)
    if (ran.code !== 0) throw new Error(`cannot add a user: ${ran.stderr}`)
  }

  /** Adds USER, by a copy of a state directory that has it, where there is none yet. */
  async addDefaultUser(): Promise<void> {
    if (existsSync(this.state)) {
      await this.addUser(USER.name, USER.password, USER.role)
      return
    }
    stateWithUser ??= makeStateWithUser()
    await cp(await stateWithUser, this.state, { recursive: true })
    await chmod(this.state, 0o711)
  }

  /** Starts the daemon here; it need not get ready. @param within a command that runs what follows it, such as `ip netns exec` */
  spawn(within: readonly string[] = []): Child {
    const [command, ...argv] = [...within, process.execPath, ...XENGATE, 'serve', '--config', this.configuration]
    return new Child(this.#scope, command ?? process.execPath, argv, { cwd: this.directory })
  }

  /** Starts the daemon here, and waits until it is ready. */
  async start(within: readonly string[] = []): Promise<Daemon> {
    const daemon = new Daemon(this, this.spawn(within))
    this.#scope.onFailure(() => {
      const last = daemon.child.stdout.trimEnd().split('\n').slice(-LAST_LINES).join('\n')
      return `the daemon in ${this.directory}, configured with\n${readFileSync(this.configuration, 'utf8')}\nprinted last\n${last}\n${daemon.child.stderr}`
    })
    await daemon.event((event) => event.event === 'started', 'its start')
    return daemon
  }
}

function configurationText({
  workers = 1,
  listen = ['127.0.0.1:0'],
  transport = TRANSPORT,
  top = '',
  services = '',
  tables = '',
}: DaemonSettings): string {
  const listeners = listen
    .map((one) => (typeof one === 'string' ? { address: one, keys: '' } : one))
    .map(({ address, keys }) => `[[listen]]\naddress = "${address}"\n${keys}\n`)
    .join('\n')
  return `state-dir = "state"
workers = ${workers}
transport = "${transport}"
${top}

${listeners}
[services]
directories = ["plugin"]
${services}

${tables}`
}

/** A daemon that has become ready. */
export class Daemon {
  readonly place: Place
  readonly child: Child

  constructor(place: Place, child: Child) {
    this.place = place
    this.child = child
  }

  /** Where it listens, as it logged at its start. */
  get urls(): readonly string[] {
    return (this.events.find(({ event }) => event === 'started')?.['listen'] ?? []) as readonly string[]
  }

  /** Its first listener. */
  get url(): string {
    const [url] = this.urls
    if (url === undefined) throw new Error('the daemon did not say where it listens')
    return url
  }

  /** What it logged so far. */
  get events(): readonly LogEvent[] {
    const lines = this.child.stdout.split('\n').slice(0, -1)
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogEvent)
  }

  /** Waits for an event; of those logged already it is the first that fits. */
  event(fits: (event: LogEvent) => boolean, what: string, ms: number = DEADLINE_MS): Promise<LogEvent> {
    return this.child.printed(() => this.events.find(fits), `${what} in the log`, ms)
  }

  /** Process ids of workers, in the order in which they became ready. */
  get workerPids(): readonly number[] {
    return this.events.filter(({ event }) => event === 'worker-ready').map(({ worker }) => Number(worker))
  }

  /** Calls a method of the XenAPI; the answer is JSON-RPC 2.0. */
  call(method: string, params: readonly unknown[]): Promise<RpcAnswer> {
    return callXenApi(this.url, method, params)
  }

  /** Logs in, and answers the session id. */
  login(name: string = USER.name, password: string = USER.password): Promise<string> {
    return login(this.url, name, password)
  }

  async logout(session: string): Promise<void> {
    const { error } = await this.call('session.logout', [session])
    if (error !== undefined) throw new Error(`cannot log out: ${JSON.stringify(error)}`)
  }

  /** Ends the daemon as an operator does. */
  stop(): Promise<Exit> {
    return this.child.stop()
  }
}

/** A JSON-RPC 2.0 response. */
export interface RpcAnswer {
  readonly result?: unknown
  readonly error?: { readonly message: string; readonly data: readonly unknown[] }
}

/** Calls a method of the XenAPI at `url`; the answer is JSON-RPC 2.0. */
export async function callXenApi(url: string, method: string, params: readonly unknown[]): Promise<RpcAnswer> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const response = await exchange(
    url,
    'POST /jsonrpc HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n' +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
  if (response.status !== 200) throw new Error(`${method}: ${response.head}\n${response.text}`)
  return JSON.parse(response.text) as RpcAnswer
}

/** Logs in at `url`, and answers the session id. */
export async function login(url: string, name: string = USER.name, password: string = USER.password): Promise<string> {
  const { result, error } = await callXenApi(url, 'session.login_with_password', [name, password, '1.0', 'test'])
  if (typeof result !== 'string') throw new Error(`cannot log in: ${JSON.stringify(error)}`)
  return result
}

/** Starts a daemon in a fresh place, where USER is a user. */
export async function startDaemon(scope: Scope, settings: DaemonSettings = {}): Promise<Daemon> {
  const place = await Place.make(scope, settings)
  await place.addDefaultUser()
  return place.start()
}

/** A state directory in which USER is a user, made once for all places of this process. */
let stateWithUser: Promise<string> | undefined

async function makeStateWithUser(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-state-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const argv = ['user', 'add', USER.name, '--role', USER.role, '--password-stdin', '--state', directory]
  const child = spawn(process.execPath, [...XENGATE, ...argv], { stdio: ['pipe', 'ignore', 'inherit'] })
  child.stdin.end(`${USER.password}\n`)
  const [code] = (await once(child, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`cannot add a user: exit code ${code}`)
  return directory
}

/** The processes that took its place by upgrades, the newest last. */
export function successors({ events }: Daemon): readonly number[] {
  return events.filter(({ event }) => event === 'upgraded').map((event) => Number(event['successor']))
}

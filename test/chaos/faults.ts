// Faults, one after the other, under load whose every answer is checked. The same seed gives the same faults in the same order.
//
// What has to hold: no answer is another's, or wrong, or cut and looks whole; no POST is done twice; nobody is admitted under a session that has
// ended; 5 s after a fault everybody is served; and at the end no descriptor and no connection is left.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { startValkey, type ValkeyServer } from '../harness/backends.ts'
import { Child, isAlive } from '../harness/child.ts'
import { type Daemon, Place, successors, USER } from '../harness/daemon.ts'
import { until } from '../harness/deadline.ts'
import { fill, mountSmall } from '../harness/disk.ts'
import type { Scope } from '../harness/scope.ts'
import { freePort } from '../harness/tls.ts'
import { Random } from '../soak/random.ts'
import { Checker, type Signed, type Tally } from './checker.ts'

/** How much of everything. */
export interface FaultPlan {
  readonly transport: string
  readonly authority: 'embedded' | 'valkey'
  readonly seed: number
  readonly faults: number
  /** Clients that ask at once. */
  readonly clients: number
  readonly say: (line: string) => void
}

/** What came of it. */
export interface FaultReport {
  readonly tally: Tally
  /** What may not be. */
  readonly wrong: readonly string[]
}

const NAME = 'com.example.chaos'
const TARGET = `/services/plugin/${NAME}`
const USERS = ['alice', 'bob', 'carol'] as const
const RECOVERY_MS = 5000
/** So many right answers one after the other, and it has recovered. */
const RECOVERED = 10
/** Of a worker that has few; it needs some forty for itself. */
const FEW_DESCRIPTORS = 60
const MANY_DESCRIPTORS = 4096
const SERVICE = new URL('service.ts', import.meta.url).pathname

/** Everything that can go wrong: begins it, and answers what ends it. */
type Fault = (chaos: Chaos) => Promise<() => Promise<void>>

const nothing = async (): Promise<void> => {}

const FAULTS: Readonly<Record<string, Fault>> = {
  'a worker is killed': async (chaos) => {
    process.kill(chaos.random.pick(await chaos.workers()), 'SIGKILL')
    return nothing
  },
  'a worker stands still': async (chaos) => {
    const pid = chaos.random.pick(await chaos.workers())
    process.kill(pid, 'SIGSTOP')
    return async () => void (isAlive(pid) && process.kill(pid, 'SIGCONT'))
  },
  'a worker has few descriptors': async (chaos) => {
    const pid = chaos.random.pick(await chaos.workers())
    limitDescriptors(pid, FEW_DESCRIPTORS)
    return async () => void (isAlive(pid) && limitDescriptors(pid, MANY_DESCRIPTORS))
  },
  'the primary is killed, and started again': async (chaos) => {
    process.kill(chaos.primary, 'SIGKILL')
    await until(() => !isAlive(chaos.primary), 'the end of the primary')
    return () => chaos.startDaemon()
  },
  'the primary stands still': async (chaos) => {
    const pid = chaos.primary
    process.kill(pid, 'SIGSTOP')
    return async () => void process.kill(pid, 'SIGCONT')
  },
  'the service is killed, and started again': async (chaos) => {
    chaos.service.process.kill('SIGKILL')
    await chaos.service.exited
    return () => chaos.startService()
  },
  'the service stands still': async ({ service }) => {
    service.process.kill('SIGSTOP')
    return async () => void service.process.kill('SIGCONT')
  },
  'the network stands still': async ({ network }) => {
    network.pause()
    return async () => network.resume()
  },
  'the network cuts all connections': async ({ network }) => {
    network.cut()
    return nothing
  },
  'the configuration is loaded anew, with other workers': async (chaos) => {
    await chaos.reload()
    return nothing
  },
  'the gateway is upgraded': async (chaos) => {
    await chaos.command('upgrade')
    return nothing
  },
  'the disk is full': async ({ place, isMounted }) => {
    if (!isMounted) return nothing
    const path = join(place.state, 'fill')
    fill(path)
    return async () => rmSync(path, { force: true })
  },
  'Valkey stands still': async ({ valkey }) => {
    valkey?.pause()
    return async () => valkey?.resume()
  },
  'Valkey is killed, and started again': async ({ valkey }) => {
    await valkey?.stop('SIGKILL')
    return async () => valkey?.start()
  },
}

/** Runs it. @throws when the machine does not do what a fault needs, or something does not come about */
export async function chaosOfFaults(scope: Scope, plan: FaultPlan): Promise<FaultReport> {
  const { say } = plan
  const random = new Random(plan.seed)
  const running = await Chaos.start(scope, plan, random)
  const names = Object.keys(FAULTS).filter((name) => plan.authority === 'valkey' || !name.startsWith('Valkey'))
  const checker = new Checker(running.network.url, TARGET, running.signed, plan.clients)
  const wrong: string[] = []
  for (let number = 0; number < plan.faults; number++) {
    // Each of them once, before any comes again.
    if (number % names.length === 0) shuffle(names, random)
    const name = names[number % names.length] ?? ''
    say(`${number + 1}/${plan.faults} ${name}`)
    const ended = await running.endedSession(number)
    const undo = await FAULTS[name]?.(running)
    await pause(random.integer(200, 1200))
    wrong.push(...(await running.admittedUnder(ended)))
    await undo?.()
    if (!(await running.recovers())) wrong.push(`after "${name}" not everybody was served within ${RECOVERY_MS} ms`)
    await pause(random.integer(50, 300))
  }
  await checker.stop()
  return {
    tally: checker.tally,
    wrong: [...wrong, ...checker.wrong, ...running.doneTwice(checker.done), ...(await running.left())],
  }
}

class Chaos {
  readonly random: Random
  readonly place: Place
  readonly network: Network
  readonly valkey: ValkeyServer | null
  /** Whether the state directory is a file system of its own. */
  readonly isMounted: boolean
  service!: Child
  daemon!: Daemon
  signed: Signed[] = []
  readonly #scope: Scope
  readonly #plan: FaultPlan
  readonly #done: string
  #reloads = 0

  private constructor(
    scope: Scope,
    plan: FaultPlan,
    random: Random,
    made: Pick<Chaos, 'place' | 'network' | 'valkey' | 'isMounted'>,
  ) {
    this.#scope = scope
    this.#plan = plan
    this.random = random
    this.place = made.place
    this.network = made.network
    this.valkey = made.valkey
    this.isMounted = made.isMounted
    this.#done = join(made.place.directory, 'done')
  }

  static async start(scope: Scope, plan: FaultPlan, random: Random): Promise<Chaos> {
    const port = await freePort()
    const valkey = plan.authority === 'valkey' ? await startValkey(scope) : null
    const place = await Place.make(scope)
    mkdirSync(place.state)
    const isMounted = mountSmall(scope, place.state, '4m')
    if (!isMounted) plan.say('the disk is not filled: this takes root, and leave to mount')
    const network = await Network.open(scope, port)
    const chaos = new Chaos(scope, plan, random, { place, network, valkey, isMounted })
    await chaos.#configure(port)
    for (const name of USERS) await place.addUser(name, USER.password, USER.role)
    await chaos.startService()
    await chaos.startDaemon()
    for (const user of USERS) chaos.signed.push({ user, session: await chaos.daemon.login(user, USER.password) })
    return chaos
  }

  #port = 0

  async #configure(port = this.#port): Promise<void> {
    this.#port = port
    const { transport, authority } = this.#plan
    const sessions = this.valkey === null ? '' : `[valkey]\nurl = "${this.valkey.url}"\n`
    // Sessions are asked for again only when Valkey has been away for long, and a stopped worker is not killed before it goes on.
    const tables = `[sessions]\nauthority = "${authority}"\n${sessions}[limits]\ndrain-timeout = "5s"\n[log]\naccess = false\n`
    const workers = 2 + (this.#reloads % 2)
    await this.place.configure({ workers, transport, listen: [`127.0.0.1:${port}`], tables })
  }

  async startService(): Promise<void> {
    this.service = new Child(this.#scope, process.execPath, [
      '-C',
      '@xengate/source',
      SERVICE,
      this.place.socket(NAME),
      this.#done,
    ])
    await this.service.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service')
  }

  async startDaemon(): Promise<void> {
    this.daemon = await this.place.start()
    const { daemon } = this
    this.#scope.defer(async () => {
      const pids = successors(daemon)
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGTERM')
      await until(() => pids.every((pid) => !isAlive(pid)), 'the end of all processes')
    })
  }

  get primary(): number {
    return successors(this.daemon).at(-1) ?? this.daemon.child.pid
  }

  async workers(): Promise<readonly [number, ...number[]]> {
    const { workers } = (await this.place.ask('/status')) as { workers: { pids: readonly number[] } }
    const [first, ...others] = workers.pids.filter(isAlive)
    if (first === undefined) throw new Error('the gateway has no worker')
    return [first, ...others]
  }

  async command(what: 'reload' | 'upgrade'): Promise<void> {
    const { code, stderr } = await this.place.command([what])
    if (code !== 0) throw new Error(`${what}: ${stderr}`)
  }

  async reload(): Promise<void> {
    this.#reloads++
    await this.#configure()
    await this.command('reload')
  }

  /** A session that has ended before a fault begins. */
  async endedSession(number: number): Promise<Signed> {
    const user = USERS[number % USERS.length] ?? USERS[0]
    const session = await this.daemon.login(user, USER.password)
    await this.daemon.logout(session)
    return { user, session }
  }

  /** What is wrong when somebody is admitted under a session that has ended. */
  async admittedUnder({ user, session }: Signed): Promise<string[]> {
    const checker = new Checker(this.network.url, TARGET, [], 0)
    const asked = checker.ask({ user, session }, false)
    const outcome = await Promise.race([asked, pause(RECOVERY_MS).then(() => 'cut' as const)])
    await checker.stop()
    return outcome === 'right' ? [`${user} was served under a session that had ended`] : []
  }

  /** Whether all are served again, each several times in a row, within the time that they have. */
  async recovers(): Promise<boolean> {
    const checker = new Checker(this.network.url, TARGET, [], 0)
    try {
      return await this.#areServed(checker, performance.now() + RECOVERY_MS)
    } finally {
      await checker.stop()
    }
  }

  async #areServed(checker: Checker, lastMs: number): Promise<boolean> {
    for (let right = 0; right < RECOVERED; right++) {
      for (const signed of this.signed) {
        const left = lastMs - performance.now()
        const outcome = await Promise.race([checker.ask(signed, false), pause(Math.max(0, left)).then(() => null)])
        if (outcome === null) return false
        if (outcome !== 'right') right = -1
      }
    }
    return true
  }

  /** POSTs that the service has done more often than they were asked for, or not at all though they were answered. */
  doneTwice(answered: readonly string[]): string[] {
    const done = readFileSync(this.#done, 'utf8').trimEnd().split('\n')
    const seen = new Set<string>()
    const twice = done.filter((id) => seen.size === seen.add(id).size)
    return [
      ...twice.map((id) => `the service did ${id} twice`),
      ...answered.filter((id) => !seen.has(id)).map((id) => `${id} was answered, and never done`),
    ]
  }

  /** What is left when nobody asks any more. */
  async left(): Promise<string[]> {
    try {
      await until(async () => {
        const { connections } = (await this.place.ask('/control/connections')) as { connections: readonly unknown[] }
        return connections.length === 0
      }, 'the end of all connections')
      const pids = await this.workers()
      // Each has some forty for itself, and connections to the service that are kept.
      await until(
        () => pids.every((pid) => descriptorsOf(pid) < 200),
        `${pids.map(descriptorsOf).join(' and ')} descriptors to be closed`,
      )
      return []
    } catch (error) {
      return [String(error)]
    }
  }
}

/** What is between clients and the gateway, which it passes on as it comes. */
class Network {
  readonly url: string
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #isPaused = false

  private constructor(url: string) {
    this.url = url
  }

  static async open(scope: Scope, port: number): Promise<Network> {
    const own = await freePort()
    const network = new Network(`http://127.0.0.1:${own}`)
    const server = createServer({ allowHalfOpen: true }, (client) => network.#join(client, port))
    await new Promise<void>((resolve) => server.listen(own, '127.0.0.1', resolve))
    scope.defer(() => {
      network.cut()
      server.close()
    })
    return network
  }

  #join(client: Socket, port: number): void {
    const gateway = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    const pair = [client, gateway] as const
    this.#pairs.add(pair)
    for (const [one, other] of [pair, [gateway, client] as const]) {
      one.setNoDelay(true)
      one.on('error', () => other.resetAndDestroy())
      one.on('close', () => this.#pairs.delete(pair))
      one.pipe(other)
      if (this.#isPaused) one.pause()
    }
  }

  /** Nothing gets through, and nothing is lost. */
  pause(): void {
    this.#isPaused = true
    for (const [one, other] of this.#pairs) {
      one.unpipe()
      other.unpipe()
      one.pause()
      other.pause()
    }
  }

  resume(): void {
    this.#isPaused = false
    for (const [one, other] of this.#pairs) {
      one.pipe(other)
      other.pipe(one)
    }
  }

  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy()
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function shuffle(items: string[], random: Random): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = random.integer(0, last)
    ;[items[last], items[other]] = [items[other] ?? '', items[last] ?? '']
  }
}

function limitDescriptors(pid: number, count: number): void {
  const { status, stderr } = spawnSync('prlimit', [`--pid=${pid}`, `--nofile=${count}:`], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`prlimit: ${stderr}`)
}

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

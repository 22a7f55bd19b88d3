// What faults befall: a gateway, its service, its Valkey, who is signed in, and what is between clients and the gateway.

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startValkey, type ValkeyServer } from '../harness/backends.ts'
import { type Badness, BadLink } from '../harness/bad-link.ts'
import { Child, isAlive } from '../harness/child.ts'
import { MovedClock } from '../harness/clock.ts'
import { type Daemon, Place, successors, USER } from '../harness/daemon.ts'
import { until } from '../harness/deadline.ts'
import { mountSmall } from '../harness/disk.ts'
import type { Scope } from '../harness/scope.ts'
import { freePort } from '../harness/tls.ts'
import type { Random } from '../soak/random.ts'
import { Checker, type Signed } from './checker.ts'
import { Network } from './network.ts'
import { descriptorsOf } from './taken.ts'

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

/** How soon everybody is served again after a fault. */
export const RECOVERY_MS = 5000
/** So many right answers one after the other, and it has recovered. */
const RECOVERED = 10
/** Who is signed in. */
const USERS = ['alice', 'bob', 'carol'] as const
const NAME = 'com.example.chaos'
/** What clients ask for. */
export const TARGET: string = `/services/plugin/${NAME}`
const SERVICE = new URL('service.ts', import.meta.url).pathname

/** See the head of this file. */
export class Scene {
  readonly random: Random
  readonly place: Place
  readonly network: Network
  readonly valkey: ValkeyServer | null
  /** Whether the state directory is a file system of its own. */
  readonly isMounted: boolean
  /** What connections can be led over; null where this user may not make it. */
  readonly link: BadLink | null
  /** Of the gateway's processes. */
  readonly clock: MovedClock
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
    made: Pick<Scene, 'place' | 'network' | 'valkey' | 'isMounted' | 'link' | 'clock'>,
  ) {
    this.#scope = scope
    this.#plan = plan
    this.random = random
    this.place = made.place
    this.network = made.network
    this.valkey = made.valkey
    this.isMounted = made.isMounted
    this.link = made.link
    this.clock = made.clock
    this.#done = join(made.place.directory, 'done')
  }

  static async start(scope: Scope, plan: FaultPlan, random: Random): Promise<Scene> {
    const port = await freePort()
    const valkey = plan.authority === 'valkey' ? await startValkey(scope) : null
    const place = await Place.make(scope)
    mkdirSync(place.state)
    const isMounted = mountSmall(scope, place.state, '4m')
    if (!isMounted) plan.say('the disk is not filled: this takes root, and leave to mount')
    const link = BadLink.isPossible ? await BadLink.make(scope, plan.seed) : null
    if (link === null) plan.say('no packets are lost: this takes root, and /dev/net/tun')
    const clock = await MovedClock.make(scope)
    const network = await Network.open(scope, port)
    const scene = new Scene(scope, plan, random, { place, network, valkey, isMounted, link, clock })
    await scene.#configure(port)
    for (const name of USERS) await place.addUser(name, USER.password, USER.role)
    await scene.startService()
    await scene.startDaemon()
    for (const user of USERS) scene.signed.push({ user, session: await scene.daemon.login(user, USER.password) })
    return scene
  }

  #port = 0

  async #configure(port = this.#port): Promise<void> {
    this.#port = port
    const { transport, authority } = this.#plan
    const sessions = this.valkey === null ? '' : `[valkey]\nurl = "${this.valkey.url}"\n`
    // Sessions are asked for again only when Valkey has been away for long, and a stopped worker is not killed before it goes on.
    const tables = `[sessions]\nauthority = "${authority}"\n${sessions}[limits]\ndrain-timeout = "5s"\n[log]\naccess = false\n`
    const workers = 2 + (this.#reloads % 2)
    const listen = ['127.0.0.1', ...(this.link === null ? [] : [this.link.address])].map((host) => `${host}:${port}`)
    await this.place.configure({ workers, transport, listen, tables })
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
    this.daemon = await this.place.start(this.clock.within)
    const { daemon } = this
    this.#scope.defer(async () => {
      const pids = successors(daemon)
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGTERM')
      await until(() => pids.every((pid) => !isAlive(pid)), 'the end of all processes')
    })
  }

  /** The newest primary. */
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

  /** Has all connections go over a bad link for a while. @returns what ends it */
  async overLink(badness: Badness, ms: number): Promise<() => Promise<void>> {
    const { link, network } = this
    if (link === null) return async () => {}
    await link.become(badness)
    network.overLink(link.path, `${link.address}:${this.#port}`)
    network.cut()
    await pause(ms)
    return async () => {
      await link.become({ lost: 0, delayMs: 0 })
      network.direct()
    }
  }

  /** A session that has ended before a fault begins. */
  async endedSession(number: number): Promise<Signed> {
    const user = USERS[number % USERS.length] ?? USERS[0]
    // Signing in, too, works again by then.
    const signIn = (): Promise<string | undefined> => this.daemon.login(user, USER.password).catch(() => undefined)
    const session = await until(signIn, `${user} to sign in`, RECOVERY_MS)
    await this.daemon.logout(session)
    return { user, session }
  }

  /** What is wrong when somebody is admitted under a session that has ended, be it after a fault. @param tries to get an answer */
  async admittedUnder({ user, session }: Signed, tries = 1): Promise<string[]> {
    const checker = new Checker(this.network.url, TARGET, [], 0)
    let outcome = await checker.ask({ user, session }, false)
    for (let left = tries; left > 1 && outcome === 'cut'; left--) outcome = await checker.ask({ user, session }, false)
    await checker.stop()
    if (outcome === 'right') return [`${user} was served under a session that had ended`]
    return tries > 1 && outcome === 'cut' ? [`${user} was not told that the session has ended`] : []
  }

  /** What is wrong unless all are served again, each several times in a row, within the time that they have. */
  async recovers(): Promise<string[]> {
    const checker = new Checker(this.network.url, TARGET, [], 0)
    const areServed = await this.#areServed(checker, performance.now() + RECOVERY_MS)
    await checker.stop()
    return [...(areServed ? [] : [`not everybody was served within ${RECOVERY_MS} ms`]), ...checker.wrong]
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

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

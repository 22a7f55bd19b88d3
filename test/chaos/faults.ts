// Faults, one after the other, under load whose every answer is checked. The same seed gives the same faults in the same order.
//
// What has to hold: no answer is another's, or wrong, or cut and looks whole; no POST is done twice; nobody is admitted under a session that has
// ended; 5 s after a fault everybody is served; and at the end no descriptor and no connection is left.

import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { isAlive } from '../harness/child.ts'
import { until } from '../harness/deadline.ts'
import { fill } from '../harness/disk.ts'
import type { Scope } from '../harness/scope.ts'
import { Random } from '../soak/random.ts'
import { Checker, type Tally } from './checker.ts'
import { type FaultPlan, Scene, TARGET } from './scene.ts'

/** What came of it. */
export interface FaultReport {
  readonly tally: Tally
  /** What may not be. */
  readonly wrong: readonly string[]
}

/** Of a worker that has few; it needs some forty for itself. */
const FEW_DESCRIPTORS = 60
const MANY_DESCRIPTORS = 4096
/** How long packets are lost and late. */
const BAD_LINK_MS = 1500
const HOUR_SECONDS = 3600
const STALL_MS = 5000

/** Everything that can go wrong: begins it, and answers what ends it. */
type Fault = (scene: Scene) => Promise<() => Promise<void>>

const nothing = async (): Promise<void> => {}

const FAULTS: Readonly<Record<string, Fault>> = {
  'a worker is killed': async (scene) => {
    process.kill(scene.random.pick(await scene.workers()), 'SIGKILL')
    return nothing
  },
  'a worker stands still': async (scene) => {
    const pid = scene.random.pick(await scene.workers())
    process.kill(pid, 'SIGSTOP')
    return async () => void (isAlive(pid) && process.kill(pid, 'SIGCONT'))
  },
  'a worker has few descriptors': async (scene) => {
    const pid = scene.random.pick(await scene.workers())
    limit(pid, 'nofile', FEW_DESCRIPTORS)
    return async () => void (isAlive(pid) && limit(pid, 'nofile', MANY_DESCRIPTORS))
  },
  'a worker gets no memory': async (scene) => {
    const pid = scene.random.pick(await scene.workers())
    // Less than it has: with what it asks for next it is over.
    limit(pid, 'data', 1)
    return async () => void (isAlive(pid) && limit(pid, 'data', 'unlimited'))
  },
  'the primary is killed, and started again': async (scene) => {
    process.kill(scene.primary, 'SIGKILL')
    await until(() => !isAlive(scene.primary), 'the end of the primary')
    return () => scene.startDaemon()
  },
  'the primary stands still': async (scene) => {
    const pid = scene.primary
    process.kill(pid, 'SIGSTOP')
    return async () => void process.kill(pid, 'SIGCONT')
  },
  'the service is killed, and started again': async (scene) => {
    scene.service.process.kill('SIGKILL')
    await scene.service.exited
    return () => scene.startService()
  },
  'the service stands still': async ({ service }) => {
    service.process.kill('SIGSTOP')
    return async () => void service.process.kill('SIGCONT')
  },
  'nothing runs for a while': async (scene) => {
    const pids = [scene.primary, ...(await scene.workers()), scene.service.pid]
    for (const pid of pids) process.kill(pid, 'SIGSTOP')
    await pause(STALL_MS)
    for (const pid of pids) process.kill(pid, 'SIGCONT')
    return nothing
  },
  'the clock goes forward': async ({ clock }) => {
    clock.move(HOUR_SECONDS)
    return nothing
  },
  'the clock goes back': async ({ clock }) => {
    clock.move(-HOUR_SECONDS)
    return nothing
  },
  'packets are lost': (scene) => scene.overLink({ lost: 0.1, delayMs: 0 }, BAD_LINK_MS),
  'packets are late, and overtake each other': (scene) => scene.overLink({ lost: 0.01, delayMs: 60 }, BAD_LINK_MS),
  'no packet arrives': async (scene) => {
    await scene.overLink({ lost: 0, delayMs: 0 }, BAD_LINK_MS)
    return scene.overLink({ lost: 1, delayMs: 0 }, BAD_LINK_MS)
  },
  'the network stands still': async ({ network }) => {
    network.pause()
    return async () => network.resume()
  },
  'the network cuts all connections': async ({ network }) => {
    network.cut()
    return nothing
  },
  'the configuration is loaded anew, with other workers': async (scene) => {
    await scene.reload()
    return nothing
  },
  'the gateway is upgraded': async (scene) => {
    await scene.command('upgrade')
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

/** So often somebody whose session has ended asks, once all are served again, to be told so. */
const TRIES = 3

/** Runs it. @throws when the machine does not do what a fault needs, or something does not come about */
export async function chaosOfFaults(scope: Scope, plan: FaultPlan): Promise<FaultReport> {
  const { say } = plan
  const random = new Random(plan.seed)
  const scene = await Scene.start(scope, plan, random)
  const names = Object.keys(FAULTS).filter((name) => plan.authority === 'valkey' || !name.startsWith('Valkey'))
  const checker = new Checker(scene.network.url, TARGET, scene.signed, plan.clients)
  const wrong: string[] = []
  const admitted: Promise<readonly string[]>[] = []
  for (let number = 0; number < plan.faults; number++) {
    // Each of them once, before any comes again.
    if (number % names.length === 0) shuffle(names, random)
    const name = names[number % names.length] ?? ''
    say(`${number + 1}/${plan.faults} ${name}`)
    const ended = await scene.endedSession(number)
    const undo = await FAULTS[name]?.(scene)
    await pause(random.integer(200, 1200))
    admitted.push(scene.admittedUnder(ended))
    await undo?.()
    wrong.push(...[...(await scene.recovers()), ...(await scene.admittedUnder(ended, TRIES))].map(after(name)))
    await pause(random.integer(50, 300))
  }
  await checker.stop()
  wrong.push(...(await Promise.all(admitted)).flat())
  return {
    tally: checker.tally,
    wrong: [...wrong, ...checker.wrong, ...scene.doneTwice(checker.done), ...(await scene.left())],
  }
}

function after(name: string): (wrong: string) => string {
  return (wrong) => `after "${name}": ${wrong}`
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

/** Gives a process so much of something, by the names of prlimit. */
function limit(pid: number, what: 'nofile' | 'data', most: number | 'unlimited'): void {
  const { status, stderr } = spawnSync('prlimit', [`--pid=${pid}`, `--${what}=${most}:`], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`prlimit: ${stderr}`)
}

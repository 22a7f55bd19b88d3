// Load for a long time, with sessions, services and connections that come and go, reloads, and an upgrade in the middle: every answer is checked, and
// memory and descriptors of all the gateway's processes are noted as time goes by.

import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Child, isAlive } from '../harness/child.ts'
import { type Daemon, Place, successors, USER } from '../harness/daemon.ts'
import { until } from '../harness/deadline.ts'
import type { Scope } from '../harness/scope.ts'
import { channelClients, Traffic } from '../harness/traffic.ts'
import { startChannelServices } from '../harness/services.ts'
import { Checker, type Tally } from './checker.ts'

/** How much of everything. */
export interface LoadPlan {
  readonly transport: string
  readonly minutes: number
  /** Clients that ask without a pause. */
  readonly clients: number
  /** Clients that keep a connection, and ask once in two seconds. */
  readonly kept: number
  readonly say: (line: string) => void
}

/** What the gateway's processes take together. */
export interface Sample {
  readonly minute: number
  readonly memoryMiB: number
  readonly descriptors: number
  readonly answered: number
}

/** What came of it. */
export interface LoadReport {
  readonly tally: Tally
  readonly wrong: readonly string[]
  /** Before the upgrade, and after it; the first minute of each is left out, in which memory fills. */
  readonly samples: readonly Sample[]
}

const NAME = 'com.example.chaos'
const PASSED = 'com.example.passed'
const SERVICE = new URL('service.ts', import.meta.url).pathname
const SAMPLE_MS = 10_000
/** Sessions that come and go, each second. */
const CHURN_MS = 200
const RELOAD_MS = 20_000
const SERVICE_MS = 3000

/** Runs it. @throws when something does not come about */
export async function longLoad(scope: Scope, plan: LoadPlan): Promise<LoadReport> {
  const place = await Place.make(scope)
  mkdirSync(place.state)
  const tables = '[sessions]\nmax-per-originator = 2000\nmax-per-user = 2000\n[log]\naccess = false\n'
  const settings = { workers: 2, transport: plan.transport, tables }
  await place.configure(settings)
  await place.addUser(USER.name, USER.password, USER.role)
  const done = join(place.directory, 'done')
  await startService(scope, place.socket(NAME), done)
  await startChannelServices(scope, place.plugin, PASSED)
  const daemon = await place.start()
  scope.defer(() => endAll(daemon))
  const session = await daemon.login()
  const { name: user } = USER
  const checker = new Checker(daemon.url, `/services/plugin/${NAME}`, [{ user, session }], plan.clients)
  const request = `GET /services/plugin/${PASSED}/way HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
  const kept = new Traffic({ ...channelClients(daemon.url, session, PASSED, plan.kept), request, pauseMs: 2000 })
  const wrong: string[] = []
  const churn = new Churn(scope, daemon, settings, done, (text) => wrong.push(text))
  const samples: Sample[] = []
  const startedMs = performance.now()
  const endMs = startedMs + plan.minutes * 60_000
  let isUpgraded = false
  for (let nextMs = startedMs; performance.now() < endMs; nextMs += SAMPLE_MS) {
    await pause(Math.max(0, nextMs - performance.now()))
    const minute = (performance.now() - startedMs) / 60_000
    if (!isUpgraded && minute >= plan.minutes / 2) {
      isUpgraded = true
      const { code, stderr } = await place.command(['upgrade'])
      if (code !== 0) wrong.push(`upgrade: ${stderr}`)
    }
    const sample = { minute, ...takenBy(primaryOf(daemon)), answered: checker.tally.right + kept.count.answered }
    samples.push(sample)
    plan.say(
      `${minute.toFixed(1)} min: ${sample.memoryMiB.toFixed(0)} MiB, ${sample.descriptors} descriptors, ${sample.answered} answers`,
    )
  }
  await churn.stop()
  await checker.stop()
  const { lost } = await kept.stop()
  if (lost > 0) wrong.push(...kept.troubles)
  return { tally: checker.tally, wrong: [...wrong, ...checker.wrong, ...grown(samples, plan.minutes)], samples }
}

/** What comes and goes meanwhile. */
class Churn {
  readonly #running: readonly Promise<void>[]
  #isStopping = false

  constructor(
    scope: Scope,
    daemon: Daemon,
    settings: Parameters<Place['configure']>[0],
    done: string,
    wrong: (text: string) => void,
  ) {
    const again = async (everyMs: number, act: (number: number) => Promise<void>): Promise<void> => {
      for (let number = 0; !this.#isStopping; number++) {
        await pause(everyMs)
        await act(number).catch((error: unknown) => wrong(String(error)))
      }
    }
    this.#running = [
      again(CHURN_MS, async () => daemon.logout(await daemon.login())),
      again(RELOAD_MS, async (number) => {
        const limits = `[limits]\nconnections = ${5000 + (number % 2)}\n`
        await daemon.place.configure({ ...settings, tables: `${settings?.tables}${limits}` })
        const { code, stderr } = await daemon.place.command(['reload'])
        // While an upgrade is under way it is not taken.
        if (code !== 0 && !stderr.includes('upgrade')) throw new Error(stderr)
      }),
      again(SERVICE_MS, async (number) => {
        const service = await startService(scope, daemon.place.socket(`com.example.s${number % 20}`), done)
        await service.stop()
      }),
    ]
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(this.#running)
  }
}

async function startService(scope: Scope, path: string, done: string): Promise<Child> {
  const service = new Child(scope, process.execPath, ['-C', '@xengate/source', SERVICE, path, done])
  await service.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service')
  return service
}

function primaryOf(daemon: Daemon): number {
  return successors(daemon).at(-1) ?? daemon.child.pid
}

/** Of a process and what it has started. */
function takenBy(pid: number): { memoryMiB: number; descriptors: number } {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const own = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number)
    return children
      .map(takenBy)
      .reduce(
        (sum, one) => ({ memoryMiB: sum.memoryMiB + one.memoryMiB, descriptors: sum.descriptors + one.descriptors }),
        { memoryMiB: own, descriptors: readdirSync(`/proc/${pid}/fd`).length },
      )
  } catch {
    return { memoryMiB: 0, descriptors: 0 } // it has ended
  }
}

/** Part of a half by which what it takes may grow from its first third to its last. */
const GROWTH_MAX = 0.2

/** What has grown in a half of the time, of which the first third is left out, in which memory fills. */
function grown(samples: readonly Sample[], minutes: number): string[] {
  return [
    ['before the upgrade', samples.filter(({ minute }) => minute < minutes / 2)] as const,
    ['after the upgrade', samples.filter(({ minute }) => minute >= minutes / 2)] as const,
  ].flatMap(([when, half]) => {
    const third = Math.floor(half.length / 3)
    const [middle, last] = [half.slice(third, 2 * third), half.slice(-third)]
    return (['memoryMiB', 'descriptors'] as const).flatMap((what) => {
      const [from, to] = [median(middle.map((one) => one[what])), median(last.map((one) => one[what]))]
      return to > from * (1 + GROWTH_MAX) ? [`${what} grew from ${from.toFixed(0)} to ${to.toFixed(0)} ${when}`] : []
    })
  })
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

async function endAll(daemon: Daemon): Promise<void> {
  const pids = successors(daemon)
  for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGTERM')
  await until(() => pids.every((pid) => !isAlive(pid)), 'the end of all processes')
}

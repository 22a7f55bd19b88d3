// Load for a long time, at a part of what the machine can do, with sessions, services, channels and configurations that come and go, and
// upgrades: every answer is checked, and memory and descriptors of all the gateway's processes are noted as time goes by.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Child, isAlive } from '../harness/child.ts'
import { type Daemon, Place, successors, USER } from '../harness/daemon.ts'
import { until } from '../harness/deadline.ts'
import type { Scope } from '../harness/scope.ts'
import { startChannelServices } from '../harness/services.ts'
import { channelClients, Traffic } from '../harness/traffic.ts'
import { Checker, type Signed, type Tally } from './checker.ts'
import { Churn, type ChurnCount } from './churn.ts'
import { Paced } from './paced.ts'
import { type GatewayTaken, takenBy } from './taken.ts'

/** How much of everything. */
export interface LoadPlan {
  readonly transport: string
  readonly minutes: number
  /** Clients that ask without a pause while capacity is measured. */
  readonly clients: number
  /** Clients that keep a channel, and ask once in ten seconds. */
  readonly kept: number
  readonly say: (line: string) => void
}

/** What there was at one moment. */
export interface Sample {
  readonly minute: number
  readonly taken: GatewayTaken
  /** Since the sample before. */
  readonly answersPerSecond: number
  readonly p99Ms: number
}

/** What came of it. */
export interface LoadReport {
  readonly tally: Tally
  /** How often each refusal, and each end of a connection, was the outcome. */
  readonly reasons: ReadonlyMap<string, number>
  readonly churn: ChurnCount
  /** Answers a second to clients that ask without a pause, while all else comes and goes. */
  readonly capacity: number
  /** Requests that were not made, since too many were under way. */
  readonly leftOut: number
  readonly wrong: readonly string[]
  readonly samples: readonly Sample[]
  /** When upgrades began. */
  readonly upgradeMinutes: readonly number[]
}

const NAME = 'com.example.chaos'
const TARGET = `/services/plugin/${NAME}`
const PASSED = 'com.example.passed'
const SERVICE = new URL('service.ts', import.meta.url).pathname
/** Between two requests of a client that keeps its channel, on average. */
const KEPT_MS = 10_000
const KEPT_AT_ONCE = 100
const KEPT_PAUSE_MS = 500
const WARM_MS = 20_000
const CAPACITY_MS = 20_000
const PART_OF_CAPACITY = 0.7
const SAMPLE_MS = 10_000
const UPGRADE_MINUTES = 10
/** Where there is not that much time. */
const UPGRADES_LEAST = 2

/** Runs it. @throws when something does not come about */
export async function longLoad(scope: Scope, plan: LoadPlan): Promise<LoadReport> {
  const { say } = plan
  const place = await Place.make(scope)
  mkdirSync(place.state)
  const tables = '[sessions]\nmax-per-originator = 2000\nmax-per-user = 2000\n[log]\naccess = false\n'
  const settings = { workers: 2, transport: plan.transport, tables }
  await place.configure(settings)
  await place.addUser(USER.name, USER.password, USER.role)
  await startService(scope, place.socket(NAME), join(place.directory, 'done'))
  await startChannelServices(scope, place.plugin, PASSED)
  const daemon = await place.start()
  scope.defer(() => endAll(daemon))
  const { url } = daemon
  const signed = { user: USER.name, session: await daemon.login() }
  const kept = await startKept(url, signed.session, plan.kept)
  const wrong: string[] = []
  const churn = new Churn({
    place,
    url,
    settings,
    signed,
    target: TARGET,
    passed: PASSED,
    wrong: (text) => wrong.push(text),
  })
  const capacity = await capacityOf(url, signed, plan.clients)
  say(`${capacity.toFixed(0)} answers a second without pauses`)
  const checker = new Checker(url, TARGET, [], 0)
  const paced = new Paced(checker, signed, capacity * PART_OF_CAPACITY)
  const watched = await watch(daemon, plan, checker, paced, (text) => wrong.push(text))
  await churn.stop()
  await paced.stop()
  await checker.stop()
  await Promise.all(kept.map((some) => some.stop()))
  wrong.push(...kept.flatMap(({ troubles }) => troubles))
  return {
    tally: checker.tally,
    reasons: checker.reasons,
    churn: churn.count,
    capacity,
    leftOut: paced.leftOut,
    wrong: [...wrong, ...checker.wrong, ...grown(watched)],
    ...watched,
  }
}

/** Clients on channels, a few at a time: where more come at once than the service's socket holds, some are relayed instead. */
async function startKept(url: string, session: string, count: number): Promise<readonly Traffic[]> {
  const kept: Traffic[] = []
  for (let left = count; left > 0; left -= KEPT_AT_ONCE) {
    const options = channelClients(url, session, PASSED, Math.min(left, KEPT_AT_ONCE))
    // Who it is, as JSON, whether it came on a channel or was relayed.
    const request = options.request.replace('/way ', '/who ')
    kept.push(new Traffic({ ...options, request, answer: '}', pauseMs: KEPT_MS }))
    await pause(KEPT_PAUSE_MS)
  }
  return kept
}

/** Answers a second to so many clients that ask without a pause. */
async function capacityOf(url: string, signed: Signed, clients: number): Promise<number> {
  const checker = new Checker(url, TARGET, [signed], clients)
  await pause(WARM_MS)
  const [before, beforeMs] = [checker.tally.right, performance.now()]
  await pause(CAPACITY_MS)
  const capacity = ((checker.tally.right - before) / (performance.now() - beforeMs)) * 1000
  await checker.stop()
  return capacity
}

/** Notes what is taken and answered, and upgrades the gateway from time to time. */
async function watch(
  daemon: Daemon,
  { minutes, say }: LoadPlan,
  checker: Checker,
  paced: Paced,
  wrong: (text: string) => void,
): Promise<Pick<LoadReport, 'samples' | 'upgradeMinutes'>> {
  const upgradeEvery = Math.min(UPGRADE_MINUTES, minutes / (UPGRADES_LEAST + 1))
  const samples: Sample[] = []
  const upgradeMinutes: number[] = []
  const startedMs = performance.now()
  let [answered, lastMs] = [0, startedMs]
  for (let nextMs = startedMs + SAMPLE_MS; nextMs <= startedMs + minutes * 60_000; nextMs += SAMPLE_MS) {
    await pause(Math.max(0, nextMs - performance.now()))
    const nowMs = performance.now()
    const minute = (nowMs - startedMs) / 60_000
    const answersPerSecond = ((checker.tally.right - answered) / (nowMs - lastMs)) * 1000
    ;[answered, lastMs] = [checker.tally.right, nowMs]
    const taken = takenBy([daemon.child.pid, ...successors(daemon)])
    const sample = { minute, taken, answersPerSecond, p99Ms: paced.takeP99() }
    samples.push(sample)
    say(
      `${minute.toFixed(1)} min: ${taken.all.memoryMiB.toFixed(0)} MiB, ${taken.all.descriptors} descriptors, ` +
        `${answersPerSecond.toFixed(0)} answers a second, 99 of 100 within ${sample.p99Ms.toFixed(0)} ms`,
    )
    if (minute >= upgradeEvery * (upgradeMinutes.length + 1) && minute < minutes - upgradeEvery / 2) {
      upgradeMinutes.push(minute)
      const { code, stderr } = await daemon.place.command(['upgrade'])
      if (code !== 0) wrong(`upgrade: ${stderr}`)
    }
  }
  return { samples, upgradeMinutes }
}

async function startService(scope: Scope, path: string, done: string): Promise<void> {
  const service = new Child(scope, process.execPath, ['-C', '@xengate/source', SERVICE, path, done])
  await service.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service')
}

/** Part by which what it takes may grow from the second third to the last of the time between two upgrades, and from the first such time to the last. */
const GROWTH_MAX = 0.2

/** What has grown between two upgrades, of which the first third is left out, in which memory fills; and from the first such time to the last. */
function grown({ samples, upgradeMinutes }: Pick<LoadReport, 'samples' | 'upgradeMinutes'>): string[] {
  const starts = [0, ...upgradeMinutes]
  const times = starts.map((from, index) =>
    samples.filter(({ minute }) => minute > from && minute <= (starts[index + 1] ?? Infinity)),
  )
  const ends = times.map((time) => time.slice(-Math.floor(time.length / 3)))
  const pairs = times.map((time, index) => {
    const third = Math.floor(time.length / 3)
    return [`after ${starts[index]?.toFixed(0)} min`, time.slice(third, 2 * third), ends[index] ?? []] as const
  })
  const all = [...pairs, ['from the first upgrade to the last', ends[0] ?? [], ends.at(-1) ?? []] as const]
  return all.flatMap(([when, before, after]) =>
    (['memoryMiB', 'descriptors'] as const).flatMap((what) => {
      const [from, to] = [before, after].map((some) => median(some.map(({ taken }) => taken.all[what]))) as [
        number,
        number,
      ]
      return to > from * (1 + GROWTH_MAX) ? [`${what} grew from ${from.toFixed(0)} to ${to.toFixed(0)} ${when}`] : []
    }),
  )
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

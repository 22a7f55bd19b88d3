// Many clients through reloads that need other workers, and upgrades: everything that goes wrong is counted. The clients are processes of
// their own, so that they keep up with the gateway.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { isAlive } from '../harness/child.ts'
import { type Daemon, Place, successors, USER } from '../harness/daemon.ts'
import { until } from '../harness/deadline.ts'
import type { Scope } from '../harness/scope.ts'
import { echoUpgrades, serveHttp, startChannelServices } from '../harness/services.ts'
import { channelClients, type Count, type TrafficOptions, tunnelClients } from '../harness/traffic.ts'

/** How much of everything. */
export interface UpgradePlan {
  readonly transport: string
  readonly reloads: number
  readonly upgrades: number
  /** Clients that keep their connection. */
  readonly kept: number
  /** Clients that connect for each request, one after the other. */
  readonly fresh: number
  /** Processes that these clients are in. */
  readonly processes: number
  /** Clients on channels, and on WebSockets, each in a process more. */
  readonly channels: number
  readonly webSockets: number
  readonly say: (line: string) => void
}

/** What came of it. */
export interface UpgradeReport {
  readonly count: Count
  readonly troubles: readonly string[]
  readonly seconds: number
}

/** What a process of clients says at its end. */
export interface ClientsReport {
  readonly count: Count
  readonly troubles: readonly string[]
}

const NAME = 'com.example.chaos'
const CHANNEL = 'com.example.passed'
const TUNNEL = 'com.example.tunnel'
/** Between two changes. */
const PAUSE_MS = 1000

/** Runs it. @throws when a change is refused, or something does not come about */
export async function chaosOfUpgrades(scope: Scope, plan: UpgradePlan): Promise<UpgradeReport> {
  const { transport, reloads, upgrades, say } = plan
  const tables = '[log]\naccess = false\n'
  const place = await Place.make(scope, { workers: 2, transport, tables })
  await place.addUser(USER.name, USER.password, USER.role)
  const daemon = await place.start()
  scope.defer(() => endAll(daemon))
  await serveHttp(scope, place.socket(NAME), (_, response) => void response.end('done'))
  await startChannelServices(scope, place.plugin, CHANNEL)
  await echoUpgrades(scope, place.socket(TUNNEL))
  const clients = startClients(scope, plan, daemon.url, await daemon.login())
  const startedMs = performance.now()
  const every = Math.max(1, Math.round(reloads / Math.max(1, upgrades)))
  for (let round = 1; round <= Math.max(reloads, upgrades * every); round++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    if (round <= reloads) {
      // Another transport and back is a change that no worker can take; another number of them starts or ends some.
      const other = transport === 'ring' ? 'net' : 'auto'
      await place.configure({ workers: 1 + (round % 3), transport: round % 4 === 1 ? other : transport, tables })
      await change(daemon, 'reload')
    }
    if (round % every === 0 && round / every <= upgrades) await change(daemon, 'upgrade')
    say(`round ${round}`)
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  const seconds = (performance.now() - startedMs) / 1000
  return { ...sumOf(await clients.stop()), seconds }
}

async function change({ place }: Daemon, what: 'reload' | 'upgrade'): Promise<void> {
  const { code, stderr } = await place.command([what])
  if (code !== 0) throw new Error(`${what}: ${stderr}`)
}

function startClients(
  scope: Scope,
  { kept, fresh, processes, channels, webSockets }: UpgradePlan,
  url: string,
  session: string,
): { readonly stop: () => Promise<readonly ClientsReport[]> } {
  const options: TrafficOptions = {
    url,
    request: `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`,
    answer: '\r\n\r\ndone',
    kept: Math.ceil(kept / processes),
    pauseMs: 1000,
    fresh: Math.ceil(fresh / processes),
  }
  const all = [
    ...Array.from({ length: processes }, () => options),
    channelClients(url, session, CHANNEL, channels),
    tunnelClients(url, session, TUNNEL, webSockets),
  ]
  const children = all.map((each) => {
    const child = fork(new URL('clients.ts', import.meta.url), [JSON.stringify(each)])
    scope.defer(() => void child.kill('SIGKILL'))
    return child
  })
  const stop = async (): Promise<readonly ClientsReport[]> => {
    const reports = children.map(async (child) => {
      const [report] = (await once(child, 'message')) as [ClientsReport]
      return report
    })
    for (const child of children) child.send('stop')
    return Promise.all(reports)
  }
  return { stop }
}

function sumOf(reports: readonly ClientsReport[]): ClientsReport {
  const count: Count = { answered: 0, refused: 0, reset: 0, lost: 0, ended: 0 }
  for (const { count: one } of reports) for (const key of Object.keys(count) as (keyof Count)[]) count[key] += one[key]
  return { count, troubles: reports.flatMap(({ troubles }) => troubles) }
}

async function endAll(daemon: Daemon): Promise<void> {
  const pids = successors(daemon)
  for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGTERM')
  await until(() => pids.every((pid) => !isAlive(pid)), 'the end of all processes')
}

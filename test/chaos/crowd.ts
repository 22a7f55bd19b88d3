// Many services, and many clients that keep their connections: whether all are served, how soon, and what that takes.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Child } from '../harness/child.ts'
import { Place, USER } from '../harness/daemon.ts'
import { until, within } from '../harness/deadline.ts'
import { exchange, RawClient } from '../harness/raw.ts'
import type { Scope } from '../harness/scope.ts'
import type { TrafficOptions } from '../harness/traffic.ts'
import { nameOf } from './answer.ts'
import { type Taken, takenBy } from './taken.ts'
import type { ClientsReport } from './upgrade.ts'

/** How much of everything. */
export interface CrowdPlan {
  readonly transport: string
  readonly services: number
  /** Clients that keep their connection. */
  readonly connections: number
  /** Processes that they are in. */
  readonly processes: number
  /** How long they ask. */
  readonly minutes: number
  readonly say: (line: string) => void
}

const SERVICES = new URL('many-services.ts', import.meta.url).pathname
const CLIENTS = new URL('clients.ts', import.meta.url)
/** Requests a second of all clients: their processes keep up with so many. */
const REQUESTS_PER_SECOND = 2000
/** Between two requests that are timed. */
const PROBE_MS = 50
const APPEAR_MS = 60_000

/** Runs it. @returns what may not be. @throws when something does not come about */
export async function crowd(scope: Scope, plan: CrowdPlan): Promise<readonly string[]> {
  const { transport, say } = plan
  const tables = '[log]\naccess = false\n[limits]\nconnections = 10000\nshare = 100\n'
  const place = await Place.make(scope, { workers: 2, transport, tables })
  await place.addUser(USER.name, USER.password, USER.role)
  const daemon = await place.start()
  const { url } = daemon
  const session = await daemon.login()
  const taken = (): Taken => takenBy([daemon.child.pid]).all
  const tell = (what: string): void => {
    const { memoryMiB, descriptors } = taken()
    say(`${transport}: ${what}: ${memoryMiB.toFixed(1)} MiB, ${descriptors} descriptors`)
  }
  tell('before')
  await startServices(scope, place, plan)
  tell(`${plan.services} services`)
  const wrong = await askEach(url, session, plan)
  tell('each asked once')
  const clients = startClients(scope, plan, url, session)
  await connected(place, plan)
  tell(`${plan.connections} connections`)
  const waitedMs = await probe(url, session, plan, wrong)
  tell(`after ${plan.minutes} min`)
  const sorted = waitedMs.toSorted((one, other) => one - other)
  const at = (part: number): string => (sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1)
  say(`${transport}: one more client waits ${at(0.5)} ms (median), ${at(0.99)} ms (99 of 100)`)
  const reports = await clients.stop()
  const answered = reports.reduce((sum, { count }) => sum + count.answered, 0)
  say(`${transport}: ${answered} answers, ${(answered / plan.minutes / 60).toFixed(0)} a second`)
  return [...wrong, ...reports.flatMap(({ troubles }) => troubles)]
}

async function startServices(scope: Scope, place: Place, { services, transport, say }: CrowdPlan): Promise<void> {
  const startedMs = performance.now()
  const argv = ['-C', '@xengate/source', SERVICES, place.plugin, String(services)]
  const child = new Child(scope, process.execPath, argv)
  await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the services', APPEAR_MS)
  const readyMs = performance.now()
  const listed = async (): Promise<boolean> => {
    const { services: found } = (await place.ask('/control/services')) as { services: readonly unknown[] }
    return found.length >= services
  }
  await until(listed, `${services} services to be found`, APPEAR_MS)
  const ms = [readyMs - startedMs, performance.now() - readyMs].map((each) => each.toFixed(0))
  say(`${transport}: ${services} services started in ${ms[0]} ms, and were all found ${ms[1]} ms later`)
}

function request(name: string, session: string): string {
  return `GET /services/plugin/${name} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

/** Asks each service once. @returns which did not answer as they should */
async function askEach(url: string, session: string, { services }: CrowdPlan): Promise<string[]> {
  using client = await RawClient.connect(url)
  const wrong: string[] = []
  for (let number = 0; number < services; number++) {
    const { status, text } = await client.exchange(request(nameOf(number), session))
    if (text !== nameOf(number)) wrong.push(`${nameOf(number)}: ${status} ${text}`)
  }
  return wrong
}

/** Clients in processes of their own, so that they keep up. */
function startClients(
  scope: Scope,
  { services, connections, processes }: CrowdPlan,
  url: string,
  session: string,
): { readonly stop: () => Promise<readonly ClientsReport[]> } {
  const pauseMs = (connections / REQUESTS_PER_SECOND) * 1000
  const children = Array.from({ length: processes }, (_, index) => {
    const name = nameOf(Math.floor((index * services) / processes))
    const kept = Math.ceil(connections / processes)
    const options: TrafficOptions = { url, request: request(name, session), answer: name, kept, pauseMs, fresh: 0 }
    const child = fork(CLIENTS, [JSON.stringify(options)])
    scope.defer(() => void child.kill('SIGKILL'))
    return child
  })
  const stop = async (): Promise<readonly ClientsReport[]> => {
    const reports = children.map(async (child) => ((await once(child, 'message')) as [ClientsReport])[0])
    for (const child of children) child.send('stop')
    return within(Promise.all(reports), "the clients' reports", APPEAR_MS)
  }
  return { stop }
}

async function connected(place: Place, { connections }: CrowdPlan): Promise<void> {
  await until(
    async () => {
      const { connections: byState } = (await place.ask('/status')) as { connections: Readonly<Record<string, number>> }
      return Object.values(byState).reduce((sum, one) => sum + one, 0) >= connections
    },
    `${connections} connections`,
    APPEAR_MS,
  )
}

/** How long one client more waits for each of its answers, from one service after the other, in milliseconds. @param wrong what is none */
async function probe(
  url: string,
  session: string,
  { services, minutes }: CrowdPlan,
  wrong: string[],
): Promise<readonly number[]> {
  const waitedMs: number[] = []
  const endMs = performance.now() + minutes * 60_000
  for (let number = 0; performance.now() < endMs; number = (number + 1) % services) {
    const startedMs = performance.now()
    const asked = request(nameOf(number), session).replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')
    const { status, text } = await exchange(url, asked)
    if (text !== nameOf(number)) wrong.push(`${nameOf(number)}: ${status} ${text}`)
    waitedMs.push(performance.now() - startedMs)
    await new Promise((resolve) => setTimeout(resolve, PROBE_MS))
  }
  return waitedMs
}

// One size of the simulation: so many gateways on one server, and what each thing they do costs it.

import { randomInt, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { SessionRows } from '../../packages/gateway/src/sessions/valkey/session-rows.ts'
import { uuidOf } from '../../packages/gateway/src/uuid.ts'
import { ValkeyUserRows } from '../../packages/gateway/src/sessions/valkey/users.ts'
import { connectValkey, type ValkeyClient } from '../../packages/gateway/src/valkey/connect.ts'
import { poolPrefix } from '../../packages/gateway/src/valkey/keys.ts'
import { ValkeyLink } from '../../packages/gateway/src/valkey/link.ts'
import { ValkeyServer } from '../../packages/gateway/src/valkey/testing/server.ts'
import { FleetProcess } from './fleets.ts'
import type { Counts } from './gateway.ts'
import { type Look, look, versionOf } from './server.ts'

const POOL = 'pool'
export const PROCESSES = 3
export const SERVICES_PER_HOST = 10
/** Users, and sessions of each: as many as one may have by default. */
const USERS = 20
const SESSIONS_PER_USER = 500
/** Sessions that clients use, each on every gateway. */
export const SESSIONS_USED = 200
/** So that activity is written every 10 s and not once a minute: a minute is long for a simulation. */
export const IDLE_TIMEOUT_MS = 40_000
export const WRITE_INTERVAL_S = 10
const IDLE_SECONDS = 12
const USE_SECONDS = 20
export const ENDINGS = 20
const SETTLE_MS = 1500

/** Median and most of some times. */
export interface Times {
  readonly medianMs: number
  readonly maxMs: number
}

/** What was measured with one number of gateways. */
export interface Measured {
  readonly gateways: number
  /** From the start of the first until the last is connected, in each process one after the other. */
  readonly connectedMs: number
  /** Nobody asks for anything. */
  readonly idle: {
    readonly timePerGatewaySecond: number
    readonly announcePerGatewaySecond: number
    readonly cpuMsPerGatewaySecond: number
    readonly bytesPerGatewaySecond: number
    readonly cpuPercent: number
  }
  readonly unknown: Cost & { readonly requests: number; readonly touchesPerRequest: number; readonly cpuUs: number }
  readonly known: Cost & {
    readonly requests: number
    /** Questions that there should be none of. */
    readonly unknown: number
    /** The reports of activity for each session, gateway and interval of writing; one carries up to 500 sessions. */
    readonly callsPerSessionInterval: number
  }
  readonly logout: Cost & { readonly last: Times; readonly answered: Times; readonly pushes: number }
  readonly service: Cost & { readonly last: Times; readonly pushes: number }
  readonly memory: {
    readonly bytesPerSession: number
    readonly bytesPerKnownSession: number
    readonly bytesPerGateway: number
  }
}

/** Commands that gateways sent for one of what is measured, in all and by name. */
interface Cost {
  readonly callsEach: number
  readonly byName: Counts
}

/** Simulates `gateways` gateways. Everything that it starts it ends. */
export async function simulate(
  gateways: number,
  say: (text: string) => void,
): Promise<Measured & { readonly server: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-scale-'))
  const server = new ValkeyServer(directory, { argv: ['--appendfsync', 'everysec'] })
  const fleets = Array.from({ length: PROCESSES }, () => new FleetProcess())
  try {
    await server.start()
    const client = await connectValkey(server.config, poolPrefix(POOL))
    const simulation = new Simulation(gateways, server, client, fleets, say)
    const measured = { ...(await simulation.run()), server: await versionOf(client) }
    client.destroy()
    return measured
  } finally {
    for (const fleet of fleets) fleet.kill()
    await server.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

class Simulation {
  readonly #gateways: number
  readonly #server: ValkeyServer
  readonly #client: ValkeyClient
  readonly #fleets: readonly FleetProcess[]
  readonly #say: (text: string) => void

  constructor(
    gateways: number,
    server: ValkeyServer,
    client: ValkeyClient,
    fleets: readonly FleetProcess[],
    say: (text: string) => void,
  ) {
    this.#gateways = gateways
    this.#server = server
    this.#client = client
    this.#fleets = fleets
    this.#say = (text) => say(`${gateways} gateways: ${text}`)
  }

  async run(): Promise<Measured> {
    const empty = await look(this.#client)
    const ids = await this.#openSessions()
    const filled = await look(this.#client)
    const beganMs = performance.now()
    await this.#start()
    const connectedMs = performance.now() - beganMs
    this.#say(`connected in ${connectedMs.toFixed(0)} ms`)
    await pause(SETTLE_MS)
    const connected = await look(this.#client)
    const idle = await this.#idle()
    const used = ids.slice(0, SESSIONS_USED)
    const unknown = await this.#unknown(used)
    const tracking = await look(this.#client)
    const known = await this.#known(used)
    const logout = await this.#logouts(used)
    const service = await this.#moves()
    for (const fleet of this.#fleets) await fleet.order('stop')
    return {
      gateways: this.#gateways,
      connectedMs,
      idle,
      unknown,
      known,
      logout,
      service,
      memory: {
        bytesPerSession: (filled.memoryBytes - empty.memoryBytes) / ids.length,
        bytesPerGateway: (connected.memoryBytes - filled.memoryBytes) / this.#gateways,
        bytesPerKnownSession: (tracking.memoryBytes - connected.memoryBytes) / tracking.tracked,
      },
    }
  }

  /** As logins do it, but for the passwords, whose hashing would take minutes. */
  async #openSessions(): Promise<string[]> {
    const link = new ValkeyLink({ config: this.#server.config, key: poolPrefix(POOL), noticed: () => {} })
    link.start()
    await link.whenCurrent(10_000)
    const [users, rows] = [new ValkeyUserRows(link, POOL), new SessionRows(link, POOL)]
    const limits = { maxPerUser: SESSIONS_PER_USER, maxPerOriginator: USERS * SESSIONS_PER_USER }
    const ids: string[] = []
    for (let number = 0; number < USERS; number++) {
      const user = { name: `user-${number}`, uuid: randomUUID(), role: 'vm-operator', createdMs: Date.now() } as const
      await users.insert({ ...user, password: `$argon2id$v=19$m=65536,t=3,p=1$${'s'.repeat(22)}$${'h'.repeat(43)}` })
      for (let session = 0; session < SESSIONS_PER_USER; session++) {
        const id = `OpaqueRef:${randomUUID()}`
        const from = { originator: `client-${number}`, clientAddress: '192.0.2.1' }
        await rows.open(id, user, from, limits)
        ids.push(id)
      }
    }
    await link.close()
    return ids
  }

  #host(number: number): readonly [host: string, names: readonly string[]] {
    const names = Array.from({ length: SERVICES_PER_HOST }, (_, service) => `org.bench.s${number}-${service}`)
    return [`host-${number}`, names]
  }

  #fleetOf(number: number): FleetProcess {
    const fleet = this.#fleets[number % PROCESSES]
    if (fleet === undefined) throw new Error('there is no such process')
    return fleet
  }

  async #start(): Promise<void> {
    const settings = { config: this.#server.config, pool: POOL, idleTimeoutMs: IDLE_TIMEOUT_MS }
    const numbers = Array.from({ length: this.#gateways }, (_, number) => number)
    await Promise.all(
      this.#fleets.map((fleet, index) => {
        const hosts = numbers.filter((number) => number % PROCESSES === index).map((number) => this.#host(number))
        return fleet.order('start', settings, hosts)
      }),
    )
  }

  async #idle(): Promise<Measured['idle']> {
    const before = await look(this.#client)
    const counted = await this.#counts()
    await pause(IDLE_SECONDS * 1000)
    const after = await look(this.#client)
    const announced = difference(counted, await this.#counts())['ANNOUNCE'] ?? 0
    const seconds = (after.atMs - before.atMs) / 1000
    const each = (value: number): number => value / seconds / this.#gateways
    // A script of the registry asks for the time as well, whichever it is.
    const time = grown(before, after, 'time') - grown(before, after, 'evalsha')
    const cpu = after.cpuSeconds - before.cpuSeconds
    return {
      timePerGatewaySecond: each(time),
      announcePerGatewaySecond: each(announced),
      cpuMsPerGatewaySecond: each(1000 * cpu),
      bytesPerGatewaySecond: each(after.bytesIn + after.bytesOut - before.bytesIn - before.bytesOut),
      cpuPercent: (100 * cpu) / seconds,
    }
  }

  async #unknown(ids: readonly string[]): Promise<Measured['unknown']> {
    const [counted, before] = [await this.#counts(), await look(this.#client)]
    const admitted = await Promise.all(this.#fleets.map((fleet) => fleet.order('requestOnce', ids)))
    const after = await look(this.#client)
    const requests = ids.length * this.#gateways
    if (sum(admitted) !== requests) throw new Error(`${sum(admitted)} of ${requests} requests were admitted`)
    // The activity that a first request is has to be written as well.
    await pause(SETTLE_MS)
    const { TOUCH: touches = 0, ...byName } = difference(counted, await this.#counts())
    const cpuUs = (1e6 * (after.cpuSeconds - before.cpuSeconds)) / requests
    const cost = costOf(byName, requests)
    this.#say(`${cost.callsEach} calls for a request of an unknown session`)
    return { ...cost, requests, touchesPerRequest: touches / requests, cpuUs }
  }

  async #known(ids: readonly string[]): Promise<Measured['known']> {
    const counted = await this.#counts()
    const done = await Promise.all(this.#fleets.map((fleet) => fleet.order('requestFor', ids, USE_SECONDS)))
    const byName = difference(counted, await this.#counts())
    const requests = sum(done.map(({ known }) => known))
    const unknown = sum(done.map((each) => each.unknown))
    const intervals = (ids.length * this.#gateways * USE_SECONDS) / WRITE_INTERVAL_S
    const cost = costOf(byName, requests)
    this.#say(`${cost.callsEach * requests} calls for ${requests} requests of known sessions`)
    return { ...cost, requests, unknown, callsPerSessionInterval: (byName['TOUCH'] ?? 0) / intervals }
  }

  async #logouts(ids: readonly string[]): Promise<Measured['logout']> {
    const [last, answered]: [number[], number[]] = [[], []]
    const [counted, pushed] = [await this.#counts(), await this.#pushes()]
    for (const id of ids.slice(0, ENDINGS)) {
      const number = randomInt(this.#gateways)
      const heard = Promise.all(this.#fleets.map((fleet) => fleet.order('heard', uuidOf(id), null)))
      const [beganMs, answeredMs] = await this.#fleetOf(number).order('logout', this.#host(number)[0], id)
      last.push(Math.max(...(await heard).flat()) - beganMs)
      answered.push(answeredMs - beganMs)
    }
    await pause(SETTLE_MS)
    const cost = costOf(difference(counted, await this.#counts()), ENDINGS)
    const pushes = (difference(pushed, await this.#pushes())['keys'] ?? 0) / ENDINGS
    const times = timesOf(last)
    this.#say(`the last knew of a logout after ${times.medianMs.toFixed(1)} ms, at most ${times.maxMs.toFixed(1)} ms`)
    return { ...cost, last: times, answered: timesOf(answered), pushes }
  }

  /** A service that is nowhere starts on one host after the other. */
  async #moves(): Promise<Measured['service']> {
    const last: number[] = []
    let announced = 0
    const [counted, pushed] = [await this.#counts(), await this.#pushes()]
    for (let move = 0; move < ENDINGS; move++) {
      const number = (move * PROCESSES + randomInt(PROCESSES)) % this.#gateways
      const [host, names] = this.#host(number)
      const name = `org.bench.new-${move}`
      const heard = Promise.all(this.#fleets.map((fleet) => fleet.order('heard', name, host)))
      const [beganMs, calls] = await this.#fleetOf(number).order('announce', host, [...names, name])
      announced += calls
      last.push(Math.max(...(await heard).flat()) - beganMs)
    }
    await pause(SETTLE_MS)
    const other = costOf(difference(counted, await this.#counts()), ENDINGS)
    const byName = { ...other.byName, ANNOUNCE: announced / ENDINGS }
    const cost = { callsEach: sum(Object.values(byName)), byName }
    const pushes = (difference(pushed, await this.#pushes())['messages'] ?? 0) / ENDINGS
    const times = timesOf(last)
    this.#say(`the last knew of a service after ${times.medianMs.toFixed(1)} ms, at most ${times.maxMs.toFixed(1)} ms`)
    return { ...cost, last: times, pushes }
  }

  async #counts(): Promise<Counts> {
    return summed((await Promise.all(this.#fleets.map((fleet) => fleet.order('counts')))).map(({ calls }) => calls))
  }

  async #pushes(): Promise<Counts> {
    return summed((await Promise.all(this.#fleets.map((fleet) => fleet.order('counts')))).map(({ pushes }) => pushes))
  }
}

function summed(all: readonly Counts[]): Counts {
  const names = new Set(all.flatMap((counts) => Object.keys(counts)))
  return Object.fromEntries([...names].map((name) => [name, sum(all.map((counts) => counts[name] ?? 0))]))
}

function difference(before: Counts, after: Counts): Counts {
  const all = Object.entries(after).map(([name, counted]) => [name, counted - (before[name] ?? 0)] as const)
  return Object.fromEntries(all.filter(([, counted]) => counted !== 0))
}

function grown(before: Look, after: Look, command: string): number {
  return (after.commands[command] ?? 0) - (before.commands[command] ?? 0)
}

/** What of `counted` was sent for each of `things`; heartbeats and sweeps go on beside them, and are no part of it. */
function costOf(counted: Counts, things: number): Cost {
  const { SWEEP: _swept, ANNOUNCE: _announced, ...rest } = counted
  const byName = Object.fromEntries(Object.entries(rest).map(([name, calls]) => [name, calls / things]))
  return { callsEach: sum(Object.values(byName)), byName }
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}

function timesOf(values: readonly number[]): Times {
  const sorted = values.toSorted((a, b) => a - b)
  return { medianMs: sorted[Math.floor(sorted.length / 2)] ?? 0, maxMs: sorted.at(-1) ?? 0 }
}

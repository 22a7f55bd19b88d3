// Random traffic through a daemon for some time: everything that arrives is compared, everything that is begun ends in time, and
// at the end the daemon has in use what it had after a short while of the same.

import { setTimeout as sleep } from 'node:timers/promises'
import { until, within } from '../harness/deadline.ts'
import type { Scope } from '../harness/scope.ts'
import { runConnection } from './client.ts'
import { type Gateway, type InUse, startGateway } from './gateway.ts'
import { type ConnectionPlan, type ExchangePlan, planConnection } from './plan.ts'
import { Random } from './random.ts'
import { type Known, Services } from './service.ts'

const SERVICES = ['org.soak.one', 'org.soak.two', 'org.soak.reused'] as const
const [, , REUSED] = SERVICES

/** Connections of clients at once. */
const CONNECTIONS = 24
/** The deadline of one connection. What its plan pauses takes less than half of it. */
const CONNECTION_MS = 90_000
/** How long the daemon gets to put away what it has no use for any more. */
const SETTLE_MS = 20_000
/** What it may have more than after the first part: descriptors of its own, which come when they are needed first; memory that is free but not given back. */
const DESCRIPTORS_MORE = 4
const MEMORY_MORE_MIB = 128

/** What is run. */
export interface SoakSettings {
  readonly transport: 'net' | 'ring'
  readonly seconds: number
  readonly seed: number
  /** Is told how it goes, each half minute. */
  readonly say: (text: string) => void
}

/** What was done. */
export interface SoakResult {
  readonly connections: number
  readonly responses: number
  readonly bytes: number
  /** Answers of services that read nothing of a request's body which did not reach its client. */
  readonly lost: number
  readonly before: InUse
  readonly after: InUse
}

/** Something was wrong: the text has the seed and the plan. */
export class SoakError extends Error {
  override readonly name = 'SoakError'
}

/** How late the log may be. */
const LOG_MS = 2000
const SAY_MS = 30_000

/** Runs traffic. @throws {SoakError} */
export async function soak(scope: Scope, settings: SoakSettings): Promise<SoakResult> {
  const gateway = await startGateway(scope, settings.transport, REUSED)
  const traffic = new Traffic(gateway, settings)
  await traffic.listen(scope)
  // A part of it first: then everything has been loaded, and the pools are filled.
  await traffic.run(settings.seconds / 5)
  const before = await traffic.settled(null)
  await traffic.run((settings.seconds * 4) / 5)
  const after = await traffic.settled(before)
  return { ...traffic.done, before, after }
}

/** See the head of this file. */
class Traffic {
  readonly #gateway: Gateway
  readonly #settings: SoakSettings
  readonly #random: Random
  readonly #services: Services
  readonly #plans = new Map<string, ConnectionPlan>()
  readonly done = { connections: 0, responses: 0, bytes: 0, lost: 0 }
  #stop = new AbortController()
  #failure: SoakError | null = null
  /** Tokens of what failed, by which the log knows it. */
  #failedTokens: readonly string[] = []

  constructor(gateway: Gateway, settings: SoakSettings) {
    this.#gateway = gateway
    this.#settings = settings
    this.#random = new Random(settings.seed)
    this.#services = new Services((error, token) =>
      this.#failed(error, this.#plans.get(nameOf(token)) ?? token, `service, at ${token}`),
    )
  }

  async listen(scope: Scope): Promise<void> {
    for (const name of SERVICES) await this.#services.listen(scope, this.#gateway.socket(name))
  }

  /** Has traffic for `seconds`, and waits until the last of it has ended. @throws {SoakError} */
  async run(seconds: number): Promise<void> {
    const endMs = performance.now() + seconds * 1000
    const saying = setInterval(() => this.#say(), SAY_MS)
    const clients = Array.from({ length: CONNECTIONS }, async () => {
      while (performance.now() < endMs && this.#failure === null) await this.#connect()
    })
    await Promise.all(clients)
    clearInterval(saying)
    if (this.#failure !== null) throw await this.#explained(this.#failure)
  }

  /** With what the log says, once it is written. */
  async #explained(failure: SoakError): Promise<SoakError> {
    await sleep(LOG_MS)
    const logged = this.#gateway.logged(this.#failedTokens.map((token) => `/${token}"`))
    return new SoakError(`${failure.message}\n${logged.join('\n')}`, { cause: failure.cause })
  }

  #say(): void {
    const { connections, responses, bytes } = this.done
    const { descriptors, blocks, memoryMib } = this.#gateway.inUse()
    this.#settings.say(
      `${this.#settings.transport}: ${connections} connections, ${responses} responses, ${(bytes / 2 ** 30).toFixed(1)} GiB; ` +
        `the worker has ${descriptors} descriptors, ${blocks} blocks, ${memoryMib.toFixed(0)} MiB`,
    )
  }

  async #connect(): Promise<void> {
    const name = String(this.done.connections++)
    const plan = planConnection(new Random(this.#random.seed()), name, SERVICES)
    const url = this.#random.pick([...this.#gateway.urls] as [string, ...string[]])
    const tokens = [...knownOf(plan)]
    this.#plans.set(name, plan)
    for (const [token, known] of tokens) this.#services.expect(token, known)
    const stop = new AbortController()
    const signal = AbortSignal.any([stop.signal, this.#stop.signal])
    try {
      const gate = { url, session: this.#gateway.session }
      const outcome = await within(runConnection(plan, gate, signal), 'the connection to end', CONNECTION_MS)
      for (const [token] of tokens) await this.#services.retire(token)
      this.done.responses += outcome.responses
      this.done.bytes += outcome.bytes
      this.done.lost += outcome.lost
    } catch (error) {
      if (!(error instanceof Error)) throw error
      stop.abort()
      this.#failed(error, plan, `client of ${url}`)
    } finally {
      this.#plans.delete(name)
    }
  }

  /** The first failure counts; it ends all else. */
  #failed(error: Error, plan: ConnectionPlan | string, side: string): void {
    if (this.#failure !== null) return
    const { seed, transport } = this.#settings
    const text = `${transport}, --seed ${seed}, the ${side}: ${error.message}\n${JSON.stringify(plan, null, 2)}`
    if (typeof plan !== 'string') this.#failedTokens = [...knownOf(plan)].map(([token]) => token)
    this.#failure = new SoakError(text, { cause: error })
    this.#stop.abort()
  }

  /** Waits until the daemon has put away what no connection needs. @param before what it had earlier @throws {SoakError} */
  async settled(before: InUse | null): Promise<InUse> {
    this.#services.closeKept()
    let lastMs = performance.now()
    let last = this.#gateway.inUse()
    try {
      return await until(
        async () => {
          await sleep(100)
          const now = this.#gateway.inUse()
          if (now.descriptors !== last.descriptors || now.blocks !== last.blocks) lastMs = performance.now()
          last = now
          const isQuiet = performance.now() - lastMs > 1000
          return isQuiet && isBack(before, now) ? now : undefined
        },
        'what is in use to be back',
        SETTLE_MS,
      )
    } catch (error) {
      const { seed, transport } = this.#settings
      const text = `${transport}, --seed ${seed}: in use after all ${JSON.stringify(last)}, before ${JSON.stringify(before)}`
      throw new SoakError(text, { cause: error })
    }
  }
}

/** Blocks are all back once nothing is connected; for what else there is, it is enough to be where it was. */
function isBack(before: InUse | null, now: InUse): boolean {
  if (now.blocks !== 0) return false
  if (before === null) return true
  const areDescriptorsBack = now.descriptors <= before.descriptors + DESCRIPTORS_MORE
  return areDescriptorsBack && now.memoryMib <= before.memoryMib + MEMORY_MORE_MIB
}

/** The name that a token starts with. */
function nameOf(token: string): string {
  return token.split('-', 1)[0] ?? ''
}

function vanishes(plan: ExchangePlan | undefined): boolean {
  return plan?.fate.kind === 'client-vanishes'
}

/** What services have to know of a connection's requests. */
function* knownOf(connection: ConnectionPlan): Generator<readonly [string, Known]> {
  if (connection.kind === 'tunnel') {
    const plan = connection.tunnel
    yield [plan.token, { kind: 'tunnel', plan, isEndAllowed: plan.vanishes !== null }]
    return
  }
  const { exchanges, isPipelined } = connection
  for (const plan of exchanges) {
    // A service that leaves the body unread, and closes, has not taken all of it. A client that has its answer early may be gone, with the
    // rest of its body, before that has gone out.
    const isOverlapped = isPipelined || plan.answers === 'early'
    const isEndAllowed = vanishes(isOverlapped ? exchanges.at(-1) : plan) || plan.answers === 'unread'
    yield [plan.token, { kind: 'exchange', plan, isEndAllowed }]
  }
}

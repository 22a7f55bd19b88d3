// Many gateways in one process, and the program that is one: main.ts forks it and gives it orders.

import { type Counts, count, Gateway, type GatewaySettings } from './gateway.ts'

/** Requests of one gateway that wait for an answer at one time. */
const QUESTIONS = 4
/** Requests are spread over a second in so many parts. */
const PARTS = 10

/** What a fleet can be asked to do. Times are milliseconds of the machine's monotonic clock, the same in all processes. */
export interface Orders {
  /** Starts gateways, one after the other: for each its host's name and its services. */
  start(settings: GatewaySettings, hosts: readonly (readonly [host: string, names: readonly string[]])[]): Promise<void>
  /** Each gateway is asked with each of these sessions once. Answers how often it was admitted. */
  requestOnce(ids: readonly string[]): Promise<number>
  /** For so long each gateway is asked with each of these sessions once a second. */
  requestFor(ids: readonly string[], seconds: number): Promise<{ readonly known: number; readonly unknown: number }>
  /** Answers when each gateway but `except` has heard of `what`: at what times. */
  heard(what: string, except: string | null): Promise<readonly number[]>
  /** Answers when it began, and when it was answered. */
  logout(host: string, id: string): Promise<readonly [beganMs: number, answeredMs: number]>
  /** Says that these services run on a host. Answers when, and with how many commands. */
  announce(host: string, names: readonly string[]): Promise<readonly [beganMs: number, calls: number]>
  /** What was sent and pushed since the start. */
  counts(): Promise<{ readonly calls: Counts; readonly pushes: Counts }>
  stop(): Promise<void>
}

/** A message to the program, and its answer. */
export interface Request {
  readonly id: number
  readonly order: keyof Orders
  readonly argv: readonly unknown[]
}
export interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

class Fleet implements Orders {
  readonly #gateways = new Map<string, Gateway>()
  /** Who heard of what, and when. */
  readonly #news = new Map<string, Map<string, number>>()
  #wake = Promise.withResolvers<void>()

  async start(settings: GatewaySettings, hosts: readonly (readonly [string, readonly string[]])[]): Promise<void> {
    for (const [host] of hosts) {
      this.#gateways.set(host, new Gateway(settings, host, (what) => this.#note(host, what)))
    }
    for (const [host, names] of hosts) await this.#of(host).start(names)
  }

  #of(host: string): Gateway {
    const gateway = this.#gateways.get(host)
    if (gateway === undefined) throw new Error(`there is no gateway "${host}"`)
    return gateway
  }

  #note(host: string, what: string): void {
    const times = this.#news.get(what) ?? new Map<string, number>()
    times.set(host, nowMs())
    this.#news.set(what, times)
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }

  async requestOnce(ids: readonly string[]): Promise<number> {
    let admitted = 0
    const one = async (gateway: Gateway, first: number): Promise<void> => {
      for (let index = first; index < ids.length; index += QUESTIONS) {
        if (await gateway.request(ids[index] ?? '')) admitted += 1
      }
    }
    const all = [...this.#gateways.values()].flatMap((gateway) =>
      Array.from({ length: QUESTIONS }, (_, first) => one(gateway, first)),
    )
    await Promise.all(all)
    return admitted
  }

  async requestFor(ids: readonly string[], seconds: number): Promise<{ known: number; unknown: number }> {
    const counted = { known: 0, unknown: 0 }
    const { promise, resolve } = Promise.withResolvers<void>()
    let part = 0
    const timer = setInterval(() => {
      if (part === seconds * PARTS) return resolve()
      for (const gateway of this.#gateways.values()) {
        for (let index = part % PARTS; index < ids.length; index += PARTS) {
          counted[gateway.request(ids[index] ?? '') === true ? 'known' : 'unknown'] += 1
        }
      }
      part += 1
    }, 1000 / PARTS)
    await promise
    clearInterval(timer)
    return counted
  }

  async heard(what: string, except: string | null): Promise<readonly number[]> {
    const hosts = [...this.#gateways.keys()].filter((host) => host !== except)
    for (;;) {
      const times = hosts.map((host) => this.#news.get(what)?.get(host)).filter((time) => time !== undefined)
      if (times.length === hosts.length) return times
      await this.#wake.promise
    }
  }

  async logout(host: string, id: string): Promise<readonly [number, number]> {
    const beganMs = nowMs()
    await this.#of(host).logout(id)
    return [beganMs, nowMs()]
  }

  announce(host: string, names: readonly string[]): Promise<readonly [number, number]> {
    const beganMs = nowMs()
    return Promise.resolve([beganMs, this.#of(host).announce(names)])
  }

  counts(): Promise<{ calls: Counts; pushes: Counts }> {
    const all = { calls: {}, pushes: {} }
    for (const { calls, pushes } of this.#gateways.values()) {
      for (const [name, calledTimes] of Object.entries(calls)) count(all.calls, name, calledTimes)
      for (const [name, pushedTimes] of Object.entries(pushes)) count(all.pushes, name, pushedTimes)
    }
    return Promise.resolve(all)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#gateways.values()].map((gateway) => gateway.stop()))
  }
}

const fleet = new Fleet()

async function obey({ id, order, argv }: Request): Promise<Answer> {
  try {
    return { id, result: await Reflect.apply(fleet[order], fleet, argv) }
  } catch (error) {
    return { id, error: String(error) }
  }
}

process.on('message', (request: Request) => {
  void obey(request).then((answer) => process.send?.(answer))
})
// Whoever started this is gone.
process.on('disconnect', () => process.exit())

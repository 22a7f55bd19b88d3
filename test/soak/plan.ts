// What one connection does, made by chance from a seed: both sides act by it, and each knows what the other has to do.

import type { Random } from './random.ts'

const KIB = 1024
const MIB = 1024 * KIB
const BODY_BYTES_MAX = 32 * MIB
/** Exchanges on one connection, at most. */
const EXCHANGES_MAX = 8
/** Pauses of whoever is slow; they bound how long an exchange can take. */
const PAUSES_MAX = 60
const PAUSE_MS_MAX = 25

const METHODS = ['GET', 'GET', 'PUT', 'POST'] as const
const SIDES = ['client', 'service'] as const

/** How bytes are sent, and read at the other side. */
export interface BodyPlan {
  readonly seed: number
  readonly bytes: number
  /** `close`: the end of the connection ends it; of responses alone. */
  readonly framing: 'length' | 'chunked' | 'close'
  /** Bytes that are written at once. */
  readonly pieceBytes: number
  readonly sender: Pace
  readonly reader: Pace
}

/** Pauses: how many, and how long each. */
export interface Pace {
  readonly pauses: number
  readonly pauseMs: number
}

/** How an exchange ends. */
export type Fate =
  | { readonly kind: 'whole' }
  /** The client ends its side when it has sent everything, and still reads. */
  | { readonly kind: 'client-half-closes' }
  /** Someone closes, or resets, when so many bytes of a body have passed. */
  | {
      readonly kind: 'client-vanishes'
      readonly during: 'up' | 'down'
      readonly bytes: number
      readonly isReset: boolean
    }
  | { readonly kind: 'service-vanishes'; readonly during: 'up' | 'down'; readonly bytes: number }

/** When the service answers: after the request's body, while that still comes, or instead of reading it. */
export type AnswerTime = 'after' | 'early' | 'unread'

/** One request and its response. */
export interface ExchangePlan {
  readonly token: string
  readonly service: string
  readonly method: 'GET' | 'PUT' | 'POST'
  readonly up: BodyPlan | null
  readonly down: BodyPlan
  /** Whether the client waits for 100 before it sends the body. */
  readonly expects: boolean
  readonly answers: AnswerTime
  /** Whether the service sends 103 first. */
  readonly hints: boolean
  /** Whether the service says that its connection ends, and ends it. */
  readonly closes: boolean
  readonly fate: Fate
}

/** One connection of a client. */
export type ConnectionPlan =
  | {
      readonly kind: 'requests'
      readonly isPipelined: boolean
      readonly exchanges: readonly ExchangePlan[]
    }
  | { readonly kind: 'tunnel'; readonly tunnel: TunnelPlan }

/** An upgraded connection: bytes both ways, each ended on its own. */
export interface TunnelPlan {
  readonly token: string
  readonly service: string
  readonly up: BodyPlan
  readonly down: BodyPlan
  /** Who closes, or resets, in the middle; null: nobody. */
  readonly vanishes: 'client' | 'service' | null
  /** When: bytes that it has sent. */
  readonly vanishesAt: number
}

/** Makes a plan. @param name starts the tokens, which no two plans share @param services names of services */
export function planConnection(random: Random, name: string, services: readonly [string, ...string[]]): ConnectionPlan {
  if (random.isSo(0.1)) return { kind: 'tunnel', tunnel: planTunnel(random, name, random.pick(services)) }
  const count = random.integer(1, EXCHANGES_MAX)
  const isPipelined = count > 1 && random.isSo(0.4)
  const exchanges: ExchangePlan[] = []
  for (let index = 0; index < count; index++) {
    const token = `${name}-${index}`
    exchanges.push(planExchange(random, token, random.pick(services), { isLast: index === count - 1, isPipelined }))
  }
  return { kind: 'requests', isPipelined, exchanges }
}

interface Place {
  readonly isLast: boolean
  readonly isPipelined: boolean
}

function planExchange(random: Random, token: string, service: string, { isLast, isPipelined }: Place): ExchangePlan {
  const method = random.pick(METHODS)
  const up = method === 'GET' ? null : planBody(random, ['length', 'chunked'])
  const fate = isLast ? planFate(random, up) : ({ kind: 'whole' } as const)
  const isWhole = fate.kind === 'whole'
  const answers = up === null || !isWhole ? 'after' : planAnswer(random, isLast)
  // Who answers early and says that the connection ends does not say that the rest of the body is read.
  const readsOn = isWhole && answers !== 'early'
  const down = planBody(random, readsOn ? ['length', 'length', 'chunked', 'close'] : ['length', 'chunked'], fate)
  return {
    token,
    service,
    method,
    up,
    down,
    expects: up !== null && !isPipelined && isWhole && random.isSo(0.25),
    answers,
    hints: random.isSo(0.05),
    closes: answers === 'unread' || down.framing === 'close' || (readsOn && random.isSo(0.1)),
    fate,
  }
}

function planAnswer(random: Random, isLast: boolean): AnswerTime {
  if (random.isSo(0.15)) return 'early'
  // A service that reads no body ends the connection of the client as well.
  return isLast && random.isSo(0.15) ? 'unread' : 'after'
}

function planFate(random: Random, up: BodyPlan | null): Fate {
  if (random.isSo(0.55)) return { kind: 'whole' }
  if (random.isSo(0.35)) return { kind: 'client-half-closes' }
  const during = up !== null && up.bytes > 0 && random.isSo(0.5) ? 'up' : 'down'
  const bytes = during === 'up' ? random.integer(0, (up?.bytes ?? 1) - 1) : Math.floor(bodyBytes(random) / 2)
  if (random.isSo(0.6)) return { kind: 'client-vanishes', during, bytes, isReset: random.isSo(0.5) }
  return { kind: 'service-vanishes', during, bytes }
}

/** @param fate the response is longer than what passes of it before someone vanishes */
function planBody(
  random: Random,
  framings: readonly [BodyPlan['framing'], ...BodyPlan['framing'][]],
  fate: Fate = { kind: 'whole' },
): BodyPlan {
  const least = 'during' in fate && fate.during === 'down' ? fate.bytes + 1 : 0
  return {
    seed: random.seed(),
    bytes: least + bodyBytes(random),
    framing: random.pick(framings),
    pieceBytes: random.pick([1, 100, 4096, 65_536, MIB]) + random.integer(0, 5000),
    sender: planPace(random),
    reader: planPace(random),
  }
}

/** Few bodies are big, but most bytes are of big ones. */
function bodyBytes(random: Random): number {
  if (random.isSo(0.1)) return 0
  return Math.floor(2 ** (random.next() ** 1.7 * Math.log2(BODY_BYTES_MAX)))
}

function planPace(random: Random): Pace {
  const pauses = random.isSo(0.12) ? random.integer(1, PAUSES_MAX) : 0
  return { pauses, pauseMs: random.integer(0, PAUSE_MS_MAX) }
}

function planTunnel(random: Random, token: string, service: string): TunnelPlan {
  const [up, down] = [planBody(random, ['close']), planBody(random, ['close'])]
  const vanishes = random.isSo(0.3) ? random.pick(SIDES) : null
  const most = vanishes === 'client' ? up.bytes : down.bytes
  return { token, service, up, down, vanishes, vanishesAt: random.integer(0, most) }
}

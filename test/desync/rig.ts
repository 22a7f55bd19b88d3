// Runs vectors against a gateway, many at a time: each has a number of its own in its paths, by which what the service has seen is told
// apart.

import assert from 'node:assert/strict'
import { VectorClient } from './client.ts'
import type { SeenRequest } from './strict-service.ts'
import { type RequestVector, start, TAG, VERDICT } from './vector.ts'

/** How many run at a time. */
const AT_A_TIME = 24

/** Where vectors run. */
export interface Place {
  readonly port: number
  readonly isSecure: boolean
  /** What the service has seen. */
  readonly service: { readonly seen: readonly Pick<SeenRequest, 'text'>[] }
  /** Resolves when all of that is there; by default it is. */
  readonly settled?: () => Promise<unknown>
}

/** One run. */
export interface Way {
  readonly vector: RequestVector
  /** Where the bytes are cut. */
  readonly cuts?: readonly number[]
  /** Bytes before: a PROXY header. */
  readonly preface?: string
  /** A good request before: none, in the same write, or answered first. */
  readonly before?: 'none' | 'together' | 'answered'
}

/** What became of a run. */
export interface Outcome {
  readonly way: Way
  readonly statuses: readonly number[]
  readonly isClosed: boolean
  readonly seen: readonly string[]
  /** Why the answers cannot be read; null when they can. */
  readonly error: string | null
}

/** What must never be read where the bytes before it are refused, and comes by itself where they are not. */
export const FOLLOWER: string = `${start('GET', 'follower')}\r\n`
const GOOD = `${start('GET', 'good')}\r\n`
let runs = 0

/** Judges an outcome. */
export type Judge = (outcome: Outcome) => void

/** Runs every way, and judges each. @param change of the bytes; keeps their length */
export async function runAll(
  place: Place,
  ways: readonly Way[],
  judge: Judge,
  change: (text: string) => string = (text) => text,
): Promise<void> {
  const queue = [...ways]
  const outcomes: (Outcome & { readonly tag: string })[] = []
  await Promise.all(
    Array.from({ length: AT_A_TIME }, async () => {
      for (let way = queue.shift(); way !== undefined; way = queue.shift()) outcomes.push(await run(place, way, change))
    }),
  )
  await place.settled?.()
  const seenByTag = new Map<string, string[]>()
  for (const { text } of place.service.seen) {
    const tag = /T[0-9a-z]{5}/.exec(text)?.[0] ?? ''
    seenByTag.set(tag, [...(seenByTag.get(tag) ?? []), text.replace(/ \S*?T[0-9a-z]{5}/, ' ').replaceAll(tag, TAG)])
  }
  const failures: string[] = []
  for (const outcome of outcomes) {
    try {
      judge({ ...outcome, seen: seenByTag.get(outcome.tag) ?? [] })
    } catch (error) {
      failures.push(String(error instanceof Error ? error.message : error))
    }
  }
  assert.deepEqual(failures, [], `${failures.length} of ${outcomes.length} differ`)
}

async function run(
  place: Place,
  way: Way,
  change: (text: string) => string,
): Promise<Outcome & { readonly tag: string }> {
  const { vector, cuts = [], preface = '', before = 'none' } = way
  const tag = `T${(++runs).toString(36).padStart(5, '0')}`
  const named = (text: string): string => change(text.replaceAll(TAG, tag))
  const client = new VectorClient(place.port, place.isSecure)
  const methods = [...(before === 'none' ? [] : ['GET']), ...methodsOf(vector), 'GET']
  await client.write(preface)
  if (before !== 'none') await client.write(named(GOOD))
  if (before === 'answered') await client.answered(1, methods)
  await client.write(named(vector.bytes + FOLLOWER), cuts)
  if (vector.verdict === VERDICT.AWAITED) client.end()
  if (vector.verdict === VERDICT.READ) {
    await client.answered(methods.length, methods)
    client.end()
  }
  await client.ended()
  const { messages, error } = client.answers(methods)
  client.destroy()
  const statuses = messages.map(({ startLine }) => Number(startLine.slice(9, 12)))
  return { way, tag, statuses, isClosed: true, seen: [], error }
}

function methodsOf({ seen, verdict }: RequestVector): string[] {
  const methods = seen.map((text) => text.slice(0, text.indexOf(' ')))
  return seen.length === 0 && verdict === VERDICT.READ ? ['GET'] : methods
}

/** What a vector is called where it differs. */
export function nameOf({ vector, cuts = [], before = 'none' }: Way): string {
  const where = cuts.length === 0 ? 'whole' : cuts.length > 3 ? 'byte by byte' : `cut at ${cuts.join(',')}`
  return `${vector.family} · ${vector.name} · ${where} · ${before === 'none' ? 'alone' : `behind a good request, ${before}`}`
}

/** The verdict itself: what a strict gateway makes of the vector. */
export const judgeVerdict: Judge = ({ way, statuses, seen, error }) => {
  const { vector, before = 'none' } = way
  const { verdict } = vector
  const count = vector.seen.length
  const wanted: (readonly number[])[] = vector.seen.map(() => [200])
  if (before !== 'none') wanted.unshift([200])
  if (count === 0 || verdict === VERDICT.REFUSED) wanted.push(vector.statuses)
  if (verdict === VERDICT.READ) wanted.push([200])
  const isRight =
    error === null &&
    statuses.length === wanted.length &&
    statuses.every((status, index) => wanted[index]?.includes(status))
  const wantedSeen = [
    ...(before === 'none' ? [] : ['GET /good ']),
    ...vector.seen,
    ...(verdict === VERDICT.READ ? ['GET /follower '] : []),
  ]
  const is = `${nameOf(way)}: ${JSON.stringify({ statuses, seen, error })} instead of ${JSON.stringify({ statuses: wanted, seen: wantedSeen })}`
  assert.ok(isRight && JSON.stringify(seen) === JSON.stringify(wantedSeen), is)
}

/** Without a session: nothing is seen, each answer is a refusal, and there are no more of them than requests. */
export const judgeStranger: Judge = ({ way, statuses, seen, error }) => {
  const { vector } = way
  const most = vector.verdict === VERDICT.READ ? Math.max(1, vector.seen.length) + 1 : Math.max(1, vector.seen.length)
  const isRight =
    error === null &&
    seen.length === 0 &&
    statuses.length > 0 &&
    statuses.length <= most + (vector.verdict === VERDICT.REFUSED ? vector.seen.length : 0) &&
    statuses.every((status) => status >= 400 && status < 506)
  assert.ok(isRight, `${nameOf(way)}, without a session: ${JSON.stringify({ statuses, seen, error })}`)
}

/** Where bodies may be left unread: nothing is read as a request but what comes by itself. */
export const judgeHidden: Judge = ({ way, seen, error, statuses }) => {
  const { vector, before = 'none' } = way
  const allowed = new Set([
    ...(before === 'none' ? [] : ['GET /good']),
    ...vector.seen.map(headOf),
    // The head of a body that turns out to be none.
    ...(vector.verdict === VERDICT.REFUSED || vector.verdict === VERDICT.AWAITED ? ['POST /v'] : []),
    ...(vector.verdict === VERDICT.READ ? ['GET /follower'] : []),
  ])
  const heads = seen.map(headOf)
  const is = `${nameOf(way)}: ${JSON.stringify({ statuses, heads, error })}`
  assert.ok(
    heads.every((head) => allowed.has(head)),
    is,
  )
}

function headOf(text: string): string {
  return text.split(' ', 2).join(' ')
}

// The same vectors where the service has taken the client's connection: on a channel its library judges, and forwards what is not the
// channel's to the gateway.

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { serve } from '@xengate/service'
import { test } from '../../packages/gateway/src/proxy/testing/each-transport.ts'
import { fixture } from '../../packages/gateway/src/proxy/testing/fixture.ts'
import { type Judge, nameOf, runAll, type Way } from './rig.ts'
import { HIDDEN, type RequestVector, VERDICT } from './vector.ts'
import { VECTORS } from './vectors.ts'

const DEADLINE = { timeout: 600_000 }
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS']

/** A gateway, and a service that takes channels. */
async function channels(t: TestContext): Promise<{ readonly seen: { text: string }[]; readonly port: number }> {
  const { directory, port } = await fixture(t, { methods: METHODS })
  const seen: { text: string }[] = []
  const service = await serve({
    name: 'svc',
    directory,
    onError: () => {},
    handler: (request, response) => {
      let body = ''
      request.setEncoding('latin1')
      request.on('data', (chunk: string) => (body += chunk))
      request.on('end', () => {
        seen.push({ text: `${request.method} ${request.url} ${body}` })
        response.end('ok')
      })
    },
  })
  t.after(() => service.close())
  return { seen, port }
}

/** What Node.js, which reads on a channel, makes of a vector where that is another verdict than the gateway's. */
type Difference = Pick<RequestVector, 'verdict' | 'seen' | 'statuses'>

function asRead(...seen: readonly string[]): Difference {
  return { verdict: VERDICT.READ, seen, statuses: [200] }
}

function asClosed(...seen: readonly string[]): Difference {
  return { verdict: VERDICT.CLOSED, seen, statuses: [200] }
}

const REFUSED: Difference = { verdict: VERDICT.REFUSED, seen: [], statuses: [400] }

/**
 * None moves the end of a message: who reads the bytes in the gateway's way finds the same requests in them, or none. Why each is let
 * stand is in docs/decisions/0146.
 */
const IN_BODIES: Readonly<Record<string, Difference>> = {
  '14 · Expect of HTTP/1.0': asClosed('POST /v hello'),
  '35 · a quote in a token': asRead('POST /v hello'),
  '36 · an extension without a name': asRead('POST /v hello'),
  '36 · an extension without a value': asRead('POST /v hello'),
  '36 · two semicolons': asRead('POST /v hello'),
  '36 · white space about the name': REFUSED,
  '37 · beyond 2^53': { verdict: VERDICT.AWAITED, seen: [], statuses: [400] },
  '42 · Connection': asClosed('POST /v '),
  '42 · Content-Length': REFUSED,
  '42 · Transfer-Encoding': REFUSED,
  '57 · a request behind an upgrade that is refused': asClosed('GET /v '),
  '58 · an upgrade of a POST': asClosed('POST /v '),
  '58 · an upgrade with a length': asClosed(`GET /v ${HIDDEN}`),
  '58 · an upgrade with chunks': asClosed('GET /v hello'),
  '61 · a version of websockets that nobody knows': asClosed('GET /v '),
  '84 · an HTTP/1.0 request that is kept, then one that is not': asClosed('GET /v '),
  '92 · trailers that are too long': asRead('POST /v '),
}

/** Of heads: where the vector comes first, the gateway has read it before the service gets the connection. */
const IN_HEADS: Readonly<Record<string, Difference>> = {
  '65 · an empty line that ends in LF': asRead('GET /v '),
  '65 · another protocol': asRead('GET /v '),
  '65 · two empty lines': asRead('GET /v '),
  '65 · two spaces': asRead('GET /v '),
  '65 · two spaces before the version': asRead('GET /v '),
  '92 · a head of very many fields': asRead('GET /v '),
  '92 · a head that is too long': asRead('GET /v '),
  '92 · a target that is too long': asRead(`GET /${'x'.repeat(9000)} `),
}

function wayOf(vector: RequestVector, before: 'none' | 'together' | 'answered'): Way {
  const name = `${vector.family} · ${vector.name}`
  const difference = IN_BODIES[name] ?? (before === 'none' ? undefined : IN_HEADS[name])
  return { vector: { ...vector, ...difference }, before }
}

/**
 * The verdict, but that a refusal may have another status, and that Node.js may have given the follower to its handler before it was known
 * that the answer in front of it ends the connection: it is the same client's, and judged by itself.
 */
const judgeChannel: Judge = (outcome) => {
  const { way, statuses, seen, error } = outcome
  const { vector, before = 'none' } = way
  const { verdict } = vector
  const follower = 'GET /follower '
  const isRead = verdict === VERDICT.READ
  const wanted = [...(before === 'none' ? [] : ['GET /good ']), ...vector.seen, ...(isRead ? [follower] : [])]
  const left = seen.filter((text) => isRead || (text !== follower && text !== 'GET /w '))
  const wantedStatuses = wanted.map(() => 200)
  const own = statuses.slice(wantedStatuses.length - (isRead ? 1 : 0))
  const is = `${nameOf(way)}: ${JSON.stringify({ statuses, seen, error })}`
  assert.deepEqual(left.toSorted(), wanted.toSorted(), is)
  assert.equal(error, null, is)
  const isRefusedOnce = vector.seen.length === 0 || verdict === VERDICT.REFUSED
  assert.equal(statuses.filter((status) => status === 200).length, wantedStatuses.length, is)
  assert.equal(statuses.length, wantedStatuses.length + (isRefusedOnce ? 1 : 0), is)
  assert.ok(!isRefusedOnce || own.some((status) => status >= 400), is)
}

test('each vector that is handed over, and behind a request that was', DEADLINE, async (t) => {
  const { seen, port } = await channels(t)
  const ways = VECTORS.flatMap((vector) =>
    (['none', 'together', 'answered'] as const).map((before) => wayOf(vector, before)),
  )
  await runAll({ port, isSecure: false, service: { seen } }, ways, judgeChannel)
})

test('each vector on a channel, cut in two', DEADLINE, async (t) => {
  const { seen, port } = await channels(t)
  const ways = VECTORS.filter(({ bytes }) => bytes.length < BYTES_MAX).flatMap((vector) =>
    PARTS.map((part) => ({ ...wayOf(vector, 'answered'), cuts: [Math.floor(vector.bytes.length * part)] })),
  )
  await runAll({ port, isSecure: false, service: { seen } }, ways, judgeChannel)
})

/** Vectors of limits are read in many pieces anyway. */
const BYTES_MAX = 2000
const PARTS = [0.2, 0.4, 0.6, 0.8, 0.95]

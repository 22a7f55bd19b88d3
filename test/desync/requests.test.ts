// What clients can send to desynchronise a gateway from a service: each vector has the same verdict however it comes. With
// DESYNC_CUTS=all the bytes are cut at every place, which takes minutes.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { OPEN_POLICY } from '../../packages/gateway/src/model/policy.ts'
import { NO_LIMITS } from '../../packages/gateway/src/model/service-limits.ts'
import { TlsCredentials } from '../../packages/gateway/src/proxy/arrival/tls-credentials.ts'
import { makeCertificate } from '../../packages/gateway/src/proxy/testing/certificate.ts'
import { test } from '../../packages/gateway/src/proxy/testing/each-transport.ts'
import { fixture, type FixtureOptions } from '../../packages/gateway/src/proxy/testing/fixture.ts'
import { LazyServer } from './lazy-server.ts'
import { judgeHidden, judgeStranger, judgeVerdict, type Place, runAll, type Way } from './rig.ts'
import { StrictService } from './strict-service.ts'
import { type RequestVector, VERDICT } from './vector.ts'
import { VECTORS } from './vectors.ts'

const DEADLINE = { timeout: 600_000 }
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS']
/** Vectors of limits are too long to be cut at every byte. */
const BYTES_MAX = 2000
const CUTS_EACH = process.env['DESYNC_CUTS'] === 'all' ? BYTES_MAX : 8
const V2_HEADER = '\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\xc0\0\x02\x01\x30\x39\x20\xfb'

interface Strict extends Place {
  readonly service: StrictService
  /** How many requests wait for a turn. */
  readonly waiting: () => number
}

/** A gateway, and a strict service behind it. */
async function strict(t: TestContext, options: FixtureOptions = {}, readsBodies = false): Promise<Strict> {
  const { directory, port, counters } = await fixture(t, { methods: METHODS, ...options })
  const service = new StrictService()
  await service.listen(join(directory, 'svc'), readsBodies)
  t.after(() => service.close())
  const waiting = (): number => counters.cells[counters.place('xengate_queued', 'svc')] ?? 0
  return { port, isSecure: false, service, waiting }
}

function short(): readonly RequestVector[] {
  return VECTORS.filter(({ bytes }) => bytes.length < BYTES_MAX)
}

/** Places to cut `bytes` at: all of them, or some that are the same each time, spread over the whole. */
function cutsOf({ bytes }: RequestVector): number[] {
  const places = bytes.length - 1
  const count = Math.min(places, CUTS_EACH)
  return Array.from({ length: count }, (_, index) => 1 + Math.floor(((index + 0.5) * places) / count))
}

async function verdicts(place: Strict, ways: readonly Way[]): Promise<void> {
  await runAll(place, ways, judgeVerdict)
  assert.deepEqual(place.service.faults, [])
}

test('each vector alone, with a good request before it, and one behind it', DEADLINE, async (t) => {
  const befores = ['none', 'together', 'answered'] as const
  await verdicts(
    await strict(t),
    VECTORS.flatMap((vector) => befores.map((before) => ({ vector, before }))),
  )
})

test('each vector cut in two', DEADLINE, async (t) => {
  await verdicts(
    await strict(t),
    short().flatMap((vector) => cutsOf(vector).map((cut) => ({ vector, cuts: [cut] }))),
  )
})

test('each vector byte by byte', DEADLINE, async (t) => {
  await verdicts(
    await strict(t),
    short().map((vector) => ({
      vector,
      cuts: Array.from({ length: vector.bytes.length - 1 }, (_, index) => index + 1),
    })),
  )
})

test('each vector toward a service whose connections are used again after bodies', DEADLINE, async (t) => {
  const place = await strict(t, {}, true)
  await verdicts(
    place,
    VECTORS.map((vector) => ({ vector, before: 'together' })),
  )
  // They were: else nothing would have been tried.
  assert.ok(new Set(place.service.seen.map(({ connection }) => connection)).size < place.service.seen.length / 2)
})

test('each vector where requests wait for their turn, one at a time', DEADLINE, async (t) => {
  const limits = { ...NO_LIMITS, requests: 1, queue: 1000, queueTimeoutMs: 60_000 }
  const place = await strict(t, { policies: { svc: { ...OPEN_POLICY, limits } } })
  let most = 0
  const sampling = setInterval(() => (most = Math.max(most, place.waiting())), 1)
  t.after(() => clearInterval(sampling))
  // Who ends its side while it waits has left.
  const judged = VECTORS.filter(({ verdict }) => verdict !== VERDICT.AWAITED)
  await verdicts(
    place,
    judged.flatMap((vector) => (['none', 'together'] as const).map((before) => ({ vector, before }))),
  )
  assert.ok(most > 1)
})

test('each vector without a session: a service gets nothing', DEADLINE, async (t) => {
  const place = await strict(t)
  const changed = (text: string): string => text.replaceAll(/[12]{8}-[12]{4}-4[12]{3}-8[12]{3}-[12]{12}/g, NOBODY)
  await runAll(
    place,
    VECTORS.map((vector) => ({ vector })),
    judgeStranger,
    changed,
  )
  assert.deepEqual(place.service.seen, [])
})

const NOBODY = '99999999-9999-4999-8999-999999999999'

test('each vector over TLS', DEADLINE, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-tls-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const { certificate, key } = makeCertificate(directory)
  const tls = new TlsCredentials({ certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') })
  const place = await strict(t, { listener: { tls } })
  const ways = VECTORS.map((vector) => ({ vector, cuts: [Math.floor(vector.bytes.length / 2)] }))
  await verdicts({ ...place, isSecure: true }, ways)
})

test('each vector behind a PROXY header, of either version', DEADLINE, async (t) => {
  const ways = ['PROXY TCP4 10.1.2.3 192.0.2.1 12345 8443\r\n', 'PROXY UNKNOWN\r\n', V2_HEADER].flatMap((preface) =>
    VECTORS.map((vector) => ({ vector, preface })),
  )
  await verdicts(await strict(t, { listener: { hasProxyHeader: true } }), ways)
})

test('each vector in front of a server that reads no body that it does not need', DEADLINE, async (t) => {
  const server = new LazyServer()
  const xapiPort = await server.listen()
  t.after(() => server.close())
  const upstream = { host: '127.0.0.1', port: xapiPort }
  const { port } = await fixture(t, { front: { upstream, proxyProtocol: false } })
  // Both are as long, so that lengths stay right.
  const changed = (text: string): string => text.replaceAll('/services/plugin/svc', '/xapi/handlers/a/svc')
  const judged = VECTORS.filter(isOfMessages)
  const ways = judged.flatMap((vector) => [{ vector }, { vector, before: 'together' as const }])
  await runAll({ port, isSecure: false, service: server }, ways, judgeHidden, changed)
  assert.ok(server.seen.length > judged.length)
})

/** Whether the verdict is about messages: sessions and methods are xapi's matter, and its clients send no Host (docs/decisions/0012). */
function isOfMessages({ seen, statuses, name }: RequestVector): boolean {
  const isPolicy = seen.length === 0 && statuses.some((status) => [403, 404, 405].includes(status))
  return !isPolicy && name !== 'no Host'
}

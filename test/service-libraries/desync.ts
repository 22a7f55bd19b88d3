// The vectors of request smuggling (test/desync) where a library that reads heads itself has taken the client's connection. For Node.js they
// are in test/desync/channel.test.ts.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import { test } from '../../packages/gateway/src/proxy/testing/each-transport.ts'
import { fixture } from '../../packages/gateway/src/proxy/testing/fixture.ts'
import { type Judge, nameOf, runAll, type Way } from '../desync/rig.ts'
import { VERDICT } from '../desync/vector.ts'
import { VECTORS } from '../desync/vectors.ts'
import { Child } from '../harness/child.ts'
import { scopeOf } from '../harness/scope.ts'
import { argvOf, ENV } from './library.ts'
import { DEADLINE, listens, type Rig } from './rig.ts'

const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS']
const NAME = 'svc'

/** Limits are the library's, which knows none of the gateway's configuration: it takes as much as any gateway can be set to take. */
const OF_LIMITS: ReadonlySet<string> = new Set([
  'a head of very many fields',
  'a head that is too long',
  'a target that is too long',
  'trailers that are too long',
])

/** Each request that has to be seen is, and answered with 200; nothing else is seen, and what has to be refused is. */
const judge: Judge = ({ way, statuses, seen, error }) => {
  const { vector, before = 'none' } = way
  const { verdict } = vector
  const isRead = verdict === VERDICT.READ
  const wanted = [...(before === 'none' ? [] : ['GET /good ']), ...vector.seen, ...(isRead ? ['GET /follower '] : [])]
  const isRefused = verdict === VERDICT.REFUSED || (vector.seen.length === 0 && verdict !== VERDICT.AWAITED)
  const refusals = statuses.filter((status) => status !== 200)
  const is = `${nameOf(way)}: ${JSON.stringify({ statuses, seen, error })} instead of ${JSON.stringify(wanted)}`
  assert.equal(error, null, is)
  assert.deepEqual(seen, wanted, is)
  assert.equal(statuses.length - refusals.length, wanted.length, is)
  if (verdict !== VERDICT.AWAITED) assert.equal(refusals.length, isRefused ? 1 : 0, is)
  assert.ok(
    refusals.every((status) => status >= 400),
    is,
  )
}

/** Declares the tests of `rig`. @param refused names of vectors that the language itself refuses */
export function testDesync(rig: Rig, refused: readonly string[] = []): void {
  const vectors = VECTORS.filter(({ name, family }) => family !== 92 || !OF_LIMITS.has(name)).map((vector) =>
    refused.includes(vector.name) ? { ...vector, verdict: VERDICT.REFUSED, seen: [] } : vector,
  )
  const ways = vectors.flatMap((vector): Way[] => [
    ...(['none', 'together', 'answered'] as const).map((before) => ({ vector, before })),
    { vector, before: 'answered', cuts: [Math.floor(vector.bytes.length * 0.8)] },
  ])

  describe('request smuggling', () => {
    test('each vector that is handed over, and behind a request that was', DEADLINE, async (t) => {
      const scope = scopeOf(t)
      const { directory, port } = await fixture(t, { methods: METHODS })
      const [command, argv] = argvOf(rig.library, directory, NAME)
      const child = new Child(scope, command, argv, { env: { ...ENV, XENGATE_TELL: '1' } })
      scope.onFailure(() => child.stderr)
      await listens(`${join(directory, NAME)}.channel`, child)
      const seen: { text: string }[] = []
      const settled = async (): Promise<void> => {
        await child.stop()
        for (const line of child.stdout.split('\n')) {
          if (line.startsWith('saw ')) seen.push({ text: JSON.parse(line.slice(4)) as string })
        }
      }
      await runAll({ port, isSecure: false, service: { seen }, settled }, ways, judge)
    })
  })
}

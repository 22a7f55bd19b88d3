// The short form of `npm run soak`: some seconds of random traffic on each transport, every byte of which is compared.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { probeRing } from '../packages/gateway/src/transport/ring/probe.ts'
import { scopeOf } from './harness/scope.ts'
import { soak } from './soak/soak.ts'

const SECONDS = 5
/** The same plans each time: what is new is for `npm run soak` to find. */
const SEED = 20_261_129

const probed = probeRing()
for (const transport of ['net', 'ring'] as const) {
  const skip = transport === 'ring' && !probed.works ? probed.reason : false
  test(
    `random traffic arrives as it was sent, and leaves nothing behind · ${transport}`,
    { skip, timeout: 120_000 },
    async (t) => {
      const { responses } = await soak(scopeOf(t), {
        transport,
        seconds: SECONDS,
        seed: SEED,
        say: (text) => t.diagnostic(text),
      })
      // What was wrong has been thrown; there has to have been something.
      assert.ok(responses > 100, `${responses} responses`)
    },
  )
}

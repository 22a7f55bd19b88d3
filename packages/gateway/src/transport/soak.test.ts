// Random traffic for a moment; `npm run soak` has it for minutes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blocksInUse } from './blocks.ts'
import { strayCompletions } from './ring/loop.ts'
import { directoryFor, until } from './testing/peers.ts'
import { soak } from './testing/soak.ts'
import { transports } from './testing/transports.ts'

const SOAK_MS = Number(process.env['XENGATE_SOAK_MS'] ?? 2000)
const SEED = Number(process.env['XENGATE_SOAK_SEED'] ?? Date.now() % 1_000_000)

for (const transport of transports()) {
  test(`${transport.name}: random traffic arrives as it was sent`, { timeout: SOAK_MS + 100_000 }, async (t) => {
    t.diagnostic(`XENGATE_SOAK_SEED=${SEED}`)
    const { exchanges, bytes } = await soak(transport, directoryFor(t), SOAK_MS, SEED)
    t.diagnostic(`${exchanges} exchanges, ${bytes} bytes`)
    await until(() => blocksInUse() === 0, 'blocks to be given back')
    assert.equal(strayCompletions(), 0)
  })
}

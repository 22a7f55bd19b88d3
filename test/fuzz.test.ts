// The short form of `npm run fuzz`: a second of bent inputs for each of what reads what others send.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { test as testEach } from '../packages/gateway/src/proxy/testing/each-transport.ts'
import { fuzz } from './fuzz/fuzz.ts'
import type { Target } from './fuzz/target.ts'
import { TARGETS, WITH_TRANSPORT } from './fuzz/targets.ts'

/** The same inputs each time: what is new is for `npm run fuzz` to find. */
const SEED = 20_261_129
const SECONDS = 1
const DEADLINE = { timeout: 60_000 }

async function tryTarget(t: TestContext, target: Target): Promise<void> {
  assert.ok((await fuzz(t, target, { seconds: SECONDS, seed: SEED })) > 0)
}

for (const target of TARGETS) {
  const name = `bent inputs show no fault of the ${target.name}`
  if (WITH_TRANSPORT.has(target.name)) testEach(name, DEADLINE, (t) => tryTarget(t, target))
  else test(name, DEADLINE, (t) => tryTarget(t, target))
}

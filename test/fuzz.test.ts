// The short form of `npm run fuzz`: a second of bent inputs for each of what reads what others send.

import { test } from 'node:test'
import { test as testEach } from '../packages/gateway/src/proxy/testing/each-transport.ts'
import { fuzz } from './fuzz/fuzz.ts'
import { TARGETS, WITH_TRANSPORT } from './fuzz/targets.ts'

/** The same inputs each time: what is new is for `npm run fuzz` to find. */
const SEED = 20_261_129
const SECONDS = 1
const DEADLINE = { timeout: 60_000 }

for (const target of TARGETS) {
  const name = `bent inputs show no fault of the ${target.name}`
  if (WITH_TRANSPORT.has(target.name))
    testEach(name, DEADLINE, (t) => fuzz(t, target, { seconds: SECONDS, seed: SEED }))
  else test(name, DEADLINE, (t) => fuzz(t, target, { seconds: SECONDS, seed: SEED }))
}

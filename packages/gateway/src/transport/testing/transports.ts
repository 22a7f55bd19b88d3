// The transports that work here, for tests that run on each of them.

import { test } from 'node:test'
import { NET } from '../net/transport.ts'
import { poisonFreed } from '../ring/memory.ts'
import { probeRing } from '../ring/probe.ts'
import { RING } from '../ring/transport.ts'
import type { Transport } from '../transport.ts'

/** Every transport that works here. Of one that does not, a skipped test says why. */
export function transports(): readonly Transport[] {
  const probed = probeRing()
  if (!probed.works) {
    test('on the ring', { skip: probed.reason })
    return [NET]
  }
  poisonFreed()
  return [NET, RING]
}

/** The transport of that name. */
export function transportNamed(name: string | undefined): Transport {
  return name === RING.name ? RING : NET
}

// Tests of the data plane, each run on every transport that works here.

import nodeTest, { type TestContext, type TestOptions } from 'node:test'
import { transports } from '../../transport/testing/transports.ts'
import type { Transport } from '../../transport/transport.ts'

const inUse = new WeakMap<TestContext, Transport>()
const working = transports()

/** The transport of a test that was declared by `test` of this file. */
export function transportOf(t: TestContext): Transport {
  const transport = inUse.get(t)
  if (transport === undefined) throw new Error('the test was not declared by each-transport.ts')
  return transport
}

/** Declares a test for each transport, as `test` of `node:test` does once. */
export function test(name: string, options: TestOptions, run: (t: TestContext) => Promise<void> | void): void {
  for (const transport of working) {
    void nodeTest(`${name} · ${transport.name}`, options, (t) => {
      inUse.set(t, transport)
      return run(t)
    })
  }
}

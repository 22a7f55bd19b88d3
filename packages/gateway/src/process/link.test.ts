// Two primaries while one takes the place of the other: the rest is in test/upgrade.test.ts.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { type Channel, Link } from './link.ts'

test(
  'a process that confirms no end, and is gone without a word, is not waited for',
  { timeout: 10_000 },
  async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { pid } = spawnSync('true')
    const silent: Channel = { connected: true, send: () => true, on: () => {}, once: () => {} }
    const nothing = (): Promise<[]> => Promise.resolve([])
    const link = new Link(silent, pid, {
      ended: () => Promise.resolve(),
      count: nothing,
      asked: nothing,
      said: () => {},
      gone: () => {},
    })
    const ended = link.ended(['5c9d7f3a-0000-4000-8000-000000000000'])
    t.mock.timers.tick(5000)
    await assert.doesNotReject(ended)
  },
)

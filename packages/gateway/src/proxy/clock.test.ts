import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type NextSweep, SweepClock } from './clock.ts'

test(
  'ticks while there is something to sweep, rests until it is woken, and tells the time meanwhile',
  { timeout: 20_000 },
  async () => {
    // The clock's own timers keep no process.
    const alive = setInterval(() => {}, 1000)
    const swept = new EventTarget()
    const answers: NextSweep[] = []
    let sweeps = 0
    const clock = new SweepClock({ soonMs: 10, laterMs: 20 }, () => {
      sweeps++
      const next = answers.shift() ?? 'never'
      if (next === 'never') swept.dispatchEvent(new Event('never'))
      return next
    })
    for (const expected of [3, 5]) {
      answers.push(...(['soon', 'later'] as const).slice(0, expected === 3 ? 2 : 1))
      const rests = once(swept, 'never')
      clock.wake()
      await rests
      assert.equal(sweeps, expected)
      const restingMs = clock.nowMs
      while (clock.nowMs <= restingMs) await nextTurn()
    }
    clock.close()
    clock.wake()
    clearInterval(alive)
  },
)

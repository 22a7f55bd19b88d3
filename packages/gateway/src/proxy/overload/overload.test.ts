import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Overload, type Uses } from './overload.ts'

const CONFIG = { descriptors: 80, memory: 50, eventLoopDelayMs: 100 }

/** 100 descriptors and 100 bytes. */
function uses(descriptors: number, memory = 0, delayMs = 0): Uses {
  return { descriptors: { used: descriptors, limit: 100 }, memory: { used: memory, limit: 100 }, delayMs }
}

test('each resource leads to each stage, at its parts of what is configured', () => {
  const overload = new Overload(CONFIG)
  for (const [stage, descriptors, memory, delayMs] of [
    [1, 64, 40, 50],
    [2, 72, 45, 75],
    [3, 80, 50, 100],
    [4, 88, 55, 200],
  ] as const) {
    for (const used of [uses(descriptors), uses(0, memory), uses(0, 0, delayMs)]) {
      const one = new Overload(CONFIG)
      assert.equal(one.judge(used, 0), true)
      assert.equal(one.state.stage, stage)
    }
    assert.equal(overload.judge(uses(descriptors - 1), 0), false)
    assert.equal(overload.judge(uses(descriptors), 0), true)
    assert.equal(overload.state.stage, stage)
  }
})

test('a stage is left when it has been calm for a second, one after the other', () => {
  const overload = new Overload(CONFIG)
  overload.judge(uses(90), 0)
  assert.equal(overload.state.stage, 4)
  // Nine tenths of what led to it: that is not calm yet.
  assert.equal(overload.judge(uses(80), 5000), false)
  assert.equal(overload.judge(uses(79), 6000), false)
  assert.equal(overload.judge(uses(85), 6900), false)
  assert.equal(overload.judge(uses(79), 7000), false)
  assert.equal(overload.judge(uses(79), 7999), false)
  assert.equal(overload.judge(uses(79), 8000), true)
  assert.equal(overload.state.stage, 3)
  assert.equal(overload.judge(uses(0), 8999), false)
  for (const [nowMs, stage] of [
    [9000, 2],
    [10_000, 1],
    [11_000, 0],
  ] as const) {
    assert.equal(overload.judge(uses(0), nowMs), true)
    assert.equal(overload.state.stage, stage)
  }
  assert.equal(overload.judge(uses(0), 20_000), false)
})

test('what is used a little less and a little more does not change the stage again and again', () => {
  const overload = new Overload(CONFIG)
  let changes = 0
  for (let second = 0; second < 100; second++)
    if (overload.judge(uses(second % 2 === 0 ? 81 : 75), second * 1000)) changes++
  assert.equal(changes, 1)
})

test('the state says what there is too little of, and how much is used now', () => {
  const overload = new Overload(CONFIG)
  overload.judge(uses(10, 52), 0)
  assert.deepEqual(overload.state, { stage: 3, resource: 'memory', used: 52, limit: 100 })
  overload.judge(uses(10, 51), 1)
  assert.equal(overload.state.used, 51)
  overload.judge(uses(90, 51), 2)
  assert.deepEqual(overload.state, { stage: 4, resource: 'descriptors', used: 90, limit: 100 })
})

test('what has no bound is never too little', () => {
  const overload = new Overload(CONFIG)
  const without = { used: 1e9, limit: Number.POSITIVE_INFINITY }
  assert.equal(overload.judge({ descriptors: without, memory: without, delayMs: 0 }, 0), false)
  assert.equal(overload.state.stage, 0)
})

test('other thresholds hold from the next look on', () => {
  const overload = new Overload(CONFIG)
  overload.judge(uses(70), 0)
  assert.equal(overload.state.stage, 1)
  overload.configure({ ...CONFIG, descriptors: 60 })
  overload.judge(uses(70), 1)
  assert.equal(overload.state.stage, 4)
  assert.equal(overload.descriptorsAtNext(100), Number.POSITIVE_INFINITY)
})

test('what is left step by step names what led there, as long as nothing else does', () => {
  const overload = new Overload(CONFIG)
  overload.judge(uses(10, 52), 0)
  overload.judge(uses(10, 1), 1)
  assert.equal(overload.judge(uses(10, 1), 1001), true)
  assert.deepEqual(overload.state, { stage: 2, resource: 'memory', used: 1, limit: 100 })
  assert.equal(overload.judge(uses(64, 1), 2001), true)
  assert.deepEqual(overload.state, { stage: 1, resource: 'descriptors', used: 64, limit: 100 })
})

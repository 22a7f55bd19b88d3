import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker } from './breaker.ts'

const MAX = 3
const PAUSE_MS = 5000

/** A breaker that has opened at 0 by failures of two users. */
function opened(): Breaker {
  const breaker = new Breaker()
  for (const [user, opens] of [
    ['a', false],
    ['b', false],
    ['a', true],
  ] as const) {
    assert.equal(breaker.failed(false, user, MAX, PAUSE_MS, 0), opens)
  }
  return breaker
}

test('it opens after so many failures in a row, and an answer begins the row anew', () => {
  const breaker = new Breaker()
  breaker.failed(false, 'a', MAX, PAUSE_MS, 0)
  breaker.failed(false, 'b', MAX, PAUSE_MS, 0)
  breaker.answered(false, 'a')
  assert.equal(breaker.failed(false, 'a', MAX + 10, PAUSE_MS, 1), false)
  assert.equal(breaker.isClosed, true)
  assert.equal(opened().isClosed, false)
})

test('one lets in one request after the pause, which closes it or opens it anew', () => {
  const breaker = opened()
  assert.equal(breaker.admits('a', PAUSE_MS, PAUSE_MS - 1), false)
  assert.equal(breaker.waitMs(PAUSE_MS - 1), 1)
  assert.equal(breaker.admits('a', PAUSE_MS, PAUSE_MS), true)
  assert.equal(breaker.admits('b', PAUSE_MS, PAUSE_MS), false)
  assert.equal(breaker.failed(true, 'a', MAX, PAUSE_MS, PAUSE_MS + 1), true)
  assert.equal(breaker.admits('b', PAUSE_MS, 2 * PAUSE_MS), false)
  assert.equal(breaker.admits('b', PAUSE_MS, 2 * PAUSE_MS + 1), true)
  assert.equal(breaker.answered(true, 'b'), true)
  assert.equal(breaker.isClosed, true)
})

test('a try that takes as long as a pause keeps nobody else from trying', () => {
  const breaker = opened()
  assert.equal(breaker.admits('a', PAUSE_MS, PAUSE_MS), true)
  assert.equal(breaker.admits('b', PAUSE_MS, 2 * PAUSE_MS - 1), false)
  assert.equal(breaker.admits('b', PAUSE_MS, 2 * PAUSE_MS), true)
  assert.equal(breaker.answered(true, 'b'), true)
  // The first one's failure is one of many, then.
  assert.equal(breaker.failed(true, 'a', MAX, PAUSE_MS, 2 * PAUSE_MS), true)
})

test('a try of which nothing is known lets the next one try at once', () => {
  const breaker = opened()
  assert.equal(breaker.admits('a', PAUSE_MS, PAUSE_MS), true)
  breaker.gaveUp()
  assert.equal(breaker.admits('b', PAUSE_MS, PAUSE_MS), true)
})

test('one user alone opens it only where nobody else asks', () => {
  const alone = new Breaker()
  for (let count = 1; count < MAX; count++) assert.equal(alone.failed(false, 'a', MAX, PAUSE_MS, count), false)
  assert.equal(alone.failed(false, 'a', MAX, PAUSE_MS, MAX), true)

  const shared = new Breaker()
  shared.failed(false, 'a', MAX, PAUSE_MS, 0)
  shared.answered(false, 'b')
  for (let count = 1; count < 100; count++) assert.equal(shared.failed(false, 'a', MAX, PAUSE_MS, count), false)
  assert.equal(shared.failed(false, 'b', MAX, PAUSE_MS, 100), true)
})

test('whose try has failed lets another try who was turned away', () => {
  const breaker = opened()
  assert.equal(breaker.admits('a', PAUSE_MS, PAUSE_MS), true)
  breaker.failed(true, 'a', MAX, PAUSE_MS, PAUSE_MS)
  assert.equal(breaker.admits('b', PAUSE_MS, PAUSE_MS + 1), false)
  assert.equal(breaker.admits('a', PAUSE_MS, 2 * PAUSE_MS), false)
  assert.equal(breaker.admits('b', PAUSE_MS, 2 * PAUSE_MS), true)
  breaker.failed(true, 'b', MAX, PAUSE_MS, 2 * PAUSE_MS)
  // Who was turned away may not come back: then the first one tries after another pause.
  assert.equal(breaker.admits('a', PAUSE_MS, 2 * PAUSE_MS + 1), false)
  assert.equal(breaker.admits('b', PAUSE_MS, 3 * PAUSE_MS), false)
  assert.equal(breaker.admits('b', PAUSE_MS, 4 * PAUSE_MS), true)
})

test('a pause is told as it is, whatever the clock says', () => {
  for (let nowMs = 0.1; nowMs < 100_000; nowMs = nowMs * 1.7 + 0.3) {
    const breaker = new Breaker()
    breaker.failed(false, 'a', 1, 60_000, nowMs)
    assert.equal(breaker.waitMs(nowMs), 60_000)
  }
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { AccountError } from './errors.ts'
import { HandClock } from '../embedded/testing/state.ts'
import { SignInThrottle, type Attempt } from './throttle.ts'

async function admitted(throttle: SignInThrottle, name: string, address: string): Promise<Attempt> {
  const admission = await throttle.enter(name, address)
  assert.ok(admission.kind === 'admitted', `"${name}" from "${address}" is refused`)
  return admission.attempt
}

async function fail(throttle: SignInThrottle, name: string, address: string, times = 1): Promise<void> {
  for (let time = 0; time < times; time += 1) (await admitted(throttle, name, address)).failed()
}

async function refusal(throttle: SignInThrottle, name: string, address: string): Promise<number> {
  const admission = await throttle.enter(name, address)
  assert.ok(admission.kind === 'refused', `"${name}" from "${address}" is let in`)
  return admission.seconds
}

describe('sign-in throttle', { timeout: 10_000 }, () => {
  test('has a name wait 1, 2, 4, 8, 16, 30, 30 seconds after five failures', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', '', 5)
    for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
      assert.equal(await refusal(throttle, 'a', ''), seconds)
      clock.nowMs += seconds * 1_000 - 1
      assert.equal(await refusal(throttle, 'a', ''), 1)
      clock.nowMs += 1
      await fail(throttle, 'a', '')
    }
    await fail(throttle, 'b', '')
  })

  test('has an address wait whatever the names, an IPv6 one by its /64', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    for (const name of ['a', 'b', 'c', 'd', 'e']) await fail(throttle, name, `2001:db8::${name}`)
    assert.equal(await refusal(throttle, 'f', '2001:db8:0:0:ffff::1'), 1)
    await fail(throttle, 'f', '2001:db8:0:1::1')
    await fail(throttle, 'f', '')
  })

  test('forgets a name at success, and everything after a quarter of an hour', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', '192.0.2.1', 4)
    ;(await admitted(throttle, 'a', '192.0.2.1')).succeeded()
    await fail(throttle, 'a', '192.0.2.1', 1)
    assert.equal(await refusal(throttle, 'b', '192.0.2.1'), 1)
    await fail(throttle, 'a', '', 4)
    assert.equal(await refusal(throttle, 'a', ''), 1)
    clock.nowMs += 15 * 60_000
    await fail(throttle, 'a', '192.0.2.1', 5)
  })

  test('holds attempts at once beyond the free ones until one is decided', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    const outcomes = Array.from({ length: 20 }, () => throttle.enter('a', '192.0.2.1'))
    const settled: string[] = []
    for (const outcome of outcomes) void outcome.then(({ kind }) => settled.push(kind))
    const attempts = await Promise.all(
      outcomes.slice(0, 5).map(async (outcome) => {
        const admission = await outcome
        assert.ok(admission.kind === 'admitted')
        return admission.attempt
      }),
    )
    assert.equal(settled.length, 5)
    for (const attempt of attempts) attempt.failed()
    const rest = await Promise.all(outcomes.slice(5))
    assert.deepEqual(new Set(rest.map(({ kind }) => kind)), new Set(['refused']))
  })

  test('lets every right password in, however many come at once', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    const succeed = async (): Promise<void> => {
      ;(await admitted(throttle, 'a', '192.0.2.1')).succeeded()
    }
    await Promise.all(Array.from({ length: 100 }, succeed))
  })

  test('lets one attempt at a time in after a wait', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', '', 5)
    clock.nowMs += 1_000
    const first = await admitted(throttle, 'a', '')
    const second = throttle.enter('a', '')
    first.failed()
    assert.deepEqual(await second, { kind: 'refused', seconds: 2 })
  })

  test('counts nothing for an attempt that was not checked', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    for (let time = 0; time < 20; time += 1) (await admitted(throttle, 'a', '192.0.2.1')).cancelled()
  })

  test('bounds the attempts that it holds', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    const attempts = await Promise.all(Array.from({ length: 5 }, () => admitted(throttle, 'a', '')))
    const held = Array.from({ length: 256 }, () => throttle.enter('a', ''))
    await assert.rejects(throttle.enter('a', ''), (error) => error instanceof AccountError && error.code === 'BUSY')
    for (const attempt of attempts) attempt.failed()
    assert.ok((await Promise.all(held)).every(({ kind }) => kind === 'refused'))
  })

  test('bounds its table, and drops the oldest first', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    await fail(throttle, 'oldest', '', 5)
    await fail(throttle, 'second', '', 5)
    for (let name = 2; name < 10_000; name += 1) await fail(throttle, String(name), '')
    assert.equal(await refusal(throttle, 'oldest', ''), 1)
    await fail(throttle, 'one more', '')
    assert.equal(await refusal(throttle, 'second', ''), 1)
    await fail(throttle, 'oldest', '')
  })

  test('never waits longer than the delay when the clock is set back', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', '', 5)
    clock.nowMs -= 3_600_000
    assert.equal(await refusal(throttle, 'a', ''), 1)
  })
})

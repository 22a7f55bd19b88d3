import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

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

const HOME = '192.0.2.1'

describe('sign-in throttle', { timeout: 300_000 }, () => {
  test('has an address wait 1, 2, 4, 8, 16, 30, 30 seconds after five failures', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', HOME, 5)
    for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
      assert.equal(await refusal(throttle, 'a', HOME), seconds)
      clock.nowMs += seconds * 1_000 - 1
      assert.equal(await refusal(throttle, 'a', HOME), 1)
      clock.nowMs += 1
      await fail(throttle, 'a', HOME)
    }
    await fail(throttle, 'b', '192.0.2.2')
  })

  test('has an address wait whatever the names, an IPv6 one by its /64', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    for (const name of ['a', 'b', 'c', 'd', 'e']) await fail(throttle, name, `2001:db8::${name}`)
    assert.equal(await refusal(throttle, 'f', '2001:db8:0:0:ffff::1'), 1)
    await fail(throttle, 'f', '2001:db8:0:1::1')
    await fail(throttle, 'f', '')
  })

  test('lets a name in at once where it has signed in before, whatever others try, there and elsewhere', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    ;(await admitted(throttle, 'root', HOME)).succeeded()
    for (let second = 0; second < 60; second++) {
      for (let address = 0; address < 12; address++) {
        const guess = throttle.enter('root', `198.51.100.${address}`)
        void guess.then((admission) => admission.kind === 'admitted' && admission.attempt.failed())
      }
      void throttle
        .enter('other', HOME)
        .then((admission) => admission.kind === 'admitted' && admission.attempt.failed())
      ;(await admitted(throttle, 'root', HOME)).succeeded()
      clock.nowMs += 1_000
    }
  })

  test('gives a name that is guessed at a turn within 2 s to a new address, and to a client without one', async (t) => {
    const started = performance.now()
    const throttle = new SignInThrottle(() => performance.now() - started)
    const guessing = { count: 0, isOver: false }
    const guess = async (address: string): Promise<void> => {
      while (!guessing.isOver) {
        const admission = await throttle.enter('root', address)
        if (admission.kind === 'refused') await pause(20)
        else {
          guessing.count += 1
          admission.attempt.failed()
        }
      }
    }
    const guessers = ['', ...Array.from({ length: 12 }, (_, index) => `198.51.100.${index}`)].map(guess)
    t.after(() => {
      guessing.isOver = true
    })
    await pause(1000)
    for (const [address, times] of [
      ['203.0.113.1', 1],
      ['', 3],
    ] as const) {
      for (let time = 0; time < times; time++) (await admitted(throttle, 'root', address)).succeeded()
    }
    guessing.isOver = true
    await Promise.all(guessers)
    const seconds = (performance.now() - started) / 1000
    assert.ok(guessing.count <= 15 + 4 * seconds, `${guessing.count} guesses in ${seconds} s`)
  })

  test('refuses who has failed most when many wait for a turn', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    for (let address = 0; address < 5; address++) await fail(throttle, 'root', `198.51.100.${address}`)
    const waiting = Array.from({ length: 8 }, (_, address) => throttle.enter('root', `198.51.100.${address}`))
    const newcomer = throttle.enter('root', '203.0.113.1')
    assert.deepEqual(await waiting[4], { kind: 'refused', seconds: 2 })
    assert.equal(await Promise.race([newcomer.then(() => 'let in'), Promise.resolve('waits')]), 'waits')
    assert.equal(await refusal(throttle, 'root', '198.51.100.4'), 2)
  })

  test('forgets everything after a quarter of an hour, and at success what failed here with this name', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', HOME, 4)
    ;(await admitted(throttle, 'a', HOME)).succeeded()
    await fail(throttle, 'a', HOME, 5)
    assert.equal(await refusal(throttle, 'a', HOME), 1)
    assert.equal(await refusal(throttle, 'b', HOME), 16)
    clock.nowMs += 15 * 60_000
    await fail(throttle, 'a', HOME, 5)
  })

  test('holds attempts at once beyond the free ones until one is decided', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    const outcomes = Array.from({ length: 20 }, () => throttle.enter('a', HOME))
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
    const succeed = async (address: string): Promise<void> => {
      ;(await admitted(throttle, 'a', address)).succeeded()
    }
    for (const address of [HOME, '']) await Promise.all(Array.from({ length: 100 }, () => succeed(address)))
  })

  test('lets one attempt at a time in after a wait', async () => {
    const clock = new HandClock()
    const throttle = new SignInThrottle(clock.read)
    await fail(throttle, 'a', HOME, 5)
    clock.nowMs += 1_000
    const first = await admitted(throttle, 'a', HOME)
    const second = throttle.enter('a', HOME)
    first.failed()
    assert.deepEqual(await second, { kind: 'refused', seconds: 2 })
  })

  test('counts nothing for an attempt that was not checked', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    for (let time = 0; time < 20; time += 1) (await admitted(throttle, 'a', HOME)).cancelled()
  })

  test('bounds the checks at once, and what it holds, but not for who has signed in before', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    ;(await admitted(throttle, 'root', HOME)).succeeded()
    const attempts = await Promise.all(
      Array.from({ length: 6 }, (_, index) => admitted(throttle, `a${index}`, `198.51.100.${index}`)),
    )
    const held = Array.from({ length: 256 }, (_, index) => throttle.enter(`b${index}`, `203.0.113.${index}`))
    await assert.rejects(
      throttle.enter('c', '203.0.113.9'),
      (error) => error instanceof AccountError && error.code === 'BUSY',
    )
    const known = throttle.enter('root', HOME)
    attempts[0]?.failed()
    assert.equal((await known).kind, 'admitted')
    void held
  })

  for (const [what, guesser, newcomer] of [
    ['many addresses of some networks', (one: number) => `198.51.${one % 4}.${one % 256}`, '192.0.2.1'],
    ['one network, but for its own address', (one: number) => `198.51.100.${one % 128}`, '198.51.100.200'],
    ['clients without an address', () => '', ''],
  ] as const) {
    test(`gives a name that nobody guesses at its turn whatever is tried for others by ${what}`, async () => {
      const throttle = new SignInThrottle(new HandClock().read)
      const attempts: Attempt[] = []
      for (let one = 0; one < 1000; one++) {
        throttle.enter(`user-${one % 100}`, guesser(one)).then(
          (admission) => admission.kind === 'admitted' && attempts.push(admission.attempt),
          () => {},
        )
      }
      const waiting = throttle.enter('root', newcomer)
      const progress = { isIn: false, checks: 0 }
      void waiting.then(() => (progress.isIn = true))
      while (!progress.isIn && progress.checks < 200) {
        progress.checks += 1
        attempts.shift()?.failed()
        for (let step = 0; step < 5; step++) await Promise.resolve()
      }
      assert.equal((await waiting).kind, 'admitted')
      assert.ok(progress.checks <= 101, `after ${progress.checks} checks`)
    })
  }

  test('bounds its table, and drops the oldest first', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    const addressOf = (number: number): string => `10.0.${number >> 8}.${number & 255}`
    await fail(throttle, 'oldest', addressOf(0), 5)
    await fail(throttle, 'second', addressOf(1), 5)
    for (let number = 2; number < 10_000; number += 1) await fail(throttle, String(number), addressOf(number))
    assert.equal(await refusal(throttle, 'oldest', addressOf(0)), 1)
    await fail(throttle, 'one more', addressOf(10_000))
    assert.equal(await refusal(throttle, 'x', addressOf(1)), 1)
    await fail(throttle, 'x', addressOf(0))
  })

  test('says who is held up, and forgets it when it is told to', async () => {
    const throttle = new SignInThrottle(new HandClock().read)
    await fail(throttle, 'root', HOME, 5)
    const heldUp = [
      { kind: 'address', name: null, address: HOME, failures: 5, seconds: 1 },
      { kind: 'name', name: 'root', address: null, failures: 5, seconds: 0 },
      { kind: 'name-at-address', name: 'root', address: HOME, failures: 5, seconds: 1 },
    ]
    assert.deepEqual(throttle.heldUp(), heldUp)
    throttle.clear({ name: 'other' })
    throttle.clear({ address: '192.0.2.2' })
    assert.deepEqual(throttle.heldUp(), heldUp)
    throttle.clear({ address: HOME })
    assert.deepEqual(throttle.heldUp(), heldUp.slice(1, 2))
    throttle.clear()
    assert.deepEqual(throttle.heldUp(), [])
    await fail(throttle, 'root', HOME)
  })
})

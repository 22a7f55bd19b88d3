import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { BusyError, Turns } from './turns.ts'

const BYTES = 65_536

describe('turns in which calls are read', { timeout: 300_000 }, () => {
  test('go round by address: one with many calls keeps another waiting for one', async () => {
    const turns = new Turns()
    const order: string[] = []
    const take = (address: string): Promise<number> => turns.take(address, BYTES, () => order.push(address))
    await Promise.all([take('192.0.2.1'), take('192.0.2.1'), take('192.0.2.1'), take('192.0.2.2')])
    assert.deepEqual(order, ['192.0.2.1', '192.0.2.2', '192.0.2.1', '192.0.2.1'])
  })

  test('are over before the next begins: what else waits for the event loop comes between', async () => {
    const turns = new Turns()
    const order: string[] = []
    const first = turns.take('', BYTES, () => order.push('first'))
    const second = turns.take('', BYTES, () => order.push('second'))
    await first
    setImmediate(() => order.push('else'))
    const third = turns.take('', BYTES, () => order.push('third'))
    await Promise.all([second, third])
    assert.deepEqual(order, ['first', 'second', 'else', 'third'])
  })

  test('are refused to the address that has most waiting when there is no room', async () => {
    const turns = new Turns()
    const many = Array.from({ length: 100 }, () => turns.take('192.0.2.1', BYTES, () => 'read'))
    const few = Array.from({ length: 4 }, (_, index) => turns.take(`192.0.2.${index + 2}`, BYTES, () => 'read'))
    const settled = await Promise.allSettled(many)
    assert.deepEqual(await Promise.all(few), ['read', 'read', 'read', 'read'])
    const refused = settled.filter((one) => one.status === 'rejected')
    assert.ok(refused.every(({ reason }) => reason instanceof BusyError))
    assert.ok(refused.length >= 88 && refused.length < 100, String(refused.length))
  })

  test('are kept for short calls where long ones of the same address fill the room', async () => {
    const turns = new Turns()
    const long = Array.from({ length: 100 }, () => turns.take('192.0.2.1', BYTES, () => 'read'))
    const short = turns.take('192.0.2.1', 300, () => 'short')
    const more = turns.take('192.0.2.1', BYTES, () => 'read')
    await Promise.all([assert.rejects(more, BusyError), Promise.allSettled(long)])
    assert.equal(await short, 'short')
  })

  test('are many when calls are short', async () => {
    const turns = new Turns()
    const read = await Promise.all(Array.from({ length: 1000 }, () => turns.take('192.0.2.1', 300, () => 'read')))
    assert.equal(read.length, 1000)
  })

  test('fail as the work does', async () => {
    const failure = new Error('no call')
    const take = new Turns().take('', 1, () => {
      throw failure
    })
    await assert.rejects(take, failure)
  })
})

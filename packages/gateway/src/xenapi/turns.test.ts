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

  test('are given up by an address for what its answers cost, and there are then as many for others', async () => {
    const turns = new Turns()
    const order: string[] = []
    const take = (address: string): Promise<number> => turns.take(address, 300, () => order.push(address))
    turns.charge('192.0.2.1', 1_000_000)
    await Promise.all([take('192.0.2.1'), ...Array.from({ length: 10 }, () => take('192.0.2.2'))])
    assert.deepEqual(order, [...Array.from({ length: 10 }, () => '192.0.2.2'), '192.0.2.1'])
    await take('192.0.2.1')
  })

  test('come after the answer of the call before, of the same address', async () => {
    const turns = new Turns()
    const order: string[] = []
    const take = async (call: string): Promise<void> => {
      await turns.take('192.0.2.1', 300, () => order.push(call))
      for (let step = 0; step < 20; step++) await Promise.resolve()
      order.push(`answer to ${call}`)
    }
    await Promise.all([take('first'), take('second')])
    assert.deepEqual(order, ['first', 'answer to first', 'second', 'answer to second'])
  })

  test('fail as the work does', async () => {
    const failure = new Error('no call')
    const take = new Turns().take('', 1, () => {
      throw failure
    })
    await assert.rejects(take, failure)
  })
})

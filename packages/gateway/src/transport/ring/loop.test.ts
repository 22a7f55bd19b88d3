import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { pair } from '../testing/peers.ts'
import { closeRing, strayCompletions, theLoop } from './loop.ts'
import { explain, probeRing } from './probe.ts'
import { ENTRY_OPERATION_FLAGS, OPCODE, Ring } from './ring.ts'
import { RING } from './transport.ts'

const DEADLINE = { timeout: 30_000 }
const POLLOUT = 4
const probed = probeRing()
const skip = probed.works ? false : probed.reason

test('while all are quiet, nothing turns', { ...DEADLINE, skip }, async (t) => {
  await pair(t, RING, 'tcp')
  await sleep(20)
  const { turn } = theLoop()
  await sleep(200)
  // The timer above is what there was to do, and what Node.js does about it.
  assert.ok(theLoop().turn - turn <= 4, `${theLoop().turn - turn} turns`)
})

test('while nothing is open, the loop rests, and begins again', { ...DEADLINE, skip }, async (t) => {
  for (let round = 0; round < 3; round++) {
    await t.test(`round ${round}`, async (inner) => {
      const { wire, heard, peer } = await pair(inner, RING, 'unix')
      peer.write('hello')
      await heard.untilText('hello')
      wire.destroy()
      await heard.until('closed')
    })
    await sleep(5)
    const { turn } = theLoop()
    await sleep(20)
    assert.equal(theLoop().turn, turn)
  }
})

test('a completion of an owner that is gone reaches nobody, and is counted', { ...DEADLINE, skip }, () => {
  const ring = new Ring(8, 16)
  const told: string[] = []
  // Nothing happens at all when the kernel is asked whether an unreadable descriptor is readable, but that can be cancelled.
  const first = ring.claim({ completed: () => told.push('first') })
  const at = ring.add(OPCODE.POLL_ADD, 0, first, 0, 0, 0)
  ring.entries[at + ENTRY_OPERATION_FLAGS] = 0
  ring.addCancel(first, 0, 1)
  ring.release(first)
  const second = ring.claim({ completed: () => told.push('second') })
  assert.equal(second, first)
  for (let call = 0; call < 4; call++) {
    ring.enter(0)
    ring.tell()
  }
  assert.deepEqual(told, [])
  assert.ok(ring.strayCount > 0)
  closeRing(ring)
  assert.equal(strayCompletions(), 0)
})

test('completions that there is no room for are news, and told when there is some', { ...DEADLINE, skip }, () => {
  const ring = new Ring(8, 8)
  const room = 8
  const told = new Set<number>()
  const slots = Array.from({ length: room + 3 }, (_, index) => {
    const slot = ring.claim({ completed: () => told.add(index) })
    const at = ring.add(OPCODE.POLL_ADD, 1, slot, 0, 0, 0)
    ring.entries[at + ENTRY_OPERATION_FLAGS] = POLLOUT
    return slot
  })
  ring.enter(0)
  assert.equal(slots.filter((slot) => ring.isWaiting(slot, 0)).length, room)
  assert.deepEqual([ring.hasNews, ring.isOverfull], [true, true])
  ring.tell()
  ring.enter(0)
  ring.tell()
  assert.deepEqual([told.size, ring.hasNews, ring.isOverfull], [slots.length, false, false])
  closeRing(ring)
})

test('why there is no ring is said in words', DEADLINE, () => {
  assert.match(explain(1), /^io_uring is forbidden \(EPERM\): /)
  assert.match(explain(38), /^io_uring is missing \(ENOSYS\): /)
  assert.match(explain(22), /Linux 6\.1/)
  assert.equal(explain(12), 'io_uring fails: ENOMEM')
})

test('where a filter forbids or hides io_uring, the probe says so', DEADLINE, () => {
  const filtered = (errno: number): string => {
    const script = join(import.meta.dirname, '..', 'testing', 'filtered.ts')
    const { stdout, stderr } = spawnSync(process.execPath, ['-C', '@xengate/source', script, `${errno}`])
    return `${stdout.toString()}${stderr.toString()}`
  }
  assert.match(filtered(1), /^{"works":false,"reason":"io_uring is forbidden \(EPERM\): /)
  assert.match(filtered(38), /^{"works":false,"reason":"io_uring is missing \(ENOSYS\): /)
})

test('a thread has no ring', DEADLINE, async () => {
  const worker = new Worker(
    `import(${JSON.stringify(new URL('probe.ts', import.meta.url).href)}).then(({ probeRing }) =>
       require('node:worker_threads').parentPort.postMessage(probeRing()))`,
    { eval: true, execArgv: ['-C', '@xengate/source'] },
  )
  const [probe] = (await once(worker, 'message')) as [unknown]
  assert.deepEqual(probe, { works: false, reason: 'io_uring is used by the main thread alone' })
  await worker.terminate()
})

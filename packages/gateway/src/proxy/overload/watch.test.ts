import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { OverloadState } from '../../model/overload.ts'
import { MemoryUse } from './memory.ts'
import { OverloadWatch, type OverloadWatchOptions } from './watch.ts'

const NEVER = { descriptors: Infinity, memory: Infinity, eventLoopDelayMs: Infinity }

function watchOf(options: Partial<OverloadWatchOptions>): {
  readonly watch: OverloadWatch
  readonly stages: OverloadState[]
} {
  const stages: OverloadState[] = []
  const watch = new OverloadWatch({
    config: NEVER,
    descriptorsMax: Number.POSITIVE_INFINITY,
    connections: () => 0,
    changed: (state) => stages.push(state),
    ...options,
  })
  return { watch, stages }
}

test('a single long turn of the event loop is no overload; being late again and again is', () => {
  const { watch, stages } = watchOf({ config: { ...NEVER, eventLoopDelayMs: 100 } })
  for (const lateMs of [5000, 1, 5000, 5000, 5000]) {
    watch.ticked(lateMs)
    watch.judge(0)
  }
  assert.equal(watch.stage, 0)
  watch.ticked(120)
  watch.judge(0)
  assert.deepEqual(stages, [{ stage: 3, resource: 'event-loop-delay', used: 120, limit: 100 }])
  // A clock that ticks rarely says nothing of the event loop.
  watch.rested()
  watch.judge(0)
  watch.judge(1000)
  assert.equal(watch.stage, 2)
})

test('a connection that takes one descriptor too many is noticed when it comes', () => {
  let connections = 0
  const others = readdirSync('/proc/self/fd').length - 1
  const { watch, stages } = watchOf({
    config: { ...NEVER, descriptors: 50 },
    descriptorsMax: 2 * (others + 100),
    connections: () => connections,
  })
  while (watch.stage < 4 && connections < 1000) {
    connections++
    watch.opening(0)
  }
  assert.deepEqual(
    stages.map(({ stage }) => stage),
    [1, 2, 3, 4],
  )
  const [first, , third] = stages
  assert.ok(first !== undefined && Math.abs(first.used - 0.8 * (others + 100)) <= 1)
  assert.ok(third !== undefined && Math.abs(third.used - (others + 100)) <= 1)
})

/** A system of which this is what a process sees of its control group. */
function system(t: TestContext, groups: string, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(root, { recursive: true }))
  for (const [path, text] of Object.entries({ 'proc/self/cgroup': groups, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), `${text}\n`)
  }
  return root
}

test('memory is that of the unit, without cached files, where that is nearer to its end than the heap', (t) => {
  const two = 'sys/fs/cgroup/system.slice/xengate.service'
  const unit = system(t, '0::/system.slice/xengate.service', {
    [`${two}/memory.max`]: '1000000',
    [`${two}/memory.current`]: '900000',
    [`${two}/memory.stat`]: 'anon 5\ninactive_file 100000\nactive_file 7',
  })
  assert.deepEqual(new MemoryUse(unit).at(0), { used: 800_000, limit: 1_000_000 })
  const one = 'sys/fs/cgroup/memory/system.slice/xengate.service'
  const older = system(t, '3:cpu:/\n2:memory:/system.slice/xengate.service\n0::/', {
    [`${one}/memory.limit_in_bytes`]: '1000000',
    [`${one}/memory.usage_in_bytes`]: '700000',
    [`${one}/memory.stat`]: 'inactive_file 1\ntotal_inactive_file 100000',
  })
  assert.deepEqual(new MemoryUse(older).at(0), { used: 600_000, limit: 1_000_000 })
  const heap = new MemoryUse(system(t, '', {})).at(0).limit
  // Of what is not the unit's alone, or has no limit, nothing is taken.
  const others: readonly (readonly [groups: string, files: Readonly<Record<string, string>>])[] = [
    ['0::/', { 'sys/fs/cgroup/memory.max': '10', 'sys/fs/cgroup/memory.current': '10' }],
    ['0::/user.slice/a.scope', { 'sys/fs/cgroup/user.slice/a.scope/memory.max': '10' }],
    ['0::/system.slice/xengate.service', { [`${two}/memory.max`]: 'max', [`${two}/memory.current`]: '1' }],
    ['2:memory:/system.slice/xengate.service', { [`${one}/memory.limit_in_bytes`]: '9223372036854771712' }],
  ]
  for (const [groups, files] of others) assert.equal(new MemoryUse(system(t, groups, files)).at(0).limit, heap)
})

test('memory is that of the heap elsewhere', () => {
  const { used, limit } = new MemoryUse().at(0)
  assert.ok(used > 1_000_000 && limit > used)
  const { watch, stages } = watchOf({ config: { ...NEVER, memory: (100 * used) / limit / 2 } })
  watch.judge(0)
  assert.equal(watch.stage, 4)
  assert.equal(stages[0]?.resource, 'memory')
})

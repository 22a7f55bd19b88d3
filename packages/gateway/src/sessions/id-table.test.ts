import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { IdTable } from './id-table.ts'

interface Entry {
  readonly id: string
}

const MAX = 1_000_000

test('whatever is added and removed, what is there is found and nothing else', () => {
  // Few ids, most of which end alike, so that they stand in each other's way.
  const id = fc
    .tuple(fc.nat(400), fc.boolean())
    .map(([number, endsAlike]) => `${number}${endsAlike ? '-the-same-end' : ''}`)
  const step = fc.record({ id, isAdded: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 3000, size: 'max' }), (steps) => {
      const table = new IdTable<Entry>(MAX, () => assert.fail('it is not full'))
      const model = new Map<string, Entry>()
      for (const { id: key, isAdded } of steps) {
        if (isAdded) {
          const entry = { id: key }
          table.add(entry)
          model.set(key, entry)
        } else {
          table.remove(key)
          model.delete(key)
        }
      }
      assert.equal(table.size, model.size)
      for (let number = 0; number <= 400; number++) {
        for (const key of [String(number), `${number}-the-same-end`]) assert.equal(table.find(key), model.get(key))
      }
      assert.deepEqual(new Set(table.all()), new Set(model.values()))
    }),
    { numRuns: 50 },
  )
})

test('it grows, and shrinks to nothing', () => {
  const table = new IdTable<Entry>(MAX, () => assert.fail('it is not full'))
  const entries = Array.from({ length: 20_000 }, () => ({ id: `OpaqueRef:${randomUUID()}` }))
  for (const entry of entries) table.add(entry)
  for (const entry of entries) assert.equal(table.find(entry.id), entry)
  for (const { id } of entries) table.remove(id)
  assert.equal(table.size, 0)
  assert.deepEqual(table.all(), [])
  for (const { id } of entries) assert.equal(table.find(id), undefined)
})

test('past its limit one goes, never the new one, and is told of', () => {
  const dropped = new Set<string>()
  const table = new IdTable<Entry>(100, ({ id }) => dropped.add(id))
  for (let index = 0; index < 1000; index++) {
    const entry = { id: `id${index}` }
    table.add(entry)
    assert.equal(table.find(entry.id), entry)
  }
  assert.equal(table.size, 100)
  assert.equal(dropped.size, 900)
  for (let index = 0; index < 1000; index++)
    assert.equal(table.find(`id${index}`) === undefined, dropped.has(`id${index}`))
})

test('an entry takes the place of one with its id, also when the table is full', () => {
  const dropped: Entry[] = []
  const table = new IdTable<Entry>(2, (entry) => dropped.push(entry))
  const [one, other, again] = [{ id: 'one' }, { id: 'other' }, { id: 'one' }]
  for (const entry of [one, other, again]) table.add(entry)
  assert.deepEqual(dropped, [])
  assert.equal(table.find('one'), again)
  assert.equal(table.find('other'), other)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { BoundedMap } from './bounded-map.ts'

test('the entry that comes first goes, and is told of', () => {
  const dropped: string[] = []
  const map = new BoundedMap<string, number>(2, (key, value) => dropped.push(`${key}${value}`))
  map.set('a', 1).set('b', 2).set('a', 3)
  assert.deepEqual([...map.keys()], ['a', 'b'])
  map.set('c', 4)
  assert.deepEqual(
    [...map],
    [
      ['b', 2],
      ['c', 4],
    ],
  )
  assert.deepEqual(dropped, ['a3'])
})

test('an entry that is put last stays longer', () => {
  const map = new BoundedMap<string, number>(2)
  map.set('a', 1).set('b', 2)
  map.setLast('a', 3)
  map.set('c', 4)
  assert.deepEqual(
    [...map],
    [
      ['a', 3],
      ['c', 4],
    ],
  )
})

// docs/security.md names tests for every defence, and every family of desync: they are there.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { VECTORS } from './desync/vectors.ts'
import { RESPONSE_VECTORS } from './desync/vectors-responses.ts'

const ROOT = dirname(import.meta.dirname)
const PAGE = readFileSync(join(ROOT, 'docs/security.md'), 'utf8')
const FAMILIES = 92

/** Rows that end in a test: its file and what it is called, or a part of that. */
const ROWS = [...PAGE.matchAll(/^\|(.*)\| `([^`]+\.test\.ts)` · (.*?) *\|$/gm)].map(
  ([, row = '', file = '', name = '']) => {
    return { row, file, name }
  },
)

test('every test that docs/security.md names is there', () => {
  assert.ok(ROWS.length > 40)
  for (const { file, name } of ROWS) {
    assert.ok(readFileSync(join(ROOT, file), 'utf8').includes(name), `${file} has no test ${name}`)
  }
  const defences = PAGE.slice(PAGE.indexOf('## Defences'), PAGE.indexOf('## Request'))
  const rows = defences.split('\n').filter((line) => /^\| (?!against |---)/.test(line))
  for (const row of rows) assert.match(row, /\| `[^`]+\.test\.ts` · .* \|$/)
})

test('every family of desync has vectors, or a row that names a test', () => {
  const families = new Set<number>([...VECTORS, ...RESPONSE_VECTORS].map(({ family }) => family))
  for (const { row } of ROWS) families.add(Number(/^ (\d+) \|/.exec(row)?.[1]))
  const missing = Array.from({ length: FAMILIES }, (_, index) => index + 1).filter((family) => !families.has(family))
  assert.deepEqual(missing, [])
})

// docs/operations.md, the alert rules and the dashboard are about the metrics and reasons that there are.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { Counters, WAY } from '../packages/gateway/src/metrics/counters.ts'
import { exposition } from '../packages/gateway/src/metrics/exposition.ts'
import { FAMILIES } from '../packages/gateway/src/metrics/families.ts'
import { Sums } from '../packages/gateway/src/metrics/sums.ts'
import { END_REASONS } from '../packages/gateway/src/model/reasons.ts'

const DOCS = join(dirname(import.meta.dirname), 'docs')

function read(path: string): string {
  return readFileSync(join(DOCS, path), 'utf8')
}

test('docs/operations.md has every metric with its type and its labels, and no other', () => {
  const rows = [...read('operations.md').matchAll(/^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) \|/gm)].map(
    ([, name, type, labels]) => `${name} ${type} ${labels}`,
  )
  const made = Object.entries(FAMILIES).map(([name, { kind, labels }]) => {
    return `${name} ${kind === 'latest' ? 'gauge' : kind} ${labels.map((label) => `\`${label}\``).join(', ')}`
  })
  assert.deepEqual(rows, made)
})

test('docs/operations.md has every reason with who and where, and no other', () => {
  const rows = [...read('operations.md').matchAll(/^\| `([a-z0-9.-]+)` \| (\w+) \| (\w+) \| (.*) \|$/gm)]
    .filter(([, , by]) => !['counter', 'gauge', 'histogram'].includes(by ?? ''))
    .map(([, name, by, phase, text]) => [name, by, phase, text])
  assert.deepEqual(
    rows,
    Object.entries(END_REASONS).map(([name, { by, phase, text }]) => [name, by, phase, text]),
  )
})

for (const path of ['monitoring/alerts.yaml', 'monitoring/grafana.json']) {
  test(`docs/${path} asks for metrics that there are, by labels that they have`, () => {
    const text = read(path)
    const names = [...text.matchAll(/\b(?:xengate|process|nodejs)_\w+/g)].map(([name]) => name)
    assert.ok(names.length > 10)
    for (const name of names) {
      const family = name.replace(/_(?:bucket|sum|count)$/, '')
      assert.ok(Object.hasOwn(FAMILIES, name) || Object.hasOwn(FAMILIES, family), name)
    }
  })
}

test('every alert is explained', () => {
  const alerts = [...read('monitoring/alerts.yaml').matchAll(/- alert: (\w+)/g)].map(([, name]) => name ?? '')
  assert.ok(alerts.length > 5)
  const page = read('operations.md')
  for (const name of alerts) assert.ok(page.includes(`\`${name}\``), name)
})

const hasPromtool = spawnSync('promtool', ['--version']).error === undefined

test('promtool takes the alert rules and the metrics', { skip: hasPromtool ? false : 'promtool is not there' }, () => {
  const rules = spawnSync('promtool', ['check', 'rules', join(DOCS, 'monitoring/alerts.yaml')], { encoding: 'utf8' })
  assert.equal(rules.status, 0, rules.stdout + rules.stderr)
  const counters = Counters.private()
  const sums = new Sums()
  sums.add(counters.memory)
  const service = counters.service('com.example.work')
  service.began()
  service.ended('GET', 200, WAY.RELAY, 1, 2)
  counters.logged('warn', 'something', 1)
  const metrics = spawnSync('promtool', ['check', 'metrics'], { encoding: 'utf8', input: exposition(sums.all()) })
  assert.equal(metrics.status, 0, metrics.stdout + metrics.stderr)
})

// The documentation says what the code does, both ways.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { REASONS } from '@xengate/http1'
import { parse } from 'smol-toml'
import { configReference } from '../packages/gateway/src/config/documentation.ts'
import { parseConfig } from '../packages/gateway/src/config/schema.ts'
import * as refusals from '../packages/gateway/src/proxy/refusals.ts'

const ROOT = dirname(import.meta.dirname)

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

test('docs/configuration.md is what the schema says', () => {
  assert.equal(
    read('docs/configuration.md'),
    configReference(),
    'write it anew: npx xengate config-schema --reference > docs/configuration.md',
  )
})

test('docs/http.md has every refusal, and no other', () => {
  const rows = [...read('docs/http.md').matchAll(/^\| (\d{3}) \| `([a-z-]+)` \|/gm)].map(
    ([, status, code]) => `${status} ${code}`,
  )
  const made = [
    ...Object.values(refusals).filter((value) => typeof value === 'object'),
    refusals.elsewhere(''),
    refusals.methodNotAllowed([]),
  ].map(({ status, code }) => `${status} ${code}`)
  // Some differ in their text, or in what the log says, alone.
  assert.deepEqual(rows.toSorted(), [...new Set(made)].toSorted())
})

test('docs/http.md has every reason to refuse a message, and no other', () => {
  const rows = [...read('docs/http.md').matchAll(/^\| `([a-z0-9.-]+)` \| (.*?)(?: \(\d{3}\))? \|$/gm)].map(
    ([, code, text]) => [code, text],
  )
  assert.deepEqual(rows, Object.entries(REASONS))
})

test('every configuration on the pages is one', () => {
  const pages = globSync(['*.md', 'docs/*.md'], { cwd: ROOT })
  const samples = pages.flatMap((page) =>
    [...read(page).matchAll(/^( *)```toml\n([^]*?)^ *```/gm)].map(([, indent = '', text = '']) => {
      return { page, text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), '') }
    }),
  )
  assert.ok(samples.length > 2)
  for (const { page, text } of samples) {
    const parsed = parseConfig(parse(text), '/')
    assert.ok(parsed.ok, `${page}: ${JSON.stringify(parsed)} in\n${text}`)
  }
})

test('docs/scale.md shows what was measured', () => {
  const [, , ...measured] = read('bench/results/scale/scale.md').trimEnd().split('\n')
  assert.ok(read('docs/scale.md').includes(measured.join('\n')), 'take over the table of bench/results/scale/scale.md')
})

test('every test that docs/conformance.md names is there', () => {
  const cited = [...read('docs/conformance.md').matchAll(/`([\w./-]+\.test\.ts)`: “([^”]+)”/g)]
  assert.ok(cited.length > 20, `only ${cited.length} tests are named`)
  for (const [, path = '', title = ''] of cited) {
    assert.ok(read(path).includes(title), `${path} has no test “${title}”`)
  }
})

test('every link between pages leads somewhere', () => {
  const pages = globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md'], { cwd: ROOT })
  assert.ok(pages.length > 5)
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)) {
      assert.ok(globSync(join(dirname(page), target), { cwd: ROOT }).length === 1, `${page} links to ${target}`)
    }
  }
})

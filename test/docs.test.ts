// The documentation says what the code does, both ways.

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { REASONS } from '@xengate/http1'
import { parse } from 'smol-toml'
import { configReference } from '../packages/gateway/src/config/documentation.ts'
import { parseConfig } from '../packages/gateway/src/config/schema.ts'
import * as refusals from '../packages/gateway/src/proxy/heads/refusals.ts'
import { blocksOf, PAGES } from './harness/pages.ts'

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
    refusals.responseInvalid('bare-lf'),
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
  const samples = PAGES.flatMap((page) => {
    return blocksOf(page).flatMap(({ language, text }) => (language === 'toml' ? [{ page, text }] : []))
  })
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

/** The specification as one line of words: without headings, the table of versions, bullets and emphasis. */
function specificationText(): string {
  const body = read('docs/custom-services-api.md').replaceAll(/^.*\n[=-]{3,}$/gm, '')
  const withoutVersions = body.replace(/^ +Date +State\n[^]*?\n(?=_Draft_)/m, '').replace('_Draft_', 'Draft')
  const words = withoutVersions
    .replaceAll(/^ *\* /gm, '')
    .replaceAll('*', '')
    .replace(/\bTBD\b/, '')
  return words.replaceAll(/\s+/g, ' ').trim()
}

test('docs/conformance.md quotes every sentence of the specification, in its order', () => {
  const quotes = [...read('docs/conformance.md').matchAll(/^\| “([^”]+)” \| (.+) \|$/gm)].map(([, quote]) => quote)
  assert.equal(quotes.join(' '), specificationText())
})

test('every test that docs/conformance.md names is there, by that name', () => {
  const page = read('docs/conformance.md')
  const cited = [...page.matchAll(/`([\w./-]+\.test\.ts)`: “([^”]+)”/g)]
  assert.ok(cited.length > 30, `only ${cited.length} tests are named`)
  for (const [, path = '', title = ''] of cited) {
    const source = read(path)
    // A name may begin with what it is made of.
    const isThere = ["'", '"', '`', '} '].some((before) => /['"`]/.test(source.split(before + title)[1]?.[0] ?? ''))
    assert.ok(isThere, `${path} has no test “${title}”`)
  }
  for (const [, path = ''] of page.matchAll(/`([\w./-]+\.test\.ts)`/g)) assert.ok(existsSync(join(ROOT, path)), path)
})

test('docs/operate.md, or a page that it links to, has every event of the log', () => {
  const pages = ['operate', 'pool', 'log-events'].map((page) => read(`docs/${page}.md`)).join('\n')
  const files = globSync('packages/gateway/src/{cli,process,proxy,logging,xenapi,services}/**/*.ts', { cwd: ROOT })
  const sources = files.filter((file) => !/test|level\.ts/.test(file)).map((file) => read(file))
  const events = sources.flatMap((source) =>
    [...source.matchAll(/\bevent: '([a-z-]+)'/g)].map(([, event = '']) => event),
  )
  assert.ok(events.length > 20)
  for (const event of new Set(events)) assert.ok(pages.includes(`\`${event}\``), `${event} is told nowhere`)
})

test('every link between pages leads somewhere', () => {
  const pages = globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md', 'libraries/*/README.md'], { cwd: ROOT })
  assert.ok(pages.length > 5)
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)) {
      assert.ok(globSync(join(dirname(page), target), { cwd: ROOT }).length === 1, `${page} links to ${target}`)
    }
  }
})

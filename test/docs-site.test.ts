// The documentation as pages: no link is broken, the gateway serves them, people find what is in them, and nothing keeps anybody out.

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { END_REASONS } from '../packages/gateway/src/model/reasons.ts'
import * as refusals from '../packages/gateway/src/proxy/heads/refusals.ts'
import { pageOf } from '../packages/gateway/src/proxy/heads/refusals.ts'
import { builtApp } from './harness/app.ts'
import { accessibilityProblems, openBrowser, openPage } from './harness/browser.ts'
import { run } from './harness/child.ts'
import { startDaemon } from './harness/daemon.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const ROOT = dirname(import.meta.dirname)
const DEADLINE = { timeout: 110_000 }

/** The site, made anew. @returns where it is, and its pages by their files */
async function makeSite(scope: Scope): Promise<{ readonly directory: string; readonly pages: Map<string, string> }> {
  const directory = join(await scope.directory(), 'docs')
  const { code, stderr } = await run(scope, process.execPath, [
    '-C',
    '@xengate/source',
    join(ROOT, 'scripts/docs-site.ts'),
    directory,
  ])
  assert.equal(code, 0, stderr)
  const files = globSync('**/*.html', { cwd: directory })
  return { directory, pages: new Map(files.map((file) => [file, readFileSync(join(directory, file), 'utf8')])) }
}

test('every page is reached from the first, and no link and no fragment is broken', DEADLINE, async (t) => {
  const { directory, pages } = await makeSite(scopeOf(t))
  assert.ok(pages.size > 100)
  const broken: string[] = []
  const reached = new Set(['index.html'])
  for (const file of reached) {
    for (const [, href = ''] of (pages.get(file) ?? '').matchAll(/(?:href|src)="([^"]*)"/g)) {
      if (/^[a-z]+:/.test(href)) continue
      const [to = '', fragment] = href.split('#')
      const found = to === '' ? file : normalize(join(dirname(file), to))
      if (!existsSync(join(directory, found))) broken.push(`${file}: ${href}`)
      if (fragment !== undefined && !pages.get(found)?.includes(` id="${fragment}"`)) broken.push(`${file}: ${href}`)
      if (pages.has(found)) reached.add(found)
    }
  }
  assert.deepEqual(broken, [])
  assert.deepEqual(
    [...pages.keys()].filter((file) => !reached.has(file)),
    [],
  )
  assert.equal(pages.get('start.html'), pages.get('index.html'))
})

test('what stands in angle brackets is text, on the pages and in the search', DEADLINE, async (t) => {
  const { directory, pages } = await makeSite(scopeOf(t))
  const passages = JSON.parse(readFileSync(join(directory, 'passages.json'), 'utf8')) as {
    page: string
    text: string
  }[]
  for (const { code, text } of Object.values(refusals).filter((value) => typeof value === 'object')) {
    const shown = text.replaceAll('<', '&lt;').replaceAll('>', '&gt;')
    assert.ok(pages.get(`answers/${code}.html`)?.includes(shown), text)
    assert.ok(
      passages.some((passage) => passage.page === code && passage.text.includes(text)),
      text,
    )
  }
  assert.equal(pages.get('answers.html')?.split('/services/plugin/&lt;name&gt;').length, 3)
  assert.ok(pages.get('conformance.html')?.includes('&lt;well known service name&gt;'))
})

test('the commonest answers say what to do, and links have titles for their text', DEADLINE, async (t) => {
  const { pages } = await makeSite(scopeOf(t))
  for (const [code, ...parts] of [
    [
      'service-unknown',
      'npx xengate services',
      'npx xengate explain ID',
      'service-stale.html',
      'service-no-socket.html',
    ],
    ['session-missing', 'npx xengate login', '../calls.html'],
    ['session-invalid', 'npx xengate login', '../calls.html'],
    ['service-stale', '../services.html'],
  ])
    for (const part of parts) assert.ok(pages.get(`answers/${code}.html`)?.includes(part), `${code}: ${part}`)
  const named = [...pages].flatMap(([file, html]) =>
    [...html.matchAll(/<a href="[^"]*">(?:<code>)?[\w./-]+\.md(?:<\/code>)?<\/a>/g)].map(
      ([link]) => `${file}: ${link}`,
    ),
  )
  assert.deepEqual(named, [])
})

test(
  'an answer of the gateway leads to the page about its code, and every code and reason has one',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    const refused = await fetch(`${daemon.url}/services/plugin/x`)
    assert.equal(refused.headers.get('link'), '</xengate/docs/answers/session-missing.html>; rel="help"')
    const pageAt = async (code: string): Promise<Response> => fetch(new URL(pageOf(code), daemon.url))
    assert.match(await (await pageAt('session-missing')).text(), /<h1[^>]*>session-missing<\/h1>/)
    const made = Object.values(refusals).filter((value) => typeof value === 'object')
    for (const code of new Set([
      ...made.map((refusal) => refusal.code),
      'response-invalid',
      ...Object.keys(END_REASONS),
    ])) {
      const page = await pageAt(code)
      await page.body?.cancel()
      assert.equal(page.status, 200, code)
    }
    const session = await daemon.login()
    const argv = ['get', 'com.example.none', '--url', daemon.url]
    const env = { ...process.env, XENGATE_SESSION: session, XDG_CONFIG_HOME: daemon.place.directory }
    const { stderr } = await run(scope, process.execPath, [await builtApp(), ...argv], { env })
    assert.match(stderr, /\[service-unknown\]\n[^]*^see: http:\/\/\S+\/xengate\/docs\/answers\/service-unknown\.html$/m)
    const { url } = await startDaemon(scope, { tables: '[control]\ndashboard = false\n' })
    const plain = await fetch(`${url}/services/plugin/x`)
    assert.deepEqual([plain.status, plain.headers.get('link')], [403, null])
  },
)

test('the gateway serves them, at / and below /xengate/, and a search finds a passage', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  for (const path of ['/docs', '/xengate/docs']) {
    const response = await fetch(`${daemon.url}${path}`)
    assert.deepEqual([response.status, response.url], [200, `${daemon.url}${path}/`])
    await response.text()
  }
  const { page, problems } = await openPage(await openBrowser(scope))
  await page.goto(`${daemon.url}/docs/`)
  assert.equal(await page.title(), 'Start in five minutes · Xengate')
  await page.getByRole('searchbox').fill('stale-grace')
  await page.locator('#found a').first().waitFor()
  assert.match(await page.getByRole('status').innerText(), /^\d+ found$/)
  await page.getByRole('searchbox').fill('session-missing')
  await page.locator('#found').getByText('session-missing').first().click()
  await page.getByRole('heading', { name: 'session-missing' }).waitFor()
  for (const file of ['', 'calls.html', 'http.html', 'configuration.html', 'performance.html', 'answers.html']) {
    await page.goto(`${daemon.url}/docs/${file}`)
    assert.deepEqual(await accessibilityProblems(page), [], file)
  }
  await page.emulateMedia({ colorScheme: 'dark' })
  assert.deepEqual(await accessibilityProblems(page), [])
  assert.deepEqual(problems, [])
})

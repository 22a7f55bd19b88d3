// The documentation as pages: no link is broken, the gateway serves them, people find what is in them, and nothing keeps anybody out.

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { END_REASONS } from '../packages/gateway/src/model/reasons.ts'
import * as refusals from '../packages/gateway/src/proxy/heads/refusals.ts'
import { pageOf } from '../packages/gateway/src/proxy/heads/refusals.ts'
import { builtApp } from './harness/app.ts'
import { accessibilityProblems, openBrowser, openPage } from './harness/browser.ts'
import { Child, run } from './harness/child.ts'
import { startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'

const ROOT = dirname(import.meta.dirname)
const DEADLINE = { timeout: 110_000 }

test('every page is reached from the first, and no link and no fragment is broken', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const directory = join(await scope.directory(), 'docs')
  const { code, stderr } = await run(scope, process.execPath, [
    '-C',
    '@xengate/source',
    join(ROOT, 'scripts/docs-site.ts'),
    directory,
  ])
  assert.equal(code, 0, stderr)
  const pages = new Map(
    globSync('**/*.html', { cwd: directory }).map((file) => [file, readFileSync(join(directory, file), 'utf8')]),
  )
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

/** The blocks of a page, in their order. */
function blocksOf(path: string, language: string): string[] {
  const page = readFileSync(join(ROOT, path), 'utf8')
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map(([, text = '']) => text)
}

test('what the first pages say to type works, from the gateway to a service of your own', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const cwd = await scope.directory()
  const main = await builtApp()
  const env = {
    ...process.env,
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
    XDG_CONFIG_HOME: join(cwd, 'config'),
    PYTHONDONTWRITEBYTECODE: '1',
    NODE_TEST_CONTEXT: undefined,
    // A relative one would be made here.
    NODE_COMPILE_CACHE: undefined,
  }
  const dev = new Child(scope, process.execPath, [main, 'dev', '--port', '0'], { cwd, env })
  const url = await dev.printed(({ stdout }) => /^xengate ready at (\S+)\n[^]*clock/m.exec(stdout)?.[1], 'the gateway')
  const here = (text: string): string =>
    text.replaceAll('http://127.0.0.1:8080', url).replaceAll('npx xengate', `${process.execPath} ${main}`)
  const typed = async (block: string): Promise<string> => {
    const { code, stdout, stderr } = await run(scope, 'sh', ['-e', '-c', here(block)], {
      cwd,
      env: { ...env, XENGATE_URL: url },
    })
    assert.equal(code, 0, `${block}\n${stdout}${stderr}`)
    return stdout + stderr
  }

  const [begin = '', look = '', write = '', call = ''] = blocksOf('docs/start.md', 'sh')
  assert.match(begin, /^npm ci && npm start$/m)
  assert.match(await typed(look), /Hello root/)
  const [create = '', start = ''] = write.trim().split('\n')
  await typed(create)
  const service = new Child(scope, 'sh', ['-c', `exec ${start}`], { cwd, env })
  scope.onFailure(() => service.stderr)
  const socket = `unix:${join(cwd, '.xengate/plugin/com.example.hello')}`
  const probe = await until(() => RawClient.connect(socket).catch(() => undefined), 'the service')
  probe.destroy()
  assert.match(await typed(call), /hello root\n[^]*OK/)

  await writeFile(join(cwd, 'README.md'), 'what is sent\n')
  for (const block of blocksOf('docs/calls.md', 'sh')) {
    assert.match(await typed(block), /Hello root/)
    assert.equal(readFileSync(join(cwd, 'copy'), 'utf8'), 'what is sent\n')
    rmSync(join(cwd, 'copy'))
  }
  symlinkSync(join(ROOT, 'node_modules'), join(cwd, 'node_modules'))
  const [python = ''] = blocksOf('docs/calls.md', 'python')
  const [script = ''] = blocksOf('docs/calls.md', 'js')
  await writeFile(join(cwd, 'call.py'), here(python))
  await writeFile(join(cwd, 'call.mjs'), here(script))
  assert.match(await typed('python3 call.py'), /Hello root/)
  assert.match(await typed('node -C @xengate/source call.mjs'), /Hello root/)
})

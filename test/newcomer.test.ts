// A newcomer's path: the packages, packed as they would be published, installed elsewhere and run.

import assert from 'node:assert/strict'
import { existsSync, globSync, statSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join } from 'node:path'
import { before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Child, type Ran, run } from './harness/child.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PACKAGES = ['http1', 'channel', 'client', 'service', 'gateway'].map((name) => join(ROOT, 'packages', name))

/** What npm may take from around it: where its registry and cache are, and nothing about the checkout. */
const NPM_SETTINGS = /^npm_config_(?:registry|cache|userconfig|globalconfig|cafile|(?:https?_)?proxy|noproxy)$/i

/** An environment in which npm, npx and the installed commands run on this Node.js and know nothing of this checkout. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^npm_|^NODE_(?:OPTIONS|TEST_CONTEXT)$/i.test(name) || NPM_SETTINGS.test(name),
  )
  return {
    ...Object.fromEntries(own),
    PATH: [dirname(process.execPath), process.env['PATH'] ?? ''].join(delimiter),
    NO_COLOR: '1',
    npm_config_update_notifier: 'false',
  }
}

/** Runs a command that has to succeed. */
async function succeed(scope: Scope, cwd: string, command: string, ...argv: string[]): Promise<Ran> {
  const ran = await run(scope, command, argv, { cwd, env: cleanEnvironment(), deadlineMs: 100_000 })
  assert.equal(ran.code, 0, `${command} ${argv.join(' ')}:\n${ran.stdout}${ran.stderr}`)
  return ran
}

/** Whether a package's `dist` is not there, or older than its sources. */
function needsBuild(directory: string): boolean {
  const newest = (pattern: string): number =>
    Math.max(0, ...globSync(pattern, { cwd: directory }).map((path) => statSync(join(directory, path)).mtimeMs))
  return !existsSync(join(directory, 'dist')) || newest('dist/**/*.js') < newest('src/**/*.ts')
}

describe('the packed packages, installed elsewhere', { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  let app: string
  before(async () => {
    if (PACKAGES.some((directory) => needsBuild(directory))) await succeed(suite, ROOT, 'npm', 'run', 'build')
    const directory = await suite.directory()
    const tarballs: string[] = []
    for (const path of PACKAGES) {
      const { stdout } = await succeed(suite, path, 'npm', 'pack', '--json', '--pack-destination', directory)
      tarballs.push(...globSync('*.tgz', { cwd: directory }).map((name) => join(directory, name)))
      assert.doesNotMatch(stdout, /"path": "src\/|\.test\./)
    }
    app = join(directory, 'app')
    await mkdir(app)
    await writeFile(join(app, 'package.json'), '{ "private": true, "type": "module" }\n')
    const quietly = ['--no-audit', '--no-fund', '--prefer-offline']
    await succeed(suite, app, 'npm', 'install', ...quietly, ...new Set(tarballs))
  })

  test('npx xengate --version prints the version', async (t) => {
    const { stdout } = await succeed(scopeOf(t), app, 'npx', '--no', 'xengate', '--version')
    assert.match(stdout, /^\d+\.\d+\.\d+/)
  })

  test('npx xengate check-config accepts the sample that config-schema prints', async (t) => {
    const scope = scopeOf(t)
    const { stdout } = await succeed(scope, app, 'npx', '--no', 'xengate', 'config-schema', '--sample')
    await writeFile(join(app, 'xengate.toml'), stdout)
    const { stderr } = await succeed(scope, app, 'npx', '--no', 'xengate', 'check-config', '--config', 'xengate.toml')
    assert.match(stderr, /xengate\.toml: valid/)
  })

  test('xengate dev becomes ready, serves its demo and stops', async (t) => {
    const scope = scopeOf(t)
    const command = join(app, 'node_modules/.bin/xengate')
    const child = new Child(scope, command, ['dev', '--port', '0'], { cwd: app, env: cleanEnvironment() })
    const url = await child.printed(({ stdout }) => /^xengate ready at (\S+)$/m.exec(stdout)?.[1], 'the ready line')
    const response = await exchange(url, 'GET /services/plugin/org.xengate.demo HTTP/1.1\r\nHost: gate\r\n\r\n')
    assert.equal(response.status, 403)
    child.signal('SIGTERM')
    assert.deepEqual(await child.exited, { code: 0, signal: null })
  })

  test('@xengate/http1 is imported, and parses a head', async (t) => {
    const script = `
      import { FieldNames, HEAD, RequestHead } from '@xengate/http1'
      const head = new RequestHead(new FieldNames([]), { headBytesMax: 1024, targetBytesMax: 512 })
      const bytes = Buffer.from('PUT /a?b HTTP/1.1\\r\\nHost: c\\r\\nContent-Length: 3\\r\\n\\r\\n')
      const isComplete = head.parse(bytes, 0, bytes.length) === HEAD.COMPLETE
      console.log(JSON.stringify([isComplete, head.method, head.target, head.host, head.contentLength]))
    `
    await writeFile(join(app, 'use.js'), script)
    const { stdout } = await succeed(scopeOf(t), app, process.execPath, 'use.js')
    assert.deepEqual(JSON.parse(stdout), [true, 'PUT', '/a?b', 'c', 3])
  })
})

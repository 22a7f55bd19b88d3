// `xengate new service`: each service that it makes, started as its README says beside `xengate dev`, called, and tested by its own test.

import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { Child, run } from './harness/child.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { goEnvironment, hasGo } from './service-libraries/library.ts'

const ROOT = dirname(import.meta.dirname)
const XENGATE = ['-C', '@xengate/source', join(ROOT, 'packages/gateway/src/main.ts')]
const NAME = 'com.example.new'
const DEADLINE = { timeout: 110_000 }
// Node.js as its command finds it, and no bytecode left beside the sources.
const ENV = {
  ...goEnvironment(),
  PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
  NODE_OPTIONS: '',
  // The test of the service is a run of its own, and a cache with a relative path would be made beside it.
  NODE_TEST_CONTEXT: undefined,
  NODE_COMPILE_CACHE: undefined,
  PYTHONDONTWRITEBYTECODE: '1',
}

/** Runs `xengate` in `cwd`. */
function xengate(scope: Scope, cwd: string, ...argv: readonly string[]): ReturnType<typeof run> {
  return run(scope, process.execPath, [...XENGATE, ...argv], { cwd, env: ENV })
}

/** The blocks of a README's section that are for the shell, each as its commands. */
function blocksOf(directory: string, section: string): string[][] {
  const readme = readFileSync(join(directory, 'README.md'), 'utf8')
  const text = readme.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? ''
  return [...text.matchAll(/```sh\n([^]*?)```/g)].map(([, block = '']) => block.trim().split('\n'))
}

const FILES = {
  typescript: ['README.md', `${NAME}.service`, `${NAME}.socket`, 'package.json', 'service.test.ts', 'service.ts'],
  python: ['README.md', `${NAME}.service`, `${NAME}.socket`, 'service.py', 'test_service.py', 'xengate_service.py'],
  go: ['README.md', `${NAME}.service`, `${NAME}.socket`, 'go.mod', 'service.go', 'service_test.go', 'xengate'],
  c: ['README.md', `${NAME}.service`, `${NAME}.socket`, 'service.c', 'test_service.sh'],
} as const

/** What says that each of a service's four tests has passed. */
const FOUR_TESTS = {
  typescript: /tests 4/,
  python: /Ran 4 tests/,
  go: /(?:^--- PASS: [^]*){4}/m,
  c: /(?:^ok: [^]*){4}/m,
} as const

/** What says that one of them, of a path that the service does not have, has failed. */
const NOTHING_ELSEWHERE_FAILED = {
  typescript: /✖ has nothing elsewhere/,
  python: /(?:FAIL|ERROR): test_has_nothing_elsewhere/,
  go: /--- FAIL: TestHasNothingElsewhere/,
  c: /FAILED: has nothing elsewhere/,
} as const

/** A new service of a language in `parent`, with what its README has built and installed. Returns its directory. */
async function newService(scope: Scope, parent: string, language: keyof typeof FILES): Promise<string> {
  const made = await xengate(scope, parent, 'new', 'service', NAME, '--language', language)
  assert.equal(made.code, 0, made.stderr)
  assert.equal(made.stdout, '')
  const directory = join(parent, NAME)
  assert.deepEqual(readdirSync(directory).toSorted(), [...FILES[language]].toSorted())
  // In place of `npm install`, which asks the registry for what the packages need.
  if (language === 'typescript') symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  for (const command of blocksOf(directory, 'Build it').flat()) {
    const built = await run(scope, 'sh', ['-c', command], { cwd: directory, env: ENV, deadlineMs: 100_000 })
    assert.deepEqual([built.code, built.stderr], [0, ''])
  }
  return directory
}

/** A gateway of `xengate dev` in `directory`, and its URL. */
async function gatewayIn(scope: Scope, directory: string): Promise<{ readonly dev: Child; readonly url: string }> {
  const dev = new Child(scope, process.execPath, [...XENGATE, 'dev', '--port', '0'], { cwd: directory, env: ENV })
  const url = await dev.printed(
    ({ stdout }) => /^xengate ready at (\S+)\n[^]*clock/m.exec(stdout)?.[1],
    'the gateway to be ready',
  )
  return { dev, url }
}

for (const language of ['typescript', 'python', 'go', 'c'] as const) {
  test(`${language}: as its README says to a service that answers, and its own test passes`, DEADLINE, async (t) => {
    const scope = scopeOf(t)
    if (language === 'go' && !(await hasGo(scope))) {
      t.skip('go is not on this machine')
      return
    }
    const parent = await scope.directory()
    const directory = await newService(scope, parent, language)
    const [above = [], [first, ...here] = []] = blocksOf(directory, 'Try it')
    assert.equal(first, 'npx xengate dev')

    const runs = (command: string, env: NodeJS.ProcessEnv = {}): ReturnType<typeof run> =>
      run(scope, 'sh', ['-c', command], { cwd: directory, env: { ...ENV, ...env }, deadlineMs: 100_000 })
    const [, check = ''] = here
    const lost = await runs(check)
    assert.notEqual(lost.code, 0)
    assert.ok(`${lost.stdout}${lost.stderr}`.includes(`set XENGATE_PASSWORD, or start a gateway`), lost.stderr)
    for (const place of [directory, parent])
      assert.ok(`${lost.stdout}${lost.stderr}`.includes(`${place}/.xengate/password`))

    // A gateway in the directory above, as in docs/start.md; then one in the service's own.
    for (const [place, commands] of [
      [parent, above],
      [directory, here],
    ] as const) {
      const { dev, url } = await gatewayIn(scope, place)
      const [start = '', tests = ''] = commands
      assert.equal(tests, check)
      const service = new Child(scope, 'sh', ['-c', `exec ${start}`], { cwd: directory, env: ENV })
      scope.onFailure(() => service.stderr)
      const printed = await service.printed(({ stdout }) => /^.*\n/.exec(stdout)?.[0], 'the service to listen')
      assert.equal(printed, `listening on ${start.split(' ').at(-1)}/${NAME}\n`)
      const probe = await RawClient.connect(`unix:${join(place, '.xengate/plugin', NAME)}`)
      probe.destroy()
      const tested = await runs(check, { XENGATE_URL: url })
      assert.equal(tested.code, 0, tested.stdout + tested.stderr)
      assert.match(tested.stdout + tested.stderr, FOUR_TESTS[language])
      assert.deepEqual(await service.stop(), { code: 0, signal: null })

      const alone = await runs(check, { XENGATE_URL: url })
      assert.notEqual(alone.code, 0)
      assert.match(alone.stdout + alone.stderr, NOTHING_ELSEWHERE_FAILED[language])
      const refused = await runs(check, { XENGATE_URL: url, XENGATE_PASSWORD: 'wrong' })
      assert.notEqual(refused.code, 0)
      assert.match(refused.stdout + refused.stderr, /SESSION_AUTHENTICATION_FAILED|wrong user name or password/)
      await dev.stop()
    }
    const start = here[0] ?? ''
    const early = await runs(start.replace('.xengate/plugin', 'none'))
    assert.deepEqual([early.code, early.stdout], [1, ''])
    assert.match(early.stderr, /^cannot listen [^\n]*; is the gateway started\? Give the directory that it looks in\n$/)
  })
}

test('in TypeScript, a Node.js that cannot run it fails its test', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const directory = await newService(scope, await scope.directory(), 'typescript')
  const env = { ...ENV, NODE_OPTIONS: '--no-strip-types' }
  const { code, stdout, stderr } = await run(scope, 'npm', ['test'], { cwd: directory, env, deadlineMs: 60_000 })
  assert.notEqual(code, 0)
  assert.match(stdout + stderr, /Unknown file extension ".ts"/)
})

test('in TypeScript, the package has the name of the service, as npm takes it', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const cwd = await scope.directory()
  for (const [name, expected] of [
    [NAME, NAME],
    ['_My.Service', 'my.service'],
    ['__', 'service'],
  ] as const) {
    assert.equal((await xengate(scope, cwd, 'new', 'service', name)).code, 0)
    const manifest: unknown = JSON.parse(readFileSync(join(cwd, name, 'package.json'), 'utf8'))
    assert.ok(typeof manifest === 'object' && manifest !== null && 'name' in manifest)
    assert.equal(manifest.name, expected)
  }
})

test('what cannot be made is told, and nothing is written', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const cwd = await scope.directory()
  const make = async (...argv: readonly string[]): Promise<string> => {
    const { code, stderr } = await xengate(scope, cwd, 'new', 'service', ...argv)
    return `${code} ${stderr}`
  }
  for (const name of ['.a', 'a/b', 'a.channel', ''])
    assert.match(await make(name), /^2 .*\[new-name-invalid\]\ntry: give 1/)
  assert.match(await make('a', '--language', 'cobol'), /^2 .*Allowed choices are typescript, python, go, c/)
  mkdirSync(join(cwd, 'used'))
  writeFileSync(join(cwd, 'used/file'), '')
  assert.match(await make('a', '--directory', 'used'), /^1 .*is not empty \[directory-not-empty\]\ntry: give another/)
  assert.match(await make('a', '--directory', 'used/file'), /^1 .*\[directory-unusable\]/)
  assert.deepEqual(readdirSync(cwd), ['used'])
  assert.deepEqual(readdirSync(join(cwd, 'used')), ['file'])
  mkdirSync(join(cwd, 'empty'))
  assert.match(await make('a', '--directory', 'empty', '--language', 'python'), /^0 a is in /)
})

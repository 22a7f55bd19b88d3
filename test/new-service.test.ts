// `xengate new service`: each service that it makes, started as its README says beside `xengate dev`, called, and tested by its own test.

import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { Child, run } from './harness/child.ts'
import { until } from './harness/deadline.ts'
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

/** The block of a README's section that is for the shell: its commands. */
function commandsOf(directory: string, section: string): string[] {
  const readme = readFileSync(join(directory, 'README.md'), 'utf8')
  const [, block = ''] = new RegExp(`^## ${section}\\n[^]*?\`\`\`sh\\n([^]*?)\`\`\``, 'm').exec(readme) ?? []
  return block === '' ? [] : block.trim().split('\n')
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

for (const language of ['typescript', 'python', 'go', 'c'] as const) {
  test(`${language}: as its README says to a service that answers, and its own test passes`, DEADLINE, async (t) => {
    const scope = scopeOf(t)
    if (language === 'go' && !(await hasGo(scope))) {
      t.skip('go is not on this machine')
      return
    }
    const parent = await scope.directory()
    const made = await xengate(scope, parent, 'new', 'service', NAME, '--language', language)
    assert.equal(made.code, 0, made.stderr)
    assert.equal(made.stdout, '')
    const directory = join(parent, NAME)
    assert.deepEqual(readdirSync(directory).toSorted(), [...FILES[language]].toSorted())
    // In place of `npm install`, which asks the registry for what the packages need.
    if (language === 'typescript') symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))

    for (const command of commandsOf(directory, 'Build it')) {
      const built = await run(scope, 'sh', ['-c', command], { cwd: directory, env: ENV, deadlineMs: 100_000 })
      assert.deepEqual([built.code, built.stderr], [0, ''])
    }
    const [first, start = '', check = ''] = commandsOf(directory, 'Try it')
    assert.equal(first, 'xengate dev')
    const dev = new Child(scope, process.execPath, [...XENGATE, 'dev', '--port', '0'], { cwd: directory, env: ENV })
    const url = await dev.printed(
      ({ stdout }) => /^xengate ready at (\S+)\n[^]*clock/m.exec(stdout)?.[1],
      'the gateway to be ready',
    )
    const service = new Child(scope, 'sh', ['-c', `exec ${start}`], { cwd: directory, env: ENV })
    scope.onFailure(() => service.stderr)
    const socket = join(directory, '.xengate/plugin', NAME)
    const probe = await until(() => RawClient.connect(`unix:${socket}`).catch(() => undefined), 'the service to listen')
    probe.destroy()
    const tested = await run(scope, 'sh', ['-c', check], {
      cwd: directory,
      env: { ...ENV, XENGATE_URL: url },
      deadlineMs: 100_000,
    })
    assert.equal(tested.code, 0, tested.stdout + tested.stderr)
    assert.match(tested.stdout + tested.stderr, FOUR_TESTS[language])
    assert.deepEqual(await service.stop(), { code: 0, signal: null })
  })
}

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

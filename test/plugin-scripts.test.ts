// xengate serve-plugins: plugin scripts of the XenAPI as a custom service, by HTTP and by host.call_plugin.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { builtApp } from './harness/app.ts'
import { Child, isAlive } from './harness/child.ts'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 60_000 }
const SERVICE = '/services/plugin/org.xengate.plugins'

/** As plugins of hosts are written, without XenServer's library. */
const SCRIPT = `#!/usr/bin/env python3
import json, os, subprocess, sys, time
from xmlrpc.client import dumps, loads
(session, args), fn = loads(sys.argv[1])
def answer(value):
    print(dumps(({'Status': 'Success', 'Value': value},), methodresponse=True, allow_none=True))
if fn == 'who':
    answer(json.dumps({'fn': fn, 'session': session, 'args': args, 'environment': sorted(os.environ), 'cwd': os.getcwd()}))
elif fn == 'number':
    answer(7)
elif fn == 'refusing':
    print(dumps(({'Status': 'Failure', 'ErrorDescription': ['UPDATER_BUSY', 'since <7>']},), methodresponse=True))
elif fn == 'failing':
    print('half of something')
    sys.exit('no such disk')
elif fn == 'silent':
    pass
elif fn == 'long':
    sys.stdout.write('x' * 2000000)
elif fn == 'slow':
    child = subprocess.Popen(['sleep', '600'])
    with open(args['pids'] + '.new', 'w') as file:
        file.write(json.dumps([os.getpid(), child.pid]))
    os.rename(args['pids'] + '.new', args['pids'])
    sys.stderr.write('step one\\n')
    sys.stderr.flush()
    while not os.path.exists(args['pids'] + '.go'):
        time.sleep(0.02)
    child.kill()
    answer('done')
`

interface Init {
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

interface Started {
  readonly daemon: Daemon
  readonly session: string
  readonly directory: string
  readonly call: (path: string, args?: unknown, init?: Init) => Promise<Response>
}

async function start(scope: Scope, options: readonly string[] = []): Promise<Started> {
  const daemon = await startDaemon(scope)
  const directory = await scope.directory()
  const scripts = join(directory, 'scripts')
  await mkdir(scripts)
  await writeFile(join(scripts, 'disks.py'), SCRIPT, { mode: 0o755 })
  await writeFile(join(scripts, 'library.py'), 'not to be run', { mode: 0o644 })
  await writeFile(join(scripts, 'bent'), '#!/no/such/interpreter\n', { mode: 0o755 })
  await chmod(join(scripts, 'disks.py'), 0o755)
  const argv = ['serve-plugins', '--scripts', scripts, '--directory', daemon.place.plugin, ...options]
  const child = new Child(scope, process.execPath, [await builtApp(), ...argv])
  await child.printed(({ stderr }) => /org\.xengate\.plugins listens/.exec(stderr) ?? undefined, 'that it listens')
  const session = await daemon.login()
  const call: Started['call'] = (path, args = {}, init = {}) =>
    fetch(`${daemon.url}${SERVICE}${path}`, {
      method: 'POST',
      body: JSON.stringify(args),
      ...init,
      headers: { cookie: `session_id=${session}`, ...init.headers },
    })
  return { daemon, session, directory, call }
}

async function answerOf(response: Response): Promise<readonly [number, unknown]> {
  const text = await response.text()
  return [response.status, text.startsWith('{') ? JSON.parse(text) : text]
}

test('a script is called as xapi calls it, and its value or failure is answered', DEADLINE, async (t) => {
  const { session, call } = await start(scopeOf(t))
  const [status, who] = await answerOf(await call('/disks.py/who', { disk: 'sda', 'a "b"': '<&>\u{1f4be}' }))
  assert.equal(status, 200)
  assert.deepEqual(who, {
    fn: 'who',
    session,
    args: { disk: 'sda', 'a "b"': '<&>\u{1f4be}' },
    environment: (who as { environment: string[] }).environment,
    cwd: '/',
  })
  // What Python adds by itself aside.
  assert.deepEqual(
    (who as { environment: string[] }).environment.filter((name) => name !== 'LC_CTYPE'),
    ['PATH'],
  )
  assert.deepEqual(await answerOf(await call('/disks.py/number')), [200, '7'])
  assert.deepEqual(await answerOf(await call('/disks.py/refusing')), [500, { error: ['UPDATER_BUSY', 'since <7>'] }])
  assert.deepEqual(await answerOf(await call('/disks.py/failing')), [
    500,
    { error: ['XENAPI_PLUGIN_FAILURE', 'it ended with 1', 'half of something\n', 'no such disk\n'] },
  ])
  const [silent, told] = await answerOf(await call('/disks.py/silent'))
  assert.equal(silent, 500)
  assert.match(JSON.stringify(told), /XENAPI_PLUGIN_FAILURE.*XML/)
  const [bent, why] = await answerOf(await call('/bent/x'))
  assert.equal(bent, 500)
  assert.match(JSON.stringify(why), /it does not start: .*ENOENT/)
})

test('what is no call says so', DEADLINE, async (t) => {
  const { daemon, session, call } = await start(scopeOf(t))
  for (const [path, args, expected, text] of [
    ['/none.py/x', {}, 404, /XENAPI_MISSING_PLUGIN.*none\.py/],
    ['/library.py/x', {}, 404, /XENAPI_MISSING_PLUGIN/],
    ['/..%2Fscripts%2Fdisks.py/x', {}, 404, /XENAPI_MISSING_PLUGIN/],
    ['/disks.py/who/more', {}, 404, /GET \/ lists/],
    ['/disks.py/who', ['a'], 400, /JSON object/],
    ['/disks.py/who', { a: 1 }, 400, /JSON object/],
    ['/disks.py/who', { a: 'x'.repeat(140_000) }, 413, /131071 bytes/],
    ['/disks.py/%ff', {}, 400, /percent-encoded/],
    ['/runs/none/end', {}, 404, /no such run/],
  ] as const) {
    const response = await call(path, args)
    assert.equal(response.status, expected, path)
    assert.match(await response.text(), text, path)
  }
  const listed = await fetch(`${daemon.url}${SERVICE}`, { headers: { cookie: `session_id=${session}` } })
  assert.deepEqual(await listed.json(), { plugins: ['bent', 'disks.py'], runs: [] })
  const asked = await fetch(`${daemon.url}${SERVICE}/disks.py/who`, { headers: { cookie: `session_id=${session}` } })
  assert.deepEqual([asked.status, asked.headers.get('allow')], [405, 'GET, POST'])
  await asked.body?.cancel()

  await daemon.place.addUser('operator', 'some password', 'pool-operator')
  const operator = await daemon.login('operator', 'some password')
  const refused = await call('/disks.py/who', {}, { headers: { cookie: `session_id=${operator}` } })
  assert.equal(refused.status, 403)
  assert.match(await refused.text(), /RBAC_PERMISSION_DENIED/)
})

test('a run is told of as it goes, and ends with whom it is for, or when it is ended', DEADLINE, async (t) => {
  const { daemon, session, directory, call } = await start(scopeOf(t), ['--runs', '1'])
  const headers = { cookie: `session_id=${session}`, accept: 'application/x-ndjson' }
  const linesOf = (text: string): unknown[] =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
  const pidsIn = async (path: string): Promise<readonly number[]> => {
    await until(() => existsSync(path), 'the script')
    return JSON.parse(readFileSync(path, 'utf8')) as readonly number[]
  }
  const ended = (pids: readonly number[]): Promise<unknown> =>
    until(() => pids.every((pid) => !isAlive(pid)), 'the end of the script and what it started')

  const first = join(directory, 'first')
  const streamed = call('/disks.py/slow', { pids: first }, { headers })
  await pidsIn(first)
  const busy = await call('/disks.py/number')
  assert.deepEqual(
    [busy.status, busy.headers.get('retry-after'), await busy.json()],
    [503, '2', { error: ['TOO_BUSY'] }],
  )
  await writeFile(`${first}.go`, '')
  const [begun, ...rest] = linesOf(await (await streamed).text())
  assert.match((begun as { run: string }).run, /^[0-9a-f-]{36}$/)
  assert.deepEqual(rest, [{ stderr: 'step one\n' }, { value: 'done' }])

  const second = join(directory, 'second')
  const other = call('/disks.py/slow', { pids: second }, { headers })
  const pids = await pidsIn(second)
  const list = (await (await fetch(`${daemon.url}${SERVICE}`, { headers })).json()) as { runs: { id: string }[] }
  assert.partialDeepStrictEqual(list, { runs: [{ plugin: 'disks.py', fn: 'slow', user: 'alice' }] })
  assert.equal((await call(`/runs/${list.runs[0]?.id}/end`)).status, 204)
  assert.deepEqual(linesOf(await (await other).text()).at(-1), {
    error: ['XENAPI_PLUGIN_FAILURE', 'nobody waits for it any more', '', 'step one\n'],
  })
  await ended(pids)

  const third = join(directory, 'third')
  const leaving = new AbortController()
  const left = call('/disks.py/slow', { pids: third }, { headers, signal: leaving.signal })
  const leftPids = await pidsIn(third)
  await within(left, 'its first line')
  leaving.abort()
  await ended(leftPids)
})

test('a script is ended when it takes too long, or prints too much', DEADLINE, async (t) => {
  const { directory, call } = await start(scopeOf(t), ['--timeout', '1s', '--output', '1000000'])
  const pids = join(directory, 'pids')
  const [, late] = await answerOf(await call('/disks.py/slow', { pids }))
  assert.deepEqual(late, { error: ['XENAPI_PLUGIN_FAILURE', 'it took longer than 1 s', '', 'step one\n'] })
  for (const pid of JSON.parse(readFileSync(pids, 'utf8')) as number[]) assert.equal(isAlive(pid), false)
  const [, long] = await answerOf(await call('/disks.py/long'))
  assert.match(JSON.stringify(long), /it printed more than 1000000 bytes/)
})

test('host.call_plugin comes to it where no service has the name of the plugin', DEADLINE, async (t) => {
  const { daemon, session } = await start(scopeOf(t))
  const { result } = await daemon.call('host.get_all', [session])
  const call = (plugin: string, fn: string): ReturnType<Daemon['call']> =>
    daemon.call('host.call_plugin', [session, (result as [string])[0], plugin, fn, {}])
  assert.equal((await call('disks.py', 'number')).result, '7')
  assert.match(JSON.stringify(await call('disks.py', 'refusing')), /UPDATER_BUSY.*since <7>/)
  assert.match(JSON.stringify(await call('none.py', 'x')), /XENAPI_MISSING_PLUGIN.*none\.py/)
})

test('directories that cannot be used are named', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  for (const [argv, text] of [
    [['--scripts', join(directory, 'none')], /cannot read the scripts in .*none: ENOENT.*\[plugins-unusable\]/],
    [['--scripts', directory, '--directory', join(directory, 'none')], /none.*\[plugins-unusable\]/],
    [['--scripts', directory, '--timeout', 'soon'], /such as 90s/],
  ] as const) {
    const child = new Child(scope, process.execPath, [await builtApp(), 'serve-plugins', ...argv])
    const { code } = await child.exited
    assert.equal(code, argv.includes('soon') ? 2 : 1)
    assert.match(child.stderr, text)
  }
})

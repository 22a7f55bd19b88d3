// The example that serves plugins of hosts as live services: their functions, by HTTP and by host.call_plugin, and what only services can do.

import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Child } from './harness/child.ts'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 60_000 }
const ROOT = join(import.meta.dirname, '..')
const EXAMPLE = join(ROOT, 'examples/host-services/host_services.py')

/** The host's programs, which need hardware: they say what the real ones say, and count how often they are asked. */
const PROGRAMS: Readonly<Record<string, string>> = {
  ipmitool: `case "$1" in
chassis) [ -e "$HERE/no-board" ] && { echo 'Could not open device at /dev/ipmi0' >&2; exit 1; }; echo 'System Power : on';;
sdr) printf 'Inlet Temp       | 21 degrees C      | ok\\nFan1             | 3600 RPM          | ok\\n';;
esac`,
  smartctl: `case "$*" in
--scan) printf '/dev/sda -d scsi # /dev/sda, SCSI device\\n/dev/sdb -d sat # /dev/sdb, ATA device\\n';;
*sdb) [ -e "$HERE/unreadable" ] && exit 2; echo '{"smart_status": {"passed": false}}'; exit 8;;
*) while [ -e "$HERE/slow" ]; do sleep 0.02; done; echo '{"smart_status": {"passed": true}}';;
esac`,
  yum: `echo; echo 'kernel.x86_64     4.19.19-8.0.44.1.xcpng8.3    xcp-ng-updates'; echo 'xapi-core.x86_64   2:26.1.3-1.9.xcpng8.3   xcp-ng-updates'; exit 100`,
}

interface Started {
  readonly daemon: Daemon
  readonly session: string
  readonly directory: string
  readonly child: Child
  readonly asked: (plugin: string, path: string, init?: RequestInit) => Promise<Response>
  /** How often a program was started with these arguments at its beginning. */
  readonly runs: (start: string) => Promise<number>
}

async function start(scope: Scope): Promise<Started> {
  const directory = await scope.directory()
  const bin = join(directory, 'bin')
  await mkdir(bin)
  for (const [name, script] of Object.entries(PROGRAMS)) {
    const text = `#!/bin/sh\nHERE='${directory}'\necho "${name} $*" >>"$HERE/log"\n${script}\n`
    await writeFile(join(bin, name), text, { mode: 0o755 })
  }
  const daemon = await startDaemon(scope)
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` }
  const child = new Child(scope, 'python3', [EXAMPLE, daemon.place.plugin], { env })
  scope.onFailure(() => child.stderr)
  await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the services')
  const session = await daemon.login()
  return {
    daemon,
    session,
    directory,
    child,
    asked: (plugin, path, init = {}) =>
      fetch(`${daemon.url}/services/plugin/${plugin}/${path}`, {
        headers: { cookie: `session_id=${session}` },
        ...init,
      }),
    runs: async (begins) => {
      const log = await readFile(join(directory, 'log'), 'utf8')
      return log.split('\n').filter((line) => line.startsWith(begins)).length
    },
  }
}

test('the functions of the plugins have their values, by HTTP and by host.call_plugin', DEADLINE, async (t) => {
  const { daemon, session, asked, runs } = await start(scopeOf(t))
  const sensors = [
    { name: 'Inlet Temp', value: '21 degrees C', event: 'ok' },
    { name: 'Fan1', value: '3600 RPM', event: 'ok' },
  ]
  const answer = await asked('ipmitool.py', 'get_all_sensors')
  assert.deepEqual([answer.headers.get('age'), await answer.json()], ['0', sensors])
  assert.equal(await (await asked('ipmitool.py', 'is_ipmi_device_available')).text(), 'true')
  const health = { scsi: 'PASSED', '/dev/sda': 'PASSED', sat: 'FAILED', '/dev/sdb': 'FAILED' }
  assert.deepEqual(await (await asked('smartctl.py', 'health', { method: 'POST', body: '{}' })).json(), health)
  assert.deepEqual(await (await asked('updater.py', 'check_update')).json(), [
    { name: 'kernel', arch: 'x86_64', version: '4.19.19', release: '8.0.44.1.xcpng8.3', repository: 'xcp-ng-updates' },
    { name: 'xapi-core', arch: 'x86_64', version: '26.1.3', release: '1.9.xcpng8.3', repository: 'xcp-ng-updates' },
  ])
  const { result } = await daemon.call('host.get_all', [session])
  const call = async (plugin: string, fn: string): Promise<unknown> => {
    const called = await daemon.call('host.call_plugin', [session, (result as [string])[0], plugin, fn, {}])
    return called.error ?? JSON.parse(String(called.result))
  }
  assert.deepEqual(await call('ipmitool.py', 'get_all_sensors'), sensors)
  assert.deepEqual(await call('smartctl.py', 'health'), health)
  assert.partialDeepStrictEqual(await call('smartctl.py', 'none'), { message: 'UNKNOWN_XENAPI_PLUGIN_FUNCTION' })
  assert.deepEqual([await runs('ipmitool sdr'), await runs('smartctl --scan')], [1, 1], 'each was read once')
  await daemon.place.addUser('operator', 'some password', 'pool-operator')
  const headers = { cookie: `session_id=${await daemon.login('operator', 'some password')}` }
  assert.equal((await asked('smartctl.py', 'health', { headers })).status, 403)
})

test('many who ask at once wait for one reading, and who listens is told of it', DEADLINE, async (t) => {
  const { directory, asked, runs, child } = await start(scopeOf(t))
  await writeFile(join(directory, 'slow'), '')
  const following = await asked('smartctl.py', 'events')
  const reader = following.body?.pipeThrough(new TextDecoderStream()).getReader()
  assert.ok(reader)
  let told = ''
  const toldOf = async (text: string): Promise<void> => {
    while (!told.includes(text)) told += (await within(reader.read(), text)).value ?? ''
  }
  const answers = Array.from({ length: 8 }, () => asked('smartctl.py', 'health'))
  await toldOf('event: progress\ndata: {"function": "health", "text": "/dev/sda, 1 of 2"}\n\n')
  await unlink(join(directory, 'slow'))
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200)
  assert.equal(await runs('smartctl -j'), 2, 'each disk was read once')
  await toldOf('event: changed\ndata: {"function": "health"}\n\n')
  child.process.kill('SIGTERM')
  assert.deepEqual(await child.exited, { code: 0, signal: null }, 'who listens is not waited for')
})

test('what the programs fail with is told, and is not kept', DEADLINE, async (t) => {
  const { directory, asked } = await start(scopeOf(t))
  await writeFile(join(directory, 'unreadable'), '')
  const failed = await asked('smartctl.py', 'health')
  assert.equal(failed.status, 500)
  assert.deepEqual(await failed.json(), { error: ['XENAPI_PLUGIN_FAILURE', 'smartctl ended with 2', '', ''] })
  await writeFile(join(directory, 'no-board'), '')
  assert.equal(await (await asked('ipmitool.py', 'is_ipmi_device_available')).text(), 'false')
  await unlink(join(directory, 'unreadable'))
  await until(async () => (await asked('smartctl.py', 'health')).status === 200, 'the disk')
})

test('the service on the page about migrating answers', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const page = await readFile(join(ROOT, 'docs/migrating.md'), 'utf8')
  const [, source = ''] = /^```python\n(# service\.py\n[^]*?)^```$/m.exec(page) ?? []
  const directory = await scope.directory()
  await writeFile(join(directory, 'service.py'), source)
  await copyFile(join(ROOT, 'libraries/python/xengate_service.py'), join(directory, 'xengate_service.py'))
  const daemon = await startDaemon(scope)
  const child = new Child(scope, 'python3', [join(directory, 'service.py'), daemon.place.plugin])
  scope.onFailure(() => child.stderr)
  const headers = { cookie: `session_id=${await daemon.login()}` }
  const asked = (fn: string): Promise<Response> => fetch(`${daemon.url}/services/plugin/smartctl.py/${fn}`, { headers })
  await until(async () => (await asked('health')).status === 200, 'the service')
  assert.deepEqual(await (await asked('health')).json(), { '/dev/sda': 'PASSED' })
  assert.equal((await asked('none')).status, 404)
})

// What the daemon's log says, and where.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { Place, startDaemon, USER, XENGATE } from './harness/daemon.ts'
import { Child } from './harness/child.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.logged'
const DEADLINE = { timeout: 60_000 }

function asked(session: string, path: string): string {
  return `GET /services/plugin/${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

test('every line on standard output is JSON, and what is ready is said on standard error', DEADLINE, async (t) => {
  const daemon = await startDaemon(scopeOf(t))
  await daemon.login()
  const { child, url } = daemon
  assert.equal(await child.printed(({ stderr }) => /^xengate ready at (.*)$/m.exec(stderr)?.[1], 'the ready line'), url)
  assert.equal((await daemon.stop()).code, 0)
  for (const line of child.stdout.trimEnd().split('\n')) assert.equal(typeof JSON.parse(line).event, 'string')
})

test('the start says what runs, and what may not be meant', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope, { services: 'channels = true' })
  const daemon = await place.start()
  const started = daemon.events.find(({ event }) => event === 'started')
  assert.match(String(started?.['version']), /^\d+\.\d+\.\d+$/)
  assert.deepEqual(
    ['node', 'config', 'authority', 'registry', 'stateDir', 'directories'].map((key) => started?.[key]),
    [process.version, place.configuration, 'embedded', 'none', place.state, [place.plugin]],
  )
  const doubt = daemon.events.find(({ event }) => event === 'config-doubtful')
  assert.deepEqual([doubt?.['level'], doubt?.['key']], ['warn', 'state-dir'])
  assert.match(String(doubt?.['problem']), /no users/)
})

test('services that come and go are logged', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const service = await serveHttp(scope, daemon.place.socket(NAME), (_, response) => void response.end())
  const found = await daemon.event(({ event }) => event === 'service-found', 'the service')
  assert.equal(found['name'], NAME)
  service.close()
  const gone = await daemon.event(({ event }) => event === 'service-gone', 'its end')
  assert.equal(gone['name'], NAME)
})

test('the log tells apart why a service is not there, and the client is told what to do', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const session = await daemon.login()
  const { place } = daemon
  const script = 'import socket, sys\nsocket.socket(socket.AF_UNIX).bind(sys.argv[1])'
  await promisify(execFile)('python3', ['-c', script, place.socket('stale')])
  await writeFile(place.socket('file'), '')
  await mkdir(place.socket('directory'))
  for (const [path, reason, text] of [
    ['stale', 'service-stale', /No such service is running/],
    ['file', 'service-no-socket', /No such service is running/],
    ['directory', 'service-no-socket', /No such service is running/],
    ['none', 'service-unknown', /No such service is running/],
    ['com%20example', 'service-name-invalid', /No such service is running/],
    ['', 'service-unnamed', /give its name/],
  ] as const) {
    const response = await exchange(daemon.url, asked(session, path))
    assert.equal(response.status, 404)
    assert.match(response.text, text)
    const line = await daemon.event(
      ({ event, path: of }) => event === 'request' && of === `/services/plugin/${path}`,
      `a line for ${path}`,
    )
    assert.equal(line['reason'], reason)
  }
})

test('debug and trace say what the gateway asks and does, and no secret', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { tables: '[log]\nlevel = "trace"' })
  await serveHttp(scope, daemon.place.socket(NAME), (_, response) => void response.end())
  const session = await daemon.login()
  assert.equal((await exchange(daemon.url, asked(session, NAME))).status, 200)
  for (const name of ['session-asked', 'session-answered', 'service-connect', 'channel-not-offered', 'primary-said'])
    assert.ok(await daemon.event(({ event }) => event === name, name))
  assert.ok(!daemon.child.stdout.includes(session.slice('OpaqueRef:'.length)))
})

test('a stop says how many requests it waits for', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const session = await daemon.login()
  const { promise, resolve } = Promise.withResolvers<() => void>()
  await serveHttp(scope, daemon.place.socket(NAME), (_, response) => resolve(() => response.end('done')))
  const client = await RawClient.connect(daemon.url)
  await client.send(asked(session, NAME))
  const finish = await promise
  daemon.child.signal('SIGTERM')
  const draining = await daemon.event(({ event }) => event === 'draining', 'what it waits for')
  assert.equal(draining['connections'], 1)
  finish()
  assert.equal((await daemon.child.exited).code, 0)
})

test('a terminal gets one readable line a request, and is told what Ctrl-C waits for', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope)
  await place.addUser(USER.name, USER.password, USER.role)
  const command = [process.execPath, ...XENGATE, 'serve', '--config', place.configuration].join(' ')
  // util-linux's `script` runs a command at a terminal.
  const child = new Child(scope, 'script', ['-qec', command, '/dev/null'], {
    cwd: place.directory,
    env: { ...process.env, NO_COLOR: '1' },
  })
  const url = await child.printed(({ stdout }) => /^xengate ready at (\S+)\r$/m.exec(stdout)?.[1], 'the ready line')
  const { promise, resolve } = Promise.withResolvers<() => void>()
  await serveHttp(scope, place.socket(NAME), (_, response) => resolve(() => response.end('done')))
  const client = await RawClient.connect(url)
  const login = JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'session.login_with_password',
    params: [USER.name, USER.password],
  })
  const lines = `Content-Type: application/json\r\nContent-Length: ${login.length}\r\nConnection: close\r\n`
  const answer = await exchange(url, `POST /jsonrpc HTTP/1.1\r\nHost: gate\r\n${lines}\r\n${login}`)
  const session = (JSON.parse(answer.text) as { result: string }).result
  await client.send(asked(session, NAME))
  const finish = await promise
  child.process.stdin?.write('\u0003')
  await child.printed(({ stdout }) => /waiting for 1 request, .*Ctrl-C again stops now/.exec(stdout)?.[0], 'the advice')
  finish()
  await child.exited
  assert.match(child.stdout, /^\d\d:\d\d:\d\d info {2}started .*version=/m)
  assert.match(
    child.stdout,
    new RegExp(`^\\d\\d:\\d\\d:\\d\\d GET /services/plugin/${NAME} 200 \\d+ ms ${USER.name}\r$`, 'm'),
  )
})

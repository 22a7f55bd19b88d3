// What the gateway answers of itself, by both doors and by the command line; and what can be ended.

import assert from 'node:assert/strict'
import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { serve } from '@xengate/service'
import { Child, run as runProgram } from './harness/child.ts'
import { type Daemon, startDaemon, USER, XENGATE } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient, type RawResponse } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.work'
const CONTROL = '/services/plugin/org.xengate.control'

type Fields = Readonly<Record<string, unknown>>

function head(method: string, target: string, session: string, more = ''): string {
  return `${method} ${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${more}\r\n`
}

/** Asks by the service. */
function ask(daemon: Daemon, session: string, path: string, method = 'GET'): Promise<RawResponse> {
  return exchange(daemon.url, head(method, CONTROL + path, session, 'Connection: close\r\n'))
}

async function list(daemon: Daemon, session: string, what: string): Promise<readonly Fields[]> {
  const answer = JSON.parse((await ask(daemon, session, `/${what}`)).text) as Fields
  assert.equal(answer['schema'], 1)
  return answer[what] as readonly Fields[]
}

/** A service that begins a response, and leaves it at that. */
async function startSlow(scope: Scope, daemon: Daemon): Promise<void> {
  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => {
    response.writeHead(200)
    response.write('begun')
  })
}

async function begin(daemon: Daemon, session: string): Promise<RawClient> {
  const client = await RawClient.connect(daemon.url)
  await client.send(head('GET', `/services/plugin/${NAME}/long?x=1`, session))
  await client.until('begun')
  return client
}

test('the control service is for pool-admins alone, and answers what the control socket does', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await daemon.place.addUser('reader', 'some password', 'pool-operator')
  const [admin, reader] = [await daemon.login(), await daemon.login('reader', 'some password')]
  assert.equal((await ask(daemon, reader, '/status')).status, 403)
  assert.equal((await exchange(daemon.url, `GET ${CONTROL}/status HTTP/1.1\r\nHost: h\r\n\r\n`)).status, 403)
  const status = JSON.parse((await ask(daemon, admin, '/status')).text) as Fields
  assert.deepEqual([status['schema'], status['pid']], [1, daemon.child.pid])
  const byRoot = (await daemon.place.ask('/control/status')) as Fields
  assert.equal(byRoot['schema'], 1)
  assert.deepEqual(Object.keys(byRoot), Object.keys(status))

  assert.deepEqual(await list(daemon, admin, 'services'), [])
  const metrics = await ask(daemon, admin, '/metrics')
  assert.match(
    metrics.text,
    /^xengate_requests_total\{service="org\.xengate\.control",method="GET",code="2xx",way="relay"\} \d/m,
  )
  for (const [method, path, expected] of [
    ['GET', '', 404],
    ['GET', '/nothing', 404],
    ['POST', '/status', 405],
    ['GET', '/sessions/x/end', 405],
    ['POST', '/sessions/x/end', 404],
    ['POST', '/connections/x/end', 404],
    ['GET', '/requests/x', 404],
    ['GET', '/status/x/y/z', 404],
  ] as const) {
    assert.equal((await ask(daemon, admin, path, method)).status, expected, `${method} ${path}`)
  }
})

test('HEAD is answered by the head alone, of events too', async (t) => {
  const daemon = await startDaemon(scopeOf(t), { services: 'methods = ["GET", "HEAD"]\n' })
  const session = await daemon.login()
  for (const path of ['/status', '/events']) {
    const { status, text } = await ask(daemon, session, path, 'HEAD')
    assert.deepEqual([status, text], [200, ''], path)
  }
})

test('a policy of the configuration cannot open the control service to every session', async (t) => {
  const scope = scopeOf(t)
  const policy = '[services.policy."org.xengate.control"]\nstrip-session = false\n'
  const daemon = await startDaemon(scope, { tables: policy })
  await daemon.place.addUser('reader', 'some password', 'pool-operator')
  assert.equal((await ask(daemon, await daemon.login('reader', 'some password'), '/status')).status, 403)
})

test('tells who is there and what runs, and ends it', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { workers: 2 })
  await startSlow(scope, daemon)
  const session = await daemon.login()
  using client = await begin(daemon, session)
  const [signedIn] = await list(daemon, session, 'sessions')
  assert.deepEqual(
    [signedIn?.['user'], signedIn?.['originator'], signedIn?.['address'], signedIn?.['under']],
    [USER.name, 'test', '127.0.0.1', { requests: 2, tunnels: 0, channels: 0 }],
  )
  assert.ok(!JSON.stringify(signedIn).includes('OpaqueRef'))

  const mine = async (): Promise<Fields | undefined> =>
    (await list(daemon, session, 'connections')).find(({ request }) => (request as Fields | null)?.['service'] === NAME)
  const connection = await mine()
  const { service, way, method, path, user, status, bytesOut } = (connection ?? {})['request'] as Fields
  assert.deepEqual(
    [service, way, method, path, user, status, bytesOut],
    [NAME, 'relay', 'GET', `/services/plugin/${NAME}/long`, USER.name, 200, 5],
  )
  assert.deepEqual([connection?.['state'], connection?.['client']], ['active', '127.0.0.1'])

  const ended = await ask(daemon, session, `/connections/${String(connection?.['id'])}/end`, 'POST')
  assert.equal(ended.status, 200)
  await client.end()
  assert.equal(await mine(), undefined)
  const logged = await daemon.event(({ event }) => event === 'connection-ended', 'the act')
  assert.deepEqual([logged['by'], logged['client']], [USER.name, '127.0.0.1'])
  const line = await daemon.event(({ reason }) => reason === 'operator-ended', 'the line of the request')
  assert.deepEqual([line['by'], line['phase'], line['outcome']], ['operator', 'answer', 'cut'])

  using again = await begin(daemon, session)
  const other = await daemon.login()
  assert.equal((await ask(daemon, other, `/sessions/${String(signedIn?.['id'])}/end`, 'POST')).status, 200)
  await again.end()
  assert.equal((await ask(daemon, session, '/status')).status, 403)
})

test('tells of channels, and ends one', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const service = await serve({
    name: NAME,
    directory: daemon.place.plugin,
    handler: (_request, response) => response.end('ok'),
  })
  scope.defer(() => service.close())
  const session = await daemon.login()
  using client = await RawClient.connect(daemon.url)
  await client.exchange(head('GET', `/services/plugin/${NAME}`, session))
  const channelOf = async (): Promise<unknown> =>
    (await list(daemon, session, 'connections'))
      .map(({ request }) => (request as Fields | null)?.['channel'])
      .find(Boolean)
  const channel = String(await channelOf())
  assert.match(channel, /-c0$/)
  assert.deepEqual((await list(daemon, session, 'sessions'))[0]?.['under'], { requests: 1, tunnels: 0, channels: 1 })
  assert.equal((await ask(daemon, session, `/channels/${channel}/end`, 'POST')).status, 200)
  await client.end()
  await until(async () => (await channelOf()) === undefined, 'the end of the channel')
})

test('tells of refusals with what could not be read, without secrets, and explains a request', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const session = await daemon.login()
  const bad = `GET /x HTTP/1.1\r\nCookie: session_id=${session}\r\nBad Name: 1\r\n\r\n`
  const refused = await exchange(daemon.url, bad)
  assert.equal(refused.status, 400)
  const [first] = await list(daemon, session, 'refusals')
  const { side, offset, text } = (first ?? {})['offence'] as Fields
  assert.deepEqual(
    [first?.['reason'], first?.['by'], first?.['phase'], side, offset],
    ['space-before-colon', 'client', 'read', 'client', bad.indexOf(' Name')],
  )
  assert.match(String(text), /session_id=\*{46}|Cookie:\**.*Bad Name/)
  assert.ok(!String(text).includes(session.slice(-12)))

  const id = refused.header('x-request-id') ?? ''
  const { request } = JSON.parse((await ask(daemon, session, `/requests/${id}`)).text) as { request: Fields }
  assert.deepEqual(
    [request['state'], request['status'], request['explanation']],
    ['ended', 400, 'there is white space between a field name and the colon'],
  )

  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) =>
    response.socket?.end('HTTP/1.1 nonsense\r\n\r\n'),
  )
  assert.equal((await exchange(daemon.url, head('GET', `/services/plugin/${NAME}`, session))).status, 502)
  const [latest] = await list(daemon, session, 'refusals')
  assert.deepEqual([latest?.['reason'], latest?.['by']], ['response-invalid', 'service'])
  assert.deepEqual(((latest ?? {})['offence'] as Fields)['side'], 'service')
})

test('an error that is the answer of a service itself is told among what failed', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await serveHttp(scope, daemon.place.socket(NAME), ({ url }, response) => {
    response.writeHead(url?.endsWith('/fails') === true ? 500 : 404).end()
  })
  const session = await daemon.login()
  for (const path of ['/fails', '/missing']) {
    await exchange(daemon.url, head('GET', `/services/plugin/${NAME}${path}`, session, 'Connection: close\r\n'))
  }
  const told = await list(daemon, session, 'refusals')
  assert.deepEqual(
    told.map(({ status, outcome, reason, by, phase, explanation }) => [
      status,
      outcome,
      reason,
      by,
      phase,
      explanation,
    ]),
    [[500, 'complete', null, 'service', 'answer', "the service's own answer"]],
  )
})

test('events come as they are logged, of the primary and of workers', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  const session = await daemon.login()
  using client = await RawClient.connect(daemon.url)
  await client.send(head('GET', `${CONTROL}/events`, session))
  await client.until('the events of the log')
  await exchange(daemon.url, `GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
  assert.match(await client.until('"path":"/nothing"'), /data: \{"level":"info".*"event":"request"/)
  await daemon.login()
  await client.until('"event":"sign-in"')
  // A stop does not wait for who listens.
  await daemon.stop()
})

test('the command line shows it, on the host and from elsewhere', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await startSlow(scope, daemon)
  const session = await daemon.login()
  const { place } = daemon
  const run = async (...argv: string[]): Promise<string> => {
    const { code, stdout, stderr } = await place.command(argv)
    assert.equal(code, 0, `${argv.join(' ')}: ${stderr}`)
    return stdout + stderr
  }
  assert.match(await run('status'), /^version .*\n(?:.*\n)*workers +1 of 1 ready; (?:net|ring)\nauthority +embedded\n/)
  assert.equal((JSON.parse(await run('status', '--json')) as Fields)['pid'], daemon.child.pid)
  assert.match(await run('services'), new RegExp(`^SERVICE .*\n${NAME} +running +0`))
  assert.equal(await run('services', '--minimal'), `${NAME}\n`)
  assert.equal(await run('status', '--minimal'), 'in-service\n')
  using client = await begin(daemon, session)
  assert.match(await run('sessions'), /UNDER WAY\n.* 1 requests\n/)
  assert.match(
    await run('connections'),
    new RegExp(`active +\\d+s +${NAME} +alice +GET /services/plugin/${NAME}/long +0 B +5 B\n`),
  )
  const id = (await run('connections', '--minimal')).trim()
  assert.match(await run('connection', 'end', id), /^ended the connection/)
  await client.end()
  const refusals = await run('refusals')
  assert.match(refusals, /operator-ended +operator +127\.0\.0\.1 +GET/)
  const request = (await run('refusals', '--minimal')).trim().split(',')[0] ?? ''
  assert.match(await run('explain', request), /explanation +an administrator ended it\n/)

  const elsewhere = (argv: readonly string[], sessionId: string): Child =>
    new Child(scope, process.execPath, [...XENGATE, ...argv, '--url', daemon.url], {
      env: { ...process.env, XENGATE_SESSION: sessionId },
    })
  const remote = elsewhere(['status'], session)
  assert.equal((await remote.exited).code, 0, remote.stderr)
  const refused = elsewhere(['status'], 'OpaqueRef:nobody')
  assert.equal((await refused.exited).code, 4)
  assert.match(refused.stderr, /\[session-needed\]\ntry: sign in/)

  const watch = elsewhere(['status', '--watch', '--json'], session)
  await until(() => watch.stdout.split('"schema": 1').length > 2, 'the status to be shown again')
  await watch.stop()

  const events = elsewhere(['events', '--json'], session)
  await until(async () => {
    await exchange(daemon.url, 'GET /seen HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
    return events.stdout.includes('"path":"/seen"')
  }, 'an event')
  await events.stop()

  const unknown = await place.command(['explain', 'nobody-1'])
  assert.equal(unknown.code, 1)
  assert.match(unknown.stderr, /nothing is known of a request nobody-1 \[request-unknown\]/)
  await daemon.stop()
  const absent = await place.command(['status'])
  assert.equal(absent.code, 1)
  const tried = `the daemon at ${place.state}/control.sock (from --config ${place.configuration}) is not running [daemon-absent]`
  assert.ok(absent.stderr.includes(tried), absent.stderr)
})

test('the command line says which gateway it asks, and what named that', async (t) => {
  const scope = scopeOf(t)
  const [daemon, other] = [await startDaemon(scope), await startDaemon(scope)]
  const directory = await scope.directory()
  const env = { ...process.env, XDG_CONFIG_HOME: directory }
  const run = (argv: readonly string[], more: NodeJS.ProcessEnv = {}, input = ''): ReturnType<typeof runProgram> =>
    runProgram(scope, process.execPath, [...XENGATE, ...argv], { cwd: directory, env: { ...env, ...more }, input })
  const asked = async (argv: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<string> => {
    const { stdout, stderr } = await run(['status', ...argv], more)
    return /^asked +(.*)$/m.exec(stdout)?.[1] ?? stderr
  }
  const socket = join(daemon.place.state, 'control.sock')
  assert.equal(await asked(['--state', daemon.place.state]), `the daemon at ${socket} (from --state)`)
  const { configuration } = daemon.place
  assert.equal(await asked(['--config', configuration]), `the daemon at ${socket} (from --config ${configuration})`)
  const session = await daemon.login()
  assert.equal(
    await asked(['--url', daemon.url], { XENGATE_SESSION: session }),
    `the gateway at ${daemon.url} (from --url, in the session of XENGATE_SESSION)`,
  )
  // A session of one is none of another.
  assert.match(
    await asked(['--url', other.url, '--session-id', session]),
    /^xengate: the gateway at http\S+ \(from --url, in the session of --session-id\) refuses: .* \[session-needed\]\n/,
  )
  assert.match(
    await asked(['--url', 'http://127.0.0.1:1', '--session-id', session]),
    /^xengate: cannot ask the gateway at http:\/\/127\.0\.0\.1:1 .*ECONNREFUSED.* \[gateway-unreachable\]\n/,
  )
  await run(['login', other.url, '--user', USER.name, '--password-stdin'], {}, USER.password)
  assert.equal(
    await asked(['--url', other.url]),
    `the gateway at ${other.url} (from --url, in the session of xengate login)`,
  )
  // With nothing here it is that of the login, and says so, in front of data too.
  const implied = await run(['connections', '--minimal'])
  assert.equal(implied.code, 0)
  assert.match(implied.stderr, new RegExp(`^no gateway in this directory: asking ${other.url}, where "xengate login"`))
  for (const command of ['reload', 'upgrade', 'drain', 'blocked', 'unblock']) {
    const { code, stderr } = await run([command, '--url', daemon.url])
    assert.equal(code, 2)
    assert.match(
      stderr,
      new RegExp(`^xengate: xengate ${command} is for the host itself.* \\[host-only\\]\ntry: log in`),
    )
  }
  await rename(daemon.place.state, join(directory, '.xengate'))
  assert.match(await asked([]), /^the daemon at \S+\/\.xengate\/control\.sock \(from \.xengate in this directory\)$/)
})

test('its socket is where nobody looks for services, and one that is planted there is nobody', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  assert.deepEqual(await readdir(daemon.place.plugin), [])
  const asked: (string | undefined)[] = []
  await serveHttp(scope, daemon.place.socket('org.xengate.control'), ({ url }, response) => {
    asked.push(url)
    response.end('planted')
  })
  const headers = { cookie: `session_id=${await daemon.login()}` }
  const response = await fetch(`${daemon.url}${CONTROL}/status`, { headers })
  assert.equal(((await response.json()) as Fields)['schema'], 1)
  assert.deepEqual(asked, [])
})

// The examples, each started as its first lines say, and called through a gateway.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import { accessibilityProblems, openBrowser, openPage } from './harness/browser.ts'
import { Child } from './harness/child.ts'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const DEADLINE = { timeout: 60_000 }
const EXAMPLES = join(import.meta.dirname, '../examples')

interface Running {
  readonly scope: Scope
  readonly daemon: Daemon
  readonly cookie: string
  readonly asked: (path?: string, init?: RequestInit) => Promise<Response>
}

/** Starts an example beside a gateway. @param argv what comes before the directory */
async function start(
  t: TestContext,
  example: string,
  name: string,
  argv: readonly string[] = [],
  tables = '',
): Promise<Running> {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope, { tables })
  const script = join(EXAMPLES, example, 'service.js')
  const child = new Child(scope, process.execPath, ['-C', '@xengate/source', script, ...argv, daemon.place.plugin])
  scope.onFailure(() => child.stderr)
  const cookie = `session_id=${await daemon.login()}`
  await listens(scope, daemon, name)
  const asked = (path = '', init: RequestInit = {}): Promise<Response> =>
    fetch(`${daemon.url}/services/plugin/${name}${path}`, {
      ...init,
      headers: { cookie, ...(init.headers as Record<string, string>) },
    })
  return { scope, daemon, cookie, asked }
}

async function listens(scope: Scope, daemon: Daemon, name: string): Promise<void> {
  const path = `unix:${daemon.place.socket(name)}`
  const client = await until(() => RawClient.connect(path).catch(() => undefined), `${name} to listen`)
  scope.defer(() => client.destroy())
}

/** Reads events of a stream as they come. */
function eventsOf(response: Response): () => Promise<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  return async () => {
    for (;;) {
      const [, event, rest = ''] = /^(?::\n\n)*data: ([^\n]*)\n\n([^]*)$/.exec(text) ?? []
      if (event !== undefined) {
        text = rest
        return event
      }
      const read = await within(reader?.read() ?? Promise.resolve(undefined), 'an event')
      if (read?.value === undefined) throw new Error(`the stream ended after ${JSON.stringify(text)}`)
      text += read.value
    }
  }
}

test('host metrics: once, for Prometheus, and as they go on', DEADLINE, async (t) => {
  const { asked } = await start(t, 'host-metrics', 'com.example.metrics')
  const now = (await (await asked()).json()) as Record<string, number>
  assert.ok(
    Object.values(now).every((value) => Number.isFinite(value)),
    JSON.stringify(now),
  )
  assert.match(await (await asked('/text')).text(), /^host_memory_bytes \d+$/m)
  const next = eventsOf(await asked('/stream'))
  const [one, other] = [JSON.parse(await next()), JSON.parse(await next())] as { uptime_seconds: number }[]
  assert.ok((other?.uptime_seconds ?? 0) > (one?.uptime_seconds ?? 0))
  assert.equal((await asked('/none')).status, 404)
})

test('backup receiver: a break, the rest from there on, the checksum, and parts of it', DEADLINE, async (t) => {
  const store = await scopeOf(t).directory()
  const content = randomBytes(5_000_000)
  const digest = `sha-256=:${createHash('sha256').update(content).digest('base64')}:`
  const { asked, daemon, cookie } = await start(t, 'backup-receiver', 'com.example.backup', [store])
  const broken = await RawClient.connect(daemon.url)
  const head = `PUT /services/plugin/com.example.backup/vm.img HTTP/1.1\r\nHost: gate\r\nCookie: ${cookie}\r\n`
  await broken.send(`${head}Content-Length: ${content.length}\r\n\r\n`)
  await broken.send(content.subarray(0, 3_000_000))
  const stateOf = async (): Promise<{ bytes: number; complete: boolean }> =>
    (await (await asked('/vm.img?state')).json()) as { bytes: number; complete: boolean }
  await until(async () => (await stateOf()).bytes > 2_000_000, 'most of it')
  broken.socket.resetAndDestroy()
  assert.equal((await asked('/vm.img')).status, 404, 'it is not complete')

  const { bytes } = await until(async () => {
    const range = { 'content-range': `bytes 0-0/${content.length}` }
    const busy = await asked('/vm.img', { method: 'POST', headers: range })
    assert.equal(busy.status, 405)
    const state = await stateOf()
    const gap = { 'content-range': `bytes 4500000-4999999/${content.length}` }
    // 409 as long as the one that broke off is not over.
    return (await asked('/vm.img', { method: 'PUT', headers: gap, body: 'x' })).status === 416 ? state : undefined
  }, 'the end of the one that broke off')
  assert.ok(!(await stateOf()).complete)
  const rest = { 'content-range': `bytes ${bytes}-${content.length - 1}/${content.length}` }
  const done = await asked('/vm.img', { method: 'PUT', headers: rest, body: content.subarray(bytes) })
  assert.deepEqual([done.status, done.headers.get('repr-digest')], [201, digest])
  assert.deepEqual(await readFile(join(store, 'vm.img')), content)

  const whole = await asked('/vm.img')
  assert.equal(whole.headers.get('repr-digest'), digest)
  assert.deepEqual(Buffer.from(await whole.arrayBuffer()), content)
  const part = await asked('/vm.img', { headers: { range: 'bytes=100-199' } })
  assert.deepEqual([part.status, part.headers.get('content-range')], [206, `bytes 100-199/${content.length}`])
  assert.deepEqual(Buffer.from(await part.arrayBuffer()), content.subarray(100, 200))
  for (const name of ['/..%2Fx', '/a..b', '/.x', '/vm.img.part', '/a/b']) {
    assert.equal((await asked(name, { method: 'PUT', body: 'x' })).status, 404, name)
  }
})

test(
  'log tail: what is there, what comes, another file of the name; and a page that shows it as text',
  DEADLINE,
  async (t) => {
    const directory = await scopeOf(t).directory()
    const file = join(directory, 'daemon.log')
    await writeFile(file, 'first\nsecond\n')
    const name = 'com.example.log'
    const { asked, scope, daemon, cookie } = await start(t, 'log-tail', name, [file])
    const next = eventsOf(await asked('/lines'))
    assert.deepEqual([await next(), await next()], ['"first"', '"second"'])
    await appendFile(file, 'häl')
    await appendFile(file, 'f\nwhole\n')
    assert.deepEqual([await next(), await next()], ['"hälf"', '"whole"'])
    await rename(file, `${file}.1`)
    await writeFile(file, '<img src=x onerror=alert(1)>\n')
    assert.equal(await next(), '"<img src=x onerror=alert(1)>"')

    const { page, problems } = await openPage(await openBrowser(scope))
    const [, value = ''] = cookie.split('=')
    await page.context().addCookies([{ name: 'session_id', value, url: daemon.url }])
    await page.goto(`${daemon.url}/services/plugin/${name}`)
    await page.getByText('<img src=x onerror=alert(1)>').waitFor()
    assert.equal(await page.getByRole('status').textContent(), 'live')
    await appendFile(file, 'as it comes\n')
    await page.getByText('as it comes').waitFor()
    assert.equal(await page.locator('img').count(), 0)
    assert.deepEqual([...problems, ...(await accessibilityProblems(page))], [])
  },
)

test('terminal: a shell by WebSocket, for administrators alone, which ends with it', DEADLINE, async (t) => {
  const { daemon, cookie, scope, asked } = await start(t, 'terminal', 'com.example.terminal')
  assert.equal((await asked()).status, 426)
  const url = `${daemon.url.replace('http:', 'ws:')}/services/plugin/com.example.terminal`
  const socket = new WebSocket(url, { headers: { cookie } })
  scope.defer(() => socket.terminate())
  let shown = ''
  socket.on('message', (data: Buffer) => (shown += data.toString()))
  await within(once(socket, 'open'), 'the WebSocket')
  socket.send('echo pid=$$ $((40 + 2)); tty\n')
  const [, pid = ''] = await until(() => /pid=(\d+) 42/.exec(shown) ?? undefined, 'what the shell says')
  await until(() => /\/dev\/pts\/\d+/.test(shown), 'a terminal')
  socket.close()
  await until(
    async () => (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '0 (sh) Z')).includes(') Z'),
    'the end of the shell',
  )

  await daemon.place.addUser('operator', 'some password', 'pool-operator')
  const operator = `session_id=${await daemon.login('operator', 'some password')}`
  const refused = new WebSocket(url, { headers: { cookie: operator } })
  const [error] = (await within(once(refused, 'error'), 'the refusal')) as [Error]
  assert.match(error.message, /403/)
})

/** nginx by one of the files for it, with places of this test. */
async function startNginx(scope: Scope, file: string, places: Readonly<Record<string, string>>): Promise<void> {
  const directory = await scope.directory()
  let text = await readFile(join(EXAMPLES, 'unchanged', file), 'utf8')
  for (const [place, here] of Object.entries(places)) {
    assert.ok(text.includes(place), place)
    text = text.replaceAll(place, here)
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${directory}/${kind};`,
  )
  text = text.replaceAll('pid /run', `pid ${directory}`).replace('http {', `http {\n${temporary.join('\n')}`)
  const user = process.getuid?.() === 0 ? 'user root;\n' : ''
  await writeFile(join(directory, 'nginx.conf'), `daemon off;\n${user}error_log stderr warn;\n${text}`)
  const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin` }
  const child = new Child(scope, 'nginx', ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr'], {
    env,
  })
  scope.onFailure(() => child.stderr)
}

test('unchanged: nginx serves files, and an API on a Unix socket for reading', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const readme = await readFile(join(EXAMPLES, 'unchanged/README.md'), 'utf8')
  const [, policy = ''] = /```toml\n([^]*?)```/.exec(readme) ?? []
  const daemon = await startDaemon(scope, { tables: policy })
  const directory = await scope.directory()
  await mkdir(join(directory, 'files'))
  await writeFile(join(directory, 'files/a.txt'), 'the file')
  const requests: string[] = []
  // In the place of Docker, which needs a kernel for itself.
  await serveHttp(scope, join(directory, 'docker.sock'), ({ method, url, headers }, response) => {
    requests.push(`${method} ${url} ${Object.keys(headers).toSorted().join()}`)
    response.setHeader('Content-Type', 'application/json').end('[]')
  })
  const plugin = { '/var/xapi/plugin': daemon.place.plugin }
  await startNginx(scope, 'nginx-files.conf', { ...plugin, '/srv/files': join(directory, 'files') })
  await startNginx(scope, 'nginx-docker.conf', { ...plugin, '/run/docker.sock': join(directory, 'docker.sock') })
  for (const name of ['com.example.files', 'com.example.docker']) await listens(scope, daemon, name)

  const headers = { cookie: `session_id=${await daemon.login()}` }
  const asked = (path: string, method = 'GET'): Promise<Response> =>
    fetch(`${daemon.url}/services/plugin/${path}`, { headers, method })
  const list = (await (await asked('com.example.files/')).json()) as { name: string }[]
  assert.deepEqual(
    list.map(({ name }) => name),
    ['a.txt'],
  )
  assert.equal(await (await asked('com.example.files/a.txt')).text(), 'the file')

  assert.deepEqual(await (await asked('com.example.docker/containers/json?all=1')).json(), [])
  assert.deepEqual(requests, ['GET /containers/json?all=1 connection,host'])
  assert.equal((await asked('com.example.docker/containers/create', 'POST')).status, 403)
  // Past the gateway too.
  const past = await RawClient.connect(`unix:${daemon.place.socket('com.example.docker')}`)
  scope.defer(() => past.destroy())
  const head =
    'POST /services/plugin/com.example.docker/containers/create HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n'
  assert.equal((await past.exchange(head)).status, 403)
  assert.equal(requests.length, 1)
})

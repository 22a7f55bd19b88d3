// In front of xapi: real clients of the XenAPI over TLS, consoles, images of disks, and stunnel, with the real daemon.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { text as textOf } from 'node:stream/consumers'
import { test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { type StandIn, startXapi } from './harness/backends.ts'
import { openBrowser, openPage } from './harness/browser.ts'
import { run } from './harness/child.ts'
import { type Daemon, Place, successors } from './harness/daemon.ts'
import { sampleData } from './harness/data.ts'
import { until, within } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'
import { makeCertificate, startStunnel } from './harness/tls.ts'
import { xenApiClient } from './harness/xen-api.ts'

const MIB = 1024 ** 2

/** A server on a port of the loopback that does with each connection what `accept` says. */
async function servePort(scope: Scope, accept: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    accept(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.defer(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

/** The port at which xapi speaks plain HTTP: the stand-in's HTTPS without the TLS, which it has not got itself. */
function serveStandIn(scope: Scope, standIn: StandIn): Promise<number> {
  return servePort(scope, (socket) => {
    const { hostname, port } = new URL(standIn.url)
    const secure = connect({ host: hostname, port: Number(port), rejectUnauthorized: false })
    secure.on('error', () => socket.destroy())
    secure.on('close', () => socket.destroy())
    socket.on('close', () => secure.destroy())
    secure.pipe(socket).pipe(secure)
  })
}

interface Front {
  readonly daemon: Daemon
  readonly certificate: string
  readonly standIn: StandIn
}

/**
 * A daemon in front of xapi, which judges sessions by the stand-in.
 * @param port where xapi takes plain HTTP; null for the stand-in's own
 * @param keys of the listener and of [front], in place of TLS and nothing, and more tables
 */
async function startFront(
  scope: Scope,
  port: number | null,
  keys: {
    readonly listen: string
    readonly front: string
    readonly tables?: string
    readonly transport?: string
  } | null = null,
): Promise<Front> {
  const standIn = await startXapi(scope)
  await standIn.order({ order: 'add-host', hostname: 'host-a', address: '127.0.0.1' })
  const upstream = port ?? (await serveStandIn(scope, standIn))
  const { certificate, key } = makeCertificate(await scope.directory())
  const listen = keys?.listen ?? `tls = { certificate = "${certificate}", key = "${key}" }`
  const tables = `
[sessions]
authority = "xapi"
[sessions.xapi]
url = "unix:${standIn.socketPath}"
[front]
upstream = "http://127.0.0.1:${upstream}"
${keys?.front ?? ''}
${keys?.tables ?? ''}
`
  const transport = keys?.transport === undefined ? {} : { transport: keys.transport }
  const place = await Place.make(scope, { listen: [{ address: '127.0.0.1:0', keys: listen }], tables, ...transport })
  return { daemon: await place.start(), certificate, standIn }
}

test("Xen Orchestra's client works through the front over TLS, and follows events", { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { daemon } = await startFront(scope, null)
  const auth = { user: 'root', password: 'root-pw' }
  const client = xenApiClient(daemon.url, auth, { allowUnauthorized: true, watchEvents: true })
  await client.connect()
  await within(client.objectsFetched, 'the objects')
  assert.ok(Object.values(client.objects.all).some(({ $type }) => $type === 'host'))
  const records = (await client.call('host.get_all_records')) as Record<string, { hostname: string }>
  assert.deepEqual(
    Object.values(records).map(({ hostname }) => hostname),
    ['host-a'],
  )
  await client.disconnect()
  await daemon.event(({ service, status }) => service === 'xapi' && status === 200, 'a call in the log')
})

test('the dashboard is beside xapi, whose sessions it uses', { timeout: 110_000 }, async (t) => {
  const scope = scopeOf(t)
  const { daemon } = await startFront(scope, null)
  const name = 'com.example.beside'
  await serveHttp(scope, daemon.place.socket(name), (_, response) => response.end('here'))
  const { page, problems } = await openPage(await openBrowser(scope))
  await page.goto(`${daemon.url}/xengate`)
  assert.equal(page.url(), `${daemon.url}/xengate/`)
  await page.getByLabel('User name').fill('root')
  await page.getByLabel('Password').fill('root-pw')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('link', { name }).waitFor()
  const [cookie] = await page.context().cookies()
  assert.equal(cookie?.secure, true)
  const isAlive = (): Promise<number> =>
    page.evaluate(async (path) => (await fetch(path)).status, `/services/plugin/${name}?session_id=${cookie?.value}`)
  assert.equal(await isAlive(), 200)
  assert.deepEqual(problems, [])
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Password').waitFor()
  await until(async () => ((await isAlive()) === 403 ? true : undefined), 'the end of the session at xapi')
  // The page at `/` is xapi's.
  await daemon.event(({ service, path }) => service === 'dashboard' && path === '/xengate/', 'the page in the log')
  const { page: other } = await openPage(await openBrowser(scope))
  await other.goto(`${daemon.url}/`)
  await daemon.event(({ service, path }) => service === 'xapi' && path === '/', 'the page of xapi')
})

/** Speaks XML-RPC over HTTPS as XenAPI.py does, and prints what it got as JSON. */
const PYTHON = `
import json, ssl, sys, xmlrpc.client
context = ssl.create_default_context(cafile=sys.argv[2])
server = xmlrpc.client.ServerProxy(sys.argv[1], context=context)
session = server.session.login_with_password("olga", "olga-pw", "1.0", "python")["Value"]
first = getattr(server, "event.from")(session, ["host"], "", 0.5)["Value"]
answers = {
    "pools": len(server.pool.get_all(session)["Value"]),
    "events": [event["snapshot"]["hostname"] for event in first["events"]],
    "wrong": server.session.login_with_password("olga", "guess")["ErrorDescription"][0],
    "later": getattr(server, "event.from")(session, ["host"], first["token"], 0.1)["Value"]["events"],
    "logout": server.session.logout(session)["Status"],
    "after": server.pool.get_all(session)["ErrorDescription"][0],
}
print(json.dumps(answers))
`

test("Python's XML-RPC works through the front over TLS", { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { daemon, certificate } = await startFront(scope, null)
  const ran = await run(scope, 'python3', ['-c', PYTHON, daemon.url, certificate])
  assert.equal(ran.code, 0, ran.stderr)
  assert.deepEqual(JSON.parse(ran.stdout), {
    pools: 1,
    events: ['host-a'],
    wrong: 'SESSION_AUTHENTICATION_FAILED',
    later: [],
    logout: 'Success',
    after: 'SESSION_INVALID',
  })
})

test('a session made at xapi through the front holds at services beside it', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { daemon } = await startFront(scope, null)
  const name = 'com.example.beside'
  await serveHttp(scope, daemon.place.socket(name), ({ headers }, response) => {
    response.end(`${String(headers['x-xen-session-user'])} ${String(headers['x-forwarded-proto'])}`)
  })
  const auth = { user: 'olga', password: 'olga-pw' }
  const client = xenApiClient(daemon.url, auth, { allowUnauthorized: true })
  await client.connect()
  const answer = await client.getResource(`/services/plugin/${name}`)
  assert.deepEqual([answer.statusCode, await answer.body.text()], [200, 'olga https'])
  const { sessionId } = client
  await client.disconnect()
  const url = `${daemon.url}/services/plugin/${name}?session_id=${sessionId}`
  const after = await until(async () => {
    const ran = await run(scope, 'curl', ['--disable', '-sSk', '-o', '/dev/null', '-w', '%{http_code}', url])
    return ran.stdout === '403' && ran.stdout
  }, 'the end of the session, which is asked about again every 2 s')
  assert.equal(after, '403')
})

/** A connection over TLS to the daemon. */
async function secureTo(scope: Scope, daemon: Daemon): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(daemon.url).port), rejectUnauthorized: false })
  scope.defer(() => void socket.destroy())
  await within(once(socket, 'secureConnect'), 'the handshake')
  return socket
}

/** Reads until `text` has come; returns all up to and with it. */
async function untilText(socket: Socket, text: string): Promise<string> {
  const seen = Promise.withResolvers<string>()
  let received = ''
  const onData = (chunk: Buffer): void => {
    received += chunk.toString('latin1')
    if (received.includes(text)) seen.resolve(received)
  }
  socket.on('data', onData)
  socket.once('close', () => seen.reject(new Error(`the connection closed after ${JSON.stringify(received)}`)))
  try {
    return await within(seen.promise, JSON.stringify(text))
  } finally {
    socket.off('data', onData)
  }
}

test('a raw CONNECT over TLS is a console: bytes both ways until either side ends', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const heads: string[] = []
  const port = await servePort(scope, (socket) => {
    socket.once('data', (head: Buffer) => {
      heads.push(head.toString('latin1'))
      socket.write('HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nRFB 003.003\n')
      socket.on('data', (bytes: Buffer) => socket.write(bytes))
    })
  })
  const { daemon } = await startFront(scope, port)
  const socket = await secureTo(scope, daemon)
  socket.write('CONNECT /console?ref=OpaqueRef:1&session_id=OpaqueRef:2 HTTP/1.1\r\n\r\n')
  const answer = await untilText(socket, 'RFB 003.003\n')
  assert.equal(answer, 'HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nRFB 003.003\n')
  assert.deepEqual(heads, [
    'CONNECT /console?ref=OpaqueRef:1&session_id=OpaqueRef:2 HTTP/1.1\r\nConnection: close\r\n\r\n',
  ])
  socket.write('\x03\x00keys')
  assert.equal(await untilText(socket, 'keys'), '\x03\x00keys')
  socket.end()
  await within(once(socket, 'close'), 'the end')
  const line = await daemon.event(({ service }) => service === 'xapi', 'the console')
  assert.deepEqual([line['method'], line['path'], line['status']], ['CONNECT', '/console', 200])
  assert.ok(!daemon.child.stdout.includes('OpaqueRef:2'))
})

test('a console goes on in the process that takes the place of the first', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const port = await servePort(scope, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\nRFB 003.003\n')
      socket.on('data', (chunk) => socket.write(chunk))
    })
  })
  const { daemon } = await startFront(scope, port, { listen: '', front: '' })
  using client = await RawClient.connect(daemon.url)
  await client.send('CONNECT /console?ref=OpaqueRef:1&session_id=OpaqueRef:2 HTTP/1.1\r\n\r\n')
  await client.until('RFB 003.003\n')
  const { code, stderr } = await daemon.place.command(['upgrade'])
  assert.equal(code, 0, stderr)
  const { successor } = await daemon.event(({ event }) => event === 'upgraded', 'the upgrade')
  try {
    await until(() => daemon.child.hasEnded, 'the end of the first')
    await client.send('keys')
    await client.until('keys')
    client.socket.end()
    const line = await daemon.event(({ service }) => service === 'xapi', 'the console')
    assert.deepEqual([line['method'], line['path'], line['status']], ['CONNECT', '/console', 200])
    assert.deepEqual([line['outcome'], line['bytesIn']], ['complete', 4])
  } finally {
    process.kill(Number(successor), 'SIGKILL')
  }
})

function* inChunks(pieces: Iterable<Buffer>): Generator<Buffer> {
  for (const piece of pieces) {
    yield Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')])
  }
  yield Buffer.from('0\r\n\r\n')
}

/** An importer, which answers with the hash of `bytes` bytes when it has them all; in chunks, they are of `PIECES`. */
function serveImports(scope: Scope, bytes: number, areChunked: boolean): Promise<number> {
  return servePort(scope, (socket) => {
    const hash = createHash('sha256')
    let received = 0
    let rest: Buffer = Buffer.alloc(0)
    let isHead = true
    const take = (data: Buffer): void => {
      hash.update(data)
      received += data.length
      if (received !== bytes) return
      socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 64\r\n\r\n${hash.digest('hex')}`)
    }
    socket.on('data', (chunk: Buffer) => {
      let data = chunk
      if (isHead) {
        rest = Buffer.concat([rest, chunk])
        const end = rest.indexOf('\r\n\r\n')
        if (end === -1) return
        data = rest.subarray(end + 4)
        rest = Buffer.alloc(0)
        isHead = false
      }
      if (areChunked) rest = unchunk(Buffer.concat([rest, data]), take)
      else take(data)
    })
  })
}

/** Hands out whole chunks; returns what is left. */
function unchunk(bytes: Buffer, take: (data: Buffer) => void): Buffer {
  let at = 0
  for (;;) {
    const line = bytes.indexOf('\r\n', at)
    if (line === -1) return bytes.subarray(at)
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (size === 0 || line + 4 + size > bytes.length) return bytes.subarray(at)
    take(bytes.subarray(line + 2, line + 2 + size))
    at = line + 4 + size
  }
}

/** The most memory that a process had, in bytes. */
function peakOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

for (const [title, head, areChunked] of [
  ['in HTTP/1.0 with its length', `PUT /import_raw_vdi?vdi=1 HTTP/1.0\r\nContent-Length: ${256 * MIB}\r\n\r\n`, false],
  ['on a kept connection, in chunks', 'PUT /import HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n', true],
] as const) {
  test(`256 MiB put ${title} over TLS arrive as they were sent`, { timeout: 120_000 }, async (t) => {
    const scope = scopeOf(t)
    const { daemon } = await startFront(scope, await serveImports(scope, 256 * MIB, areChunked))
    const [worker = 0] = daemon.workerPids
    const before = peakOf(worker)
    const socket = await secureTo(scope, daemon)
    const sent = createHash('sha256')
    socket.write(head)
    const answer = untilText(socket, '\r\n\r\n').then(async (text) => {
      const [, body = ''] = text.split('\r\n\r\n')
      return body.length === 64 ? body : body + (await untilText(socket, '')).slice(0, 64)
    })
    const pieces = sampleData(256 * MIB, sent)
    for (const piece of areChunked ? inChunks(pieces) : pieces) {
      if (!socket.write(piece)) await within(once(socket, 'drain'), 'the gateway to take more')
    }
    assert.equal(await within(answer, 'the answer'), sent.digest('hex'))
    const grownMib = (peakOf(worker) - before) / MIB
    // Node.js reads TLS into a new buffer each time: what is not collected yet is there, and not the image.
    assert.ok(grownMib < 128, `the worker grew by ${grownMib.toFixed(1)} MiB`)
  })
}

test('behind stunnel, xapi is told the right client, and so is the log', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const heads: string[] = []
  const port = await servePort(scope, (socket) => {
    socket.once('data', (head: Buffer) => {
      heads.push(head.toString('latin1'))
      socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nxapi\n')
    })
  })
  const keys = { listen: 'proxy-protocol = true', front: 'proxy-protocol = true' }
  const { daemon } = await startFront(scope, port, keys)
  const files = makeCertificate(await scope.directory())
  const url = await startStunnel(scope, new URL(daemon.url).host, files)
  const ran = await run(scope, 'curl', ['--disable', '-sSk', '--max-time', '20', '--interface', '127.0.0.2', `${url}/`])
  assert.deepEqual([ran.code, ran.stdout], [0, 'xapi\n'], ran.stderr)
  const [head = ''] = heads
  assert.match(head, /^PROXY TCP6 ::ffff:127\.0\.0\.2 ::ffff:127\.0\.0\.1 \d+ \d+\r\nGET \/ HTTP\/1\.1\r\n/)
  const line = await daemon.event(({ service }) => service === 'xapi', 'the request')
  assert.deepEqual([line['client'], line['status']], ['127.0.0.2', 200])
})

/** Calls plugins as XenAPI.py does, and prints what it got as JSON. */
const PLUGINS = `
import json, sys, xmlrpc.client
server = xmlrpc.client.ServerProxy(sys.argv[1])
session = server.session.login_with_password(sys.argv[2], sys.argv[3], "1.0", "python")["Value"]
here, other = (server.host.get_all(session)["Value"] + [""])[:2]
def call(host, plugin, fn, args={}):
    answer = server.host.call_plugin(session, host, plugin, fn, args)
    return answer.get("Value", answer.get("ErrorDescription"))
print(json.dumps({
    "answered": call(here, "updater.py", "check_update", {"a": "\\u00e9<&>"}),
    "failed": call(here, "updater.py", "install"),
    "of xapi": call(here, "of-xapi.py", "f", {"a": "b"}),
    "elsewhere": call(other, "updater.py", "check_update"),
    "after": len(server.host.get_all(session)["Value"]),
    "logout": server.session.logout(session)["Status"],
}))
`

const POOL = '[pool]\nhost = "host-a"\naddress = "http://127.0.0.1"\nregistry = "xapi"\n'

test('calls of plugins are answered by services throughout an upgrade', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { daemon, standIn } = await startFront(scope, null, { listen: '', front: 'plugin-calls = true', tables: POOL })
  await serveHttp(scope, daemon.place.socket('updater.py'), (_, response) => response.end('of the service'))
  const session = await standIn.login('olga')
  const params = [session, (await hostsOf(daemon, session))[0], 'updater.py', 'check_update', {}]
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'host.call_plugin', params })
  const isAnswered = async (): Promise<boolean> =>
    (await (await fetch(`${daemon.url}/jsonrpc`, { method: 'POST', body })).text()).includes('of the service')
  await until(async () => ((await isAnswered()) ? true : undefined), 'the answer of the service')
  // So that the next process begins to serve before it is told which host this one is.
  await standIn.fault({ kind: 'slow', ms: 200 })
  scope.defer(() => successors(daemon).forEach((pid) => process.kill(pid, 'SIGKILL')))
  const upgrade = daemon.place.command(['upgrade'])
  while (successors(daemon).length === 0) assert.ok(await isAnswered())
  for (let count = 0; count < 20; count++) assert.ok(await isAnswered())
  assert.equal((await upgrade).code, 0)
})

for (const transport of ['net', 'ring']) {
  test(
    `calls of plugins are answered by services, and by xapi where there is none (${transport})`,
    { timeout: 60_000 },
    async (t) => {
      const scope = scopeOf(t)
      const { daemon, standIn } = await startFront(scope, null, {
        listen: '',
        front: 'plugin-calls = true',
        tables: `${POOL}[services.policy."updater.py"]\nroles = ["pool-operator"]\n`,
        transport,
      })
      await standIn.order({ order: 'add-host', hostname: 'host-b', address: '127.0.0.2' })
      await serveHttp(scope, daemon.place.socket('updater.py'), (request, response) => {
        textOf(request).then(
          (body) => {
            if (request.url?.endsWith('/install') === true)
              response.writeHead(409).end('{"error": ["UPDATER_BUSY", "1"]}')
            else response.end(`${String(request.headers['x-xen-session-user'])} ${body}`)
          },
          () => response.destroy(),
        )
      })
      const session = await standIn.login('olga')
      const params = [session, (await hostsOf(daemon, session))[0], 'updater.py', 'check_update', {}]
      const call = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'host.call_plugin', params })
      const curl = ['--disable', '-sS', '--max-time', '20', '-H', 'Content-Type: application/json', '-d', call]
      const asCurl = async (): Promise<string> => (await run(scope, 'curl', [...curl, `${daemon.url}/jsonrpc`])).stdout
      // It takes the registry a moment to know this host.
      await until(async () => {
        return (await asCurl()) === '{"jsonrpc":"2.0","result":"olga {}","id":1}' ? true : undefined
      }, 'the answer of the service')

      const asPython = async (user: string): Promise<Record<string, unknown>> => {
        const ran = await run(scope, 'python3', ['-c', PLUGINS, daemon.url, user, `${user}-pw`])
        assert.equal(ran.code, 0, ran.stderr)
        return JSON.parse(ran.stdout) as Record<string, unknown>
      }
      const missing = ['XENAPI_MISSING_PLUGIN', 'updater.py']
      assert.deepEqual(await asPython('olga'), {
        answered: 'olga {"a":"é<&>"}',
        failed: ['UPDATER_BUSY', '1'],
        'of xapi': 'f of xapi: {"a":"b"}',
        elsewhere: missing,
        after: 2,
        logout: 'Success',
      })
      const { answered, failed } = await asPython('rita')
      assert.deepEqual([answered, failed], [missing, missing])
      // As Xen Orchestra does.
      const orchestra = xenApiClient(daemon.url, { user: 'olga', password: 'olga-pw' })
      await orchestra.connect()
      const [, here, ...named] = params
      assert.equal(await orchestra.call('host.call_plugin', here, ...named), 'olga {}')
      assert.equal(await orchestra.call('host.call_plugin', here, 'of-xapi.py', 'f', {}), 'f of xapi: {}')
      await orchestra.disconnect()
      // xapi tells nobody of endings: it is asked again.
      await standIn.order({ order: 'logout', session })
      await until(
        async () => ((await asCurl()).includes('SESSION_INVALID') ? true : undefined),
        'the end of the session',
      )
      await daemon.event(
        ({ service, user, status }) => service === 'updater.py' && user === 'olga' && status === 200,
        'a line in the log',
      )
    },
  )
}

async function hostsOf({ url }: Daemon, session: string): Promise<readonly string[]> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'host.get_all', params: [session] })
  const answer = await fetch(`${url}/jsonrpc`, { method: 'POST', body })
  return ((await answer.json()) as { result: string[] }).result
}

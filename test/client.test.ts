// @xengate/client against real gateways: Xengate, and a host that serves services as xapi itself does.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import { GatewayError, login, type LoginOptions, type Progress, session as sessionAt } from '@xengate/client'
import { openBrowser, openPage } from './harness/browser.ts'
import { run } from './harness/child.ts'
import { sampleData } from './harness/data.ts'
import { type Daemon, startDaemon, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { Scope, scopeOf } from './harness/scope.ts'
import { freePort } from './harness/tls.ts'
import { serveHttp } from './harness/services.ts'
import { XapiServices } from './harness/xapi-services.ts'

const NAME = 'com.example.store'
const BYTES = 20 * 1024 * 1024

/** What serves services, and what of its sessions a test has to know. */
interface Host {
  readonly url: string
  readonly socket: (name: string) => string
  readonly end: (session: string) => Promise<void> | void
}

/** A service that answers what it was sent. */
function echo(scope: Scope, path: string): Promise<unknown> {
  return serveHttp(scope, path, (request, response) => {
    const { method = '', url = '', headers } = request
    const hash = createHash('sha256')
    let bytes = 0
    if (url.includes('/silent')) return
    if (url.includes('/data')) {
      response.writeHead(200, { 'Content-Length': BYTES })
      for (const piece of sampleData(BYTES, hash)) response.write(piece)
      response.end()
      return
    }
    request.on('data', (piece: Buffer) => {
      hash.update(piece)
      bytes += piece.length
    })
    request.on('end', () => {
      const heard = { method, url, type: headers['content-type'] ?? null, own: headers['x-own'] ?? null, bytes }
      response.end(JSON.stringify({ ...heard, hash: hash.digest('hex') }))
    })
  })
}

async function* pieces(hash: ReturnType<typeof createHash>): AsyncGenerator<Uint8Array> {
  yield* sampleData(BYTES, hash)
}

async function said(response: Response): Promise<Readonly<Record<string, unknown>>> {
  return (await response.json()) as Record<string, unknown>
}

function isError(code: string, fields: Readonly<Partial<GatewayError>> = {}): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof GatewayError, String(error))
    assert.equal(error.code, code, error.message)
    for (const [name, value] of Object.entries(fields)) assert.equal(error[name as keyof GatewayError], value, name)
    assert.ok(!inspect(error).includes('OpaqueRef'))
    return true
  }
}

const KINDS: readonly (readonly [name: string, start: (scope: Scope) => Promise<Host>])[] = [
  [
    'Xengate',
    async (scope) => {
      const daemon = await startDaemon(scope)
      const admin = await login(daemon.url, { user: USER.name, password: USER.password, originator: 'admin' })
      return {
        url: daemon.url,
        socket: (name) => daemon.place.socket(name),
        end: async (id) => {
          await sessionAt(daemon.url, id).logout()
          assert.ok(admin.sessionId)
        },
      }
    },
  ],
  [
    'xapi',
    async (scope) => {
      const host = await XapiServices.start(scope, new Map([[USER.name, USER.password]]))
      return { url: host.url, socket: (name) => host.socket(name), end: (id) => host.end(id) }
    },
  ],
]

for (const [kind, start] of KINDS) {
  describe(`@xengate/client at ${kind}`, { timeout: 120_000 }, () => {
    const scope = new Scope()
    let host: Host
    const credentials = { user: USER.name, password: USER.password }
    before(async () => {
      host = await start(scope)
      await echo(scope, host.socket(NAME))
    })
    after(() => scope.close())

    test('signs in, calls, and signs out', async () => {
      await assert.rejects(login(host.url, { ...credentials, password: 'wrong' }), isError('sign-in-refused'))
      const gateway = await login(host.url, credentials)
      const store = gateway.service(NAME)
      assert.deepEqual(await said(await store.get('/a%20b?x=1', { query: { y: 'ü' }, headers: { 'X-Own': 'mine' } })), {
        method: 'GET',
        url: `/services/plugin/${NAME}/a%20b?x=1&y=%C3%BC`,
        type: null,
        own: 'mine',
        bytes: 0,
        hash: createHash('sha256').digest('hex'),
      })
      const posted = await said(
        await store.post('/', JSON.stringify({ a: 1 }), { headers: { 'Content-Type': 'application/json' } }),
      )
      assert.deepEqual([posted['method'], posted['type'], posted['bytes']], ['POST', 'application/json', 7])
      const { sessionId } = gateway
      await gateway.logout()
      await gateway.logout()
      await assert.rejects(sessionAt(host.url, sessionId).service(NAME).get(), (error) => {
        assert.ok(error instanceof GatewayError)
        return error.code === (kind === 'xapi' ? 'status-401' : 'session-invalid')
      })
    })

    test('streams both ways, whole, and tells how far it is', async () => {
      await using gateway = await login(host.url, credentials)
      const store = gateway.service(NAME)
      const [up, down]: Progress[][] = [[], []]
      const onProgress = (progress: Progress): unknown => (progress.direction === 'up' ? up : down)?.push(progress)
      const hash = createHash('sha256')
      const stored = await said(await store.put('/in', pieces(hash), { size: BYTES, onProgress }))
      assert.deepEqual([stored['bytes'], stored['hash']], [BYTES, hash.digest('hex')])
      assert.deepEqual(up?.at(-1), { direction: 'up', bytes: BYTES, total: BYTES })

      const [expected, got] = [createHash('sha256'), createHash('sha256')]
      for (const piece of sampleData(BYTES, expected)) assert.ok(piece)
      const response = await store.get('/data', { onProgress })
      for await (const piece of response.body ?? []) got.update(piece as Uint8Array)
      assert.equal(got.digest('hex'), expected.digest('hex'))
      assert.deepEqual(down?.at(-1), { direction: 'down', bytes: BYTES, total: BYTES })

      const blob = new Blob(['12345'], { type: 'text/x' })
      const sent = await said(await store.put('/blob', blob, { onProgress }))
      assert.deepEqual([sent['bytes'], sent['type']], [5, 'text/x'])
      if (kind === 'xapi') return
      const chunked = await said(await store.put('/chunked', new Response('abc').body ?? ''))
      assert.equal(chunked['bytes'], 3)
    })

    test('gives up when it is told to, with the reason that it was given', async () => {
      await using gateway = await login(host.url, credentials)
      const stop = new AbortController()
      const waiting = gateway.service(NAME).get('/silent', { signal: stop.signal })
      setImmediate(() => stop.abort(new Error('enough')))
      await assert.rejects(waiting, /enough/)
      const already = gateway
        .service(NAME)
        .put('/x', pieces(createHash('md5')), { signal: AbortSignal.abort(new Error('no')) })
      await assert.rejects(already, /no/)
    })

    test('says by a code why there is no answer, and whose it was', async () => {
      await using gateway = await login(host.url, credentials)
      const code = kind === 'xapi' ? 'status-404' : 'service-unknown'
      const fields = { status: 404, service: 'com.example.nobody', retryable: false }
      await assert.rejects(gateway.service('com.example.nobody').get(), isError(code, fields))
      assert.equal((await gateway.service('com.example.nobody').fetch()).status, 404)
      assert.throws(() => gateway.service('../etc'), TypeError)
      await assert.rejects(
        login('http://127.0.0.1:1', credentials),
        isError('unreachable', { status: null, retryable: true }),
      )
      await assert.rejects(login('gateway', credentials), TypeError)
    })

    test('opens another session when the one that it has is over: one for all that wait', async () => {
      let logins = 0
      const counting: LoginOptions = {
        ...credentials,
        fetch: (url, init) => {
          if (typeof init.body === 'string' && init.body.includes('login_with_password')) logins++
          return fetch(url, init)
        },
      }
      await using gateway = await login(host.url, counting)
      const store = gateway.service(NAME)
      const first = gateway.sessionId ?? ''
      await host.end(first)
      const answers = await Promise.all(Array.from({ length: 10 }, () => store.get('/again')))
      assert.ok(answers.every(({ status }) => status === 200))
      assert.notEqual(gateway.sessionId, first)
      assert.equal(logins, 2)

      // A stream is not begun under a session that is over.
      await host.end(gateway.sessionId ?? '')
      const hash = createHash('sha256')
      const stored = await said(await store.put('/', pieces(hash), { size: BYTES }))
      assert.equal(stored['hash'], hash.digest('hex'))
      assert.equal(logins, 3)
    })

    test('reads again when nothing came, and writes once', async (t) => {
      const flaky = await startFlaky(scopeOf(t), host.url)
      const gateway = sessionAt(flaky.url, (await login(host.url, credentials)).sessionId)
      flaky.breakNext(2)
      assert.equal((await gateway.service(NAME).get('/read')).status, 200)
      flaky.breakNext(3)
      await assert.rejects(gateway.service(NAME).get('/read'), isError('unreachable', { retryable: true }))
      flaky.breakNext(1)
      await assert.rejects(gateway.service(NAME).post('/write', 'once'), isError('unreachable'))
      assert.equal((await gateway.service(NAME).post('/write', 'once')).status, 200)
    })
  })
}

/** Something between client and host that resets connections when it is told to. */
async function startFlaky(scope: Scope, url: string): Promise<{ url: string; breakNext: (count: number) => void }> {
  let broken = 0
  const { hostname, port } = new URL(url)
  const sockets = new Set<{ destroy: () => void }>()
  const server = createServer((socket) => {
    socket.on('error', () => {})
    sockets.add(socket)
    if (broken > 0) {
      broken--
      socket.once('data', () => socket.resetAndDestroy())
      return
    }
    const upstream = connect(Number(port), hostname)
    sockets.add(upstream)
    upstream.on('error', () => socket.destroy())
    // A connection for each request: what is kept would not be broken.
    socket.pipe(upstream).pipe(socket)
    upstream.once('data', () => server.emit('answered', socket))
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  scope.defer(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    breakNext: (count) => {
      broken = count
      for (const socket of sockets) socket.destroy()
      sockets.clear()
    },
  }
}

/** The Node.js that the machine has beside the one that runs this; null where there is none. */
function otherNode(): string | null {
  const paths = (process.env['PATH'] ?? '').split(delimiter).filter((path) => !path.includes('node_modules'))
  return paths.map((path) => join(path, 'node')).find((path) => existsSync(path)) ?? null
}

const BUILT = import.meta.resolve('../packages/client/dist/index.js')

describe('@xengate/client, as it is built', { timeout: 120_000 }, () => {
  const program = (url: string, id: string | null): string => `
    const gateway = client.session(${JSON.stringify(url)}, ${JSON.stringify(id)})
    const store = gateway.service(${JSON.stringify(NAME)})
    const response = await store.put('/x', new Blob(['12345']), { onProgress() {} })
    const error = await gateway.service('com.example.nobody').get('/').catch((caught) => caught)
    return [(await response.json()).bytes, error.code]`

  test(
    'runs in the Node.js that the machine has',
    { skip: otherNode() === null && 'there is one Node.js' },
    async (t) => {
      const scope = scopeOf(t)
      const daemon = await startDaemon(scope)
      await echo(scope, daemon.place.socket(NAME))
      const script = `import(${JSON.stringify(BUILT)}).then(async (client) => {${program(daemon.url, await daemon.login())}})
      .then((found) => console.log(process.version, ...found))`
      const { code, stdout, stderr } = await run(scope, otherNode() ?? '', ['-e', script])
      assert.equal(code, 0, stderr)
      assert.match(stdout, /^v\d+\.\d+\.\d+ 5 service-unknown\n$/)
    },
  )

  test('runs in a page of the gateway, with its cookie and with a session of its own', async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    await echo(scope, daemon.place.socket(NAME))
    const files = fileURLToPath(new URL('.', BUILT))
    await serveHttp(scope, daemon.place.socket('com.example.pages'), (request, response) => {
      const name = request.url?.split('/').at(-1) ?? ''
      if (!name.endsWith('.js')) response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>x</title>')
      else response.setHeader('Content-Type', 'text/javascript').end(readFileSync(join(files, name)))
    })
    const session = await daemon.login()
    const browser = await openBrowser(scope)
    const { page, problems } = await openPage(browser)
    await page.context().addCookies([{ name: 'session_id', value: session, url: daemon.url, httpOnly: true }])
    await page.goto(`${daemon.url}/services/plugin/com.example.pages/`)
    for (const id of [null, await daemon.login()]) {
      const body = `return import('./index.js').then(async (client) => {${program(daemon.url, id)}})`
      assert.deepEqual(await page.evaluate(`(() => {${body}})()`), [5, 'service-unknown'])
    }
    assert.deepEqual(
      problems.filter((problem) => !problem.includes('404')),
      [],
    )
  })
})

describe('@xengate/client in a pool', { timeout: 120_000 }, () => {
  /** Two gateways: the service runs at the second, and the first sends clients there, by the name that `host` gives it. */
  async function pool(scope: Scope, name: (url: URL) => string): Promise<readonly [first: Daemon, second: Daemon]> {
    const valkey = await import('./harness/backends.ts').then(({ startValkey }) => startValkey(scope))
    const shared = `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${valkey.url}"\n`
    // Hosts of a pool have their gateways at the same port.
    const port = await freePort()
    const second = await startDaemon(scope, { tables: shared, listen: [`127.0.0.2:${port}`] })
    await second.place.addUser(USER.name, USER.password, USER.role)
    const place = name(new URL(second.url))
    const tables = `${shared}[pool]\nregistry = "static"\n[pool.static]\n"${NAME}" = "${place}"\n`
    const first = await startDaemon(scope, { tables, listen: [`127.0.0.1:${port}`] })
    await echo(scope, second.place.socket(NAME))
    return [first, second]
  }
  const credentials = { user: USER.name, password: USER.password }

  test('follows to the host that has the service, with the session, and goes there at once after that', async (t) => {
    const [first] = await pool(scopeOf(t), (url) => url.origin)
    await using gateway = await login(first.url, credentials)
    const store = gateway.service(NAME)
    const hash = createHash('sha256')
    const stored = await said(await store.put('/x?y=1', pieces(hash), { size: BYTES }))
    assert.deepEqual([stored['hash'], stored['url']], [hash.digest('hex'), `/services/plugin/${NAME}/x?y=1`])
    const redirects = (): number => first.events.filter(({ status }) => status === 302).length
    await until(() => redirects() === 1, 'the redirect in the log')
    assert.equal((await said(await store.post('/', 'text')))['bytes'], 4)
    assert.equal(redirects(), 1)
  })

  test("follows to no other host, as a service's own answer might want it", async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    const asked: string[] = []
    const thief = await startDaemon(scope)
    await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
      asked.push(request.url ?? '')
      const at = thief.url
      response
        .writeHead(302, { Location: `${at}${request.url}`, 'Proxy-Status': 'xengate; details="service-elsewhere"' })
        .end()
    })
    const gateway = await login(daemon.url, credentials)
    await assert.rejects(gateway.service(NAME).get('/x'), isError('redirect-refused', { status: 302 }))
    assert.equal(asked.length, 1)
    assert.ok(!thief.events.some(({ event }) => event === 'request'))
    const trusting = sessionAt(daemon.url, gateway.sessionId, { hosts: [new URL(thief.url).host] })
    await assert.rejects(trusting.service(NAME).get('/x'), isError('session-invalid'))
  })

  test('comes back to the gateway when the service is gone from where it was', async (t) => {
    const scope = scopeOf(t)
    const [first, second] = await pool(scope, (url) => url.origin)
    const gateway = await login(first.url, credentials)
    const store = gateway.service(NAME)
    assert.equal((await store.get('/x')).status, 200)
    await second.stop()
    await echo(scope, first.place.socket(NAME))
    await until(async () => (await store.get('/x')).status === 200, 'the answer from where the service is now')
    assert.match(await (await store.get('/x')).text(), /"GET"/)
  })
})

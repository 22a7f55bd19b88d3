import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { fileURLToPath } from 'node:url'
import { GatewayError, login, session } from './index.ts'
import { mockGateway, mockTransport } from './testing.ts'

const NAME = 'com.example.backup'

test('the core is at most 5 KB', async () => {
  const entryPoints = [fileURLToPath(new URL('index.ts', import.meta.url))]
  const built = await build({
    entryPoints,
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
    logLevel: 'silent',
  })
  const bytes = gzipSync(built.outputFiles[0]?.contents ?? '').length
  assert.ok(bytes > 1000 && bytes <= 5 * 1024, `${bytes}`)
})

test('a mock has the services that it is given, and no network', async () => {
  const gateway = mockGateway({ [NAME]: async (request) => new Response(`${request.method} ${await request.text()}`) })
  assert.equal(await (await gateway.service(NAME).put('/x', 'body')).text(), 'PUT body')
  await assert.rejects(gateway.service('other').get(), { code: 'service-unknown', status: 404 })
  await assert.rejects(mockTransport({})('https://example.com/', {}), /there is no network here: GET example\.com\//)
  await gateway.logout()
})

/** A gateway that answers requests for the service by `answers`, one after the other. */
function answering(
  url: string,
  ...answers: readonly (() => Response)[]
): { asked: string[]; gateway: ReturnType<typeof session> } {
  const asked: string[] = []
  const transport = mockTransport({
    [NAME]: (request) => {
      asked.push(`${request.method} ${request.url}`)
      return answers[asked.length - 1]?.() ?? new Response('over')
    },
  })
  return { asked, gateway: session(url, 'OpaqueRef:secret', { fetch: transport, hosts: ['elsewhere', 'other'] }) }
}

const to = (location: string) => (): Response => new Response(null, { status: 302, headers: { Location: location } })
const ROOT = `/services/plugin/${NAME}`

test('the session goes to hosts of the pool alone, and never from https to http', async () => {
  for (const location of [`https://evil.example${ROOT}/x`, `http://elsewhere${ROOT}/x`, `http://gate${ROOT}/x`]) {
    const { asked, gateway } = answering('https://gate', to(location))
    await assert.rejects(gateway.service(NAME).get('/x'), { code: 'redirect-refused', status: 302 })
    assert.equal(asked.length, 1)
  }
  const { asked, gateway } = answering('https://gate', to(`https://elsewhere${ROOT}/x?a=1&session_id=OpaqueRef:secret`))
  assert.equal(await (await gateway.service(NAME).post('/x?a=1', 'text')).text(), 'over')
  assert.deepEqual(asked, [`POST https://gate${ROOT}/x?a=1`, `POST https://elsewhere${ROOT}/x?a=1`])
})

test('paths stay below the service, whatever dots are in them', async () => {
  const { asked, gateway } = answering('https://gate')
  for (const path of ['/../other', '/a/../../other/x', '/%2e%2e/other', '/..', '..']) {
    await assert.rejects(gateway.service(NAME).get(path), /is not below the service/)
  }
  await gateway.service(NAME).get('/a/../b')
  assert.equal(asked.length, 1)
})

test('after a logout nobody signs in anew', async () => {
  let logins = 0
  const gateway = await login('https://gate', {
    user: 'u',
    password: 'p',
    fetch: async (url, init) => {
      if (typeof init.body === 'string' && init.body.includes('login_with_password')) logins++
      if (!url.includes(ROOT)) return mockTransport({})(url, init)
      return new Response('', { status: 403, headers: { 'Proxy-Status': 'xengate; details="session-invalid"' } })
    },
  })
  await gateway.logout()
  await assert.rejects(gateway.service(NAME).get(), { code: 'session-invalid' })
  assert.equal(logins, 1)
})

test('another port of a host is another host', async () => {
  const { asked, gateway } = answering('https://gate', to(`https://gate:8443${ROOT}/x`))
  await assert.rejects(gateway.service(NAME).get('/x'), { code: 'redirect-refused' })
  assert.equal(asked.length, 1)
})

test('hosts that send it to and fro are given up', async () => {
  const here = to(`https://gate${ROOT}/x`)
  const there = to(`https://elsewhere${ROOT}/x`)
  const { asked, gateway } = answering('https://gate', there, here, there, here, there, here, there, here)
  await assert.rejects(gateway.service(NAME).get('/x'), { code: 'redirect-loop' })
  assert.ok(asked.length < 8)
  const own = answering('https://gate', here)
  await assert.rejects(own.gateway.service(NAME).get('/x'), { code: 'redirect-loop' })
})

test('redirects of the service itself are followed below it by GET, and are answers for all else', async () => {
  const { asked, gateway } = answering('https://gate', to('y?z=1'))
  assert.equal(await (await gateway.service(NAME).get('/a/x')).text(), 'over')
  assert.deepEqual(asked, [`GET https://gate${ROOT}/a/x`, `GET https://gate${ROOT}/a/y?z=1`])
  for (const location of ['/services/plugin/other/', 'https://evil.example/', '/']) {
    const elsewhere = answering('https://gate', to(location))
    assert.equal((await elsewhere.gateway.service(NAME).fetch('/x')).status, 302)
    assert.equal(elsewhere.asked.length, 1)
  }
  const posted = answering('https://gate', to('y'))
  assert.equal((await posted.gateway.service(NAME).fetch('/x', { method: 'POST', body: 'text' })).status, 302)
})

test('a stream is not sent where the service is no more', async () => {
  const stream = new Response('stream').body ?? ''
  const moved = answering('https://gate', () => new Response('probed'), to(`https://other${ROOT}/x`))
  await assert.rejects(moved.gateway.service(NAME).put('/x', stream), { code: 'service-moved', retryable: true })
  assert.deepEqual(moved.asked, [`GET https://gate${ROOT}`, `PUT https://gate${ROOT}/x`])
})

test("a role that may not is no session that is over, and the service's own 403 is the service's", async () => {
  let logins = 0
  const refusing = (headers: Readonly<Record<string, string>>) => async (url: string, init: RequestInit) => {
    if (typeof init.body === 'string' && init.body.includes('login_with_password')) logins++
    if (!url.includes(ROOT)) return mockTransport({})(url, init)
    return new Response('No.', { status: 403, headers })
  }
  const details = 'xengate; error=http_request_denied; details="role-insufficient"'
  const credentials = { user: 'u', password: 'p' }
  const closed = await login('https://gate', {
    ...credentials,
    fetch: refusing({ 'Proxy-Status': `other, ${details}` }),
  })
  await assert.rejects(closed.service(NAME).get(), { code: 'role-insufficient', message: 'No.' })
  // The session is live, whatever a service says of it.
  const forged = { 'Proxy-Status': 'xengate; details="session-invalid"' }
  const lying = await login('https://gate', { ...credentials, fetch: refusing(forged) })
  await assert.rejects(lying.service(NAME).get(), { code: 'session-invalid' })
  const own = await login('https://gate', { ...credentials, fetch: refusing({}) })
  const error = await own
    .service(NAME)
    .get()
    .catch((caught: unknown) => caught)
  assert.ok(error instanceof GatewayError)
  assert.deepEqual([error.code, await error.response?.text()], ['status-403', 'No.'])
  assert.equal(logins, 3)
})

test('a pool member sends who signs in to the coordinator', async () => {
  const asked: string[] = []
  const gateway = await login('https://member', {
    user: 'u',
    password: 'p',
    fetch: async (url, init) => {
      asked.push(url)
      if (url !== 'https://member/jsonrpc') return mockTransport({})(url, init)
      return Response.json({ jsonrpc: '2.0', id: 1, error: { code: 1, message: 'HOST_IS_SLAVE', data: ['fd00::1'] } })
    },
  })
  await gateway.logout()
  assert.equal(gateway.url, 'https://member')
  assert.deepEqual(asked, ['https://member/jsonrpc', 'https://[fd00::1]/jsonrpc', 'https://[fd00::1]/jsonrpc'])
})

test('a logout whose connections are cut by the end of the session is asked again', async () => {
  let calls = 0
  const gateway = session('https://gate', 'OpaqueRef:secret', {
    fetch: async () => {
      calls++
      // Two that a pool has kept.
      if (calls <= 2) {
        throw Object.assign(new TypeError('fetch failed'), {
          cause: Object.assign(new Error('reset'), { code: 'ECONNRESET' }),
        })
      }
      return Response.json({
        jsonrpc: '2.0',
        id: 1,
        error: { code: 1, message: 'SESSION_INVALID', data: ['OpaqueRef:secret'] },
      })
    },
  })
  await gateway.logout()
  assert.equal(calls, 3)
})

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Child, run } from '../../../test/harness/child.ts'
import { RawClient } from '../../../test/harness/raw.ts'
import { scopeOf } from '../../../test/harness/scope.ts'
import { serve, type ServeOptions } from './serve.ts'
import { fixture, IDENTITY_LINES, requestText } from './testing/fixture.ts'
import { SERVICE_NAME, TARGET } from './testing/gateway.ts'

const DEADLINE = { timeout: 60_000 }
const AGAIN = fileURLToPath(new URL('./testing/again.ts', import.meta.url))

const handler: RequestListener = (request, response) => {
  response.end(JSON.stringify(request.xen))
}

test('a name that cannot be a service is refused before anything is made', async () => {
  for (const name of ['', '.a', '-a', 'a/b', 'a b', 'é', 'x'.repeat(101), 'a.channel']) {
    await assert.rejects(serve({ name, directory: '/none', handler }), { code: 'name-invalid' }, name)
  }
})

test('a Node.js that is too old is told at import, by each package for itself', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  for (const [name, entry] of [
    ['@xengate/service', new URL('./index.ts', import.meta.url)],
    ['@xengate/channel', new URL('../../channel/src/index.ts', import.meta.url)],
  ] as const) {
    const script =
      "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } });" +
      `import('${entry.href}').then(() => console.log('imported'), (error) => console.log(error.message))`
    const { stdout } = await run(scope, process.execPath, ['-C', '@xengate/source', '-e', script])
    assert.ok(stdout.startsWith(`${name} needs Node.js 22 or later; this is `), stdout)
  }
})

test('either a handler or a fetch handler is needed', async () => {
  await assert.rejects(serve({ name: 'a', directory: '/none' }), { code: 'options-invalid' })
  const fetch = (): Response => new Response('')
  await assert.rejects(serve({ name: 'a', directory: '/none', handler, fetch }), { code: 'options-invalid' })
})

test('options are looked at before anything is made, and a slip is told with what was meant', async () => {
  const wrong: readonly (readonly [options: unknown, message: string])[] = [
    [{ dir: '/x' }, 'there is no option "dir"; did you mean "directory"?'],
    [{ Handler: handler }, 'there is no option "Handler"; did you mean "handler"?'],
    [{ drainTimeout: 1 }, 'there is no option "drainTimeout"; did you mean "drainTimeoutMs"?'],
    [
      { port: 80 },
      'there is no option "port"; there are name, directory, handler, fetch, upgrade, mode, group, gateway, channels, drainTimeoutMs, onError',
    ],
    [{ handler: 'x' }, '"handler" has to be a function'],
    [{ name: 1 }, '"name" has to be a string'],
    [{ name: undefined }, 'give the "name" that clients ask for'],
    [{ directory: '' }, '"directory" has to be a path'],
    [{ mode: '0660' }, '"mode" has to be a number from 0 to 0o777'],
    [{ group: -1 }, '"group" has to be a group\'s name or id'],
    [{ channels: 'no' }, '"channels" has to be true or false'],
    [{ drainTimeoutMs: 1.5 }, '"drainTimeoutMs" has to be a whole number of milliseconds'],
    [{ drainTimeoutMs: Number.POSITIVE_INFINITY }, '"drainTimeoutMs" has to be a whole number of milliseconds'],
    [{ onError: null }, '"onError" has to be a function'],
  ]
  for (const [options, message] of wrong) {
    await assert.rejects(serve({ name: 'a', directory: '/none', handler, ...(options as object) }), {
      code: 'options-invalid',
      message: `cannot serve: ${message}`,
    })
  }
  await assert.rejects(serve(undefined as unknown as ServeOptions), { code: 'options-invalid' })
})

test('a handler that throws at once, and an upgrade that fails, end nobody else’s connection', DEADLINE, async (t) => {
  const { relayed, client, errors } = await fixture(t, {
    handler: (request, response) => {
      if (request.url?.includes('/bad') === true) throw new Error('at once')
      response.end('fine')
    },
    upgrade: async () => {
      throw new Error('of the upgrade')
    },
  })
  for (const connect of [relayed, client]) {
    const one = await connect()
    const { status } = await one.exchange(requestText('GET', '/bad?secret'))
    assert.equal(status, 500)
    assert.equal((await one.exchange(requestText('GET', '/good'))).text, 'fine')
    await one.send(requestText('GET', '', 'Connection: Upgrade\r\nUpgrade: x\r\n'))
    await one.end()
  }
  assert.deepEqual(
    errors.map(({ message }) => message),
    [relayed, client].flatMap(() => [`cannot answer GET ${TARGET}/bad`, 'cannot upgrade a connection']),
  )
})

test('without `upgrade`, a request for one is an ordinary request', DEADLINE, async (t) => {
  const { relayed, client } = await fixture(t, { handler: (_request, response) => response.end('plain') })
  for (const connect of [relayed, client]) {
    let one = await connect()
    for (let round = 0; round < 2; round++) {
      const text = requestText('GET', '', 'Connection: Upgrade\r\nUpgrade: websocket\r\n')
      assert.equal((await one.exchange(text)).text, 'plain')
      // On a channel it is the last one: Node.js loses what a client has sent behind it.
      if (connect === client) one = await connect()
    }
  }
})

test('the close finishes what is under way, says so, and ends what is idle', DEADLINE, async (t) => {
  const asked = Promise.withResolvers<() => void>()
  const { client, relayed, service, gateway } = await fixture(t, {
    handler: (request, response) => {
      if (request.url?.endsWith('/slow') === true) asked.resolve(() => response.end('done'))
      else response.end('fast')
    },
  })
  const [idle, idleRelayed, slow] = [await client(), await relayed(), await client()]
  await idle.exchange(requestText('GET'))
  await idleRelayed.exchange(requestText('GET', '', IDENTITY_LINES))
  await slow.send(requestText('GET', '/slow'))
  const answer = await asked.promise
  const closed = service.close()
  await idle.end()
  await idleRelayed.end()
  const refused = net.connect(join(gateway.directory, SERVICE_NAME))
  const [error] = await once(refused, 'error')
  assert.equal(error.code, 'ENOENT')
  answer()
  const response = await slow.response()
  assert.equal(response.text, 'done')
  assert.equal(response.header('connection'), 'close')
  await slow.end()
  await closed
  for (const { ended } of gateway.channels) await ended
})

test('a stop is over with the last service: the next one is not ended at its first signal', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  const child = new Child(scope, process.execPath, [...process.execArgv, AGAIN, directory])
  await child.printed(({ stdout }) => stdout.includes('first') || undefined, 'the first service')
  child.signal('SIGTERM')
  await child.printed(({ stdout }) => stdout.includes('second') || undefined, 'the second service')
  const client = await RawClient.connect(`unix:${join(directory, SERVICE_NAME)}`)
  scope.defer(() => client.destroy())
  await client.send(requestText('GET', '/slow'))
  await child.printed(({ stdout }) => stdout.includes('asked') || undefined, 'a request')
  child.signal('SIGTERM')
  assert.equal((await client.response()).text, 'slow')
  client.destroy()
  await child.exited
})

test('a body that a fetch handler leaves unread is no request', DEADLINE, async (t) => {
  const hidden = 'GET /services/plugin/x/admin HTTP/1.1\r\nHost: h\r\nX-Xen-Session-User: root\r\n\r\n'
  const seen: string[] = []
  const { relayed } = await fixture(t, {
    fetch: (request: Request) => new Response(String(seen.push(new URL(request.url).pathname))),
  })
  const client = await relayed()
  for (const lines of [`Content-Length: ${hidden.length}\r\n`, 'Transfer-Encoding: chunked\r\n']) {
    const body = lines.startsWith('C') ? hidden : `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`
    seen.length = 0
    await client.send(requestText('POST', '/1', `${IDENTITY_LINES}${lines}`, body))
    assert.equal((await client.response()).text, '1')
    await client.send(requestText('GET', '/2', IDENTITY_LINES))
    assert.equal((await client.response()).text, '2')
    assert.deepEqual(seen, [`${TARGET}/1`, `${TARGET}/2`])
  }
})

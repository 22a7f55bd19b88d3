import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { CHANNEL_SUFFIX } from '@xengate/channel'
import { Child, run } from '../../../test/harness/child.ts'
import { RawClient } from '../../../test/harness/raw.ts'
import { type Scope, scopeOf } from '../../../test/harness/scope.ts'
import { serve, type ServeOptions, type Service } from './serve.ts'
import { fixture, IDENTITY_LINES, requestText } from './testing/fixture.ts'
import { SERVICE_NAME, TARGET } from './testing/gateway.ts'

const DEADLINE = { timeout: 60_000 }
const MAIN = fileURLToPath(new URL('./testing/main.ts', import.meta.url))

const AGAIN = fileURLToPath(new URL('./testing/again.ts', import.meta.url))

const handler: RequestListener = (request, response) => {
  response.end(JSON.stringify(request.xen))
}

async function started(scope: Scope, options: Partial<ServeOptions>): Promise<Service> {
  const service = await serve({ name: SERVICE_NAME, handler, ...options })
  scope.defer(() => service.close())
  return service
}

async function pathIn(t: TestContext): Promise<{ scope: Scope; directory: string; path: string }> {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  return { scope, directory, path: join(directory, SERVICE_NAME) }
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

test('both sockets have mode 0660, or the one asked for, and are gone after close', DEADLINE, async (t) => {
  const { scope, directory, path } = await pathIn(t)
  const service = await started(scope, { directory })
  for (const file of [path, path + CHANNEL_SUFFIX]) assert.equal(statSync(file).mode & 0o777, 0o660)
  // That it reads every body.
  assert.equal(statSync(path).mode & 0o1000, 0o1000)
  await service.close()
  for (const file of [path, path + CHANNEL_SUFFIX]) assert.ok(!existsSync(file))
  await started(scope, { directory, mode: 0o606, channels: false, group: process.getgid?.() ?? 0 })
  assert.equal(statSync(path).mode & 0o777, 0o606)
  assert.ok(!existsSync(path + CHANNEL_SUFFIX))
})

test('a group is found by its name, and one that is not there is told', DEADLINE, async (t) => {
  const { directory, path, scope } = await pathIn(t)
  await assert.rejects(serve({ name: SERVICE_NAME, directory, handler, group: 'no-such-group' }), {
    code: 'options-invalid',
  })
  assert.ok(!existsSync(path))
  if (process.getuid?.() !== 0) return
  await started(scope, { directory, group: 'daemon' })
  assert.equal(statSync(path).gid, 1)
})

test('a stale file is replaced, a live one and one that is no socket are refused', DEADLINE, async (t) => {
  const { scope, directory, path } = await pathIn(t)
  const child = new Child(scope, process.execPath, [...process.execArgv, MAIN, directory])
  await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service to be ready')
  await assert.rejects(serve({ name: SERVICE_NAME, directory, handler }), {
    code: 'socket-in-use',
    message: `cannot listen on ${path}: another program is listening there; stop it first, or choose another name`,
  })
  child.signal('SIGKILL')
  await child.exited
  assert.ok(existsSync(path))
  await started(scope, { directory })
  const client = await RawClient.connect(`unix:${path}`)
  scope.defer(() => client.destroy())
  assert.equal((await client.exchange(requestText('GET'))).status, 200)
})

test('a second socket that cannot be had takes the first one back', DEADLINE, async (t) => {
  const { directory, path } = await pathIn(t)
  writeFileSync(path + CHANNEL_SUFFIX, 'a file')
  await assert.rejects(serve({ name: SERVICE_NAME, directory, handler }), {
    code: 'socket-obstructed',
    message: `cannot listen on ${path}.channel: a file that is no socket is there; remove it`,
  })
  assert.ok(!existsSync(path))
  await assert.rejects(serve({ name: SERVICE_NAME, directory: join(directory, 'none'), handler }), {
    message: `cannot listen in ${join(directory, 'none')}: there is no such directory`,
  })
})

test('a file that is another one by now is left', DEADLINE, async (t) => {
  const { scope, directory, path } = await pathIn(t)
  const service = await started(scope, { directory })
  unlinkSync(path)
  writeFileSync(path, 'of somebody else')
  await service.close()
  assert.ok(existsSync(path))
})

test('who connects without the gateway is nobody', DEADLINE, async (t) => {
  const { relayed } = await fixture(t, { handler })
  const { text } = await (await relayed()).exchange('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.deepEqual(JSON.parse(text), {
    user: '',
    subject: '',
    roles: [],
    originator: '',
    sessionId: null,
    channel: false,
  })
})

for (const how of ['relayed', 'client'] as const) {
  test(`a handler that fails is a 500 and a line, and after the head a cut: ${how}`, DEADLINE, async (t) => {
    const hasBegun = Promise.withResolvers<void>()
    const f = await fixture(t, {
      handler: async (request, response) => {
        const [, way] = /\/(\w+)$/.exec(request.url ?? '') ?? []
        if (way === 'ok') return response.end('fine')
        if (way === 'begun') response.write('begun')
        if (way === 'told') response.setHeader('Content-Length', 7)
        if (way === 'done') response.end('done')
        await (way === 'begun' ? hasBegun.promise : new Promise(setImmediate))
        throw new Error(`of ${way}`)
      },
    })
    const one = await f[how]()
    const ask = (way: string): string => requestText('GET', `/${way}`)
    for (const way of ['at', 'told']) {
      const failed = await one.exchange(ask(way))
      assert.deepEqual([failed.status, failed.text], [500, 'The service failed.\n'], way)
    }
    assert.equal((await one.exchange(ask('done'))).text, 'done')
    assert.equal((await one.exchange(ask('ok'))).text, 'fine')
    const cut = await f[how]()
    await cut.send(ask('begun'))
    await cut.until('begun')
    hasBegun.resolve()
    // Not an orderly end: over TCP a reset.
    const isReset = new Promise<boolean>((resolve) => {
      cut.socket.once('close', (hadError) => resolve(hadError))
    })
    await cut.end()
    if (how === 'client') assert.ok(await isReset)
    assert.equal((await one.exchange(ask('ok'))).text, 'fine')
    assert.deepEqual(
      f.errors.map(({ cause }) => String(cause)),
      ['Error: of at', 'Error: of told', 'Error: of done', 'Error: of begun'],
    )
  })
}

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

test('the task of a request is the one that its query names', DEADLINE, async (t) => {
  const { relayed, client } = await fixture(t, {
    handler: (request, response) => response.end(String(request.xen.task)),
  })
  for (const connect of [relayed, client]) {
    const one = await connect()
    for (const [query, task] of [
      ['', 'undefined'],
      ['?task_id=OpaqueRef%3A1&task_id=other', 'OpaqueRef:1'],
      ['?a=task_id', 'undefined'],
      ['?x&task_id=', 'undefined'],
      ['?task_id=OpaqueRef:2', 'OpaqueRef:2'],
    ] as const) {
      assert.equal((await one.exchange(requestText('GET', query))).text, task)
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

test('what is not finished at the drain deadline is cut', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, {
    handler: (_request, response) => response.write('x'),
    drainTimeoutMs: 50,
  })
  const one = await client()
  await one.send(requestText('GET'))
  await one.until('x\r\n')
  await service.close()
  await one.end()
})

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(
    `${signal} drains, removes the files, and ends the process; a second one ends it at once`,
    DEADLINE,
    async (t) => {
      const { scope, directory, path } = await pathIn(t)
      const child = new Child(scope, process.execPath, [...process.execArgv, MAIN, directory])
      await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service to be ready')
      const client = await RawClient.connect(`unix:${path}`)
      scope.defer(() => client.destroy())
      await client.send(requestText('GET', '/never'))
      await client.until('begun')
      child.signal(signal)
      const idle = new Promise<void>((resolve) => {
        const look = setInterval(() => {
          if (existsSync(path)) return
          clearInterval(look)
          resolve()
        }, 5)
      })
      await idle
      assert.ok(!child.hasEnded)
      child.signal(signal)
      assert.deepEqual(await child.exited, { code: 1, signal: null })

      const other = new Child(scope, process.execPath, [...process.execArgv, MAIN, directory])
      await other.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service to be ready')
      other.signal(signal)
      assert.deepEqual(await other.exited, { code: 0, signal: null })
      assert.ok(!existsSync(path))
    },
  )
}

test('a stop is over with the last service: the next one is not ended at its first signal', DEADLINE, async (t) => {
  const { scope, directory } = await pathIn(t)
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

test('sockets that systemd passes are used, by name or path, and not removed', DEADLINE, async (t) => {
  const { scope, directory, path } = await pathIn(t)
  mkdirSync(join(directory, 'run'))
  const paths = [join(directory, 'run', `x${CHANNEL_SUFFIX}`), join(directory, 'run', 'x')]
  for (const names of [undefined, `x${CHANNEL_SUFFIX}:x`]) {
    const servers: net.Server[] = []
    for (const one of paths) {
      const server = net.createServer()
      await new Promise<void>((resolve) => server.listen(one, resolve))
      servers.push(server)
    }
    const fds = servers.map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd)
    // The shell becomes the service, so that its pid is the one in LISTEN_PID.
    const child = new Child(
      scope,
      '/bin/sh',
      ['-c', 'export LISTEN_PID=$$; exec "$@"', 'sh', process.execPath, ...process.execArgv, MAIN, directory],
      {
        stdio: ['pipe', 'pipe', 'pipe', ...fds],
        env: { ...process.env, LISTEN_FDS: '2', ...(names === undefined ? {} : { LISTEN_FDNAMES: names }) },
      },
    )
    await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service to be ready')
    assert.ok(child.stdout.includes('LISTEN_FDS is unset'))
    assert.ok(!existsSync(path))
    // The service alone accepts: this process has let go of them, and libuv has removed the files.
    const client = net.connect(paths[1] ?? '')
    await once(client, 'connect')
    client.destroy()
    assert.deepEqual(await child.stop(), { code: 0, signal: null })
    for (const one of paths) assert.ok(existsSync(one))
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
    for (const one of paths) rmSync(one, { force: true })
  }
})

test('a directory that may not be written to is told', DEADLINE, async () => {
  // Nobody makes files there, root included.
  await assert.rejects(serve({ name: SERVICE_NAME, directory: '/sys', handler }), { code: 'socket-refused' })
})

test('a body that a handler leaves unread is no request, with either kind of handler', DEADLINE, async (t) => {
  const hidden = 'GET /services/plugin/x/admin HTTP/1.1\r\nHost: h\r\nX-Xen-Session-User: root\r\n\r\n'
  const seen: string[] = []
  for (const options of [
    { handler: ((request, response) => void response.end(String(seen.push(request.url ?? '')))) as RequestListener },
    { fetch: (request: Request) => new Response(String(seen.push(new URL(request.url).pathname))) },
  ]) {
    const { relayed } = await fixture(t, options)
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
  }
})

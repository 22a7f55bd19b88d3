import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { CHANNEL_SUFFIX } from '@xengate/channel'
import { Child } from '../../../test/harness/child.ts'
import { RawClient } from '../../../test/harness/raw.ts'
import { type Scope, scopeOf } from '../../../test/harness/scope.ts'
import { serve, type ServeOptions, type Service } from './serve.ts'
import { fixture, IDENTITY_LINES, requestText } from './testing/fixture.ts'
import { SERVICE_NAME } from './testing/gateway.ts'

const DEADLINE = { timeout: 20_000 }
const MAIN = fileURLToPath(new URL('./testing/main.ts', import.meta.url))

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

test('either a handler or a fetch handler is needed', async () => {
  await assert.rejects(serve({ name: 'a', directory: '/none' }), { code: 'options-invalid' })
  const fetch = (): Response => new Response('')
  await assert.rejects(serve({ name: 'a', directory: '/none', handler, fetch }), { code: 'options-invalid' })
})

test('both sockets have mode 0660, or the one asked for, and are gone after close', DEADLINE, async (t) => {
  const { scope, directory, path } = await pathIn(t)
  const service = await started(scope, { directory })
  for (const file of [path, path + CHANNEL_SUFFIX]) assert.equal(statSync(file).mode & 0o777, 0o660)
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

// The examples of services that take channels, each as a process of its own behind a played gateway. What the libraries do below the
// ones in Python and Node.js is tested in service-libraries/.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import net from 'node:net'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import {
  COOKIE,
  PlayedGateway,
  SERVICE_NAME,
  SESSION_ID,
  TARGET,
  totalOf,
} from '../packages/service/src/testing/gateway.ts'
import { Child, run } from './harness/child.ts'
import { until, within } from './harness/deadline.ts'
import { CASES } from './service-libraries/malformed.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const ROOT = dirname(import.meta.dirname)
const DEADLINE = { timeout: 60_000 }

/** Compiles the example in C, and returns its path. */
async function compiled(scope: Scope): Promise<string> {
  const program = join(await scope.directory(), 'service')
  const source = join(ROOT, 'examples/channel-service-c/service.c')
  const argv = ['-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', program, source]
  const { code, stderr } = await run(scope, 'cc', argv)
  assert.equal(code, 0, stderr)
  return program
}

interface Running {
  readonly scope: Scope
  readonly gateway: PlayedGateway
  readonly child: Child
  readonly client: () => Promise<RawClient>
}

async function running(t: TestContext): Promise<Running> {
  const scope = scopeOf(t)
  const gateway = new PlayedGateway()
  await gateway.listen()
  scope.defer(() => gateway.close())
  gateway.onForwarded = (socket) => {
    createServer((request, response) => {
      request.resume().on('end', () => response.end(`gateway ${request.method} ${request.url}`))
    }).emit('connection', socket)
  }
  const child = new Child(scope, await compiled(scope), [gateway.directory, SERVICE_NAME])
  scope.onFailure(() => child.stderr)
  await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service to be ready')
  const client = async (): Promise<RawClient> => {
    const made = await RawClient.connect(`http://127.0.0.1:${gateway.port}`)
    scope.defer(() => made.destroy())
    return made
  }
  return { scope, gateway, child, client }
}

const get = (path = '', cookie = COOKIE): string => `GET ${TARGET}${path} HTTP/1.1\r\nHost: h\r\n${cookie}\r\n`

test('C: answers on a kept connection, pipelined and in parts, and tells of use', DEADLINE, async (t) => {
  const { gateway, client } = await running(t)
  const one = await client()
  let bytesIn = 0
  for (const request of [get(), get('/a?b=1'), get(`?session_id=${SESSION_ID.replace(':', '%3A')}`, '')]) {
    bytesIn += request.length
    assert.equal((await one.exchange(request)).text, 'hello zoë\n')
  }
  await one.send(get() + get() + get().slice(0, 30))
  for (let count = 0; count < 2; count++) assert.equal((await one.response()).text, 'hello zoë\n')
  await one.send(get().slice(30))
  assert.equal((await one.response()).text, 'hello zoë\n')
  bytesIn += 3 * get().length
  one.destroy()
  const [channel] = gateway.channels
  assert.ok(channel !== undefined)
  await within(channel.ended, 'the end of the channel')
  assert.deepEqual(channel.reports[0], { kind: 'accepted' })
  const { requests, bytesIn: told, bytesOut } = totalOf(channel.reports)
  assert.deepEqual([requests, told], [6, bytesIn])
  assert.ok(bytesOut > 6 * 'hello zoë\n'.length)
})

test('C: believes no header, and forwards what is not the channel’s', DEADLINE, async (t) => {
  const { client } = await running(t)
  const forged = await client()
  assert.equal((await forged.exchange(get('', `${COOKIE}X-Xen-Session-User: root\r\n`))).text, 'hello zoë\n')
  const others = [
    get('', 'Cookie: session_id=other\r\n'),
    get('', ''),
    get('x'),
    get('', `Cookie: session_id=other\r\n${COOKIE}`),
    get(`?session_id%00=${SESSION_ID}`, ''),
    get('', `${COOKIE}Sec-Fetch-Site: cross-site\r\n`),
    'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc',
    get().replace('GET', 'DELETE'),
  ]
  for (const request of others) {
    const one = await client()
    assert.equal((await one.exchange(get())).text, 'hello zoë\n')
    const [method, target] = request.split(' ')
    assert.equal((await one.exchange(request)).text, `gateway ${method} ${target}`)
    // It has handed over the whole connection.
    assert.equal((await one.exchange(get('/on'))).text, `gateway GET ${TARGET}/on`)
  }
})

test(
  'C: what can be read in two ways is not answered, but closed, refused or left to the gateway',
  DEADLINE,
  async (t) => {
    const { gateway, client } = await running(t)
    gateway.onForwarded = (socket) => {
      socket.once('data', () =>
        socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
      )
    }
    // It reads no bodies, and what follows one.
    const heads = CASES.map(([bytes]) => bytes).filter(
      (bytes) => !bytes.includes('Encoding: chunked\r\n\r\n') || /HTTP\/1\.0|Length/.test(bytes),
    )
    assert.ok(heads.length > 20)
    for (const bytes of [...heads, get('#x'), get('/a#x'), `GET ${TARGET} HTTP/1.10\r\nHost: h\r\n${COOKIE}\r\n`]) {
      const one = await client()
      assert.equal((await one.exchange(get())).status, 200)
      one.send(bytes + get()).catch(() => {})
      const rest = (await one.end()).toString()
      assert.doesNotMatch(rest, /hello/, bytes.slice(0, 300))
      assert.ok(rest === '' || rest.startsWith('HTTP/1.1 400 '), rest)
    }
  },
)

test('C: another method is 405, and a gateway that is gone 503', DEADLINE, async (t) => {
  const { client, gateway } = await running(t)
  const one = await client()
  const response = await one.exchange(get().replace('GET', 'PUT'))
  assert.deepEqual([response.status, response.header('allow')], [405, 'GET'])
  gateway.offer = { gateway: join(gateway.directory, 'none') }
  const two = await client()
  assert.equal((await two.exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')).status, 503)
})

test('C: the end of the control connection ends the client’s', DEADLINE, async (t) => {
  const { client, gateway } = await running(t)
  const one = await client()
  await one.exchange(get())
  gateway.channels[0]?.control.destroy()
  await one.end()
  // And one that has been handed to the gateway.
  const two = await client()
  await two.exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  gateway.channels[1]?.control.destroy()
  await two.end()
})

test('C: a connection that the gateway has given up since is not answered', DEADLINE, async (t) => {
  const { client, gateway, child } = await running(t)
  await child.halt()
  const one = await client()
  await one.send(get())
  const channel = await until(() => gateway.channels[0], 'an offer')
  // It still reads what the service says, as the gateway does for a moment.
  await new Promise<void>((resolve) => channel.control.end(resolve))
  child.signal('SIGCONT')
  assert.equal((await one.end()).toString(), '')
  assert.equal((await (await client()).exchange(get())).text, 'hello zoë\n')
})

test('C: what is forwarded begins with the greeting, and is no use of the channel', DEADLINE, async (t) => {
  const { client, gateway } = await running(t)
  const greeting = 'GREETING of the gateway\r\n'
  gateway.offer = { greeting }
  const begun = Promise.withResolvers<string>()
  gateway.onForwarded = (socket) => {
    let received = ''
    const take = (chunk: Buffer): void => {
      received += String(chunk)
      if (!received.endsWith('\r\n\r\n')) return
      socket.off('data', take)
      begun.resolve(received.slice(0, greeting.length + 4))
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngateway')
    }
    socket.on('data', take)
  }
  const one = await client()
  const { head, body } = await one.exchange(get())
  assert.equal((await one.exchange(get('x'))).text, 'gateway')
  assert.equal(await begun.promise, `${greeting}GET `)
  one.destroy()
  const [channel] = gateway.channels
  assert.ok(channel !== undefined)
  await within(channel.ended, 'the end of the channel')
  assert.deepEqual(totalOf(channel.reports), {
    requests: 1,
    bytesIn: get().length,
    bytesOut: head.length + 4 + body.length,
  })
})

test('C: copies both ways at once, though the gateway reads only when it has written', DEADLINE, async (t) => {
  const { client, gateway } = await running(t)
  const bytes = 8_000_000
  const uploaded = Promise.withResolvers<void>()
  gateway.onForwarded = (socket) => {
    let count = 0
    socket.pause().on('data', (chunk) => {
      count += chunk.length
      if (count > bytes) uploaded.resolve()
    })
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`)
    socket.write(Buffer.alloc(bytes), () => socket.resume())
  }
  const one = await client()
  await one.exchange(get())
  const sent = one.send(`PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${bytes}\r\n\r\n${'x'.repeat(bytes)}`)
  assert.equal((await one.response()).body.length, bytes)
  await within(Promise.all([sent, uploaded.promise]), 'the upload')
})

test('C: refuses what it cannot take, and goes on', DEADLINE, async (t) => {
  const { client, gateway, child } = await running(t)
  gateway.offer = { service: 'another' }
  const one = await client()
  await one.send(get())
  const looked = await until(() => gateway.channels[0], 'an offer')
  await within(
    looked.reported(({ kind }) => kind === 'refused'),
    'a refusal',
  )
  assert.equal(looked.reports.length, 1)
  const control = net.connect(join(gateway.directory, `${SERVICE_NAME}.channel`))
  control.write(Buffer.from([0, 0, 0, 2, 0x7b, 0x7d]))
  const [line] = await control.setEncoding('utf8').take(1).toArray()
  assert.match(String(line), /^\{"refused": ?"/)
  gateway.offer = {}
  assert.equal((await (await client()).exchange(get())).text, 'hello zoë\n')
  assert.deepEqual(await child.stop(), { code: 0, signal: null })
  assert.ok(!existsSync(join(gateway.directory, `${SERVICE_NAME}.channel`)))
})
test('Python and C: the examples say how they are started', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  for (const [command, ...argv] of [
    ['python3', join(ROOT, 'examples/channel-service-python/service.py')],
    [await compiled(scope)],
  ] as const) {
    const { code, stderr } = await run(scope, command, argv)
    assert.equal(code, 2)
    assert.match(stderr, /^usage: \S+ DIRECTORY NAME\n$/)
  }
})

test('Python: the example answers on a channel, and one method alone', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const gateway = new PlayedGateway()
  await gateway.listen()
  scope.defer(() => gateway.close())
  const script = join(ROOT, 'examples/channel-service-python/service.py')
  const child = new Child(scope, 'python3', [script, gateway.directory, SERVICE_NAME])
  await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the service to be ready')
  const client = await RawClient.connect(`http://127.0.0.1:${gateway.port}`)
  scope.defer(() => client.destroy())
  assert.equal((await client.exchange(get())).text, 'hello zoë\n')
  const response = await client.exchange(get().replace('GET', 'PUT'))
  assert.deepEqual([response.status, response.header('allow')], [405, 'GET'])
  assert.deepEqual(await child.stop(), { code: 0, signal: null })
})

test(
  'Node.js: the example runs, and takes signals that open the debugger or end it for nothing',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const directory = await scope.directory()
    const script = join(ROOT, 'examples/service-node/service.js')
    // Not with process.execArgv: the test runner's flags decide about signals.
    const child = new Child(scope, process.execPath, ['-C', '@xengate/source', script, directory])
    const path = join(directory, 'com.example.hello')
    // Its sockets are there a little before it listens on them.
    const client = await until(() => RawClient.connect(`unix:${path}`).catch(() => undefined), 'the service to listen')
    scope.defer(() => client.destroy())
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
      child.signal(signal)
      const response = await client.exchange('GET / HTTP/1.1\r\nHost: h\r\nX-Xen-Session-User: alice\r\n\r\n')
      assert.equal(response.text, 'hello alice\n')
    }
    client.destroy()
    assert.deepEqual(await child.stop(), { code: 0, signal: null })
    assert.equal(child.stderr, '')
  },
)

test('the message in docs/channels.md is one', () => {
  const page = readFileSync(join(ROOT, 'docs/channels.md'), 'utf8')
  const [, json = ''] = /^(\{"version":1,"channel".*\})$/m.exec(page) ?? []
  const length = Buffer.byteLength(json)
    .toString(16)
    .padStart(8, '0')
    .replaceAll(/..(?=.)/g, '$& ')
  assert.ok(page.includes(`${length}  `), `the length is ${length}`)
  const { session, service, received } = JSON.parse(json)
  const request = `GET /services/plugin/${service} HTTP/1.1\r\nHost: xen.example.com\r\nCookie: session_id=${session.id}\r\n\r\n`
  assert.equal(received, request.length)
})

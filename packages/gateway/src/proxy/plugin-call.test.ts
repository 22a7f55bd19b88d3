// Calls of plugins in front of xapi, in literal bytes on both sides: which a service answers, and which reach xapi as they came.

import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import { OPEN_POLICY } from '../model/policy.ts'
import { until } from '../transport/testing/peers.ts'
import { PluginAnswers } from '../xenapi/plugin-answers.ts'
import { CALLS_MAX } from '../xenapi/plugin-service.ts'
import { test } from './testing/each-transport.ts'
import {
  COOKIE,
  fixture,
  type Fixture,
  type FixtureOptions,
  rawService,
  READER_ID,
  request,
  response,
  ROOT_ID,
  sessionOf,
  statusOf,
} from './testing/fixture.ts'
import type { Arrivals, Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
const HOST = 'OpaqueRef:33333333-3333-4333-8333-333333333333'
const PLUGIN = 'updater.py'

interface Fronted extends Fixture {
  /** Connections to xapi. */
  readonly xapi: Arrivals<Peer>
  readonly plugins: PluginAnswers
}

/** A gateway in front of a server in literal bytes, which answers calls of plugins. */
async function fronted(t: TestContext, options: FixtureOptions = {}): Promise<Fronted> {
  const upstream = await rawService({ port: 0 })
  t.after(() => upstream.close())
  const address = upstream.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const plugins = new PluginAnswers()
  plugins.ownHost = HOST
  const front = { upstream: { host: '127.0.0.1', port }, proxyProtocol: false }
  const f = await fixture(t, { ...options, front, plugins })
  return { ...f, xapi: upstream.connections, plugins }
}

interface CallOptions {
  readonly session?: string
  readonly host?: string
  readonly plugin?: string
  readonly args?: object
}

function body({ session = ROOT_ID, host = HOST, plugin = PLUGIN, args = {} }: CallOptions = {}): string {
  const params = [session, host, plugin, 'check_update', args]
  return JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'host.call_plugin', params })
}

/** A POST of `text`, one byte a character. */
function post(text: string, path = '/jsonrpc', lines = '', version = '1.1'): string {
  return `POST ${path} HTTP/${version}\r\nHost: h\r\nContent-Length: ${text.length}\r\n${lines}\r\n${text}`
}

const XML = (session = ROOT_ID): string => {
  const params = [session, HOST, PLUGIN, 'check_update'].map((text) => `<param><value>${text}</value></param>`).join('')
  const args = '<param><value><struct></struct></value></param>'
  return `<?xml version="1.0"?><methodCall><methodName>host.call_plugin</methodName><params>${params}${args}</params></methodCall>`
}

test('a call of a plugin is answered by the service of its name, and the connection goes on', DEADLINE, async (t) => {
  const all = await fronted(t)
  const { client, service, xapi, accessLines } = all
  const plugin = await service(PLUGIN)
  const svc = await service('svc')
  const peer = client()
  peer.write(post(body({ args: { a: 'b' } })) + request('GET') + post('{}'))
  const asked = await plugin.connections.next()
  assert.equal(
    await asked.until('{"a":"b"}'),
    `POST /services/plugin/${PLUGIN}/check_update HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n` +
      `${COOKIE}X-Forwarded-For: 127.0.0.1\r\nX-Xen-Session-User: root\r\nX-Xen-Session-Subject: OpaqueRef:NULL\r\n` +
      'X-Xen-Session-Roles: pool-admin\r\nX-Xen-Session-Originator: test\r\nConnection: close\r\n\r\n{"a":"b"}',
  )
  assert.equal(svc.connections.count, 0, 'the request behind it waits')
  asked.end(response('updates'))
  const answer = await peer.message()
  assert.match(
    answer,
    /^HTTP\/1\.1 200 OK\r\nDate: [^\r]+\r\nContent-Type: application\/json\r\nContent-Length: 43\r\n/,
  )
  assert.ok(answer.endsWith('\r\n\r\n{"jsonrpc":"2.0","result":"updates","id":1}'), answer)
  const served = await svc.connections.next()
  await served.until('\r\n\r\n')
  served.write(response('of svc'))
  assert.match(await peer.message(), /of svc$/)
  const connection = await xapi.next()
  assert.equal(await connection.until('{}'), 'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}')
  connection.write(response('of xapi'))
  assert.match(await peer.message(), /of xapi$/)
  const { service: name, path, status, caller, bytesIn, bytesOut } = await accessLines.next()
  assert.deepEqual(
    [name, path, status, caller?.session.user, bytesIn, bytesOut],
    [PLUGIN, '/jsonrpc', 200, 'root', body({ args: { a: 'b' } }).length, 43],
  )
  assert.deepEqual(underWay(all), [0, 0])
})

test('what a service fails with is a failure of the plugin', DEADLINE, async (t) => {
  const { client, service } = await fronted(t)
  const plugin = await service(PLUGIN)
  const peer = client()
  for (const [path, text, said] of [
    ['/', XML(), '<value>XENAPI_PLUGIN_FAILURE</value><value>500</value><value>Traceback</value>'],
    ['/RPC2', XML(), '<value>XENAPI_PLUGIN_FAILURE</value><value>500</value><value>Traceback</value>'],
    ['/jsonrpc', body(), '"error":{"code":1,"message":"XENAPI_PLUGIN_FAILURE","data":["500","Traceback",""]}'],
  ] as const) {
    peer.write(post(text, path))
    const asked = await plugin.connections.next()
    await asked.until('\r\n\r\n{}')
    asked.end('HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nTraceback')
    const answer = await peer.message()
    assert.ok(answer.includes(said), answer)
  }
  peer.write(post(body()))
  ;(await plugin.connections.next()).destroy()
  assert.match(await peer.message(), /XENAPI_PLUGIN_FAILURE.*the service gave no answer/)
})

test('a call that is cut anywhere on its way is answered once', { timeout: 120_000 }, async (t) => {
  const { client, service, xapi } = await fronted(t)
  const plugin = await service(PLUGIN)
  const peer = client()
  peer.socket.setNoDelay(true)
  const text = post(XML(), '/')
  for (let at = 1; at < text.length; at++) {
    peer.write(text.slice(0, at))
    await turn()
    await turn()
    peer.write(text.slice(at))
    const asked = await plugin.connections.next()
    await asked.until('\r\n\r\n{}')
    asked.end(response(String(at)))
    assert.match(await peer.message(), new RegExp(`<value>${at}</value>`))
  }
  assert.equal(xapi.count, 0)
})

for (const [version, lines] of [
  ['1.0', ''],
  ['1.1', 'Connection: close\r\n'],
] as const) {
  test(`a last call is answered, and the connection ends (HTTP/${version})`, DEADLINE, async (t) => {
    const { client, service } = await fronted(t)
    const plugin = await service(PLUGIN)
    const peer = client()
    peer.write(post(XML(), '/', lines, version))
    // Who has sent all may end its side.
    peer.end()
    const asked = await plugin.connections.next()
    await asked.until('\r\n\r\n{}')
    asked.end(response('v'))
    assert.match(await peer.ended(), /\r\nConnection: close\r\n\r\n.*<value>v<\/value>/s)
  })
}

test('who ends its side behind two calls is answered both', DEADLINE, async (t) => {
  const { client, service } = await fronted(t)
  const plugin = await service(PLUGIN)
  const peer = client()
  peer.end(post(body()) + post(body()))
  const first = await plugin.connections.next()
  await first.until('\r\n\r\n{}')
  // By then the gateway has heard of the end.
  for (let count = 0; count < 100; count++) await turn()
  first.end(response('1'))
  const answer = await peer.message()
  assert.match(answer, /"result":"1"/)
  assert.doesNotMatch(answer, /\r\nConnection: close/)
  const second = await plugin.connections.next()
  await second.until('\r\n\r\n{}')
  second.end(response('2'))
  assert.match(await peer.ended(), /\r\nConnection: close\r\n\r\n.*"result":"2"/s)
})

test('a long call and a long value arrive whole', DEADLINE, async (t) => {
  const { client, service, xapi } = await fronted(t)
  const plugin = await service(PLUGIN)
  const peer = client()
  const long = body({ args: { a: 'x'.repeat(65_000) } })
  peer.write(post(long))
  const asked = await plugin.connections.next()
  await asked.until(`{"a":"${'x'.repeat(65_000)}"}`)
  asked.end(response('<'.repeat(500_000)))
  const answer = await peer.message()
  assert.equal(answer.length - answer.indexOf('\r\n\r\n') - 4, 500_000 + '{"jsonrpc":"2.0","result":"","id":1}'.length)
  assert.equal(xapi.count, 0)
})

for (const [what, text] of [
  ['another method', post(body().replace('call_plugin', 'call_extension'))],
  ['an asynchronous call', post(body().replace('host.call', 'Async.host.call'))],
  ['a plugin of another host', post(body({ host: 'OpaqueRef:44444444-4444-4444-8444-444444444444' }))],
  ['a plugin without a service', post(body({ plugin: 'other.py' }))],
  ['a plugin that cannot be a service', post(body({ plugin: '../updater.py' }))],
  ["the gateway's own service", post(body({ plugin: 'org.xengate.control' }))],
  ['a session that is not known', post(body({ session: 'OpaqueRef:99999999-9999-4999-8999-999999999999' }))],
  ['a session that is none', post(body({ session: 'x' }))],
  ['another session first', post(body({ session: READER_ID }).replace('{', `{"id":"${ROOT_ID}",`))],
  ['a role that may not', post(body({ session: READER_ID, plugin: 'closed.py' }))],
  ['a batch', post(`[${body()}]`)],
  ['a member twice', post(body().replace('{', '{"method":"session.logout",'))],
  ['a method with an entity', post(XML().replace('call_', 'call&#95;'), '/')],
  ['XML that is not well-formed', post(`${XML()}<`, '/')],
  ['a query', post(body(), '/jsonrpc?task_id=OpaqueRef:x')],
  ['another path', post(body(), '/other')],
  ['another method of HTTP', post(body()).replace('POST', 'PUT')],
  ['a call that is too long', post(body({ args: { a: 'x'.repeat(65_536) } }))],
  ['a body in another coding', post(body(), '/jsonrpc', 'Content-Encoding: gzip\r\n')],
  ['a call that another xapi has sent on', post(body(), '/jsonrpc', 'Subtask-Of: OpaqueRef:x\r\n')],
  ['the same with another name', post(body(), '/jsonrpc', 'Subtask_Of: OpaqueRef:x\r\n')],
] as const) {
  test(`xapi gets it as it came: ${what}`, DEADLINE, async (t) => {
    const policies = { 'closed.py': { ...OPEN_POLICY, roles: ['pool-admin'] as const } }
    const { client, service, xapi } = await fronted(t, { policies })
    const plugins = [await service(PLUGIN), await service('closed.py')]
    const peer = client()
    peer.write(text)
    const connection = await xapi.next()
    const got = await connection.until(text.slice(text.indexOf('\r\n\r\n')))
    // What is no call of the XenAPI may be left unread.
    assert.equal(got.replace('Connection: close\r\n', ''), text)
    connection.write(response('of xapi'))
    assert.match(await peer.message(), /of xapi$/)
    assert.deepEqual(
      plugins.map(({ connections }) => connections.count),
      [0, 0],
    )
  })
}

test('xapi gets a call in chunks, and one whose client waits to be told to send it', DEADLINE, async (t) => {
  const { client, service, xapi } = await fronted(t)
  await service(PLUGIN)
  const chunked = client()
  const text = body()
  chunked.write(
    `POST /jsonrpc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
  )
  await (await xapi.next()).until(`${text}\r\n0\r\n\r\n`)
  const waiting = client()
  waiting.write(post(text, '/jsonrpc', 'Expect: 100-continue\r\n').slice(0, -text.length))
  const connection = await xapi.next()
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 100 Continue\r\n\r\n')
  await waiting.until('\r\n\r\n')
  waiting.write(text)
  await connection.until(text)
})

test('all calls are xapi’s while this host is not known', DEADLINE, async (t) => {
  const { client, service, xapi, plugins } = await fronted(t)
  await service(PLUGIN)
  plugins.ownHost = null
  client().write(post(body()))
  await (await xapi.next()).until(body())
})

test('a call is xapi’s when nobody can tell whose session it is', DEADLINE, async (t) => {
  const { client, service, xapi, sessions } = await fronted(t, { onQuestion: (_id, answer) => answer('unavailable') })
  await service(PLUGIN)
  const peer = client()
  peer.write(post(body()))
  const connection = await xapi.next()
  await connection.until(body())
  connection.write(response('{}'))
  await peer.message()
  sessions.isTrusted = false
  peer.write(post(body()))
  await connection.until(body())
})

test('a body that does not come is waited for as long as a head, and goes on to xapi', DEADLINE, async (t) => {
  const { client, service, xapi } = await fronted(t, { limits: { headTimeoutMs: 200 } })
  await service(PLUGIN)
  const peer = client()
  peer.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n${XML()}`)
  const connection = await xapi.next()
  await connection.until(XML())
  peer.write('more')
  await connection.until('more')
})

test('who ends its side in the middle of a body is refused, as without the key', DEADLINE, async (t) => {
  const { client, service } = await fronted(t)
  await service(PLUGIN)
  const peer = client()
  peer.end(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n${XML()}`)
  assert.equal(statusOf(await peer.ended()), 400)
})

test('a client that goes away takes its call back, in each state', DEADLINE, async (t) => {
  const questions: string[] = []
  const { client, service, live } = await fronted(t, {
    onQuestion: (id, answer) => {
      questions.push(id)
      if (questions.length > 1) answer(live.get(id) ?? null)
    },
  })
  const plugin = await service(PLUGIN)
  const gathering = client()
  gathering.write(post(body()).slice(0, -1))
  const asking = client()
  asking.write(post(body({ session: READER_ID })))
  while (questions.length === 0) await turn()
  const calling = client()
  calling.write(post(body()))
  const asked = await plugin.connections.next()
  await asked.until('\r\n\r\n{}')
  for (const peer of [gathering, asking, calling]) peer.socket.resetAndDestroy()
  await asked.ended()
  assert.equal(plugin.connections.count, 0)
})

/** What is counted of the plugin's service: requests that it has, and that root's session has. */
function underWay({ counters, sessions, gateway }: Fronted): readonly unknown[] {
  const inFlight = counters.cells[counters.place('xengate_requests_in_flight', PLUGIN)]
  return [inFlight, sessions.find(ROOT_ID, gateway.clock.nowMs)?.underWay]
}

for (const [what, end, ended] of [
  [
    'whose client goes away',
    ({ peers }: Fronted) => peers[0]?.socket.resetAndDestroy(),
    ['client-gone', 'client-gone'],
  ],
  [
    'that an administrator ends',
    ({ gateway }: Fronted) => gateway.endConnection(gateway.connectionRecords[0]?.id ?? ''),
    ['cut', 'operator-ended'],
  ],
] as const) {
  test(`a call ${what} is counted while it is under way, and logged`, DEADLINE, async (t) => {
    const all = await fronted(t)
    const plugin = await all.service(PLUGIN)
    all.client().write(post(body()))
    const asked = await plugin.connections.next()
    await asked.until('\r\n\r\n{}')
    assert.deepEqual(underWay(all), [1, 1])
    end(all)
    await asked.ended()
    const { service, caller, status, outcome, reason, bytesIn } = await all.accessLines.next()
    assert.deepEqual(
      [service, caller?.session.user, status, outcome, reason, bytesIn],
      [PLUGIN, 'root', 0, ...ended, body().length],
    )
    assert.deepEqual(underWay(all), [0, 0])
    assert.equal(all.counters.cells[all.counters.place('xengate_requests_cut_total', PLUGIN, ended[1])], 1)
  })
}

for (const [what, answer, outcome, reason] of [
  ['a value', response('v'), 'complete', null],
  ['that there is no such function', 'HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n', 'complete', null],
  ['500', 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n', 'service-failed', null],
  ['a value that is too long', response('x'.repeat(600_000)), 'service-failed', null],
  ['half a response', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nv', 'service-failed', 'service-died'],
  ['nothing', '', 'service-failed', 'service-died'],
] as const) {
  test(`the log says how a call ended whose service answers ${what}`, DEADLINE, async (t) => {
    const all = await fronted(t)
    const plugin = await all.service(PLUGIN)
    const peer = all.client()
    peer.write(post(body()))
    const asked = await plugin.connections.next()
    await asked.until('\r\n\r\n{}')
    asked.end(answer)
    assert.equal(statusOf(await peer.message()), 200)
    const line = await all.accessLines.next()
    assert.deepEqual([line.service, line.status, line.outcome, line.reason], [PLUGIN, 200, outcome, reason])
    assert.deepEqual(underWay(all), [0, 0])
  })
}

test('no name of a plugin without a service is counted', DEADLINE, async (t) => {
  const all = await fronted(t)
  all.client().write(post(body({ plugin: 'other.py' })))
  await (await all.xapi.next()).until('other.py')
  assert.equal(all.counters.known('other.py'), all.counters.other)
  assert.deepEqual(underWay(all), [0, 0])
})

test('a call ends with its session', DEADLINE, async (t) => {
  const all = await fronted(t)
  const { client, service, sessions, live, accessLines } = all
  const plugin = await service(PLUGIN)
  const peer = client()
  peer.write(post(body()))
  const asked = await plugin.connections.next()
  await asked.until('\r\n\r\n{}')
  const { uuid = '' } = live.get(ROOT_ID) ?? {}
  live.delete(ROOT_ID)
  sessions.ended([uuid])
  assert.match(await peer.message(), /"message":"SESSION_INVALID"/)
  await asked.ended()
  const { outcome, reason } = await accessLines.next()
  assert.deepEqual([outcome, reason], ['cut', 'session-ended'])
  assert.equal(underWay(all)[0], 0)
  peer.write(post(body()))
  assert.equal(plugin.connections.count, 0)
})

test(
  'services have so many calls of a worker, and half as many of one session: all others are xapi’s',
  DEADLINE,
  async (t) => {
    const { client, service, xapi, live } = await fronted(t)
    const plugin = await service(PLUGIN)
    const third = 'OpaqueRef:44444444-4444-4444-8444-444444444444'
    live.set(third, sessionOf('44444444', 'third', 'pool-admin'))
    const ask = async (id: string): Promise<{ readonly peer: Peer; readonly asked: Peer }> => {
      const peer = client()
      peer.write(post(body({ session: id })))
      const asked = await plugin.connections.next()
      await asked.until('\r\n\r\n{}')
      return { peer, asked }
    }
    const isForXapi = async (id: string): Promise<void> => {
      client().write(post(body({ session: id })))
      await (await xapi.next()).until(body({ session: id }))
      assert.equal(plugin.connections.count, 0)
    }
    const first = await ask(ROOT_ID)
    for (let count = 1; count < CALLS_MAX / 2; count++) await ask(ROOT_ID)
    await isForXapi(ROOT_ID)
    for (let count = 0; count < CALLS_MAX / 2; count++) await ask(READER_ID)
    await isForXapi(third)
    first.peer.destroy()
    await first.asked.ended()
    await ask(third)
  },
)

test('what is held of bodies is bounded: beyond it all is xapi’s, but for short calls', DEADLINE, async (t) => {
  const { client, service, xapi } = await fronted(t)
  const plugin = await service(PLUGIN)
  const part = `POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n${'x'.repeat(60_000)}`
  const held = Array.from({ length: 350 }, () => client())
  for (const peer of held) peer.write(part)
  await (await xapi.next()).until('x'.repeat(60_000))
  const peer = client()
  peer.write(post(body()))
  const asked = await plugin.connections.next()
  await asked.until('\r\n\r\n{}')
  asked.end(response('v'))
  assert.match(await peer.message(), /"result":"v"/)
})

test('a service that says nothing is given up, and the connection goes on', DEADLINE, async (t) => {
  const { client, service, xapi, accessLines } = await fronted(t, { limits: { responseTimeoutMs: 500 } })
  const plugin = await service(PLUGIN)
  const peer = client()
  peer.write(post(body()) + post('{}'))
  const asked = await plugin.connections.next()
  assert.match(await peer.message(), /XENAPI_PLUGIN_FAILURE.*the service gave no answer/)
  await asked.ended()
  const { outcome, reason } = await accessLines.next()
  assert.deepEqual([outcome, reason], ['service-failed', 'service-slow'])
  await (await xapi.next()).until('{}')
})

test('a service that switches protocols gives no answer, and holds no place', DEADLINE, async (t) => {
  const { client, service } = await fronted(t)
  const plugin = await service(PLUGIN)
  const peer = client()
  // More often than there are places.
  for (let count = 0; count < 70; count++) {
    peer.write(post(body()))
    const asked = await plugin.connections.next()
    await asked.until('\r\n\r\n{}')
    asked.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
    assert.match(await peer.message(), /XENAPI_PLUGIN_FAILURE.*the service gave no answer/)
  }
})

test('a call is answered while the gateway stops, and refused when that takes too long', DEADLINE, async (t) => {
  const { gateway, client, service } = await fronted(t, { limits: { drainTimeoutMs: 2000 } })
  const plugin = await service(PLUGIN)
  const [quick, slow, gathering] = [client(), client(), client()]
  quick.write(post(body()))
  const first = await plugin.connections.next()
  slow.write(post(body()))
  const second = await plugin.connections.next()
  gathering.write(post(body()).slice(0, -1))
  await Promise.all([first, second].map((asked) => asked.until('\r\n\r\n{}')))
  const askedCount = (): number => gateway.connectionRecords.filter((record) => record.request !== null).length
  await until(() => askedCount() === 3, 'all three to be under way')
  const drained = gateway.drain(true)
  first.end(response('v'))
  assert.match(await quick.ended(), /\r\nConnection: close\r\n\r\n.*"result":"v"/)
  for (const peer of [slow, gathering]) assert.equal(statusOf(await peer.ended()), 503)
  await second.ended()
  await drained
})

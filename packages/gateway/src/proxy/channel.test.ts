// Clients' connections passed to a service, in literal bytes on both sides; the service takes them as any would.

import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type ChannelOffer, closeDescriptor, receiveChannel } from '@xengate/channel'
import { OPEN_POLICY, Policies } from '../model/policy.ts'
import { NO_LIMITS } from '../model/service-limits.ts'
import { until } from '../transport/testing/peers.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, type Fixture, fixture, type FixtureOptions, request, response, ROOT_ID } from './testing/fixture.ts'
import { Arrivals, Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }

const METHODS = ['GET', 'PUT', 'POST']

/** A connection that the service was offered. */
interface Passed {
  readonly offer: ChannelOffer
  readonly received: string
  readonly clientFd: number
  readonly control: Peer
  /** Takes the connection. */
  accept(): Peer
}

interface Setting extends Fixture {
  readonly passed: Arrivals<Passed>
}

/** A gateway, and the channel socket of the service `svc`. */
async function setting(t: TestContext, options: FixtureOptions = {}): Promise<Setting> {
  const f = await fixture(t, options)
  const passed = new Arrivals<Passed>()
  const peers: Peer[] = []
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    receiveChannel(socket).then(
      (of) => {
        const control = new Peer(socket)
        peers.push(control)
        socket.resume()
        if (of.kind !== 'received') return
        const { offer, received, clientFd } = of
        const accept = (): Peer => {
          control.write('{"accepted":true}\n')
          const peer = new Peer(new net.Socket({ fd: clientFd, allowHalfOpen: true }))
          peers.push(peer)
          return peer
        }
        passed.push({ offer, received: received.toString('latin1'), clientFd, control, accept })
      },
      (error: unknown) => assert.fail(String(error)),
    )
  })
  await new Promise<void>((resolve) => server.listen(join(f.directory, 'svc.channel'), resolve))
  t.after(() => {
    for (const peer of peers) peer.destroy()
    server.close()
  })
  return { ...f, passed }
}

/** Refuses an offer as a service does: what came with it is closed. */
function refuse({ control, clientFd }: Passed): void {
  closeDescriptor(clientFd)
  control.write('{"refused":"not now"}\n')
  control.end()
}

test('an admitted connection is passed with all that was read, and the service answers on it', DEADLINE, async (t) => {
  const { client, passed, channelLines, directory, port, greetings } = await setting(t)
  const peer = client()
  const sent = `${request('PUT', '/a?b', 'Content-Length: 5\r\n')}hello${request('GET', '/next')}`
  peer.write(sent)
  const of = await passed.next()
  assert.equal(of.received, sent)
  const { channel, client: from, ...offer } = of.offer
  assert.match(channel, /^test-c0$/)
  assert.deepEqual([from.address, from.port], ['127.0.0.1', peer.socket.localPort])
  assert.deepEqual(offer, {
    version: 1,
    service: 'svc',
    session: { id: ROOT_ID, user: 'root', subject: 'OpaqueRef:NULL', roles: ['pool-admin'], originator: 'test' },
    methods: ['GET', 'PUT', 'POST'],
    proto: 'http',
    received: sent.length,
    gateway: join(directory, 'gateway.sock'),
    greeting: greetings.of({
      source: { address: '127.0.0.1', port: peer.socket.localPort ?? 0 },
      destination: { address: '127.0.0.1', port },
    }),
  } as typeof offer)
  const service = of.accept()
  service.write(response('one'))
  assert.match(await peer.message(), /one$/)
  peer.write('more')
  assert.equal(await service.bytes(4), 'more')
  of.control.write('{"requests":1,"bytesIn":9,"bytesOut":7}\n{"requests":1,"bytesIn":4,"bytesOut":0}\n')
  service.end()
  await peer.ended()
  of.control.end()
  const { requests, bytesIn, bytesOut, outcome, service: name, caller } = await channelLines.next()
  assert.deepEqual(
    [requests, bytesIn, bytesOut, outcome, name, caller.session.user],
    [2, 13, 7, 'complete', 'svc', 'root'],
  )
})

test('what a service refuses is relayed, and nothing that was read is lost', DEADLINE, async (t) => {
  const { client, service, passed, channelLines } = await setting(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(`${request('PUT', '/1', 'Content-Length: 5\r\n')}hello${request('GET', '/2')}`)
  refuse(await passed.next())
  const connection = await svc.connections.next()
  assert.match(await connection.until('hello'), /^PUT \S+\/1 HTTP/)
  connection.write(response('one'))
  assert.match(await peer.message(), /one$/)
  // The next request on the connection is offered again: the service may have changed its mind.
  const again = await passed.next()
  assert.match(again.received, /^GET \S+\/2 HTTP/)
  assert.match(again.accept().pending, /^$/)
  assert.deepEqual((await channelLines.next()).outcome, 'refused')
})

test('a service that is gone before it has taken the connection is asked by relay', DEADLINE, async (t) => {
  const { client, service, passed } = await setting(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  closeDescriptor(of.clientFd)
  of.control.destroy()
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('relayed'))
  assert.match(await peer.message(), /relayed$/)
})

test('a service that neither takes nor refuses gets 504 for the client', DEADLINE, async (t) => {
  const { client, passed, channelLines } = await setting(t, { limits: { connectTimeoutMs: 100 } })
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  assert.match(await peer.message(), /^HTTP\/1\.1 504 [^]*Connection: close/)
  await of.control.ended()
  assert.equal((await channelLines.next()).outcome, 'service-failed')
  closeDescriptor(of.clientFd)
})

test('the end of the session cuts a channel for both sides', DEADLINE, async (t) => {
  const { client, passed, sessions, channelLines } = await setting(t)
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  const service = of.accept()
  service.write('HTTP/1.1 200 OK\r\n\r\nbegun')
  await peer.until('begun')
  sessions.ended(['11111111'])
  // Not an orderly end: this response ends with the connection, and would look complete.
  const [error] = await new Promise<[NodeJS.ErrnoException]>((resolve) =>
    peer.socket.once('error', (cause: NodeJS.ErrnoException) => resolve([cause])),
  )
  assert.equal(error.code, 'ECONNRESET')
  await service.closed()
  await of.control.ended()
  of.control.write('{"requests":1,"bytesIn":0,"bytesOut":5}\n')
  of.control.end()
  const { outcome, reason, bytesOut } = await channelLines.next()
  assert.deepEqual([outcome, reason, bytesOut], ['cut', 'session-ended', 5])
})

test('a session that ends while its connection is offered is not served by relay', DEADLINE, async (t) => {
  const { client, service, passed, sessions } = await setting(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  sessions.ended(['11111111'])
  await peer.closed()
  refuse(of)
  await nextTurn()
  assert.equal(svc.connections.count, 0)
})

test('a policy that no longer allows a channel ends it; one that does leaves it', DEADLINE, async (t) => {
  const { gateway, client, passed } = await setting(t)
  const peer = client()
  peer.write(request('GET', '/1'))
  const service = (await passed.next()).accept()
  const roles = ['read-only'] as const
  gateway.useServices(new Policies({ svc: { ...OPEN_POLICY, roles } }, true), METHODS)
  service.write(response('still here'))
  assert.match(await peer.message(), /still here$/)
  gateway.useServices(new Policies({ svc: { ...OPEN_POLICY, roles, channels: false } }, true), METHODS)
  await peer.closed()
  await service.closed()
})

test(
  'a method that is no longer in force, and a session to be asked about again, end a channel',
  DEADLINE,
  async (t) => {
    const { gateway, client, passed } = await setting(t)
    for (const end of [
      () => gateway.useServices(new Policies({}, true), ['GET', 'POST']),
      () => gateway.sessionsEnded(['11111111']),
    ]) {
      const peer = client()
      peer.write(request('GET', '/1'))
      const service = (await passed.next()).accept()
      service.write(response('passed'))
      assert.match(await peer.message(), /passed$/)
      end()
      await peer.closed()
      await service.closed()
    }
  },
)

test('when endings may not be heard of any more, channels end', DEADLINE, async (t) => {
  const { gateway, client, passed } = await setting(t)
  const peer = client()
  peer.write(request('GET', '/1'))
  const service = (await passed.next()).accept()
  gateway.distrust()
  await peer.closed()
  await service.closed()
})

for (const [why, policy] of [
  ['whose policy forbids channels', { ...OPEN_POLICY, channels: false }],
  ['which is not to see the session id', { ...OPEN_POLICY, stripSession: true }],
] as const) {
  test(`requests to a service ${why} are relayed`, DEADLINE, async (t) => {
    const { client, service, passed } = await setting(t, { policies: { svc: policy } })
    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET', '/1'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('relayed'))
    assert.match(await peer.message(), /relayed$/)
    assert.equal(passed.count, 0)
  })
}

test('the methods of an offer are those that the session may use', DEADLINE, async (t) => {
  const roles = { GET: ['read-only'], PUT: ['pool-admin'] } as const
  const { client, passed } = await setting(t, { policies: { svc: { ...OPEN_POLICY, roles } } })
  const peer = client()
  peer.write(
    `GET /services/plugin/svc?session_id=OpaqueRef:22222222-2222-4222-8222-222222222222 HTTP/1.1\r\nHost: h\r\n\r\n`,
  )
  assert.deepEqual((await passed.next()).offer.methods, ['GET'])
})

test(
  'a connection that ends with its request is relayed, but for a service that only takes channels',
  DEADLINE,
  async (t) => {
    const { client, service, passed } = await setting(t)
    const alone = client()
    alone.write(request('GET', '/1', 'Connection: close\r\n'))
    const of = await passed.next()
    of.accept().write('HTTP/1.1 204 No Content\r\n\r\n')
    assert.match(await alone.until('\r\n\r\n'), /204/)

    const svc = await service('svc')
    const peer = client()
    peer.write(request('GET', '/2', 'Connection: close\r\n'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('relayed'))
    assert.match(await peer.ended(), /relayed$/)
    assert.equal(passed.count, 0)
  },
)

test('what a service brings back is answered, and never passed again', DEADLINE, async (t) => {
  const { service, passed, directory } = await setting(t)
  const svc = await service('svc')
  const back = Peer.connect({ path: join(directory, 'gateway.sock') })
  t.after(() => back.destroy())
  back.write(request('GET', '/1'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('relayed'))
  assert.match(await back.message(), /relayed$/)
  back.write(`GET /services/plugin/svc HTTP/1.1\r\nHost: h\r\nCookie: session_id=none\r\n\r\n`)
  assert.match(await back.message(), /^HTTP\/1\.1 403 /)
  assert.equal(passed.count, 0)
})

test('a connection is passed after other requests on it were relayed', DEADLINE, async (t) => {
  const { client, service, passed } = await setting(t)
  const other = await service('other')
  const peer = client()
  peer.write(`GET /services/plugin/other HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`)
  const connection = await other.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('relayed'))
  assert.match(await peer.message(), /relayed$/)
  peer.write(request('GET', '/1'))
  ;(await passed.next()).accept().write(response('passed'))
  assert.match(await peer.message(), /passed$/)
})

test('what is not HTTP/1.1 as agreed ends a channel', DEADLINE, async (t) => {
  const { client, passed, channelLines } = await setting(t)
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  of.accept()
  of.control.write('{"requests":-1}\n')
  await peer.closed()
  const { outcome, reason } = await channelLines.next()
  assert.deepEqual([outcome, reason], ['service-failed', 'a line is neither "accepted", "refused" nor usage'])
})

for (const [what, line] of [
  ['HTTP', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'],
  ['JSON that is no object', '[]\n'],
  ['use before it has accepted', '{"requests":1,"bytesIn":1,"bytesOut":1}\n'],
  ['no line at all', 'x'.repeat(5000)],
] as const) {
  test(`a first answer that is ${what} has the request relayed, and no more of them offered`, DEADLINE, async (t) => {
    const { client, service, passed, channelLines } = await setting(t)
    const svc = await service('svc')
    const peer = client()
    peer.write(`${request('PUT', '/1', 'Content-Length: 5\r\n')}hello`)
    const of = await passed.next()
    closeDescriptor(of.clientFd)
    of.control.write(line)
    const connection = await svc.connections.next()
    await connection.until('hello')
    connection.write(response('relayed'))
    assert.match(await peer.message(), /relayed$/)
    assert.equal((await channelLines.next()).outcome, 'refused')
    await of.control.ended()
    peer.write(request('GET', '/2'))
    const next = await svc.connections.next()
    await next.until('\r\n\r\n')
    next.write(response('relayed again'))
    assert.match(await peer.message(), /relayed again$/)
    assert.equal(passed.count, 0)
  })
}

test('a service that ends the control connection and keeps the client’s has nothing of it', DEADLINE, async (t) => {
  const { client, passed, channelLines } = await setting(t)
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  const service = of.accept()
  service.write(response('first'))
  assert.match(await peer.message(), /first$/)
  of.control.end()
  await peer.ended()
  await service.ended()
  assert.equal((await channelLines.next()).outcome, 'complete')
  // What it writes now reaches nobody.
  const [error] = await new Promise<[NodeJS.ErrnoException]>((resolve) => {
    service.socket.once('error', (cause: NodeJS.ErrnoException) => resolve([cause]))
    service.socket.write('after the end')
  })
  assert.equal(error.code, 'EPIPE')
})

test('only what a service tells of use keeps the session of a channel alive', DEADLINE, async (t) => {
  const { client, passed, sessions, channelLines } = await setting(t)
  const peer = client()
  peer.write(request('GET', '/1'))
  const of = await passed.next()
  of.accept().write(response('passed'))
  await peer.message()
  sessions.takeTouched(1e9)
  of.control.write('{"requests":0,"bytesIn":0,"bytesOut":0}\n')
  of.control.end()
  await channelLines.next()
  assert.deepEqual(sessions.takeTouched(2e9), [])
  const other = client()
  other.write(request('GET', '/2'))
  const used = await passed.next()
  used.accept()
  used.control.write('{"requests":0,"bytesIn":0,"bytesOut":1}\n')
  used.control.end()
  await channelLines.next()
  assert.deepEqual(sessions.takeTouched(3e9), ['11111111'])
})

test('an offer says https for a client of whom a terminator at port 443 tells', DEADLINE, async (t) => {
  const { client, passed } = await setting(t, { listener: { hasProxyHeader: true } })
  for (const [port, proto] of [
    [443, 'https'],
    [80, 'http'],
  ] as const) {
    const peer = client()
    const forged = request('GET', '/1', 'X-Forwarded-Proto: ftp\r\n')
    peer.write(`PROXY TCP4 192.0.2.7 192.0.2.1 5555 ${port}\r\n${forged}`)
    const { offer } = await passed.next()
    assert.deepEqual([offer.proto, offer.client], [proto, { address: '192.0.2.7', port: 5555 }])
  }
})

test('a drain waits for channels, and cuts them at its deadline', DEADLINE, async (t) => {
  const { gateway, client, passed } = await setting(t, { limits: { drainTimeoutMs: 50 } })
  const peer = client()
  peer.write(request('GET', '/1'))
  const service = (await passed.next()).accept()
  const drained = gateway.drain(false)
  service.write(response('in time'))
  assert.match(await peer.message(), /in time$/)
  await peer.closed()
  await service.closed()
  await drained
})

test('500 channels, taken, refused and dropped, leave no descriptor behind', DEADLINE, async (t) => {
  const { client, service, passed, channelLines } = await setting(t)
  const svc = await service('svc')
  svc.server.on('connection', (socket) => socket.on('data', () => socket.write(response('relayed'))))
  const open = (): number => readdirSync('/proc/self/fd').length
  const one = async (number: number): Promise<void> => {
    const peer = client()
    peer.write(request('GET', `/${number}`))
    const of = await passed.next()
    if (number % 3 === 0) {
      const taken = of.accept()
      taken.write(response('taken'))
      await peer.message()
      taken.destroy()
    } else if (number % 3 === 1) {
      refuse(of)
      await peer.message()
    } else {
      closeDescriptor(of.clientFd)
    }
    of.control.destroy()
    peer.destroy()
    await peer.closed()
    await channelLines.next()
  }
  for (let number = 0; number < 30; number++) await one(number)
  const before = open()
  for (let number = 0; number < 500; number++) await one(number)
  const lastMs = performance.now() + 5000
  while (open() > before + 5 && performance.now() < lastMs) await nextTurn()
  assert.ok(open() <= before + 5, `${before} descriptors were open, and then ${open()}`)
})

test(
  "a browser's connection is not passed: its service could take over other pages of the gateway's",
  DEADLINE,
  async (t) => {
    const { client, service, passed } = await setting(t)
    const { connections } = await service('svc')
    const peer = client()
    peer.write(request('GET', '/', 'Sec-Fetch-Site: same-origin\r\n'))
    const connection = await connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('relayed'))
    await peer.until('relayed')
    peer.write(request('GET', '/'))
    const offered = await passed.next()
    assert.match(offered.received, /^GET /)
  },
)

test('a service that had failed is well again when it takes a connection', DEADLINE, async (t) => {
  const limits = { ...NO_LIMITS, breakerFailures: 1, breakerPauseMs: 1 }
  const { client, passed, service, said } = await setting(t, { policies: { svc: { ...OPEN_POLICY, limits } } })
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  refuse(await passed.next())
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.destroy()
  assert.match(await peer.message(), /^HTTP\/1\.1 502 /)
  assert.equal((await said.next())['event'], 'breaker-opened')
  // Until the pause is over nothing is offered either.
  while (passed.count === 0) {
    peer.write(request('GET'))
    await until(() => passed.count > 0 || peer.pending.includes('\r\n\r\n'), 'an answer or an offer')
    if (passed.count === 0) assert.match(await peer.message(), /^HTTP\/1\.1 503 /)
  }
  const of = await passed.next()
  const taken = of.accept()
  assert.equal((await said.next())['event'], 'breaker-closed')
  taken.write(response('taken'))
  assert.match(await peer.message(), /taken$/)
})

test(
  'no connection is passed to a service whose requests are counted; what was passed before stays',
  DEADLINE,
  async (t) => {
    const { client, passed, service, gateway } = await setting(t)
    const svc = await service('svc')
    const first = client()
    first.write(request('GET'))
    const of = await passed.next()
    const taken = of.accept()
    taken.write(response('one'))
    await first.message()
    gateway.useServices(new Policies({}, true, { ...NO_LIMITS, requests: 5, queue: 5, queueTimeoutMs: 1000 }), METHODS)
    const second = client()
    second.write(request('GET'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('two'))
    assert.match(await second.message(), /two$/)
    taken.write('more')
    assert.equal(await first.bytes(4), 'more')
  },
)

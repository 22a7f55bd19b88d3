// Listeners behind terminators, and listeners that end TLS themselves, in literal bytes.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import tls, { type ConnectionOptions } from 'node:tls'
import { type ChannelOffer, closeDescriptor, receiveChannel } from '@xengate/channel'
import { makeCertificate } from './testing/certificate.ts'
import { test } from './testing/each-transport.ts'
import { fixture, type Fixture, request, response, statusOf } from './testing/fixture.ts'
import { Arrivals, Peer } from './testing/peer.ts'
import { readTlsPair, type TlsEvent, TlsFilesError, WatchedTlsFiles } from '../process/tls-files.ts'
import { TlsCredentials } from './arrival/tls-credentials.ts'

const DEADLINE = { timeout: 60_000 }
const PROXY = 'PROXY TCP4 10.1.2.3 192.0.2.1 12345 8443\r\n'

test('behind a terminator the client is who the PROXY header says', DEADLINE, async (t) => {
  const { client, service, accessLines } = await fixture(t, { listener: { hasProxyHeader: true } })
  const svc = await service('svc')
  const peer = client()
  peer.write(PROXY + request('GET'))
  const connection = await svc.connections.next()
  assert.match(await connection.until('\r\n\r\n'), /\r\nX-Forwarded-For: 10\.1\.2\.3\r\nX-Forwarded-Proto: http\r\n/)
  connection.write(response('one'))
  assert.match(await peer.message(), /one$/)
  assert.equal((await accessLines.next()).client, '10.1.2.3')
  // It is said once; what follows is HTTP alone.
  peer.write(request('GET', '/2'))
  assert.match(await connection.until('\r\n\r\n'), /\/2 HTTP\/1\.1\r\n[^]*X-Forwarded-For: 10\.1\.2\.3\r\n/)
  connection.write(response('two'))
  assert.match(await peer.message(), /two$/)
})

test('the PROXY header may come byte by byte, and cut anywhere from the request', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { listener: { hasProxyHeader: true } })
  const svc = await service('svc')
  const peer = client()
  peer.socket.setNoDelay(true)
  for (const byte of PROXY + request('GET')) {
    // Each byte has gone out before the next is written.
    await new Promise((resolve) => peer.socket.write(byte, 'latin1', resolve))
  }
  assert.match(await (await svc.connections.next()).until('\r\n\r\n'), /\r\nX-Forwarded-For: 10\.1\.2\.3\r\n/)
})

test('a terminator at the port of HTTPS has ended TLS', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { listener: { hasProxyHeader: true } })
  const svc = await service('svc')
  client().write('PROXY TCP6 2001:db8::7 ::1 12345 443\r\n' + request('GET'))
  const head = await (await svc.connections.next()).until('\r\n\r\n')
  assert.match(head, /\r\nX-Forwarded-For: 2001:db8::7\r\nX-Forwarded-Proto: https\r\n/)
})

for (const [title, header] of [
  ['PROXY UNKNOWN', 'PROXY UNKNOWN\r\n'],
  ['LOCAL of version 2', '\r\n\r\n\0\r\nQUIT\n\x20\0\0\0'],
] as const) {
  test(`after ${title} the client is who the socket says`, DEADLINE, async (t) => {
    const { client, service } = await fixture(t, { listener: { hasProxyHeader: true } })
    const svc = await service('svc')
    client().write(header + request('GET'))
    assert.match(await (await svc.connections.next()).until('\r\n\r\n'), /\r\nX-Forwarded-For: 127\.0\.0\.1\r\n/)
  })
}

for (const [title, bytes, reason] of [
  ['no PROXY header', request('GET'), 'proxy-header-missing'],
  ['a malformed one', 'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n' + request('GET'), 'proxy-header-malformed'],
  ['one that does not end', `PROXY UNKNOWN ${'x'.repeat(200)}`, 'proxy-header-too-long'],
] as const) {
  test(`a connection with ${title} is closed without an answer, and logged`, DEADLINE, async (t) => {
    const { client, accessLines } = await fixture(t, { listener: { hasProxyHeader: true } })
    const peer = client()
    peer.write(bytes)
    assert.equal(await peer.ended(), '')
    const { reason: logged, client: from, outcome } = await accessLines.next()
    assert.deepEqual([logged, from, outcome], [reason, '127.0.0.1', 'refused'])
  })
}

test('a PROXY header that does not come in time, or ends in the middle, closes the connection', DEADLINE, async (t) => {
  const { client, accessLines } = await fixture(t, {
    listener: { hasProxyHeader: true },
    limits: { headTimeoutMs: 50 },
  })
  const slow = client()
  slow.write('PROXY TCP4')
  assert.equal(await slow.ended(), '')
  assert.equal((await accessLines.next()).reason, 'proxy-header-slow')
  const ending = client()
  ending.end('PROXY TCP4')
  assert.equal(await ending.ended(), '')
  assert.equal((await accessLines.next()).reason, 'proxy-header-malformed')
  // A probe of the port is nothing to tell of.
  client().end()
  assert.equal(accessLines.count, 0)
})

/** A channel socket of the service `svc`: what it was offered. */
async function channelOffers(t: TestContext, directory: string): Promise<Arrivals<ChannelOffer>> {
  const offers = new Arrivals<ChannelOffer>()
  const sockets: net.Socket[] = []
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    void receiveChannel(socket).then((of) => {
      if (of.kind !== 'received') return
      closeDescriptor(of.clientFd)
      offers.push(of.offer)
      socket.end('{"refused":"not now"}\n')
    })
  })
  await new Promise<void>((resolve) => server.listen(join(directory, 'svc.channel'), resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return offers
}

test(
  'behind a terminator a connection is passed to a service, which is told who the client is',
  DEADLINE,
  async (t) => {
    const { client, service, directory } = await fixture(t, { listener: { hasProxyHeader: true } })
    const svc = await service('svc')
    const offers = await channelOffers(t, directory)
    client().write(PROXY + request('GET'))
    assert.deepEqual((await offers.next()).client, { address: '10.1.2.3', port: 12_345 })
    // It refused: the same request is relayed.
    assert.match(await (await svc.connections.next()).until('\r\n\r\n'), /\r\nX-Forwarded-For: 10\.1\.2\.3\r\n/)
  },
)

interface Secured extends Fixture {
  /** Where the certificate and its key are. */
  readonly tlsDirectory: string
  readonly events: Arrivals<TlsEvent>
  readonly secure: (options?: ConnectionOptions, before?: string) => Promise<Peer>
}

/** A gateway behind TLS. */
async function secured(t: TestContext, options: Parameters<typeof fixture>[1] = {}): Promise<Secured> {
  const tlsDirectory = mkdtempSync(join(tmpdir(), 'xg-tls-'))
  const events = new Arrivals<TlsEvent>()
  const files = new WatchedTlsFiles(makeCertificate(tlsDirectory), (event) => {
    if (event.kind === 'reloaded') credentials.use(event.pair)
    events.push(event)
  })
  const credentials = new TlsCredentials(files.pair)
  const peers: Peer[] = []
  t.after(() => {
    for (const peer of peers) peer.destroy()
    files.close()
    rmSync(tlsDirectory, { recursive: true })
  })
  const f = await fixture(t, { ...options, listener: { ...options.listener, tls: credentials } })
  const secure = async (connection: ConnectionOptions = {}, before = ''): Promise<Peer> => {
    const below = f.client()
    if (before !== '') below.write(before)
    below.socket.removeAllListeners('data')
    const socket = tls.connect({ socket: below.socket, rejectUnauthorized: false, ...connection })
    const peer = new Peer(socket)
    peers.push(peer)
    await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
    return peer
  }
  return { ...f, tlsDirectory, events, secure }
}

test('over TLS, too, an address has its share, and who is beyond it can read why', DEADLINE, async (t) => {
  const limits = { connections: 4, share: 25 }
  const { secure, said } = await secured(t, { limits, listener: { hasProxyHeader: true } })
  const from = (address: string): Promise<Peer> => secure({}, `PROXY TCP4 ${address} 127.0.0.1 1000 80\r\n`)
  const first = await from('192.0.2.1')
  first.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.match(await first.message(), /^HTTP\/1\.1 404 /)
  const second = await from('192.0.2.1')
  second.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.match(await second.message(), /^HTTP\/1\.1 503 [^]*This address has as many connections/)
  await second.ended()
  assert.equal((await said.next())['limit'], 'connections-of-address')
  const third = await from('192.0.2.2')
  third.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.match(await third.message(), /^HTTP\/1\.1 404 /)
})

test('over TLS, too, a request under another name is refused', DEADLINE, async (t) => {
  const { secure } = await secured(t, { hostNames: ['xen.example.com'] })
  const peer = await secure()
  peer.write('GET /healthz HTTP/1.1\r\nHost: rebound.example\r\n\r\n')
  assert.match(await peer.message(), /^HTTP\/1\.1 421 /)
  peer.write('GET /healthz HTTP/1.1\r\nHost: xen.example.com\r\n\r\n')
  assert.match(await peer.message(), /^HTTP\/1\.1 200 /)
})

test('over TLS requests are served as over plain connections, and the service is told', DEADLINE, async (t) => {
  const { secure, service } = await secured(t)
  const svc = await service('svc')
  const peer = await secure()
  peer.write(request('GET', '/1') + request('GET', '/2'))
  const connection = await svc.connections.next()
  const head = await connection.message()
  assert.match(head, /\r\nX-Forwarded-For: 127\.0\.0\.1\r\nX-Forwarded-Proto: https\r\n/)
  connection.write(response('one'))
  assert.match(await peer.message(), /one$/)
  await connection.until('/2 HTTP/1.1')
  const big = 'x'.repeat(1_000_000)
  connection.write(response(big))
  assert.ok((await peer.message()).endsWith(big))
})

test(
  'a TLS connection ends in order after the last response, and is reset when a body was cut',
  DEADLINE,
  async (t) => {
    const { secure, service } = await secured(t)
    const svc = await service('svc')
    const closing = await secure()
    closing.write(request('GET', '/', 'Connection: close\r\n'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc')
    connection.end()
    assert.match(await closing.ended(), /\r\n3\r\nabc\r\n0\r\n\r\n$/)

    const cut = await secure()
    const error = new Promise((resolve) => cut.socket.once('error', resolve))
    cut.write(request('GET'))
    const dying = await svc.connections.next()
    await dying.until('\r\n\r\n')
    dying.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc')
    await cut.until('abc')
    dying.destroy()
    await cut.closed()
    assert.equal(((await error) as NodeJS.ErrnoException).code, 'ECONNRESET')
  },
)

test('a connection over TLS is not passed to a service: its bytes are not the client’s own', DEADLINE, async (t) => {
  const { secure, service, directory } = await secured(t)
  const svc = await service('svc')
  const offers = await channelOffers(t, directory)
  const peer = await secure()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('relayed'))
  assert.match(await peer.message(), /relayed$/)
  assert.equal(offers.count, 0)
})

test('with a PROXY header before TLS, both hold', DEADLINE, async (t) => {
  const { secure, service } = await secured(t, { listener: { hasProxyHeader: true } })
  const svc = await service('svc')
  const peer = await secure({}, PROXY)
  peer.write(request('GET'))
  const head = await (await svc.connections.next()).until('\r\n\r\n')
  assert.match(head, /\r\nX-Forwarded-For: 10\.1\.2\.3\r\nX-Forwarded-Proto: https\r\n/)
})

test('the protocols of TLS are 1.2 and 1.3, and above it HTTP/1.1', DEADLINE, async (t) => {
  const { secure, accessLines } = await secured(t)
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const { socket } = await secure({ minVersion: version, maxVersion: version, ALPNProtocols: ['h2', 'http/1.1'] })
    assert.ok(socket instanceof tls.TLSSocket)
    assert.deepEqual([socket.getProtocol(), socket.alpnProtocol], [version, 'http/1.1'])
  }
  const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
  await assert.rejects(secure(old), /alert protocol version/)
  assert.equal((await accessLines.next()).reason, 'tls-failed')
  await assert.rejects(secure({ ALPNProtocols: ['h2'] }), /no application protocol/)
})

test('a plain request at a port of TLS gets a plain 400, and nothing of it is acted on', DEADLINE, async (t) => {
  const { client, service, accessLines } = await secured(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const answer = await peer.ended()
  assert.equal(statusOf(answer), 400)
  assert.match(answer, /\r\nConnection: close\r\n[^]*https:\/\//)
  assert.equal((await accessLines.next()).reason, 'plain-on-tls')
  assert.equal(svc.connections.count, 0)
})

test('what is no TLS closes the connection, as does a handshake that stands still', DEADLINE, async (t) => {
  const { client, accessLines } = await secured(t, { limits: { headTimeoutMs: 100 } })
  const noise = client()
  noise.write('\x01\x02')
  assert.equal(await noise.ended(), '')
  assert.equal((await accessLines.next()).reason, 'tls-failed')
  const slow = client()
  slow.write('\x16\x03\x01\x02\x00\x01')
  assert.equal(await slow.ended(), '')
  assert.equal((await accessLines.next()).reason, 'tls-slow')
})

test(
  'a renewed certificate is used by new connections; a broken one changes nothing and is told',
  DEADLINE,
  async (t) => {
    const { secure, tlsDirectory, events, service } = await secured(t)
    const svc = await service('svc')
    const before = await secure()
    makeCertificate(tlsDirectory, 'renewed.example')
    // Seen between its two files, the pair is refused first.
    while ((await events.next()).kind !== 'reloaded');
    assert.equal(subjectOf(await secure()), 'renewed.example')

    writeFileSync(join(tlsDirectory, 'cert.pem'), '-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n')
    const refused = await events.next()
    assert.ok(refused.kind === 'refused')
    assert.match(refused.problem, /cannot use the certificate .*cert\.pem: it is no certificate/)
    assert.equal(subjectOf(await secure()), 'renewed.example')

    before.write(request('GET'))
    await (await svc.connections.next()).until('\r\n\r\n')
  },
)

function subjectOf({ socket }: Peer): string | undefined {
  assert.ok(socket instanceof tls.TLSSocket)
  const { CN } = socket.getPeerCertificate().subject
  return Array.isArray(CN) ? CN[0] : CN
}

test('a pair that cannot be used is refused with the reason', DEADLINE, (t) => {
  const [one, two] = [mkdtempSync(join(tmpdir(), 'xg-tls-')), mkdtempSync(join(tmpdir(), 'xg-tls-'))]
  t.after(() => {
    for (const directory of [one, two]) rmSync(directory, { recursive: true })
  })
  const good = makeCertificate(one)
  const { key } = makeCertificate(two)
  for (const [files, problem] of [
    [{ ...good, key }, /cannot use .*cert\.pem with the key .*key\.pem: the key is not that of the certificate/],
    [{ ...good, key: join(one, 'none.pem') }, /cannot read the key .*none\.pem: ENOENT/],
    [{ ...good, certificate: good.key }, /it is no certificate in PEM/],
    [{ ...good, key: good.certificate }, /not a private key in PEM/],
  ] as const) {
    assert.throws(
      () => readTlsPair(files),
      (error) => error instanceof TlsFilesError && problem.test(error.message),
    )
  }
})

test(
  'a client that speaks plain HTTP to TLS and goes on sending is cut, and counts as a connection',
  DEADLINE,
  async (t) => {
    const { client, accessLines } = await secured(t, { limits: { connections: 2 } })
    const [first, second] = [client(), client()]
    for (const peer of [first, second]) peer.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
    for (const peer of [first, second]) assert.equal(statusOf(await peer.message()), 400)
    assert.equal((await accessLines.next()).reason, 'plain-on-tls')
    const third = client()
    assert.equal(await third.ended(), '')
    const timer = setInterval(() => first.write('y'.repeat(1000)), 100)
    t.after(() => clearInterval(timer))
    const started = performance.now()
    await first.closed().catch(() => first.closed())
    assert.ok(performance.now() - started < 9000)
  },
)

test('a gateway that drains waits for a handshake under way', DEADLINE, async (t) => {
  const { client, gateway, accessLines } = await secured(t)
  const peer = client()
  // The beginning of a handshake: a record, and not all of it.
  peer.write('\x16\x03\x01\x00\xc8\x01')
  const other = client()
  other.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n')
  await other.message()
  await accessLines.next()
  const drained = gateway.drain(false)
  other.destroy()
  const isOver = await Promise.race([
    drained.then(() => true),
    new Promise((resolve) => setImmediate(() => setImmediate(() => resolve(false)))),
  ])
  assert.equal(isOver, false)
  peer.socket.resetAndDestroy()
  await drained
})

test('a handshake that is done while the gateway drains leaves little time for a request', DEADLINE, async (t) => {
  const { client, service, gateway, secure } = await secured(t, {
    limits: { drainTimeoutMs: 15_000, headTimeoutMs: 30_000 },
  })
  const svc = await service('svc')
  // Something is under way, so that the drain goes on.
  const busy = await secure()
  busy.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  const below = client()
  const accepted = new Promise((resolve) => below.socket.once('connect', resolve))
  await accepted
  const drained = gateway.drain(false)
  below.socket.removeAllListeners('data')
  const late = new Peer(tls.connect({ socket: below.socket, rejectUnauthorized: false }))
  assert.equal(await late.ended(), '')
  connection.write(response('done'))
  assert.match(await busy.message(), /done$/)
  busy.end()
  await drained
})

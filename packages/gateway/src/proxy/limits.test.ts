// Connections that are refused as they arrive, and what a refusal leaves behind.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { closeSync, readdirSync } from 'node:fs'
import net from 'node:net'
import { promisify } from 'node:util'
import { limitDescriptors, useUpDescriptors } from '../transport/testing/limits.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, request, response, statusOf } from './testing/fixture.ts'
import { Arrivals, Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }

const PYTHON = `
import http.client, sys
for _ in range(30):
    connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=10)
    connection.request('POST', '/services/plugin/svc', body=b'x' * 200000)
    print(connection.getresponse().status)
`

test('a client that sends a body beyond the limit of connections sees its 503', DEADLINE, async (t) => {
  const { client, port } = await fixture(t, { limits: { connections: 1 } })
  const first = client()
  first.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  await first.message()
  // Like most, this client sends all of its body before it looks for an answer.
  const { stdout } = await promisify(execFile)('python3', ['-c', PYTHON, String(port)])
  assert.equal(stdout, '503\n'.repeat(30))
})

test('every client beyond the limit is told, however many others stay to be told', DEADLINE, async (t) => {
  const { client } = await fixture(t, { limits: { connections: 1 } })
  const first = client()
  first.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  await first.message()
  // They do not end their side.
  const others = Array.from({ length: 200 }, () => client())
  const texts = await Promise.all(others.map((peer) => peer.ended()))
  assert.ok(texts.every((text) => statusOf(text) === 503))
  first.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  assert.equal(statusOf(await first.message()), 404)
})

test('a lack of descriptors is told once in a while, and the next connection is served', DEADLINE, async (t) => {
  const problems = new Arrivals<string>()
  const { client, port } = await fixture(t, { problem: (event, code) => problems.push(`${event} ${code}`) })
  const text = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n'
  const first = client()
  first.write(text)
  await first.message()
  t.after(limitDescriptors(Math.max(...readdirSync('/proc/self/fd').map(Number)) + 20))
  const waiting = Array.from({ length: 4 }, () => new Peer(net.connect({ host: '127.0.0.1', port })))
  t.after(() => waiting.forEach((peer) => peer.destroy()))
  for (const peer of waiting) peer.write(text)
  // They are connected then, and not accepted.
  await new Promise<void>((resolve) => process.nextTick(resolve))
  const fillers = useUpDescriptors()
  // Libuv closes those that wait, so that this process has some again.
  const timer = setInterval(() => fillers.push(...useUpDescriptors()), 5)
  t.after(() => clearInterval(timer))
  assert.equal(await problems.next(), 'accept-failed EMFILE')
  clearInterval(timer)
  for (const fd of fillers) closeSync(fd)
  await Promise.all(waiting.map((peer) => peer.message().catch(() => peer.closed())))
  const next = client()
  next.write(text)
  assert.equal(statusOf(await next.message()), 404)
  assert.equal(problems.count, 0)
})

test('a 405 costs a signed-in client no connection to the service', DEADLINE, async (t) => {
  const { client, service } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('one'))
  await peer.message()
  for (let round = 0; round < 5; round++) {
    peer.write(request('DELETE'))
    assert.equal(statusOf(await peer.message()), 405)
  }
  peer.write(request('GET', '/again'))
  assert.match(await connection.until('\r\n\r\n'), /^GET \/services\/plugin\/svc\/again /)
  assert.equal(svc.connections.count, 0)
})

test('a refused request is logged with what was sent and how long it took', DEADLINE, async (t) => {
  const { client, accessLines } = await fixture(t)
  const peer = client()
  peer.write(`GET /services/plugin/none HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`)
  const text = await peer.message()
  const { service, path, caller, bytesOut, totalMs } = await accessLines.next()
  assert.deepEqual([service, path, caller?.session.user], ['none', '/services/plugin/none', 'root'])
  assert.equal(bytesOut, text.length - text.indexOf('\r\n\r\n') - 4)
  assert.ok(totalMs > 0)
})

test('a refusal after a wait is in the form that the request asked for, and says of whom', DEADLINE, async (t) => {
  const { client, accessLines } = await fixture(t, { methods: ['GET', 'HEAD'], onQuestion: () => {} })
  const peer = client()
  const head = `${COOKIE}Accept: application/json\r\n`
  peer.write(request('HEAD', '/a', head).replace(COOKIE, ''))
  // Nobody answers about the session: after 5 s it is said that nobody can tell.
  const text = await peer.until('\r\n\r\n').catch(() => peer.until('\r\n\r\n'))
  assert.equal(statusOf(text), 503)
  assert.match(text, /\r\nContent-Type: application\/json\r\n/)
  assert.equal(peer.pending, '')
  const { method, path, service, totalMs } = await accessLines.next()
  assert.deepEqual([method, path, service], ['HEAD', '/services/plugin/svc/a', 'svc'])
  assert.ok(totalMs > 1000)
})

test('a service whose interim responses a client was slow to take can be used again', DEADLINE, async (t) => {
  const { client, service } = await fixture(t, { limits: { headBytes: 131_072 } })
  const svc = await service('svc')
  const interim = `HTTP/1.1 103 Early Hints\r\nLink: ${'x'.repeat(50_000)}\r\n\r\n`
  // At some count the sockets are full in the very read that also has the response.
  for (let count = 60; count < 100; count++) {
    const peer = client()
    peer.socket.pause()
    peer.write(request('GET'))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(interim.repeat(count) + response('one'))
    const timer = setTimeout(() => peer.socket.resume(), 30)
    await peer.until('\r\n\r\none')
    clearTimeout(timer)
    peer.write(request('GET', '/next'))
    await connection.until('/next ')
    await connection.until('\r\n\r\n')
    connection.write(response('two'))
    await peer.until('\r\n\r\ntwo')
    peer.destroy()
    connection.end()
    await connection.closed()
  }
})

test('when most connections of a burst are gone, the moment to give memory back is told, once', DEADLINE, async (t) => {
  const over = Promise.withResolvers<void>()
  let times = 0
  const { client } = await fixture(t, {
    limits: { connections: 2000 },
    burstOver: () => {
      times++
      over.resolve()
    },
  })
  const peers = Array.from({ length: 1100 }, () => client())
  for (const peer of peers) peer.write('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  await Promise.all(peers.map((peer) => peer.message()))
  assert.equal(times, 0)
  for (const peer of peers.slice(100)) peer.destroy()
  await over.promise
  assert.equal(times, 1)
})

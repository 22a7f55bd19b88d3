// What a stop waits for, and what it does not.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificate } from './testing/certificate.ts'
import { test } from './testing/each-transport.ts'
import { fixture, request, statusOf } from './testing/fixture.ts'
import { readTlsPair } from '../process/tls-files.ts'
import { TlsCredentials } from './arrival/tls-credentials.ts'

const DEADLINE = { timeout: 60_000 }
const NOTHING = 'GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n'
/** A little more than the sockets between client and gateway hold: the rest waits in the gateway. */
const BIG = 4_300_000

for (const [what, closesIdle] of [
  ['a stop', true],
  ['a reload', false],
] as const) {
  test(
    `in ${what} a client that reads late gets all of its answer, and the answer to what it asked behind it`,
    DEADLINE,
    async (t) => {
      const { client, service, gateway, accessLines } = await fixture(t, { limits: { drainTimeoutMs: 30_000 } })
      const svc = await service('svc')
      const [one, two] = [client(), client()]
      one.socket.pause()
      two.socket.pause()
      one.write(request('GET'))
      const first = await svc.connections.next()
      await first.until('\r\n\r\n')
      two.write(request('GET') + NOTHING)
      const second = await svc.connections.next()
      await second.until('\r\n\r\n')
      for (const connection of [first, second]) {
        connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BIG}\r\n\r\n${'x'.repeat(BIG)}`)
      }
      // Where the system's sockets hold as much as here, both exchanges are over when the gateway has taken all.
      await Promise.all([accessLines.next(), accessLines.next()]).catch(() => {})
      const drained = gateway.drain(closesIdle)
      // Longer than connections on which nothing is asked are given.
      setTimeout(() => {
        one.socket.resume()
        two.socket.resume()
      }, 2000)
      for (const peer of [one, two]) {
        await peer.until('\r\n\r\n')
        assert.equal((await peer.bytes(BIG)).length, BIG)
      }
      assert.equal(statusOf(await two.message()), 404)
      await Promise.all([one.ended(), two.ended()])
      one.end()
      two.end()
      await drained
    },
  )
}

test(
  'silent connections to a TLS listener, and clients that are being refused, are not waited for',
  DEADLINE,
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'xg-tls-'))
    const credentials = new TlsCredentials(readTlsPair(makeCertificate(directory)))
    t.after(() => rmSync(directory, { recursive: true }))
    // Neither ends by itself within these.
    const limits = { headTimeoutMs: 30_000, drainTimeoutMs: 30_000 }
    const secure = await fixture(t, { limits, listener: { tls: credentials } })
    const silent = secure.client()
    await new Promise((resolve) => silent.socket.once('connect', resolve))
    const plain = secure.client()
    plain.write(NOTHING)
    assert.equal(statusOf(await plain.message()), 400)
    // The plain one was accepted after the silent one, so that both have arrived.
    await secure.gateway.drain(true)
    await silent.ended()

    const full = await fixture(t, { limits: { ...limits, connections: 1 } })
    const served = full.client()
    served.write(NOTHING)
    await served.message()
    const refused = full.client()
    assert.equal(statusOf(await refused.message()), 503)
    // Neither client closes its side.
    await full.gateway.drain(true)
  },
)

for (const [what, closesIdle, status] of [
  ['503 while the gateway stops', true, 503],
  ['200 while it gives way to a newer one', false, 200],
] as const)
  test(`health is ${what}`, DEADLINE, async (t) => {
    const { client, gateway } = await fixture(t)
    const peer = client()
    peer.write(NOTHING)
    await peer.message()
    const drained = gateway.drain(closesIdle)
    peer.write('GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n')
    assert.equal(statusOf(await peer.ended()), status)
    peer.end()
    await drained
  })

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { test, type TestContext } from 'node:test'
import { Arrivals, Peer } from '../../gateway/src/proxy/testing/peer.ts'
import { type Fixture, fixture, requestText } from './testing/fixture.ts'

const DEADLINE = { timeout: 60_000 }

const handler: RequestListener = (request, response) => {
  request.resume()
  response.end('of the service')
}

/** A service whose forwarded requests arrive in literal bytes. */
async function forwarding(t: TestContext): Promise<Fixture & { readonly forwarded: Arrivals<Peer> }> {
  const made = await fixture(t, { handler })
  const forwarded = new Arrivals<Peer>()
  made.gateway.onForwarded = (socket) => forwarded.push(new Peer(socket))
  return { ...made, forwarded }
}

test('a failure to forward is told for what it is', DEADLINE, async (t) => {
  const { client, forwarded, gateway, errors } = await forwarding(t)
  const one = await client()
  await one.exchange(requestText('GET'))
  await one.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
  const made = await forwarded.next()
  await made.until('\r\n\r\n')
  made.write('this is no HTTP\r\n\r\n')
  assert.equal((await one.response()).status, 502)
  rmSync(gateway.path)
  assert.equal((await one.exchange('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')).status, 503)
  assert.deepEqual(
    errors.map(({ message, cause }) => [message, (cause as NodeJS.ErrnoException).code?.replace(/^HPE_.*/, 'HPE')]),
    ['HPE', 'ENOENT'].map((code) => [`cannot forward a request to ${gateway.path}`, code]),
  )
})

test(
  'Trailer without chunks, which Node.js does not send, ends no process: neither asked with nor answered',
  DEADLINE,
  async (t) => {
    const { client, forwarded } = await forwarding(t)
    const one = await client()
    await one.exchange(requestText('GET'))
    await one.send('GET /anything HTTP/1.1\r\nHost: h\r\nTrailer: x\r\n\r\n')
    const gateway = await forwarded.next()
    assert.doesNotMatch(await gateway.until('\r\n\r\n'), /trailer/i)
    gateway.write('HTTP/1.1 200 OK\r\nTrailer: x\r\nContent-Length: 7\r\n\r\ngateway')
    assert.equal((await one.response()).text, 'gateway')
    assert.equal((await one.exchange(requestText('GET'))).text, 'of the service')
  },
)

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { join } from 'node:path'
import { Greetings } from './heads/greetings.ts'
import { test } from './testing/each-transport.ts'
import { fixture, type FixtureOptions, request, response } from './testing/fixture.ts'
import { Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
const ENDS = { source: { address: '192.0.2.7', port: 51_234 }, destination: { address: '192.0.2.1', port: 443 } }

/** What the service gets of a request that is brought back behind `greeting`, written as `write` does. */
async function broughtBack(
  t: TestContext,
  greeting: (greetings: Greetings) => string,
  write: (peer: Peer, text: string) => Promise<void> | void = (peer, text) => peer.write(text),
  options: FixtureOptions = {},
): Promise<string> {
  const { service, directory, greetings } = await fixture(t, options)
  const svc = await service('svc')
  const back = Peer.connect({ path: join(directory, 'gateway.sock') })
  t.after(() => back.destroy())
  await write(back, greeting(greetings) + request('GET', '/1'))
  const connection = await svc.connections.next()
  const head = await connection.until('\r\n\r\n')
  connection.write(response('relayed'))
  assert.match(await back.message(), /relayed$/)
  return head
}

test('a request that is brought back has the address of its client, and came as it did', DEADLINE, async (t) => {
  const head = await broughtBack(t, (greetings) => greetings.of(ENDS))
  assert.match(head, /\r\nX-Forwarded-For: 192\.0\.2\.7\r\nX-Forwarded-Proto: https\r\n/)
})

test('a greeting that comes byte by byte is one', DEADLINE, async (t) => {
  const head = await broughtBack(
    t,
    (greetings) => greetings.of(ENDS),
    async (peer, text) => {
      for (const byte of text) {
        peer.write(byte)
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  )
  assert.match(head, /X-Forwarded-For: 192\.0\.2\.7\r\n/)
})

for (const [what, greeting] of [
  ['none', () => ''],
  ['one that another key made', () => new Greetings('11'.repeat(32)).of(ENDS)],
  ['one with another address', (greetings: Greetings) => greetings.of(ENDS).replace('192.0.2.7', '192.0.2.8')],
  ['one without a code', () => 'XENGATE 192.0.2.7 51234 192.0.2.1 443\r\n'],
] as const) {
  test(`behind ${what}, no address is believed`, DEADLINE, async (t) => {
    const head = await broughtBack(t, greeting)
    assert.doesNotMatch(head, /X-Forwarded-For/)
    assert.match(head, /X-Forwarded-Proto: http\r\n/)
  })
}

test('a greeting without an end is no HTTP either', DEADLINE, async (t) => {
  const { directory } = await fixture(t)
  const back = Peer.connect({ path: join(directory, 'gateway.sock') })
  t.after(() => back.destroy())
  back.write(`XENGATE ${'x'.repeat(10_000)}`)
  assert.match(await back.message(), /^HTTP\/1\.1 4\d\d /)
})

test('a client cannot greet: at its own listener the line is malformed HTTP', DEADLINE, async (t) => {
  const { client, greetings } = await fixture(t)
  const peer = client()
  peer.write(greetings.of(ENDS) + request('GET', '/1'))
  assert.match(await peer.message(), /^HTTP\/1\.1 400 /)
})

test('of ends that are not known there is no greeting', DEADLINE, () => {
  assert.equal(new Greetings('00').of(null), '')
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { POOL_REF, signIn, startEndpoint, type Endpoint } from './testing/endpoint.ts'

interface Batch {
  readonly token: string
  readonly events: readonly { readonly class: string; readonly operation: string; readonly ref: string }[]
  readonly valid_ref_counts: Readonly<Record<string, number>>
}

async function from({ call }: Endpoint, id: string, classes: string[], token: string, seconds: number): Promise<Batch> {
  return (await call('event.from', id, classes, token, seconds)) as Batch
}

describe('event.from', { timeout: 300_000 }, () => {
  test('gives the objects of the classes at first, and then waits for its time-out', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint, 'rita')
    const first = await from(endpoint, id, ['*'], '', 30)
    assert.deepEqual(
      first.events.map((event) => [event.class, event.operation]),
      [
        ['pool', 'add'],
        ['host', 'add'],
      ],
    )
    assert.deepEqual(first.valid_ref_counts, { pool: 1, host: 1, task: 0 })
    assert.match(first.token, /^\d{20},\d{20}$/)
    const startMs = performance.now()
    const second = await from(endpoint, id, ['*'], first.token, 0.2)
    assert.ok(performance.now() - startMs >= 190)
    assert.deepEqual([second.token, second.events], [first.token, []])
  })

  test('picks classes and single objects, without looking at case', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    for (const classes of [['POOL'], [`pool/${POOL_REF}`], ['pool', 'VM']]) {
      const { events } = await from(endpoint, id, classes, '', 0)
      assert.deepEqual(
        events.map(({ ref }) => ref),
        [POOL_REF],
      )
    }
    assert.deepEqual((await from(endpoint, id, ['pool/x', 'VM'], '', 0)).events, [])
  })

  test('gives everything again for a token of event.inject, or of an older run', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const injected = String(await endpoint.call('event.inject', id, 'pool', POOL_REF))
    for (const token of [injected, '00000000000000000001,00000000000000000000']) {
      assert.deepEqual(
        (await from(endpoint, id, ['pool'], token, 30)).events.map(({ operation }) => operation),
        ['mod'],
      )
    }
    assert.deepEqual(await endpoint.call('event.from', id, ['pool'], 'x', 0), ['EVENT_FROM_TOKEN_PARSE_FAILURE', 'x'])
  })

  test('ends with the session', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const { token } = await from(endpoint, id, ['*'], '', 0)
    const waiting = from(endpoint, id, ['*'], token, 60)
    await endpoint.call('pool.get_all', id)
    assert.equal(await endpoint.call('session.logout', id), '')
    assert.deepEqual(await waiting, ['SESSION_INVALID', id])
  })

  test('ends when the client goes away', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const { token } = await from(endpoint, id, ['*'], '', 0)
    const leaving = new AbortController()
    const body = JSON.stringify({ method: 'event.from', params: [id, ['*'], token, 60], id: 1 })
    const waiting = endpoint.send('/jsonrpc', body, { signal: leaving.signal })
    await endpoint.call('pool.get_all', id)
    const calls = endpoint.logged.filter((line) => line.includes('event.from')).length
    leaving.abort()
    await assert.rejects(waiting)
    // The call is logged when it has ended; the next calls give the server the time to see the closed connection.
    while (endpoint.logged.filter((line) => line.includes('event.from')).length === calls) {
      await endpoint.call('pool.get_all', id)
    }
  })

  test('of one session waits at most 16 times: then the oldest is answered', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const { token } = await from(endpoint, id, ['*'], '', 0)
    const waiting = Array.from({ length: 17 }, () => from(endpoint, id, ['*'], token, 60))
    assert.deepEqual((await Promise.race(waiting)).events, [])
    endpoint.draining.abort()
    assert.equal((await Promise.all(waiting)).length, 17)
  })

  test('counts as 32-bit integers on XML-RPC', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const classes = '<array><data><value><string>pool</string></value></data></array>'
    const params = [`<string>${id}</string>`, classes, '<string></string>', '<double>60.1</double>']
      .map((param) => `<param><value>${param}</value></param>`)
      .join('')
    const sent = `<methodCall><methodName>event.from</methodName><params>${params}</params></methodCall>`
    assert.match((await endpoint.send('/', sent)).body, /<name>pool<\/name><value><i4>1<\/i4><\/value>/)
  })
})

describe('event.next', { timeout: 300_000 }, () => {
  test('needs event.register, and ends with the session', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint)
    assert.deepEqual(await call('event.next', id), ['SESSION_NOT_REGISTERED', id])
    assert.equal(await call('event.register', id, ['*']), '')
    assert.equal(await call('event.register', id, ['pool']), '')
    const waiting = call('event.next', id)
    assert.match(String(await call('event.get_current_id', id)), /^\d+$/)
    assert.equal(await call('session.logout', id), '')
    assert.deepEqual(await waiting, ['SESSION_INVALID', id])
  })

  test('needs it again after event.unregister', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint)
    await call('event.register', id, ['*'])
    assert.equal(await call('event.unregister', id, ['*']), '')
    assert.deepEqual(await call('event.next', id), ['SESSION_NOT_REGISTERED', id])
  })
})

// Real clients: Python's xmlrpc.client as XenAPI.py uses it, and npm's xen-api as Xen Orchestra does.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { HOST_REF, POOL, POOL_REF, startEndpoint } from './testing/endpoint.ts'
import { createClient, type Xapi } from './testing/foreign.ts'

const PYTHON_CLIENT = fileURLToPath(new URL('testing/client.py', import.meta.url))

function xapi(port: number, options: object): Xapi {
  const auth = { user: 'root', password: 'root-pw' }
  return createClient({ url: `http://127.0.0.1:${port}`, auth, ...options })
}

describe("Python's xmlrpc.client", { timeout: 300_000 }, () => {
  test('signs in, reads, waits for events, is told of errors, logs out', async (t) => {
    const { port, clock } = await startEndpoint(t, { tcp: true })
    clock.nowMs = Date.UTC(2026, 0, 31, 1, 2, 3)
    const { stdout } = await promisify(execFile)('/usr/bin/env', ['python3', PYTHON_CLIENT, `http://127.0.0.1:${port}`])
    const results = JSON.parse(stdout) as Record<string, unknown>
    const pools = results['pools'] as Record<string, Record<string, unknown>>
    assert.equal(pools[POOL_REF]?.['name_label'], POOL.poolName)
    assert.equal(pools[POOL_REF]?.['ha_enabled'], false)
    assert.deepEqual([results['major'], results['minor']], ['2', '21'])
    assert.deepEqual(results['time'], ['DateTime', '20260131T01:02:03Z'])
    assert.equal(results['description'], '')
    assert.equal(results['events'], 2)
    assert.equal(results['methods'], true)
    assert.deepEqual(results['unknown'], {
      Status: 'Failure',
      ErrorDescription: ['MESSAGE_METHOD_UNKNOWN', 'VM.start'],
    })
    assert.deepEqual(results['logout'], { Status: 'Success', Value: '' })
    assert.equal(results['after'], true)
    assert.deepEqual(results['wrong'], ['SESSION_AUTHENTICATION_FAILED', '<&é😀>', 'Wrong user name or password'])
  })
})

describe("npm's xen-api", { timeout: 300_000 }, () => {
  for (const transport of ['auto', 'json-rpc', 'xml-rpc']) {
    test(`connects, reads and disconnects with transport ${transport}`, async (t) => {
      const endpoint = await startEndpoint(t, { tcp: true })
      const client = xapi(endpoint.port, { transport, watchEvents: false })
      await client.connect()
      assert.equal(client.pool['$ref'], POOL_REF)
      assert.equal(client.pool['name_label'], POOL.poolName)
      assert.deepEqual(client._types, ['host', 'pool', 'task'])
      assert.deepEqual(
        (await client.getAllRecords('host')).map((host) => host['address']),
        ['10.0.0.1'],
      )
      assert.equal(await client.call('pool.get_master', POOL_REF), HOST_REF)
      await assert.rejects(client.call('VM.start', 'x'), { code: 'MESSAGE_METHOD_UNKNOWN', params: ['VM.start'] })
      const { uuid } = (await endpoint.authority.records())[0]?.session ?? { uuid: '' }
      await client.disconnect()
      await endpoint.ended(uuid)
    })

    test(`watches events with transport ${transport}`, async (t) => {
      const endpoint = await startEndpoint(t, { tcp: true })
      const client = xapi(endpoint.port, { transport, debounce: 1 })
      const fetched = new Promise((resolve) => {
        client.once('eventFetchingSuccess', resolve)
      })
      await client.connect()
      await client.objectsFetched
      assert.deepEqual(Object.keys(client.objects.all).toSorted(), [POOL.poolUuid, POOL.hostUuid])
      await fetched
      const { uuid } = (await endpoint.authority.records())[0]?.session ?? { uuid: '' }
      await client.disconnect()
      await endpoint.ended(uuid)
    })
  }

  test('is refused with a wrong password', async (t) => {
    const { port } = await startEndpoint(t, { tcp: true })
    const client = xapi(port, { auth: { user: 'root', password: 'wrong' }, watchEvents: false })
    await assert.rejects(client.connect(), { code: 'SESSION_AUTHENTICATION_FAILED' })
  })
})

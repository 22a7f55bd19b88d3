// What the embedded XenAPI tells of pool and host, over the real daemon.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startDaemon } from './harness/daemon.ts'
import { scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 60_000 }

test('pool and host are those of the configuration, and follow a reload', DEADLINE, async (t) => {
  const tables = (pool: string): string =>
    `[pool]\nname = "${pool}"\nhost = "h-${pool}"\naddress = "https://[fd00::1]:8443"\n`
  const daemon = await startDaemon(scopeOf(t), { tables: tables('one') })
  const session = await daemon.login()
  const call = async (method: string, ...params: unknown[]): Promise<unknown> => {
    return (await daemon.call(method, [session, ...params])).result
  }
  const [pool] = (await call('pool.get_all')) as [string]
  const [host] = (await call('host.get_all')) as [string]
  assert.equal(await call('host.get_address', host), 'fd00::1')
  assert.equal(await call('pool.get_name_label', pool), 'one')
  const { token } = (await call('event.from', ['pool', 'host'], '', 0)) as { token: string }

  await daemon.place.configure({ tables: tables('two') })
  daemon.child.signal('SIGHUP')
  await daemon.event(({ event }) => event === 'reloaded', 'the reload')
  assert.equal(await call('pool.get_name_label', pool), 'two')
  assert.equal(await call('host.get_name_label', host), 'h-two')
  const { events } = (await call('event.from', ['pool', 'host'], token, 30)) as {
    events: { operation: string; ref: string; snapshot: { name_label: string } }[]
  }
  assert.deepEqual(
    events.map(({ operation, ref, snapshot }) => [operation, ref, snapshot.name_label]),
    [
      ['mod', pool, 'two'],
      ['mod', host, 'h-two'],
    ],
  )
})

test('hosts that run services elsewhere are hosts of the pool', DEADLINE, async (t) => {
  const tables = `[pool]\naddress = "https://10.0.0.1"\nregistry = "static"\n[pool.static]
"com.example.a" = "https://10.0.0.2"\n"com.example.b" = "https://10.0.0.2"\n"com.example.c" = "https://[fd00::2]:8443"\n`
  const daemon = await startDaemon(scopeOf(t), { tables })
  const session = await daemon.login()
  const call = async (method: string, ...params: unknown[]): Promise<unknown> => {
    return (await daemon.call(method, [session, ...params])).result
  }
  const records = (await call('host.get_all_records')) as Readonly<Record<string, { uuid: string; address: string }>>
  assert.deepEqual(
    Object.values(records).map(({ address }) => address),
    ['10.0.0.1', '10.0.0.2', 'fd00::2'],
  )
  const references = Object.keys(records)
  assert.deepEqual(await call('host.get_all'), references)
  assert.equal(await call('host.get_address', references[1]), '10.0.0.2')
  assert.equal(await call('host.get_by_uuid', records[references[2] ?? '']?.uuid), references[2])
  assert.deepEqual(await call('host.get_by_name_label', '10.0.0.2'), [references[1]])
  assert.match(JSON.stringify(await daemon.call('host.get_record', [session, 'OpaqueRef:none'])), /HANDLE_INVALID/)
})

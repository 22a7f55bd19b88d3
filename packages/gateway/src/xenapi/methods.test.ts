import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { HOST_REF, POOL, POOL_REF, signIn, startEndpoint } from './testing/endpoint.ts'

const SESSION_FIELDS = [
  'auth_user_name',
  'auth_user_sid',
  'client_certificate',
  'is_local_superuser',
  'last_active',
  'originator',
  'other_config',
  'parent',
  'pool',
  'rbac_permissions',
  'subject',
  'tasks',
  'this_host',
  'this_user',
  'uuid',
  'validation_time',
]

describe('calls', { timeout: 300_000 }, () => {
  test('are checked: method, number and types of parameters, session', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint)
    const cases: [unknown[], unknown[]][] = [
      [['no.such'], ['MESSAGE_METHOD_UNKNOWN', 'no.such']],
      [['constructor'], ['MESSAGE_METHOD_UNKNOWN', 'constructor']],
      [['__proto__'], ['MESSAGE_METHOD_UNKNOWN', '__proto__']],
      [['pool.get_all'], ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'pool.get_all', '0', '-1']],
      [
        ['pool.get_all', id, 'x'],
        ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'pool.get_all', '0', '1'],
      ],
      [
        ['host.get_record', id],
        ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'host.get_record', '1', '0'],
      ],
      [
        ['session.login_with_password', 'a'],
        ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'session.login_with_password', '2', '1'],
      ],
      [
        ['session.login_with_password', 'a', 'b', 'c', 'd', 'e'],
        ['MESSAGE_PARAMETER_COUNT_MISMATCH', 'session.login_with_password', '2', '5'],
      ],
      [
        ['pool.get_all', 'OpaqueRef:none'],
        ['SESSION_INVALID', 'OpaqueRef:none'],
      ],
      [
        ['pool.get_all', 7],
        ['FIELD_TYPE_ERROR', 'session_id'],
      ],
      [
        ['host.get_record', id, 7],
        ['FIELD_TYPE_ERROR', 'self'],
      ],
      [
        ['event.from', id, 'pool', '', 0],
        ['FIELD_TYPE_ERROR', 'classes'],
      ],
      [
        ['event.from', id, ['pool', 1], '', 0],
        ['FIELD_TYPE_ERROR', 'classes'],
      ],
      [
        ['event.from', id, ['pool'], '', 'soon'],
        ['FIELD_TYPE_ERROR', 'timeout'],
      ],
      [
        ['host.get_record', id, POOL_REF],
        ['HANDLE_INVALID', 'host', POOL_REF],
      ],
      [
        ['host.get_address', id, 'x'],
        ['HANDLE_INVALID', 'host', 'x'],
      ],
      [
        ['pool.get_by_uuid', id, 'x'],
        ['UUID_INVALID', 'pool', 'x'],
      ],
    ]
    for (const [[method, ...params], expected] of cases)
      assert.deepEqual(await call(String(method), ...params), expected)
  })

  test('count as activity of their session, and of no other', async (t) => {
    const endpoint = await startEndpoint(t, { settings: { idleTimeoutMs: 60_000 } })
    const used = await signIn(endpoint)
    const looked = await signIn(endpoint)
    endpoint.clock.nowMs += 40_000
    assert.equal(typeof (await endpoint.call('session.get_uuid', used, looked)), 'string')
    endpoint.clock.nowMs += 40_000
    assert.deepEqual(await endpoint.call('pool.get_all', used), [POOL_REF])
    assert.deepEqual(await endpoint.call('pool.get_all', looked), ['SESSION_INVALID', looked])
  })
})

describe('session', { timeout: 300_000 }, () => {
  test('takes two to four parameters to sign in', async (t) => {
    const { call } = await startEndpoint(t)
    for (const more of [[], ['1.0'], ['1.0', 'tests']]) {
      assert.match(String(await call('session.login_with_password', 'rita', 'rita-pw', ...more)), /^OpaqueRef:/)
    }
    assert.deepEqual(await call('session.login_with_password', 'rita', 'wrong'), [
      'SESSION_AUTHENTICATION_FAILED',
      'rita',
      'Wrong user name or password',
    ])
    assert.deepEqual(await call('session.login_with_password', 'rita', 'rita-pw', '', 'a\r\nb'), [
      'INVALID_VALUE',
      'originator',
      'a\r\nb',
    ])
  })

  test('ends at logout, for every later call', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint, 'rita')
    assert.equal(await endpoint.call('session.logout', id), '')
    assert.deepEqual(await endpoint.call('session.logout', id), ['SESSION_INVALID', id])
    assert.equal(endpoint.told.length, 1)
  })

  test('has a record, for a pool-admin', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const root = await signIn(endpoint)
    const rita = await signIn(endpoint, 'rita')
    const record = (await call('session.get_record', root, rita)) as Record<string, unknown>
    const sid = endpoint.authority.users.list().find(({ name }) => name === 'rita')?.uuid
    assert.deepEqual(Object.keys(record).toSorted(), SESSION_FIELDS)
    const { uuid, rbac_permissions: permissions, ...rest } = record
    assert.match(String(uuid), /^[\da-f-]{36}$/)
    assert.ok(
      Array.isArray(permissions) && permissions.includes('pool.get_all') && !permissions.includes('session.get_uuid'),
    )
    assert.deepEqual(rest, {
      auth_user_name: 'rita',
      auth_user_sid: sid,
      client_certificate: false,
      is_local_superuser: false,
      last_active: '20231114T22:13:20Z',
      originator: 'tests',
      other_config: {},
      parent: 'OpaqueRef:NULL',
      pool: false,
      subject: `OpaqueRef:${sid}`,
      tasks: [],
      this_host: HOST_REF,
      this_user: 'OpaqueRef:NULL',
      validation_time: '20231114T22:13:20Z',
    })
    for (const field of SESSION_FIELDS) {
      assert.deepEqual(await call(`session.get_${field}`, root, rita), record[field], field)
    }
    const own = (await call('session.get_record', root, root)) as Record<string, unknown>
    assert.deepEqual(
      [own['is_local_superuser'], own['subject'], own['auth_user_sid'], own['rbac_permissions']],
      [true, 'OpaqueRef:NULL', '', []],
    )
    assert.deepEqual(await call('session.get_uuid', root, 'OpaqueRef:x'), ['HANDLE_INVALID', 'session', 'OpaqueRef:x'])
    for (const method of ['session.get_record', 'session.get_uuid']) {
      assert.deepEqual(await call(method, rita, rita), [
        'RBAC_PERMISSION_DENIED',
        method,
        'No permission in user session. (Roles with this permission: pool-admin)',
      ])
    }
  })

  test('of a subject is ended by a pool-operator, but for his own', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const [root, olga, olga2, rita] = [
      await signIn(endpoint),
      await signIn(endpoint, 'olga'),
      await signIn(endpoint, 'olga'),
      await signIn(endpoint, 'rita'),
    ]
    const sids = endpoint.authority.users
      .list()
      .filter(({ name }) => name !== 'root')
      .map(({ uuid }) => uuid)
    assert.deepEqual(await call('session.get_all_subject_identifiers', rita), sids)
    assert.deepEqual(await call('session.logout_subject_identifier', rita, sids[0]), [
      'RBAC_PERMISSION_DENIED',
      'session.logout_subject_identifier',
      'No permission in user session. (Roles with this permission: pool-admin, pool-operator)',
    ])
    assert.equal(await call('session.logout_subject_identifier', olga, sids[0]), '')
    assert.equal(await call('session.logout_subject_identifier', olga, sids[1]), '')
    assert.deepEqual(await call('pool.get_all', olga2), ['SESSION_INVALID', olga2])
    assert.deepEqual(await call('pool.get_all', rita), ['SESSION_INVALID', rita])
    for (const id of [root, olga]) assert.deepEqual(await call('pool.get_all', id), [POOL_REF])
  })

  test('changes the own password', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint, 'rita')
    assert.deepEqual(await call('session.change_password', id, 'wrong', 'new'), [
      'SESSION_AUTHENTICATION_FAILED',
      'rita',
      'Wrong user name or password',
    ])
    const rejected = (await call('session.change_password', id, 'rita-pw', '')) as string[]
    assert.equal(rejected[0], 'CHANGE_PASSWORD_REJECTED')
    assert.equal(await call('session.change_password', id, 'rita-pw', 'new'), '')
    assert.match(String(await call('session.login_with_password', 'rita', 'new')), /^OpaqueRef:/)
  })
})

describe('pool and host', { timeout: 300_000 }, () => {
  test('are read by every role', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint, 'rita')
    const pool = (await call('pool.get_record', id, POOL_REF)) as Record<string, unknown>
    const host = (await call('host.get_record', id, HOST_REF)) as Record<string, unknown>
    assert.deepEqual(await call('pool.get_all_records', id), { [POOL_REF]: pool })
    assert.deepEqual(await call('host.get_all_records', id), { [HOST_REF]: host })
    for (const [field, value] of Object.entries(pool))
      assert.deepEqual(await call(`pool.get_${field}`, id, POOL_REF), value)
    for (const [field, value] of Object.entries(host))
      assert.deepEqual(await call(`host.get_${field}`, id, HOST_REF), value)
    const expected: [unknown, unknown][] = [
      [pool['uuid'], POOL.poolUuid],
      [pool['name_label'], POOL.poolName],
      [pool['master'], HOST_REF],
      [host['name_label'], 'host-a'],
      [host['address'], '10.0.0.1'],
      [host['API_version_major'], '2'],
      [(host['software_version'] as Record<string, unknown>)['product_version'], '1.2.3'],
      [await call('pool.get_all', id), [POOL_REF]],
      [await call('pool.get_by_uuid', id, POOL.poolUuid), POOL_REF],
      [await call('host.get_all', id), [HOST_REF]],
      [await call('host.get_by_uuid', id, POOL.hostUuid), HOST_REF],
      [await call('host.get_by_name_label', id, 'host-a'), [HOST_REF]],
      [await call('host.get_by_name_label', id, 'host-b'), []],
      [await call('host.get_servertime', id, HOST_REF), '20231114T22:13:20Z'],
    ]
    for (const [actual, wanted] of expected) assert.deepEqual(actual, wanted)
  })

  test('are dated as dates on XML-RPC', async (t) => {
    const endpoint = await startEndpoint(t)
    const id = await signIn(endpoint)
    const params = [id, HOST_REF].map((param) => `<param><value><string>${param}</string></value></param>`).join('')
    const sent = `<methodCall><methodName>host.get_servertime</methodName><params>${params}</params></methodCall>`
    const { body } = await endpoint.send('/', sent)
    assert.match(body, /<value><dateTime\.iso8601>20231114T22:13:20Z<\/dateTime\.iso8601><\/value>/)
  })
})

test('system.listMethods names every method, sorted, without a session', { timeout: 10_000 }, async (t) => {
  const { call } = await startEndpoint(t)
  const methods = (await call('system.listMethods')) as string[]
  assert.deepEqual(methods, methods.toSorted())
  assert.deepEqual(await call('system.listMethods', 'OpaqueRef:any'), methods)
  const promised = [
    ...[
      'login_with_password',
      'logout',
      'change_password',
      'get_all_subject_identifiers',
      'logout_subject_identifier',
      'get_record',
    ].map((name) => `session.${name}`),
    ...SESSION_FIELDS.map((name) => `session.get_${name}`),
    ...['get_all', 'get_all_records', 'get_record', 'get_by_uuid', 'get_master', 'get_uuid', 'get_name_label'].map(
      (name) => `pool.${name}`,
    ),
    ...[
      'get_all',
      'get_all_records',
      'get_record',
      'get_by_uuid',
      'get_by_name_label',
      'get_address',
      'get_hostname',
      'get_uuid',
      'get_name_label',
      'get_API_version_major',
      'get_API_version_minor',
      'get_servertime',
    ].map((name) => `host.${name}`),
    ...['from', 'register', 'next', 'get_current_id'].map((name) => `event.${name}`),
    'system.listMethods',
  ]
  assert.deepEqual(
    promised.filter((name) => !methods.includes(name)),
    [],
  )
})

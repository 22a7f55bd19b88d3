import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import type { Session } from '../model/session.ts'
import { HOST_REF, signIn, startEndpoint, type Endpoint } from './testing/endpoint.ts'

const FIELDS = [
  'allowed_operations',
  'backtrace',
  'created',
  'current_operations',
  'error_info',
  'finished',
  'name_description',
  'name_label',
  'other_config',
  'progress',
  'resident_on',
  'result',
  'status',
  'subtask_of',
  'subtasks',
  'type',
  'uuid',
]

interface Batch {
  readonly token: string
  readonly events: readonly {
    readonly operation: string
    readonly ref: string
    readonly snapshot?: Readonly<Record<string, unknown>>
  }[]
  readonly valid_ref_counts: Readonly<Record<string, number>>
}

async function from({ call }: Endpoint, id: string, token: string, seconds: number): Promise<Batch> {
  return (await call('event.from', id, ['task'], token, seconds)) as Batch
}

/** The only session of a user. */
async function sessionOf({ authority }: Endpoint, user: string): Promise<Session> {
  const records = await authority.records()
  const found = records.find(({ session }) => session.user === user)
  assert.ok(found)
  return found.session
}

describe('task', { timeout: 300_000 }, () => {
  test('is made, read, reported on and destroyed', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint, 'rita')
    const task = String(await call('task.create', id, 'label', 'description'))
    const record = (await call('task.get_record', id, task)) as Record<string, unknown>
    assert.deepEqual(Object.keys(record).toSorted(), FIELDS)
    assert.deepEqual(
      [record['status'], record['progress'], record['resident_on'], record['result'], record['error_info']],
      ['pending', 0, HOST_REF, '', []],
    )
    assert.deepEqual(await call('task.get_all', id), [task])
    assert.deepEqual(await call('task.get_all_records', id), { [task]: record })
    assert.equal(await call('task.get_by_uuid', id, record['uuid']), task)
    assert.deepEqual(await call('task.get_by_name_label', id, 'label'), [task])
    assert.equal(await call('task.set_progress', id, task, 0.5), '')
    assert.equal(await call('task.get_progress', id, task), 0.5)
    assert.equal(await call('task.add_to_other_config', id, task, '__proto__', 'v'), '')
    assert.equal(JSON.stringify(await call('task.get_other_config', id, task)), '{"__proto__":"v"}')
    assert.deepEqual(await call('task.add_to_other_config', id, task, '__proto__', 'w'), [
      'MAP_DUPLICATE_KEY',
      'task',
      'other_config',
      task,
      '__proto__',
    ])
    assert.equal(await call('task.remove_from_other_config', id, task, '__proto__'), '')
    assert.equal(await call('task.set_result', id, task, '<value>1</value>'), '')
    assert.equal(await call('task.set_status', id, task, 'success'), '')
    assert.deepEqual(await call('task.get_status', id, task), 'success')
    assert.deepEqual(await call('task.set_progress', id, task, 0.5), ['OPERATION_NOT_ALLOWED', 'The task has ended'])
    assert.equal(await call('task.destroy', id, task), '')
    assert.deepEqual(await call('task.get_record', id, task), ['HANDLE_INVALID', 'task', task])
  })

  test('refuses what is no progress, no status, and too long', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint, 'rita')
    const task = await call('task.create', id, 'x'.repeat(2000), '')
    assert.equal(String(await call('task.get_name_label', id, task)).length, 256)
    for (const [method, value] of [
      ['progress', 1.5],
      ['status', 'done'],
      ['result', 'x'.repeat(2000)],
      ['error_info', Array.from({ length: 500 }, () => '')],
    ] as const) {
      assert.equal(((await call(`task.set_${method}`, id, task, value)) as string[])[0], 'INVALID_VALUE', method)
    }
  })

  test('is cancelled', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint)
    const task = await call('task.create', id, '', '')
    assert.equal(await call('task.cancel', id, task), '')
    assert.equal(await call('task.get_status', id, task), 'cancelled')
    assert.deepEqual(await call('task.cancel', id, task), ['OPERATION_NOT_ALLOWED', 'The task has ended'])
  })

  test("is its user's, and everybody's from pool-operator on", async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const [rita, again, olga] = [
      await signIn(endpoint, 'rita'),
      await signIn(endpoint, 'rita'),
      await signIn(endpoint, 'olga'),
    ]
    const [hers, other] = [await call('task.create', rita, '', ''), await call('task.create', olga, '', '')]
    assert.deepEqual(await call('task.get_all', again), [hers])
    assert.deepEqual(await call('task.get_all', olga), [hers, other])
    assert.deepEqual(await call('task.destroy', rita, other), ['HANDLE_INVALID', 'task', other])
    assert.equal((await from(endpoint, again, '', 0)).valid_ref_counts['task'], 1)
  })

  test('ends with its request, unless it has ended before', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call, tasks } = endpoint
    const [id, olga] = [await signIn(endpoint, 'rita'), await signIn(endpoint, 'olga')]
    const session = await sessionOf(endpoint, 'rita')
    const make = async (): Promise<string> => String(await call('task.create', id, '', ''))
    const [done, failed, before] = [await make(), await make(), await make()]
    const others = String(await call('task.create', olga, '', ''))
    tasks.requestEnded(session, done, null)
    tasks.requestEnded(session, failed, ['REQUEST_FAILED', '500'])
    await call('task.set_status', id, before, 'cancelled')
    tasks.requestEnded(session, before, null)
    tasks.requestEnded(session, others, null)
    tasks.requestEnded(session, 'OpaqueRef:none', null)
    assert.deepEqual(
      await Promise.all([done, failed, before, others].map((task) => call('task.get_status', olga, task))),
      ['success', 'failure', 'cancelled', 'pending'],
    )
    assert.equal(await call('task.get_progress', id, done), 1)
    assert.deepEqual(await call('task.get_error_info', id, failed), ['REQUEST_FAILED', '500'])
  })

  test('goes with its session', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const [rita, olga] = [await signIn(endpoint, 'rita'), await signIn(endpoint, 'olga')]
    const tasks = [await call('task.create', rita, '', ''), await call('task.create', rita, '', '')]
    assert.deepEqual(await call('session.get_tasks', await signIn(endpoint), rita), tasks)
    const { token } = await from(endpoint, olga, '', 0)
    const waiting = from(endpoint, olga, token, 30)
    await call('session.logout', rita)
    await waiting
    assert.deepEqual(await call('task.get_all', olga), [])
    const { events, valid_ref_counts: counts } = await from(endpoint, olga, token, 0)
    assert.deepEqual(
      events.map(({ operation, ref }) => [operation, ref]),
      tasks.map((task) => ['del', task]),
    )
    assert.equal(counts['task'], 0)
  })

  test('is told of by event.from as it changes', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const [id, stranger] = [await signIn(endpoint, 'olga'), await signIn(endpoint, 'rita')]
    let { token } = await from(endpoint, id, '', 0)
    const strangersToken = (await from(endpoint, stranger, '', 0)).token
    const seen: unknown[] = []
    const change = async (method: string, ...params: unknown[]): Promise<unknown> => {
      const waiting = from(endpoint, id, token, 30)
      const result = await call(method, id, ...params)
      const batch = await waiting
      token = batch.token
      for (const { operation, ref, snapshot } of batch.events) seen.push([operation, ref, snapshot?.['progress']])
      return result
    }
    const task = await change('task.create', 'l', 'd')
    await change('task.set_progress', task, 0.25)
    await change('task.set_status', task, 'success')
    await change('task.destroy', task)
    assert.deepEqual(seen, [
      ['add', task, 0],
      ['mod', task, 0.25],
      ['mod', task, 1],
      ['del', task, undefined],
    ])
    assert.deepEqual((await from(endpoint, stranger, strangersToken, 0)).events, [])
  })

  test('is told of by event.next', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint)
    await call('event.register', id, ['task'])
    const task = await call('task.create', id, 'l', 'd')
    const [event] = (await call('event.next', id)) as { operation: string; ref: string }[]
    assert.deepEqual([event?.operation, event?.ref], ['add', task])
  })

  test('is one of at most 64 of a session: one that has ended makes room', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const id = await signIn(endpoint)
    for (let count = 0; count < 64; count++) await call('task.create', id, String(count), '')
    assert.deepEqual(await call('task.create', id, '', ''), ['TOO_BUSY'])
    const [seventh] = (await call('task.get_by_name_label', id, '7')) as string[]
    await call('task.cancel', id, seventh)
    assert.match(String(await call('task.create', id, 'new', '')), /^OpaqueRef:/)
    assert.deepEqual(await call('task.get_by_name_label', id, '7'), [])
  })

  test('takes its room from the user who has most, the oldest first', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const olga = await signIn(endpoint, 'olga')
    const hers = [await call('task.create', olga, 'first', ''), await call('task.create', olga, 'second', '')]
    const ritas = await fill(endpoint)
    const root = await signIn(endpoint)
    const made = String(await call('task.create', root, 'import', ''))
    assert.match(made, /^OpaqueRef:/)
    const all = (await call('task.get_all', olga)) as string[]
    assert.ok([...hers, made, ritas.at(-1)].every((task) => all.includes(String(task))))
    assert.ok(!all.includes(ritas[0] ?? ''))
  })

  test('of one user who has more than a share takes no room of others', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call } = endpoint
    const olgas: unknown[] = []
    const sessions = await Promise.all([1, 2].map(() => signIn(endpoint, 'olga')))
    for (const id of sessions)
      for (let count = 0; count < 50; count++) olgas.push(await call('task.create', id, '', ''))
    await fill(endpoint)
    const all = (await call('task.get_all', sessions[0])) as string[]
    assert.ok(olgas.every((task) => all.includes(String(task))))
  })

  test('does not make an answer dear: all of them are bounded by what they take when written', async (t) => {
    const endpoint = await startEndpoint(t)
    const { call, send } = endpoint
    const fat = '<'.repeat(254)
    let id = ''
    for (let sessions = 0; sessions < 5; sessions++) {
      id = await signIn(endpoint, 'rita')
      for (let count = 0; count < 64; count++) {
        const task = await call('task.create', id, fat, fat)
        await call('task.set_result', id, task, '<'.repeat(250))
        await call('task.add_to_other_config', id, task, 'k', '<'.repeat(240))
        await call('task.set_error_info', id, task, ['<'.repeat(240)])
      }
    }
    const params = [id, '<array><data><value>*</value></data></array>', '', '<double>0</double>']
    for (const [method, given] of [
      ['task.get_all_records', [id]],
      ['event.from', params],
    ] as const) {
      const values = given.map((value) => `<param><value>${value}</value></param>`).join('')
      const body = `<methodCall><methodName>${method}</methodName><params>${values}</params></methodCall>`
      const answer = await send('/', body)
      assert.match(answer.body, /Success/)
      assert.ok(answer.body.length < 600_000, `${method}: ${answer.body.length}`)
    }
    const json = JSON.stringify(await call('task.get_all_records', id))
    assert.ok(json.length < 600_000, String(json.length))
  })

  test('that nobody has worked on for half a day is gone with the next that is made', async (t) => {
    const endpoint = await startEndpoint(t, { settings: { idleTimeoutMs: 100 * 3_600_000 } })
    const { call, clock } = endpoint
    const id = await signIn(endpoint)
    const [idle, busy] = [await call('task.create', id, '', ''), await call('task.create', id, '', '')]
    clock.nowMs += 11 * 3_600_000
    await call('task.set_progress', id, busy, 0.5)
    clock.nowMs += 2 * 3_600_000
    const made = await call('task.create', id, '', '')
    assert.deepEqual(await call('task.get_all', id), [busy, made])
    assert.deepEqual(await call('task.get_record', id, idle), ['HANDLE_INVALID', 'task', idle])
  })
})

/** Has rita make more tasks than there is room for, all pending. Answers those that were made. */
async function fill(endpoint: Endpoint): Promise<string[]> {
  const made: string[] = []
  for (let sessions = 0; sessions < 5; sessions++) {
    const id = await signIn(endpoint, 'rita')
    for (let count = 0; count < 64; count++) made.push(String(await endpoint.call('task.create', id, '', '')))
  }
  // The first are gone already: they made room for the last.
  const left = (await endpoint.call('task.get_all', await signIn(endpoint, 'rita'))) as string[]
  assert.ok(left.length < made.length, `${left.length} of ${made.length}`)
  return made.filter((task) => left.includes(task))
}

// Requests that name a task of the XenAPI: how the task ends.

import assert from 'node:assert/strict'
import net from 'node:net'
import { join } from 'node:path'
import { test } from './testing/each-transport.ts'
import { COOKIE, fixture, request, response, statusOf } from './testing/fixture.ts'

const DEADLINE = { timeout: 20_000 }
const TASK = 'OpaqueRef:33333333-3333-4333-8333-333333333333'
const PATH = `/a?x=1&task_id=${encodeURIComponent(TASK)}`

test('a task ends with its request, as what the service answered says', DEADLINE, async (t) => {
  const { client, service, endedTasks } = await fixture(t)
  const svc = await service('svc')
  const peer = client()
  peer.write(request('GET', PATH))
  const connection = await svc.connections.next()
  const answer = async (text: string): Promise<readonly string[] | null> => {
    await connection.until('\r\n\r\n')
    connection.write(text)
    await peer.message()
    const { session, reference, failure } = await endedTasks.next()
    assert.deepEqual([session.user, reference], ['root', TASK])
    return failure
  }
  assert.equal(await answer(response('whole')), null)
  peer.write(request('GET', PATH))
  assert.deepEqual(await answer('HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n'), [
    'REQUEST_FAILED',
    '507',
    'complete',
  ])
  peer.write(request('GET', PATH))
  await connection.until('\r\n\r\n')
  connection.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')
  await peer.until('half')
  connection.destroy()
  assert.deepEqual((await endedTasks.next()).failure, ['REQUEST_FAILED', '200', 'service-died'])
})

test('a task fails when its client goes, and when its request is refused', DEADLINE, async (t) => {
  const { client, service, endedTasks } = await fixture(t)
  const svc = await service('svc')
  const leaving = client()
  leaving.write(request('PUT', PATH, 'Content-Length: 10\r\n', 'half'))
  await (await svc.connections.next()).until('half')
  leaving.destroy()
  const [code] = (await endedTasks.next()).failure ?? []
  assert.equal(code, 'VDI_IO_ERROR')
  const peer = client()
  peer.write(`GET /services/plugin/none?task_id=${TASK} HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`)
  assert.equal(statusOf(await peer.message()), 404)
  assert.deepEqual((await endedTasks.next()).failure, ['REQUEST_FAILED', '404', 'service-unknown'])
})

test('a task goes on when its client is sent elsewhere, and a request without one ends none', DEADLINE, async (t) => {
  const { client, service, endedTasks } = await fixture(t, { elsewhere: { there: 'https://10.0.0.2' } })
  const svc = await service('svc')
  const peer = client()
  peer.write(`GET /services/plugin/there?task_id=${TASK} HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`)
  assert.equal(statusOf(await peer.message()), 302)
  for (const path of ['/', '/?a=task_id', '/?task_id=', PATH]) {
    peer.write(request('GET', path))
    const connection = await svc.connections.next()
    await connection.until('\r\n\r\n')
    connection.write(response('x', 'Connection: close\r\n'))
    await peer.message()
  }
  assert.equal((await endedTasks.next()).failure, null)
  peer.write(`GET /services/plugin/none?task_id=last HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`)
  assert.equal((await endedTasks.next()).reference, 'last')
})

test('a request with a task is relayed, although the service would take the connection', DEADLINE, async (t) => {
  const { client, service, endedTasks, directory } = await fixture(t)
  const svc = await service('svc')
  const server = net.createServer(() => assert.fail('the connection was passed'))
  await new Promise<void>((resolve) => server.listen(join(directory, 'svc.channel'), resolve))
  t.after(() => server.close())
  const peer = client()
  peer.write(request('GET', PATH))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('whole'))
  assert.match(await peer.message(), /whole$/)
  assert.equal((await endedTasks.next()).failure, null)
})

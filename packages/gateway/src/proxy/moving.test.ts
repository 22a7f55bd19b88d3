// A session that ends while something of it is on its way between processes ends that, whoever has it.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { descriptorOf, duplicateDescriptor } from '@xengate/channel'
import type { GivenConnection } from './client/connection.ts'
import type { Moved } from './exchange/moved.ts'
import { Moving } from './moving.ts'
import { until } from '../transport/testing/peers.ts'
import { test } from './testing/each-transport.ts'
import { type Fixture, fixture, ROOT_ID } from './testing/fixture.ts'
import { Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 20_000 }
const UUID = '11111111'

const CHANNEL: Moved = {
  kind: 'channel',
  session: { id: ROOT_ID, uuid: UUID },
  channel: 'c',
  service: 'svc',
  methods: ['GET'],
  requests: 1,
  bytesIn: 2,
  bytesOut: 3,
  startedMs: Date.now(),
  request: {
    id: 'r',
    startedMs: Date.now(),
    firstByteMs: 0,
    method: 'GET',
    target: '/services/plugin/svc',
    service: 'svc',
    isForService: true,
    status: 0,
    bytesIn: 2,
    bytesOut: 3,
    task: null,
  },
}

interface Ends {
  /** What another process would have given. */
  readonly given: GivenConnection
  readonly client: Peer
  readonly service: Peer
}

/** A channel as it comes from another process: the client's connection, and the control connection. */
async function channel(t: TestContext, { directory }: Fixture): Promise<Ends> {
  const ends: { fd: number; peer: Peer }[] = []
  for (const where of [{ host: '127.0.0.1', port: 0 }, { path: join(directory, 'control') }]) {
    const server = createServer({ pauseOnConnect: true }).listen(where)
    await once(server, 'listening')
    const address = server.address()
    const at = typeof address === 'string' ? { path: address } : { port: address?.port ?? 0 }
    const connection = once(server, 'connection')
    const peer = Peer.connect(at)
    const [socket] = (await connection) as [Socket]
    ends.push({ fd: duplicateDescriptor(descriptorOf(socket)), peer })
    socket.destroy()
    server.close()
    t.after(() => peer.destroy())
  }
  const [client, service] = ends
  assert.ok(client !== undefined && service !== undefined)
  const underWay = { serviceFd: service.fd, moved: CHANNEL }
  const given = {
    fd: client.fd,
    listener: 'plain',
    told: null,
    named: { id: 'one', sinceMs: Date.now() - 60_000 },
    underWay,
  }
  return { given, client: client.peer, service: service.peer }
}

test('what was given is cut by who gave it', DEADLINE, async (t) => {
  const made = await fixture(t)
  const { given, client } = await channel(t, made)
  const moving = new Moving({
    sessions: made.sessions,
    clock: made.gateway.clock,
    goOn: () => assert.fail('it came'),
    left: () => {},
  })
  moving.gave(given)
  moving.sessionsEnded(['another'])
  moving.sessionsEnded([UUID])
  await client.ended()
})

test(
  'what came and waits for an answer is cut by who took it, and an answer that comes late changes nothing',
  DEADLINE,
  async (t) => {
    const answers: ((found: null) => void)[] = []
    const made = await fixture(t, { listener: { name: 'plain' }, onQuestion: (_, answer) => answers.push(answer) })
    const { given, client, service } = await channel(t, made)
    made.gateway.adopt(given)
    assert.equal(answers.length, 1)
    made.sessions.ended([UUID])
    await Promise.all([client.ended(), service.ended()])
    answers[0]?.(null)
    assert.equal(made.gateway.connections, 0)
  },
)

test(
  'what comes for a session that there is not is cut, and where nobody can tell it is asked again',
  DEADLINE,
  async (t) => {
    let asked = 0
    const made = await fixture(t, {
      listener: { name: 'plain' },
      onQuestion: (id, answer) => {
        assert.equal(id, ROOT_ID)
        answer(asked++ === 0 ? 'unavailable' : null)
      },
    })
    const { given, client, service } = await channel(t, made)
    made.gateway.adopt(given)
    await Promise.all([client.ended(), service.ended()])
    assert.equal(asked, 2)
  },
)

test('what comes by a listener that there is not any more is cut', DEADLINE, async (t) => {
  const made = await fixture(t, { listener: { name: 'plain' } })
  const { given, client, service } = await channel(t, made)
  made.gateway.adopt({ ...given, listener: 'gone' })
  await Promise.all([client.ended(), service.ended()])
})

test('what comes goes on, counts what the service reports, and says so at its end', DEADLINE, async (t) => {
  const made = await fixture(t, { listener: { name: 'plain' } })
  const { given, service } = await channel(t, made)
  made.gateway.adopt(given)
  await until(() => made.gateway.connections === 1, 'the answer about its session')
  const [record] = made.gateway.connectionRecords
  const { request } = record ?? {}
  assert.deepEqual([record?.id, request?.id, request?.bytesIn, request?.bytesOut], ['one', 'r', 2, 3])
  assert.ok(Math.abs((record?.sinceMs ?? 0) - Date.now() + 60_000) < 10_000, 'it is as old as it was')
  service.write('{"requests":1,"bytesIn":10,"bytesOut":20}\n')
  service.end()
  const line = await made.channelLines.next()
  assert.partialDeepStrictEqual(line, { channel: 'c', service: 'svc', requests: 2, bytesIn: 12, bytesOut: 23 })
  await service.ended()
})

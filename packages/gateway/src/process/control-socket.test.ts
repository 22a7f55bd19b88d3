import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'

import { AuthorityUnavailableError } from '../sessions/authority.ts'
import { freshPath } from '../sessions/embedded/testing/state.ts'
import { EventHub } from './control/events.ts'
import { type Controlled, createControlServer } from './control-socket.ts'

const CONTROLLED: Controlled = {
  acts: {},
  signIn: null,
  changed: () => {},
  status: async () => ({}),
  services: () => Promise.resolve([]),
  watched: {
    status: async () => ({}),
    services: () => Promise.resolve([]),
    signIn: null,
    ask: () => Promise.resolve([]),
    metrics: () => Promise.resolve(''),
    events: new EventHub(() => {}),
    failed: () => {},
    acted: () => {},
  },
}

describe('control socket', { timeout: 300_000 }, () => {
  test('answers 404 to a target that is nothing, also one that is no URL', async (t) => {
    const server = createControlServer(CONTROLLED)
    const path = freshPath(t, 'control')
    server.listen(path)
    await once(server, 'listening')
    t.after(() => server.close())
    for (const target of ['//', '/', '/held-up', '//[', '*', 'http://', 'http://a b', '/\\', '/%', '@/changes']) {
      const socket = connect(path)
      socket.write(`GET ${target.replace(' ', '%20')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
      assert.match(await text(socket), /^HTTP\/1\.1 40[04] /, target)
    }
  })

  test('says in JSON that nobody can tell, and that it has failed', async (t) => {
    const failures: unknown[] = []
    for (const [error, status, code] of [
      [new AuthorityUnavailableError('lost'), 503, 'authority-unavailable'],
      [new TypeError('a fault'), 500, 'failed'],
    ] as const) {
      const server = createControlServer({
        ...CONTROLLED,
        watched: {
          ...CONTROLLED.watched,
          ask: () => Promise.reject(error),
          failed: (failure) => failures.push(failure),
        },
      })
      const path = freshPath(t, 'control')
      server.listen(path)
      await once(server, 'listening')
      t.after(() => server.close())
      const socket = connect(path)
      socket.write('GET /control/connections HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      const answer = await text(socket)
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `))
      assert.match(answer, new RegExp(`"schema":1,"error":\\{"code":"${code}"`))
    }
    assert.equal(failures.length, 1)
  })
})

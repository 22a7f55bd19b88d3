import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'

import { freshPath } from '../sessions/embedded/testing/state.ts'
import { EventHub } from './control/events.ts'
import { createControlServer } from './control-socket.ts'

describe('control socket', { timeout: 300_000 }, () => {
  test('answers 404 to a target that is nothing, also one that is no URL', async (t) => {
    const server = createControlServer({
      acts: {},
      signIn: null,
      changed: () => {},
      status: () => ({}),
      services: () => Promise.resolve([]),
      watched: {
        status: () => ({}),
        services: () => Promise.resolve([]),
        signIn: null,
        ask: () => Promise.resolve([]),
        metrics: () => Promise.resolve(''),
        events: new EventHub(() => {}),
        acted: () => {},
      },
    })
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
})

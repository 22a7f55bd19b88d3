// A library's program behind the real gateway: relayed, and on a channel.

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Child } from '../harness/child.ts'
import { startDaemon, USER } from '../harness/daemon.ts'
import { until, within } from '../harness/deadline.ts'
import { RawClient } from '../harness/raw.ts'
import { scopeOf } from '../harness/scope.ts'
import { argvOf, ENV } from './library.ts'
import { DEADLINE, type Rig } from './rig.ts'

const NAME = 'com.example.library'

export function testBehindGateway(rig: Rig): void {
  describe('behind the gateway', () => {
    for (const isPassed of [false, true]) {
      test(
        `requests are ${isPassed ? 'answered on a channel' : 'relayed'}, until the session ends`,
        DEADLINE,
        async (t) => {
          const scope = scopeOf(t)
          const daemon = await startDaemon(scope, { services: `channels = ${isPassed}` })
          const [command, argv] = argvOf(rig.library, daemon.place.plugin, NAME)
          const child = new Child(scope, command, argv, { env: ENV })
          scope.onFailure(() => child.stderr)
          await until(() => existsSync(`${daemon.place.socket(NAME)}.channel`), 'the sockets')
          const session = await daemon.login()
          const connect = async (): Promise<RawClient> => {
            const made = await RawClient.connect(daemon.url)
            scope.defer(() => made.destroy())
            return made
          }
          const client = await connect()
          const asked = (method: string, target: string, id = session, lines = '', body = ''): string =>
            `${method} /services/plugin/${NAME}${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${id}\r\n${lines}\r\n${body}`
          const seen = JSON.parse((await client.exchange(asked('GET', '/a%20b?c=d'))).text)
          assert.deepEqual(
            [seen.caller.user, seen.caller.roles.includes(USER.role), seen.caller.sessionId, seen.caller.channel],
            [USER.name, true, session, isPassed],
          )
          assert.equal(seen.target, `/services/plugin/${NAME}/a%20b?c=d`)
          const chunked = asked('PUT', '/length', session, 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n0\r\n\r\n')
          assert.equal((await client.exchange(chunked)).text, '3')
          // Another session, another service and the XenAPI, on the same connection.
          assert.equal((await client.exchange(asked('GET', '', 'OpaqueRef:nobody'))).status, 403)
          assert.equal((await client.exchange(asked('GET', '').replace(NAME, 'com.example.none'))).status, 404)
          const call = '{"jsonrpc":"2.0","id":1,"method":"session.get_this_user","params":[]}'
          const rpc = `POST /jsonrpc HTTP/1.1\r\nHost: gate\r\nContent-Length: ${call.length}\r\n\r\n${call}`
          assert.match((await client.exchange(rpc)).text, /^\{"jsonrpc":"2\.0"/)
          assert.equal((await client.exchange(asked('GET', '/hello'))).text, `hello ${USER.name}\n`)
          await client.send(asked('GET', '/slow'))
          await child.printed(({ stdout }) => stdout.includes('asked') || undefined, 'a request')
          if (isPassed) {
            const two = await connect()
            await two.exchange(asked('GET', '/hello'))
            two.destroy()
            const line = await daemon.event(({ event }) => event === 'channel', 'the line of a channel')
            assert.deepEqual([line['service'], line['requests'], line['user']], [NAME, 1, USER.name])
          }
          await daemon.logout(session)
          if (isPassed) await within(client.end(), 'the end of the connection')
          else assert.equal((await client.response()).status, 403)
          child.signal('SIGUSR1')
        },
      )
    }
  })
}

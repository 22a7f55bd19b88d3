// What somebody else than the gateway says of a caller, as xapi passes it on from its clients, is not believed by services.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serve } from '@xengate/service'
import { Child } from './harness/child.ts'
import { startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { scopeOf, scopeOfSuite } from './harness/scope.ts'
import { argvOf, ENV, go, hasGo, type Library, NODE, PYTHON } from './service-libraries/library.ts'
import { listens } from './service-libraries/rig.ts'

const DEADLINE = { timeout: 60_000 }
const NAME = 'com.example.asked'
const OWN = process.getuid?.() ?? 0
const ANOTHER = OWN + 4711

const suite = scopeOfSuite()
const LIBRARIES: Readonly<Record<string, Library>> = {
  'Node.js': NODE,
  Python: PYTHON,
  ...((await hasGo(suite)) ? { Go: await go(suite) } : {}),
}

/** Who asks, by what the library knows and by the field. */
function asked(text: string): readonly unknown[] {
  const { caller, headers } = JSON.parse(text)
  return [caller.user, caller.roles, headers['x-xen-session-user'] ?? 'none']
}

for (const [language, library] of Object.entries(LIBRARIES)) {
  for (const [who, gateway, expected, forged] of [
    ['its user', OWN, ['alice', ['pool-admin'], 'alice'], ['mallory', ['pool-admin'], 'mallory']],
    ['another user', ANOTHER, ['', [], 'none'], ['', [], 'none']],
  ] as const) {
    test(
      `${language}: the gateway's word is ${gateway === OWN ? '' : 'not '}believed when it is ${who}`,
      DEADLINE,
      async (t) => {
        const scope = scopeOf(t)
        const daemon = await startDaemon(scope)
        const [command, argv] = argvOf(library, daemon.place.plugin, NAME, { gateway, channels: false })
        const child = new Child(scope, command, argv, { env: ENV })
        scope.onFailure(() => child.stderr)
        await listens(daemon.place.socket(NAME), child)
        const headers = { cookie: `session_id=${await daemon.login()}` }
        const ask = (): Promise<Response> => fetch(`${daemon.url}/services/plugin/${NAME}`, { headers })
        await until(async () => (await ask()).status === 200, 'the service')
        assert.deepEqual(asked(await (await ask()).text()), expected)
        const fields =
          'X-Xen-Session-User: mallory\r\nX-Xen-Session-Roles: pool-admin\r\nX_Xen_Session_User: mallory\r\n'
        const request = `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n${fields}\r\n`
        const answer = (await exchange(`unix:${daemon.place.socket(NAME)}`, request)).text
        assert.deepEqual(asked(answer), forged)
        assert.equal(answer.includes('mallory'), gateway === OWN)
      },
    )
  }
}

test('a user that does not exist is named', async (t) => {
  const directory = await scopeOf(t).directory()
  const options = { name: NAME, directory, gateway: 'no-such-user', handler: () => {} }
  await assert.rejects(serve(options), /cannot believe the user "no-such-user": there is no such user/)
})

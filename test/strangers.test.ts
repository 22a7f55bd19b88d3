// What somebody else than the gateway says of a caller, as xapi passes it on from its clients, is not believed by services.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { serve } from '@xengate/service'
import { Child } from './harness/child.ts'
import { startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 60_000 }
const NAME = 'com.example.asked'
const OWN = process.getuid?.() ?? 0
const ANOTHER = OWN + 4711

/** Says who asks, by what the library knows and by the field. */
const PYTHON = `import os, sys
sys.path.insert(0, sys.argv[3])
import xengate_service
def handler(request, response):
    response.end('%s %s %s' % (request.caller.user, list(request.caller.roles), request.headers.get('X-Xen-Session-User', 'none')))
xengate_service.serve('${NAME}', handler, directory=sys.argv[1], gateway=int(sys.argv[2]), channels=False)
`

type Start = (scope: Scope, directory: string, gateway: number) => Promise<void>

const SERVICES: Readonly<Record<string, Start>> = {
  'Node.js': async (scope, directory, gateway) => {
    const service = await serve({
      name: NAME,
      directory,
      gateway,
      channels: false,
      handler: ({ xen, headers }, response) => {
        response.end(
          `${xen.user} [${xen.roles.map((role) => `'${role}'`).join(', ')}] ${String(headers['x-xen-session-user'] ?? 'none')}`,
        )
      },
    })
    scope.defer(() => service.close())
  },
  Python: async (scope, directory, gateway) => {
    const script = join(await scope.directory(), 'service.py')
    await writeFile(script, PYTHON)
    const library = join(import.meta.dirname, '../libraries/python')
    const child = new Child(scope, 'python3', [script, directory, String(gateway), library])
    scope.onFailure(() => child.stderr)
  },
}

for (const [language, start] of Object.entries(SERVICES)) {
  for (const [who, gateway, expected, forged] of [
    ['its user', OWN, "alice ['pool-admin'] alice", "mallory ['pool-admin'] mallory"],
    ['another user', ANOTHER, ' [] none', ' [] none'],
  ] as const) {
    test(
      `${language}: the gateway's word is ${gateway === OWN ? '' : 'not '}believed when it is ${who}`,
      DEADLINE,
      async (t) => {
        const scope = scopeOf(t)
        const daemon = await startDaemon(scope)
        await start(scope, daemon.place.plugin, gateway)
        const headers = { cookie: `session_id=${await daemon.login()}` }
        const asked = (): Promise<Response> => fetch(`${daemon.url}/services/plugin/${NAME}`, { headers })
        await until(async () => (await asked()).status === 200, 'the service')
        assert.equal(await (await asked()).text(), expected)
        const fields = 'X-Xen-Session-User: mallory\r\nX-Xen-Session-Roles: pool-admin\r\n'
        const request = `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n${fields}\r\n`
        assert.equal((await exchange(`unix:${daemon.place.socket(NAME)}`, request)).text, forged)
      },
    )
  }
}

test('a user that does not exist is named', async (t) => {
  const directory = await scopeOf(t).directory()
  const options = { name: NAME, directory, gateway: 'no-such-user', handler: () => {} }
  await assert.rejects(serve(options), /cannot believe the user "no-such-user": there is no such user/)
})

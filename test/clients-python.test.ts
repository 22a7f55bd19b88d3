// Python's xmlrpc.client, http.client and urllib, unchanged, as clients.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run } from './harness/child.ts'
import { startDaemon, USER } from './harness/daemon.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.python-client'
const PATH = `/services/plugin/${NAME}`
const CLIENT = fileURLToPath(new URL('clients/python_client.py', import.meta.url))

test('logs in with 2, 3 and 4 parameters, uses a service, logs out', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
    if (request.url === `${PATH}/echo`) request.pipe(response)
    else response.end(`hello ${String(request.headers['x-xen-session-user'])}`)
  })
  const ran = await run(scope, 'python3', [CLIENT, daemon.url, PATH, USER.name, USER.password])
  assert.equal(ran.code, 0, ran.stderr)
  const seen = JSON.parse(ran.stdout) as Record<string, unknown>

  const logins = seen['logins'] as string[]
  assert.equal(new Set(logins).size, 3)
  for (const session of logins) assert.match(session, /^OpaqueRef:[\da-f-]{36}$/)
  const { Status, ErrorDescription } = seen['wrong'] as { Status: string; ErrorDescription: string[] }
  assert.deepEqual([Status, ...ErrorDescription.slice(0, 2)], ['Failure', 'SESSION_AUTHENTICATION_FAILED', USER.name])
  assert.equal(seen['originator'], 'python')
  assert.equal(seen['pools'], 1)

  assert.deepEqual(seen['get'], [200, `hello ${USER.name}`])
  assert.deepEqual(seen['chunked'], [200, 'one two three'])
  assert.deepEqual(seen['post'], [200, 'a body'])
  assert.deepEqual(seen['query'], [200, `hello ${USER.name}`])

  assert.equal(seen['without'], 403)
  assert.deepEqual(seen['logout'], { Status: 'Success', Value: '' })
  assert.equal(seen['after'], 403)
  assert.equal(seen['after on the kept connection'], 403)
  assert.deepEqual(seen['again'], { Status: 'Failure', ErrorDescription: ['SESSION_INVALID', logins[0]] })
})

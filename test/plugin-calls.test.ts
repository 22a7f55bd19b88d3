// host.call_plugin of the XenAPI, answered by custom services: what clients call today, unchanged.

import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp, serveSockets } from './harness/services.ts'

const DEADLINE = { timeout: 60_000 }
const PLUGIN = 'updater.py'

interface Asked {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A service in the place of the plugin. */
async function startPlugin(scope: Scope, daemon: Daemon): Promise<Asked[]> {
  const asked: Asked[] = []
  await serveHttp(scope, daemon.place.socket(PLUGIN), (request, response) => {
    const { method, url = '', headers } = request
    text(request).then(
      (body) => {
        asked.push({ url, headers, body })
        const fn = url.split('/').at(-1)
        if (method !== 'POST') response.writeHead(405).end()
        else if (fn === 'check_update') response.end('{"some": []}')
        else if (fn === 'failing') response.writeHead(500).end('Traceback: nothing')
        else if (fn === 'refusing') response.writeHead(409).end('{"error": ["UPDATER_BUSY", "since", 7]}')
        else if (fn === 'long') response.end(Buffer.alloc(600_000, 'x'))
        else if (fn === 'dying') response.destroy()
        else response.writeHead(404).end()
      },
      () => response.destroy(),
    )
  })
  return asked
}

test('a call of a plugin is a POST to the service of its name, with who calls and what', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const tables =
    '[services.policy."closed.py"]\nroles = ["pool-admin"]\n[services.policy."reading.py"]\nroles = { GET = ["read-only"] }\n'
  const daemon = await startDaemon(scope, { tables })
  await daemon.place.addUser('reader', 'some password', 'read-only')
  const asked = await startPlugin(scope, daemon)
  const session = await daemon.login()
  const { result } = await daemon.call('host.get_all', [session])
  const [host] = result as [string]
  const call = async (plugin: string, fn: string, args: unknown = {}, as = session): Promise<unknown> => {
    const answer = await daemon.call('host.call_plugin', [as, host, plugin, fn, args])
    const error = answer.error as { message: string; data: unknown[] } | undefined
    return error === undefined ? answer.result : [error.message, ...error.data]
  }

  assert.equal(await call(PLUGIN, 'check_update', { a: 'b', 'c d': 'e' }), '{"some": []}')
  const [{ url, headers, body } = { url: '', headers: {}, body: '' }] = asked
  assert.deepEqual(
    [url, JSON.parse(body), headers['content-type'], headers['x-xen-session-user'], headers['x-xen-session-roles']],
    [`/services/plugin/${PLUGIN}/check_update`, { a: 'b', 'c d': 'e' }, 'application/json', 'alice', 'pool-admin'],
  )
  assert.deepEqual([headers.cookie, headers['x-forwarded-for']], [`session_id=${session}`, '127.0.0.1'])

  assert.deepEqual(await call(PLUGIN, 'failing'), ['XENAPI_PLUGIN_FAILURE', '500', 'Traceback: nothing', ''])
  assert.deepEqual(await call(PLUGIN, 'refusing'), ['UPDATER_BUSY', 'since', '7'])
  assert.deepEqual(await call(PLUGIN, 'none'), ['UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'none'])
  assert.match(
    String(await call(PLUGIN, 'long')),
    /^XENAPI_PLUGIN_FAILURE,updater\.py,the answer has more than 524288 bytes/,
  )
  assert.match(String(await call(PLUGIN, 'dying')), /^XENAPI_PLUGIN_FAILURE,updater\.py,the service gave no answer/)
  await call(PLUGIN, '../../x')
  assert.equal(asked.at(-1)?.url, `/services/plugin/${PLUGIN}/..%2F..%2Fx`)

  assert.deepEqual(await call('nothing.py', 'x'), ['XENAPI_MISSING_PLUGIN', 'nothing.py'])
  assert.deepEqual(await call('../../etc/passwd', 'x'), ['XENAPI_MISSING_PLUGIN', '../../etc/passwd'])
  assert.deepEqual(await call('org.xengate.control', 'reload'), ['XENAPI_MISSING_PLUGIN', 'org.xengate.control'])
  assert.deepEqual(await call(PLUGIN, 'x', { a: 1 }), ['FIELD_TYPE_ERROR', 'args'])
  assert.deepEqual(
    await daemon
      .call('host.call_plugin', [session, 'OpaqueRef:none', PLUGIN, 'x', {}])
      .then(({ error }) => (error as { message: string }).message),
    'HANDLE_INVALID',
  )

  // Who may not use the service may not by this way either.
  const reader = await daemon.login('reader', 'some password')
  await serveHttp(scope, daemon.place.socket('closed.py'), (_request, response) => response.end('closed'))
  await serveHttp(scope, daemon.place.socket('reading.py'), (_request, response) => response.end('read'))
  assert.equal(await call('closed.py', 'x'), 'closed')
  for (const name of ['closed.py', 'reading.py']) {
    assert.match(String(await call(name, 'x', {}, reader)), /^RBAC_PERMISSION_DENIED,host\.call_plugin/)
  }
  assert.equal(await call(PLUGIN, 'check_update', {}, reader), '{"some": []}')
})

test(
  'a plugin that says nothing is given up after response-timeout, and others are answered meanwhile',
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope, { tables: '[limits]\nresponse-timeout = "5s"\n' })
    await serveSockets(scope, daemon.place.socket('silent.py'), () => {})
    await startPlugin(scope, daemon)
    const session = await daemon.login()
    const { result } = await daemon.call('host.get_all', [session])
    const call = (plugin: string, fn: string): ReturnType<Daemon['call']> =>
      daemon.call('host.call_plugin', [session, (result as [string])[0], plugin, fn, {}])
    const silent = call('silent.py', 'x')
    assert.equal((await call(PLUGIN, 'check_update')).result, '{"some": []}')
    assert.match(JSON.stringify(await silent), /XENAPI_PLUGIN_FAILURE.*silent\.py/)
  },
)

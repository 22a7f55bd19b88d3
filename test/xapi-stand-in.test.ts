// The stand-in XenAPI against clients that know nothing of it: what passes with them is what tests of the gateway rest on.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startXapi } from './harness/backends.ts'
import { run } from './harness/child.ts'
import { scopeOf } from './harness/scope.ts'
import { xenApiClient } from './harness/xen-api.ts'

/** Speaks XML-RPC over HTTPS as XenAPI.py does, and prints what it got as JSON. */
const PYTHON = `
import json, ssl, sys, xmlrpc.client
context = ssl.create_default_context(cafile=sys.argv[2])
server = xmlrpc.client.ServerProxy(sys.argv[1], context=context)
session = server.session.login_with_password("olga", "olga-pw", "1.0", "python")["Value"]
pool = server.pool.get_all(session)["Value"]
first = getattr(server, "event.from")(session, ["host"], "", 0.5)["Value"]
answers = {
    "pools": len(pool),
    "user": server.session.get_record(session, session)["Value"]["auth_user_name"],
    "events": [event["class"] + " " + event["operation"] + " " + event["snapshot"]["hostname"] for event in first["events"]],
    "wrong": server.session.login_with_password("olga", "guess"),
    "later": getattr(server, "event.from")(session, ["host"], first["token"], 0.1)["Value"]["events"],
    "logout": server.session.logout(session),
    "after": server.pool.get_all(session)["ErrorDescription"][0],
    "unknown": server.pool.no_such(session)["ErrorDescription"],
}
print(json.dumps(answers))
`

test('Python speaks XML-RPC with it over HTTPS', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const standIn = await startXapi(scope)
  await standIn.order({ order: 'add-host', hostname: 'host-a', address: '127.0.0.1' })
  const ran = await run(scope, 'python3', ['-c', PYTHON, standIn.url, standIn.certificateFile])
  assert.equal(ran.code, 0, ran.stderr)
  assert.deepEqual(JSON.parse(ran.stdout), {
    pools: 1,
    user: 'olga',
    events: ['host add host-a'],
    wrong: { Status: 'Failure', ErrorDescription: ['SESSION_AUTHENTICATION_FAILED', 'olga', 'Authentication failure'] },
    later: [],
    logout: { Status: 'Success', Value: '' },
    after: 'SESSION_INVALID',
    unknown: ['MESSAGE_METHOD_UNKNOWN', 'pool.no_such'],
  })
})

test("Xen Orchestra's client connects to it", { timeout: 60_000 }, async (t) => {
  const standIn = await startXapi(scopeOf(t))
  const address = '127.0.0.1'
  const host = String(await standIn.order({ order: 'add-host', hostname: 'host-a', address }))
  const client = xenApiClient(standIn.url, { user: 'root', password: 'root-pw' }, { allowUnauthorized: true })
  await client.connect()
  const records = (await client.call('host.get_all_records')) as Record<string, { hostname: string }>
  assert.deepEqual([Object.keys(records), records[host]?.hostname], [[host], 'host-a'])
  await client.disconnect()
})

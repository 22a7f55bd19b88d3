// The gateway reads heads as bytes, a service on a channel as the fields that Node.js has parsed: what one refuses or takes out the
// other does too, since else a channel would be a way around the gateway.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FORWARDED_FIELDS, IDENTITY_FIELDS } from '@xengate/channel/contract'
import { HEAD, RequestHead } from '@xengate/http1'
import { REQUEST_DROPS, REQUEST_FIELDS } from '../packages/gateway/src/proxy/heads/field-ids.ts'
import { presentedSession } from '../packages/gateway/src/proxy/heads/session-id.ts'
import { callerOfFields } from '../packages/service/src/caller.ts'
import { fieldOf, FIRST_OF_GATEWAY } from '../packages/service/src/fields.ts'

const LIMITS = { headBytesMax: 16_384, targetBytesMax: 8192 }

function headOf(target: string, fields: readonly string[]): RequestHead {
  const lines = fields.flatMap((name, index) => (index % 2 === 0 ? `${name}: ${fields[index + 1]}\r\n` : []))
  const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\nHost: h\r\n${lines.join('')}\r\n`, 'latin1')
  const head = new RequestHead(REQUEST_FIELDS, LIMITS)
  assert.equal(head.parse(bytes, 0, bytes.length), HEAD.COMPLETE)
  return head
}

const PASSED = [
  'accept',
  'cookie',
  'sec-fetch-site',
  'x-own',
  'x_own',
  'set_cookie',
  'x-xen-session',
  'x-xen-session-users',
  'x-forwarded',
]
/** Framing fields: nobody may send them in disguise; as they are, they are the parsers'. */
const FRAMING = ['content-length', 'transfer-encoding', 'keep-alive', 'proxy-connection']

/** Spellings of `name` that somebody may take for it. */
function spellings(name: string): string[] {
  const capitals = name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase())
  const disguises = name.includes('-') ? [name.replace('-', '_'), capitals.replaceAll('-', '_')] : []
  return [name, capitals, name.toUpperCase(), ...disguises]
}

/** Whether the gateway takes out a field of this name, and a service on a channel. */
function isTakenOut(name: string): boolean {
  const isByGateway = REQUEST_DROPS[headOf('/', [name, 'x']).fields.id(1)] === 1
  assert.equal(fieldOf(name) >= FIRST_OF_GATEWAY, isByGateway, name)
  return isByGateway
}

test('gateway and service take out the same fields, in every spelling', () => {
  const own = [...IDENTITY_FIELDS, ...FORWARDED_FIELDS].flatMap(spellings)
  const framing = FRAMING.flatMap(spellings).filter((name) => name.includes('_'))
  for (const name of [...own, ...framing, 'sec_fetch_site']) assert.ok(isTakenOut(name), name)
  for (const name of PASSED) assert.ok(!isTakenOut(name), name)
})

test('gateway and service find the same session in a request', () => {
  const cookies = [
    [],
    ['session_id=A'],
    ['a=b; session_id=B'],
    ['a=b', 'c=d'],
    ['a=b', 'session_id=A'],
    ['session_id=', 'session_id=A'],
  ]
  const queries = ['', '?', '?session_id=Q', '?a=b&session%5fid=Q%3a', '?session_id=%zz', '?session_id=Q&session_id=R']
  for (const values of cookies) {
    for (const query of queries) {
      const fields = values.flatMap((value) => ['cOokie', value])
      const target = `/services/plugin/svc${query}`
      const presented = presentedSession(headOf(target, fields), target)
      assert.equal(callerOfFields(fields, target).sessionId, presented?.id ?? null, `${values.join(' | ')} ${query}`)
    }
  }
})

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import {
  cookieWithoutSession,
  identityFields,
  isDisguise,
  isHttpInDisguise,
  isServiceName,
  sessionIdInCookie,
  sessionIdInTarget,
  targetWithoutSession,
} from './contract.ts'

/** Text, the session id that is in it, and what is left without one. */
type Case = readonly [text: string, id: string | undefined, left: string]

const COOKIES: readonly Case[] = [
  ['session_id=S', 'S', ''],
  ['session_id=', '', ''],
  ['session_id', '', ''],
  ['a=b; session_id=S; c=d', 'S', 'a=b; c=d'],
  ['a=b;session_id=S', 'S', 'a=b'],
  ['session_id=S;', 'S', ''],
  ['session_id=OpaqueRef%3AS', 'OpaqueRef%3AS', ''],
  ['session_id=a=b', 'a=b', ''],
  ['session_id=one; session_id=two', 'one', ''],
  ['session_id="S"', '"S"', ''],
  ['session_idx=S', undefined, 'session_idx=S'],
  ['Session_id=S', undefined, 'Session_id=S'],
  ['session%5fid=S', undefined, 'session%5fid=S'],
  ['session_id =S', undefined, 'session_id =S'],
  ['', undefined, ''],
]

const TARGETS: readonly Case[] = [
  ['/x?session_id=S', 'S', '/x'],
  ['/x?session_id=', '', '/x'],
  ['/x?session_id', '', '/x'],
  ['/x?a=b&session_id=S&c=d', 'S', '/x?a=b&c=d'],
  ['/x?session%5Fid=OpaqueRef%3AS', 'OpaqueRef:S', '/x'],
  ['/x?session_id=%zz', '', '/x'],
  ['/x?session_id=one&session_id=two', 'one', '/x'],
  ['/x?a=b?session_id=S', undefined, '/x?a=b?session_id=S'],
  ['/x?Session_id=S', undefined, '/x?Session_id=S'],
  ['/x?session_id+=S', undefined, '/x?session_id+=S'],
  ['/x?%zz=S', undefined, '/x?%zz=S'],
  ['/session_id=S', undefined, '/session_id=S'],
  ['/x?', undefined, '/x?'],
]

describe('the session id', () => {
  test('is the first cookie of its name, as it is, and can be taken out', () => {
    for (const [value, id, left] of COOKIES) {
      assert.equal(sessionIdInCookie(value), id, value)
      assert.equal(cookieWithoutSession(value), left, value)
      assert.equal(sessionIdInCookie(left), undefined, value)
    }
  })

  test('is the first parameter of its name, decoded, and can be taken out', () => {
    for (const [target, id, left] of TARGETS) {
      assert.equal(sessionIdInTarget(target), id, target)
      assert.equal(targetWithoutSession(target), left, target)
      assert.equal(sessionIdInTarget(left), undefined, target)
    }
  })
})

test('a name of a service is 1 to 100 letters, digits, dots, underscores and hyphens, and not the channel of another', () => {
  for (const name of ['a', '0', '_a', 'com.example.x-y_z', 'x'.repeat(100), 'a.channels', '__proto__'])
    assert.ok(isServiceName(name), name)
  for (const name of ['', '.a', '-a', 'a/b', 'a b', 'a%20b', 'é', 'x'.repeat(101), 'a.channel', 'a\n'])
    assert.ok(!isServiceName(name), name)
})

test('a known field with an underscore for a hyphen is a disguise', () => {
  for (const name of [
    'x_xen_session_user',
    'X-Xen-Session_Roles',
    'x_request_id',
    'Content_Length',
    'keep_alive',
    'Sec_Fetch_Site',
  ])
    assert.ok(isDisguise(name), name)
  for (const name of ['x-xen-session-user', 'content-length', 'x_other', 'x__request_id', '_', 'cookie'])
    assert.ok(!isDisguise(name), name)
})

test('an upgrade to another form of HTTP is told from others, wherever it stands in the list', () => {
  for (const value of ['h2c', 'H2', 'http/2.0', 'websocket, h2c', 'foo,TLS/1.0', 'http'])
    assert.ok(isHttpInDisguise(value), value)
  for (const value of [undefined, '', 'websocket', 'h2cx', 'https', 'xh2c', 'foo/h2'])
    assert.ok(!isHttpInDisguise(value), String(value))
})

test('no name can forge a field', () => {
  const session = { user: 'é\r\nX: y', subject: ' a%b ', roles: ['pool-admin', 'read-only'], originator: '\ud800' }
  assert.deepEqual(identityFields(session), [
    'X-Xen-Session-User',
    '%C3%A9%0D%0AX: y',
    'X-Xen-Session-Subject',
    '%20a%25b%20',
    'X-Xen-Session-Roles',
    'pool-admin, read-only',
    'X-Xen-Session-Originator',
    '%EF%BF%BD',
  ])
})

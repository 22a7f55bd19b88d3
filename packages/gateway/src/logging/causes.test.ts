import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AuthorityUnavailableError } from '../sessions/authority.ts'
import { causesText, failureOf } from './causes.ts'

test('an error is told with its causes, and of what others wrote only the code or the name', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED /secret'), { code: 'ECONNREFUSED' })
  const inner = new AuthorityUnavailableError('ask xapi', { cause: refused })
  const outer = new AuthorityUnavailableError('ask about a session', { cause: inner })
  assert.equal(causesText(outer), 'ask about a session: ask xapi: ECONNREFUSED')
  assert.equal(
    causesText(new AuthorityUnavailableError('ask', { cause: new TypeError('OpaqueRef:1') })),
    'ask: TypeError',
  )
  assert.equal(causesText(undefined), 'unknown')
})

test('a failure is an object with a text, and a code where there is one', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED /run/x'), { code: 'ECONNREFUSED' })
  assert.deepEqual(failureOf(refused), { code: 'ECONNREFUSED', message: 'connect ECONNREFUSED /run/x' })
  assert.deepEqual(failureOf(new AuthorityUnavailableError('ask', { cause: refused })), {
    message: 'ask: ECONNREFUSED',
  })
})

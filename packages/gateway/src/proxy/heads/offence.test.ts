import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blackedOut, headOffence } from './offence.ts'

const SECRET = 'OpaqueRef:11111111-1111-4111-8111-111111111111'

test('a head is shown around its offence, without secrets, and offsets stay right', () => {
  const head = `GET /services/plugin/x?session_id=${SECRET}&a=1 HTTP/1.1\r\nCookie: session_id=${SECRET}\r\nBad Header: 1\r\n\r\n`
  const bytes = Buffer.from(`before${head}`)
  const at = bytes.indexOf(' Header')
  const { offset, text, textOffset } = headOffence('client', bytes, 6, bytes.length, at)
  assert.equal(offset, at - 6)
  assert.equal(textOffset, 0)
  assert.ok(!text.includes('11111111'), text)
  assert.match(text, /\\r\\nBad Header: 1\\r\\n\\r\\n$/)
})

for (const line of [
  `Cookie : session_id=${SECRET}`,
  `cookie\x00: ${SECRET}`,
  'Authorization: Basic hunter2',
  'X-Api-Key: hunter2',
  'Authorization:\r\n hunter2\r\n\thunter2',
  'Set-Cookie: a=hunter2',
  `X: ${SECRET}`,
  'Referer: /?password=hunter2',
  'secret hunter2',
]) {
  test(`no secret is left of ${JSON.stringify(line)}`, () => {
    const text = blackedOut(`GET / HTTP/1.1\r\n${line}\r\nHost: h\r\n`)
    assert.doesNotMatch(text, /hunter2|1111/)
    assert.match(text, /^GET \/ HTTP\/1\.1\r\n[^]*\r\nHost: h\r\n$/)
    assert.equal(text.length, `GET / HTTP/1.1\r\n${line}\r\nHost: h\r\n`.length)
  })
}

test('nothing secret is shown of lines that end in CR alone, of targets with a user, and of what is no head', () => {
  assert.equal(
    blackedOut('GET / HTTP/1.1\rHost: x\rAuthorization: Basic c2VjcmV0\rAccept: a\r\r'),
    'GET / HTTP/1.1\rHost: x\rAuthorization: ***** ********\rAccept: a\r\r',
  )
  assert.equal(
    blackedOut('GET http://root:hunter2@host/ HTTP/1.1\r\n\r\n'),
    'GET http://************@host/ HTTP/1.1\r\n\r\n',
  )
  assert.equal(blackedOut('{"params":["root","hunter2"]}'), `{"params${'*'.repeat(21)}`)
  assert.equal(blackedOut('\r\n<methodCall>secret</methodCall>'), `\r\n<methodC${'*'.repeat(23)}`)
})

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { OPEN_POLICY } from '../model/policy.ts'
import { test } from './testing/each-transport.ts'
import { COOKIE, type Fixture, fixture, READER_ID, request, response, ROOT_ID, statusOf } from './testing/fixture.ts'
import { Arrivals } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
const UNKNOWN_ID = 'OpaqueRef:99999999-9999-4999-8999-999999999999'

/** Sends `text` on a connection of its own; the response. */
async function ask(from: Fixture, text: string): Promise<string> {
  const peer = from.client()
  peer.write(text)
  return peer.message()
}

function get(target: string, lines = ''): string {
  return `GET ${target} HTTP/1.1\r\nHost: h\r\n${lines}\r\n`
}

test(
  'a session is looked for in the cookie, then in the query, and the first of duplicates counts',
  DEADLINE,
  async (t) => {
    const under = await fixture(t)
    const svc = await under.service('svc')
    const target = '/services/plugin/svc'
    const encoded = ROOT_ID.replace(':', '%3A').replace('1', '%31')
    for (const [title, text, isAdmitted] of [
      ['cookie', get(target, COOKIE), true],
      ['cookie among others', get(target, `Cookie: a=b; session_id=${ROOT_ID}; c=d\r\n`), true],
      ['second Cookie field', get(target, `Cookie: a=b\r\n${COOKIE}`), true],
      ['query', get(`${target}?a=b&session_id=${ROOT_ID}`), true],
      ['encoded query', get(`${target}?session_id=${encoded}`), true],
      ['query in an absolute-form target', get(`http://h${target}?session_id=${ROOT_ID}`), true],
      ['nothing', get(target), false],
      ['other names', get(`${target}?xsession_id=${ROOT_ID}`, `Cookie: session_idx=${ROOT_ID}\r\n`), false],
      ['encoded cookie', get(target, `Cookie: session_id=${encoded}\r\n`), false],
      ['empty cookie', get(target, 'Cookie: session_id=\r\n'), false],
      ['empty query value', get(`${target}?session_id=`), false],
      ['bad encoding', get(`${target}?session_id=${ROOT_ID}%zz`), false],
      ['bad cookie, good query', get(`${target}?session_id=${ROOT_ID}`, `Cookie: session_id=${UNKNOWN_ID}\r\n`), false],
      ['good cookie, bad query', get(`${target}?session_id=${UNKNOWN_ID}`, COOKIE), true],
      ['bad first cookie', get(target, `Cookie: session_id=x; session_id=${ROOT_ID}\r\n`), false],
      ['bad first parameter', get(`${target}?session_id=x&session_id=${ROOT_ID}`), false],
      ['too long', get(`${target}?session_id=${'x'.repeat(5000)}`), false],
      ['another case', get(`${target}?SESSION_ID=${ROOT_ID}`), false],
    ] as const) {
      const peer = under.client()
      peer.write(text)
      if (isAdmitted) {
        const connection = await svc.connections.next()
        await connection.until('\r\n\r\n')
        connection.end(response('ok', 'Connection: close\r\n'))
      }
      assert.equal(statusOf(await peer.message()), isAdmitted ? 200 : 403, title)
    }
  },
)

test('refusals come in the order 400, 403, 404, 405, 302', DEADLINE, async (t) => {
  const under = await fixture(t, {
    elsewhere: { there: 'https://10.0.0.2' },
    policies: { closed: { ...OPEN_POLICY, roles: ['pool-admin'] } },
  })
  await under.service('svc')
  const reader = `Cookie: session_id=${READER_ID}\r\n`
  const cases: readonly (readonly [title: string, text: string, status: number])[] = [
    ['malformed, without a session', 'GET /services/plugin/nope HTTP/1.1\r\n\r\n', 400],
    ['no session, no service, another method', 'DELETE /services/plugin/nope HTTP/1.1\r\nHost: h\r\n\r\n', 403],
    ['no session, a name that cannot be one', get('/services/plugin/..%2fx'), 403],
    ['no session, no name', get('/services/plugin/'), 403],
    ['no session, not even a slash', get('/services/plugin'), 403],
    ['a role that may not, on a service that does not run', get('/services/plugin/closed', reader), 403],
    ['the role that may, on the same', get('/services/plugin/closed', COOKIE), 404],
    ['no service, another method', `DELETE /services/plugin/nope HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`, 404],
    ['a service here, another method', `DELETE /services/plugin/svc HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`, 405],
    ['a service there, another method', `DELETE /services/plugin/there HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`, 405],
    ['a service there', get('/services/plugin/there/x?y', COOKIE), 302],
  ]
  for (const [title, text, status] of cases) assert.equal(statusOf(await ask(under, text)), status, title)
})

test('302 carries the target over byte for byte, with the session in the query', DEADLINE, async (t) => {
  const under = await fixture(t, { elsewhere: { there: 'https://10.0.0.2:8443' } })
  const target = `/services/plugin/there/a%20b%0d%0a/../c?x=%20&session_id=${ROOT_ID}&y`
  assert.match(
    await ask(under, get(target)),
    new RegExp(`\r\nLocation: https://10\\.0\\.0\\.2:8443${RegExp.escape(target)}\r\n`),
  )
})

test('the local service goes first, and one that stops is found elsewhere at once', DEADLINE, async (t) => {
  const under = await fixture(t, { elsewhere: { svc: 'https://10.0.0.2' } })
  const svc = await under.service('svc')
  const peer = under.client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('here'))
  assert.ok((await peer.message()).endsWith('here'))
  await svc.close()
  peer.write(request('GET'))
  assert.equal(statusOf(await peer.message()), 302)
})

test(
  'names that cannot be a service are 404, and no file outside of the directories is reached',
  DEADLINE,
  async (t) => {
    const under = await fixture(t)
    await under.service('svc.channel')
    for (const name of [
      '',
      '.',
      '..',
      '.svc',
      '-svc',
      'a%62c',
      'svc.channel',
      'x'.repeat(101),
      'a\\b',
      'a:b',
      '%2e%2e%2fsvc',
      'xenapi,sock',
    ]) {
      assert.equal(statusOf(await ask(under, get(`/services/plugin/${name}`, COOKIE))), 404, name)
    }
  },
)

test('a service that starts, or a socket with nobody behind it, needs no restart', DEADLINE, async (t) => {
  const under = await fixture(t)
  assert.equal(statusOf(await ask(under, request('GET'))), 404)
  writeFileSync(join(under.directory, 'svc'), '')
  assert.equal(statusOf(await ask(under, request('GET'))), 404)
  const late = await under.service('late')
  const peer = under.client()
  peer.write(get('/services/plugin/late', COOKIE))
  const connection = await late.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('up'))
  assert.ok((await peer.message()).endsWith('up'))
})

test('roles are by service and by method, and a higher role includes a lower one', DEADLINE, async (t) => {
  const under = await fixture(t, {
    methods: ['GET', 'PUT', 'POST', 'DELETE'],
    policies: {
      admins: { ...OPEN_POLICY, roles: ['pool-admin'] },
      mixed: { ...OPEN_POLICY, roles: { GET: ['read-only'], PUT: ['pool-operator'] } },
    },
  })
  const reader = `Cookie: session_id=${READER_ID}\r\n`
  for (const [method, name, cookie, status] of [
    ['GET', 'admins', reader, 403],
    ['GET', 'admins', COOKIE, 404],
    ['GET', 'mixed', reader, 404],
    ['PUT', 'mixed', reader, 403],
    ['PUT', 'mixed', COOKIE, 404],
    ['POST', 'mixed', COOKIE, 403],
    ['GET', 'constructor', reader, 404],
  ] as const) {
    const text = `${method} /services/plugin/${name} HTTP/1.1\r\nHost: h\r\n${cookie}\r\n`
    assert.equal(statusOf(await ask(under, text)), status, `${method} ${name}`)
  }
  const closed = `POST /services/plugin/mixed HTTP/1.1\r\nHost: h\r\n${COOKIE}\r\n`
  assert.match(await ask(under, closed), /This method is not open to any role/)
  assert.match(await ask(under, get('/services/plugin/admins', reader)), /ask an administrator, or log in as another/)
})

test(
  'a cookie that a page of another site makes a browser send is refused, a session in the query is not',
  DEADLINE,
  async (t) => {
    const under = await fixture(t)
    const crossSite = 'Sec-Fetch-Site: cross-site\r\n'
    assert.equal(statusOf(await ask(under, get('/services/plugin/nope', COOKIE + crossSite))), 403)
    assert.equal(statusOf(await ask(under, get(`/services/plugin/nope?session_id=${ROOT_ID}`, crossSite))), 404)
    assert.equal(
      statusOf(await ask(under, get('/services/plugin/nope', `${COOKIE}Sec-Fetch-Site: same-origin\r\n`))),
      404,
    )
  },
)

test('what is no service is 404, and the XenAPI takes POST alone', DEADLINE, async (t) => {
  const under = await fixture(t)
  assert.equal(statusOf(await ask(under, get('/elsewhere'))), 404)
  assert.equal(statusOf(await ask(under, get('/'))), 404)
  assert.equal(statusOf(await ask(under, get('/services/plugin.x', COOKIE))), 404)
  assert.match(await ask(under, get('/jsonrpc')), /^HTTP\/1\.1 405 .*\r\nAllow: POST\r\n/s)
  // Its endpoint is not there: nobody can tell.
  assert.match(
    await ask(under, 'POST /jsonrpc HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n'),
    /^HTTP\/1\.1 503 .*\r\nRetry-After: 1\r\n/s,
  )
})

test('refusals are text that says what to do, or JSON when Accept prefers it', DEADLINE, async (t) => {
  const under = await fixture(t)
  const text = await ask(under, get('/services/plugin/x'))
  assert.match(
    text,
    /\r\nContent-Type: text\/plain; charset=utf-8\r\n.*\r\nX-Request-Id: test-0\r\nProxy-Status: xengate; error=http_request_denied; details="session-missing"\r\n\r\nNo session_id: log in /s,
  )
  for (const [accept, isJson] of [
    ['application/json', true],
    ['text/html, application/json;q=0.9', true],
    ['application/json;q=0.1, */*;q=0.5', false],
    ['*/*', false],
    ['text/plain, application/json', false],
  ] as const) {
    const answer = await ask(under, get('/services/plugin/x', `Accept: ${accept}\r\n`))
    assert.equal(/\r\nContent-Type: application\/json\r\n/.test(answer), isJson, accept)
    if (isJson) {
      const body = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))) as {
        error: { code: string; requestId: string }
      }
      assert.equal(body.error.code, 'session-missing')
      assert.match(body.error.requestId, /^test-/)
    }
  }
})

test('concurrent requests of one unknown session ask once, and get 503 when nobody can tell', DEADLINE, async (t) => {
  const questions: ((found: 'unavailable' | null) => void)[] = []
  const asked: string[] = []
  const under = await fixture(t, {
    onQuestion: (id, answer) => {
      asked.push(id)
      questions.push(answer)
    },
  })
  const waiting = new Arrivals<string>()
  const question = under.sessions.question.bind(under.sessions)
  under.sessions.question = (id, client, then) => {
    question(id, client, then)
    waiting.push(id)
  }
  const peers = [under.client(), under.client(), under.client()]
  for (const peer of peers) peer.write(request('GET'))
  for (let count = 0; count < peers.length; count++) await waiting.next()
  assert.deepEqual(asked, [ROOT_ID])
  questions[0]?.('unavailable')
  for (const peer of peers) assert.match(await peer.message(), /^HTTP\/1\.1 503 .*\r\nRetry-After: 1\r\n/s)
})

test('a session that ends is refused on the next request of a kept connection', DEADLINE, async (t) => {
  const under = await fixture(t)
  const svc = await under.service('svc')
  const peer = under.client()
  peer.write(request('GET'))
  const connection = await svc.connections.next()
  await connection.until('\r\n\r\n')
  connection.write(response('one'))
  await peer.message()
  under.live.delete(ROOT_ID)
  under.sessions.ended(['11111111'])
  peer.write(request('GET'))
  assert.equal(statusOf(await peer.message()), 403)
})

test('a session that ends between its answer and its request is refused', DEADLINE, async (t) => {
  const under = await fixture(t, {
    onQuestion: (id, answer) => {
      answer({ uuid: 'u', user: 'a', subject: 's', roles: ['pool-admin'], originator: '', isLocalSuperuser: false })
      assert.equal(id, ROOT_ID)
      under.sessions.ended(['u'])
    },
  })
  await under.service('svc')
  assert.equal(statusOf(await ask(under, request('GET'))), 403)
})

test('a name of a user that is not plain ASCII cannot forge a field', DEADLINE, async (t) => {
  const under = await fixture(t)
  const svc = await under.service('svc')
  under.live.set(ROOT_ID, {
    uuid: 'u',
    user: 'jos\u00e9 100%\r\nX-Forged: 1',
    subject: 's',
    roles: ['pool-admin', 'read-only'],
    originator: ' \u{1f600}',
    isLocalSuperuser: false,
  })
  const peer = under.client()
  peer.write(request('GET'))
  const head = await (await svc.connections.next()).until('\r\n\r\n')
  assert.match(head, /\r\nX-Xen-Session-User: jos%C3%A9 100%25%0D%0AX-Forged: 1\r\n/)
  assert.match(head, /\r\nX-Xen-Session-Roles: pool-admin, read-only\r\n/)
  assert.match(head, /\r\nX-Xen-Session-Originator: %20%F0%9F%98%80\r\n/)
})

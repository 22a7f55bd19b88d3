// curl, unchanged, as a client.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { cp, writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { Child, run } from './harness/child.ts'
import { type Daemon, Place, startDaemon, USER } from './harness/daemon.ts'
import { within } from './harness/deadline.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'
import { serveHttp, serveSockets } from './harness/services.ts'

const NAME = 'com.example.files'

/** Arguments of every call: no progress, errors shown, no configuration of the user's, and an end. */
const CURL = ['--disable', '-sS', '--max-time', '20']

interface Answer {
  readonly status: number
  readonly body: string
  /** What went over the wire besides bodies, as `-v` shows it. */
  readonly wire: string
}

async function curl(scope: Scope, argv: readonly string[], input?: string | Uint8Array): Promise<Answer> {
  const all = [...CURL, '-v', '-w', '\n%{http_code}', ...argv]
  const ran = await run(scope, 'curl', all, input === undefined ? {} : { input })
  assert.equal(ran.code, 0, `curl ${argv.join(' ')} exits with ${ran.code}: ${ran.stderr}`)
  const at = ran.stdout.lastIndexOf('\n')
  return { status: Number(ran.stdout.slice(at + 1)), body: ran.stdout.slice(0, at), wire: ran.stderr }
}

/** Answers with what was asked, and the length and hash of its body. */
const describeRequest: RequestListener = (request, response) => {
  const hash = createHash('sha256')
  let bytes = 0
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
  })
  request.on('end', () => {
    const { method, url, headers } = request
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ method, url, headers, bytes, sha256: hash.digest('hex') }))
  })
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

describe('curl', { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  let daemon: Daemon
  let session: string
  let url: string
  before(async () => {
    daemon = await startDaemon(suite, { services: 'methods = ["GET", "PUT", "POST", "HEAD"]' })
    await serveHttp(suite, daemon.place.socket(NAME), describeRequest)
    session = await daemon.login()
    url = `${daemon.url}/services/plugin/${NAME}`
  })

  test('reaches a service with the session in a cookie', async (t) => {
    const answer = await curl(scopeOf(t), ['-b', `session_id=${session}`, `${url}/a%20b?c=d&e=%0d%0a`])
    assert.equal(answer.status, 200)
    const seen = JSON.parse(answer.body)
    assert.equal(seen.url, `/services/plugin/${NAME}/a%20b?c=d&e=%0d%0a`)
    assert.equal(seen.headers['x-xen-session-user'], USER.name)
    assert.equal(seen.headers['x-xen-session-roles'], USER.role)
    assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1')
  })

  test('reaches a service with the session percent-encoded in the query', async (t) => {
    const answer = await curl(scopeOf(t), ['-G', '--data-urlencode', `session_id=${session}`, '-d', 'x=1', url])
    assert.equal(answer.status, 200)
    const seen: string = JSON.parse(answer.body).url
    // Versions of curl differ in the case of the digits; whichever it sent is what the service got.
    assert.ok(answer.wire.includes(`> GET ${seen} HTTP/1.1`))
    assert.equal(
      seen.toLowerCase(),
      `/services/plugin/${NAME}?session_id=${encodeURIComponent(session)}&x=1`.toLowerCase(),
    )
  })

  test('is forbidden without a session, and with a cookie that is wrong although the query is right', async (t) => {
    assert.equal((await curl(scopeOf(t), [url])).status, 403)
    const wrong = ['-b', 'session_id=OpaqueRef:no', `${url}?session_id=${session}`]
    assert.equal((await curl(scopeOf(t), wrong)).status, 403)
  })

  test('logs in through the XenAPI with its own JSON', async (t) => {
    const params = [USER.name, USER.password]
    const call = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'session.login_with_password', params })
    const answer = await curl(scopeOf(t), ['-H', 'Content-Type: application/json', '-d', call, `${daemon.url}/jsonrpc`])
    const own = JSON.parse(answer.body).result
    assert.match(own, /^OpaqueRef:/)
    assert.equal((await curl(scopeOf(t), ['-b', `session_id=${own}`, url])).status, 200)
  })

  test('uploads from a pipe in chunks', async (t) => {
    const input = randomBytes(3 * 1024 * 1024)
    const answer = await curl(scopeOf(t), ['-b', `session_id=${session}`, '-T', '-', `${url}/up`], input)
    assert.equal(answer.status, 200)
    assert.match(answer.wire, /> Transfer-Encoding: chunked/i)
    const seen = JSON.parse(answer.body)
    assert.deepEqual([seen.bytes, seen.sha256], [input.length, sha256(input)])
    assert.equal(seen.headers['transfer-encoding'], 'chunked')
  })

  test('uploads a file with its length', async (t) => {
    const scope = scopeOf(t)
    const path = join(await scope.directory(), 'file')
    const content = randomBytes(2 * 1024 * 1024)
    await writeFile(path, content)
    const answer = await curl(scope, ['-b', `session_id=${session}`, '-T', path, `${url}/up`])
    const seen = JSON.parse(answer.body)
    assert.deepEqual([seen.bytes, seen.sha256], [content.length, sha256(content)])
    assert.equal(seen.headers['content-length'], String(content.length))
  })

  test('speaks HTTP/1.0, and is answered until the end of the connection', async (t) => {
    const answer = await curl(scopeOf(t), ['-0', '-b', `session_id=${session}`, '-d', 'hello', url])
    assert.equal(answer.status, 200)
    assert.equal(JSON.parse(answer.body).sha256, sha256(Buffer.from('hello')))
    assert.doesNotMatch(answer.wire, /< Transfer-Encoding/i)
    assert.match(answer.wire, /< Connection: close/i)
  })

  test('asks with HEAD where the configuration allows it', async (t) => {
    const answer = await curl(scopeOf(t), ['-I', '-b', `session_id=${session}`, url])
    assert.equal(answer.status, 200)
    assert.match(answer.wire, /< Content-Type: application\/json/i)
  })

  test('sends one request after the other on one connection', async (t) => {
    const answer = await curl(scopeOf(t), ['-b', `session_id=${session}`, url, url, url])
    assert.match(answer.wire, /Re-using existing connection/)
    assert.equal(answer.wire.match(/Connected to /g)?.length, 1)
  })

  test('is forbidden at once, before it sends a large body', async (t) => {
    const input = Buffer.alloc(8 * 1024 * 1024)
    const argv = ['-H', 'Expect: 100-continue', '--expect100-timeout', '15', '-T', '-', `${url}/up`]
    const answer = await curl(scopeOf(t), argv, input)
    assert.equal(answer.status, 403)
    assert.doesNotMatch(answer.wire, /100 Continue/)
    assert.doesNotMatch(answer.wire, /We are completely uploaded/)
  })

  test('is forbidden at once although it sends a large body without asking', async (t) => {
    const input = Buffer.alloc(8 * 1024 * 1024)
    const answer = await curl(scopeOf(t), ['-H', 'Expect:', '--data-binary', '@-', `${url}/up`], input)
    assert.equal(answer.status, 403)
    assert.match(answer.body, /session_id/)
  })
})

describe('curl that waits for 100 Continue', { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  const body = Buffer.from('the body that was asked for')
  /** curl waits for 15 s before it sends the body unasked. */
  const patient = ['-H', 'Expect: 100-continue', '--expect100-timeout', '15', '--data-binary', '@-']
  let daemon: Daemon
  let argv: string[]
  before(async () => {
    daemon = await startDaemon(suite)
    argv = [...patient, '-b', `session_id=${await daemon.login()}`, `${daemon.url}/services/plugin/${NAME}`]
  })

  test('gets the 100 of the service and not one of the gateway, then sends the body', async (t) => {
    const scope = scopeOf(t)
    const heard = Promise.withResolvers<string>()
    const goOn = Promise.withResolvers<void>()
    await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
      let text = ''
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1')
        if (text.endsWith('\r\n\r\n')) {
          heard.resolve(text)
          void goOn.promise.then(() => socket.write('HTTP/1.1 100 Continue\r\n\r\n'))
        }
        if (text.endsWith(body.toString())) {
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone')
        }
      })
    })
    const child = new Child(scope, 'curl', [...CURL, '-v', ...argv])
    child.process.stdin?.end(body)
    assert.match(await within(heard.promise, 'the head of the request'), /\r\nExpect: 100-continue\r\n/)
    await child.printed(({ stderr }) => (stderr.includes('> Expect: 100-continue') ? true : undefined), 'the request')
    assert.doesNotMatch(child.stderr, /100 Continue/)
    goOn.resolve()
    assert.equal((await child.exited).code, 0, child.stderr)
    assert.equal(child.stdout, 'done')
    assert.match(child.stderr, /< HTTP\/1\.1 100 Continue/)
  })

  for (const [status, reason] of [
    [417, 'Expectation Failed'],
    [403, 'Not Yours'],
    [413, 'Too Much'],
  ] as const) {
    test(`gets ${status} of a service that does not want the body, and does not send it`, async (t) => {
      const scope = scopeOf(t)
      const received: Buffer[] = []
      await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
        socket.on('data', (chunk: Buffer) => {
          received.push(chunk)
          if (!chunk.includes('\r\n\r\n')) return
          socket.write(`HTTP/1.1 ${status} ${reason}\r\nContent-Length: 6\r\nX-From: service\r\n\r\nno way`)
        })
      })
      const answer = await curl(scope, argv, body)
      assert.deepEqual([answer.status, answer.body], [status, 'no way'])
      assert.match(answer.wire, new RegExp(`< HTTP/1.1 ${status} ${reason}`))
      assert.match(answer.wire, /< X-From: service/)
      assert.ok(!Buffer.concat(received).includes(body))
    })
  }
})

describe('curl and two gateways', { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  let near: Daemon
  let far: Daemon
  let session: string
  before(async () => {
    const farPlace = await Place.make(suite)
    const nearPlace = await Place.make(suite)
    await nearPlace.addUser(USER.name, USER.password, USER.role)
    // Sessions survive a restart: with a copy of its state the second gateway knows the first one's.
    const first = await nearPlace.start()
    session = await first.login()
    await first.stop()
    await cp(nearPlace.state, farPlace.state, { recursive: true })
    far = await farPlace.start()
    await nearPlace.configure({ tables: `[pool]\nregistry = "static"\n[pool.static]\n"${NAME}" = "${far.url}"` })
    near = await nearPlace.start()
    await serveHttp(suite, far.place.socket(NAME), describeRequest)
  })

  test('follows the 302 with the session in the query', async (t) => {
    const from = `${near.url}/services/plugin/${NAME}/a?session_id=${session}&b=%20`
    const answer = await curl(scopeOf(t), ['-L', from])
    assert.equal(answer.status, 200)
    assert.match(answer.wire, /< HTTP\/1\.1 302 Found/)
    assert.ok(answer.wire.includes(`< Location: ${far.url}/services/plugin/${NAME}/a?session_id=${session}&b=%20`))
    assert.equal(JSON.parse(answer.body).url, `/services/plugin/${NAME}/a?session_id=${session}&b=%20`)
  })

  test('follows the 302 with the session in a cookie', async (t) => {
    const from = `${near.url}/services/plugin/${NAME}/a`
    const answer = await curl(scopeOf(t), ['-L', '-b', `session_id=${session}`, from])
    assert.equal(answer.status, 200)
    assert.equal(JSON.parse(answer.body).headers['x-xen-session-user'], USER.name)
  })

  test('follows the 302 with an upload, whose body goes to the second gateway only', async (t) => {
    const scope = scopeOf(t)
    const path = join(await scope.directory(), 'file')
    const content = randomBytes(2 * 1024 * 1024)
    await writeFile(path, content)
    const argv = ['-L', '-b', `session_id=${session}`, '-H', 'Expect: 100-continue', '-T', path]
    const answer = await curl(scope, [...argv, `${near.url}/services/plugin/${NAME}/a`])
    assert.equal(answer.status, 200)
    assert.equal(JSON.parse(answer.body).sha256, sha256(content))
    assert.match(answer.wire, /< HTTP\/1\.1 302 Found[^]*< HTTP\/1\.1 100 Continue/)
  })

  test('gets 403 and not 302 when the session is not valid', async (t) => {
    const answer = await curl(scopeOf(t), ['-L', '-b', 'session_id=no', `${near.url}/services/plugin/${NAME}`])
    assert.equal(answer.status, 403)
  })
})

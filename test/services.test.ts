// Real services, unchanged, on Unix sockets.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { type Daemon, startDaemon, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { scopeOfSuite } from './harness/scope.ts'
import { serveHttp, startGunicorn, startNginx, startPythonServer } from './harness/services.ts'

const suite = scopeOfSuite()
let daemon: Daemon
let session: string
before(async () => {
  daemon = await startDaemon(suite)
  session = await daemon.login()
})

/** A request's head below the service `name`. */
function asked(method: string, name: string, path: string, lines = ''): string {
  const target = `/services/plugin/${name}${path}`
  return `${method} ${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
}

describe('nginx', { timeout: 300_000 }, () => {
  const NAME = 'com.example.nginx'
  const content = randomBytes(3 * 1024 * 1024)
  let directory: string
  before(async () => {
    const nginx = await startNginx(
      suite,
      daemon.place.socket(NAME),
      (files) => `
    location /services/plugin/${NAME}/ {
      alias ${files}/files/;
      dav_methods PUT;
      client_max_body_size 64m;
      etag on;
    }
    location /services/plugin/${NAME}/teapot { return 418 "short and stout"; }
    location /services/plugin/${NAME}/moved { return 301 /services/plugin/${NAME}/file; }`,
    )
    directory = join(nginx.directory, 'files')
    await writeFile(join(directory, 'file'), content)
  })

  test('gives a file', async () => {
    const response = await exchange(daemon.url, asked('GET', NAME, '/file'))
    assert.equal(response.status, 200)
    assert.match(response.header('server') ?? '', /^nginx/)
    assert.equal(response.header('accept-ranges'), 'bytes')
    assert.ok(response.body.equals(content))
  })

  test('gives a part of a file', async () => {
    const response = await exchange(daemon.url, asked('GET', NAME, '/file', 'Range: bytes=1000-1999\r\n'))
    assert.deepEqual([response.status, response.reason], [206, 'Partial Content'])
    assert.equal(response.header('content-range'), `bytes 1000-1999/${content.length}`)
    assert.ok(response.body.equals(content.subarray(1000, 2000)))
  })

  test('gives several parts of a file', async () => {
    const response = await exchange(daemon.url, asked('GET', NAME, '/file', 'Range: bytes=0-9,20-29\r\n'))
    assert.equal(response.status, 206)
    assert.match(response.header('content-type') ?? '', /^multipart\/byteranges/)
    assert.ok(response.body.includes(content.subarray(20, 30)))
  })

  test('says that a part cannot be, with its own page', async () => {
    const response = await exchange(daemon.url, asked('GET', NAME, '/file', 'Range: bytes=9999999-\r\n'))
    assert.equal(response.status, 416)
    assert.equal(response.header('content-range'), `bytes */${content.length}`)
    assert.match(response.text, /416 Requested Range Not Satisfiable/)
  })

  test('says that a file is not modified, on a connection that goes on', async () => {
    using client = await RawClient.connect(daemon.url)
    const first = await client.exchange(asked('GET', NAME, '/file'))
    const again = await client.exchange(asked('GET', NAME, '/file', `If-None-Match: ${first.header('etag')}\r\n`))
    assert.deepEqual([again.status, again.body.length], [304, 0])
    assert.equal((await client.exchange(asked('GET', NAME, '/file'))).status, 200)
  })

  test('takes a file, with its length or in chunks', async () => {
    const withLength = `${asked('PUT', NAME, '/one', 'Content-Length: 5\r\n')}hello`
    assert.equal((await exchange(daemon.url, withLength)).status, 201)
    assert.equal(await readFile(join(directory, 'one'), 'utf8'), 'hello')

    using client = await RawClient.connect(daemon.url)
    await client.send(asked('PUT', NAME, '/two', 'Transfer-Encoding: chunked\r\n'))
    await client.send(`${content.length.toString(16)}\r\n`)
    await client.send(content)
    await client.send('\r\n0\r\n\r\n')
    assert.equal((await client.response()).status, 201)
    assert.ok((await readFile(join(directory, 'two'))).equals(content))
  })

  test('is asked with the target as it was sent', async () => {
    await writeFile(join(directory, 'a b'), 'with a space')
    assert.equal((await exchange(daemon.url, asked('GET', NAME, '/a%20b'))).text, 'with a space')
  })

  test('answers 404, 418 and 301 in its own words', async () => {
    using client = await RawClient.connect(daemon.url)
    const missing = await client.exchange(asked('GET', NAME, '/none'))
    assert.equal(missing.status, 404)
    assert.match(missing.text, /<center>nginx/)
    const teapot = await client.exchange(asked('GET', NAME, '/teapot'))
    assert.deepEqual([teapot.status, teapot.text], [418, 'short and stout'])
    const moved = await client.exchange(asked('GET', NAME, '/moved'))
    assert.equal(moved.status, 301)
    assert.ok(moved.header('location')?.endsWith('/file'))
  })
})

describe('gunicorn', { timeout: 300_000 }, () => {
  const NAME = 'com.example.gunicorn'
  before(async () => {
    await startGunicorn(suite, daemon.place.socket(NAME))
  })

  test('sends back a body with its length', async () => {
    const response = await exchange(daemon.url, `${asked('POST', NAME, '/echo', 'Content-Length: 11\r\n')}hello world`)
    assert.deepEqual([response.status, response.text], [200, 'hello world'])
    assert.match(response.header('server') ?? '', /gunicorn/)
  })

  test('sends back a body in chunks', async () => {
    const request = asked('POST', NAME, '/echo', 'Transfer-Encoding: chunked\r\n')
    const response = await exchange(
      daemon.url,
      `${request}6\r\nhello \r\n5;ext=1\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n`,
    )
    assert.deepEqual([response.status, response.text], [200, 'hello world'])
  })

  test('sees who asks, whatever the client pretends', async () => {
    const forged = [
      'X-Xen-Session-User: root',
      'X_Xen_Session_User: root',
      'x-xen_session-user: root',
      'X-Xen-Session-Roles: none',
      'X_Forwarded_For: 10.9.9.9',
      'X-Forwarded-For: 10.9.9.9',
      'X-Request-Id: mine',
      'Connection: X-Xen-Session-User, X-Xen-Session-Roles',
    ]
    const response = await exchange(daemon.url, asked('GET', NAME, '/who?a=%20b', `${forged.join('\r\n')}\r\n`))
    const seen = JSON.parse(response.text) as Record<string, string>
    assert.equal(seen['HTTP_X_XEN_SESSION_USER'], USER.name)
    assert.equal(seen['HTTP_X_XEN_SESSION_ROLES'], USER.role)
    assert.equal(seen['HTTP_X_XEN_SESSION_ORIGINATOR'], 'test')
    assert.equal(seen['HTTP_X_FORWARDED_FOR'], '127.0.0.1')
    assert.equal(seen['HTTP_X_FORWARDED_PROTO'], 'http')
    assert.equal(seen['HTTP_X_FORWARDED_HOST'], 'gate')
    assert.match(seen['HTTP_X_REQUEST_ID'] ?? '', /^[\w-]{8,}$/)
    assert.equal(seen['QUERY_STRING'], 'a=%20b')
    assert.equal(seen['HTTP_HOST'], 'gate')
    assert.doesNotMatch(response.text, /10\.9\.9\.9|"root"|mine/)
  })

  test('answers 503 with its own Retry-After', async () => {
    const response = await exchange(daemon.url, asked('GET', NAME, '/fail'))
    assert.deepEqual([response.status, response.reason, response.header('retry-after')], [503, 'Not Now', '7'])
    assert.equal(response.text, 'come back later\n')
  })
})

describe("Python's http.server", { timeout: 300_000 }, () => {
  const NAME = 'com.example.python'
  before(async () => {
    await startPythonServer(suite, daemon.place.socket(NAME))
  })

  test('answers in HTTP/1.0 without a length, and the client’s connection goes on', async () => {
    using client = await RawClient.connect(daemon.url)
    for (const path of ['/a', '/b?c=%20']) {
      const response = await client.exchange(asked('GET', NAME, path))
      assert.equal(response.status, 200)
      assert.equal(response.text, `${USER.name} /services/plugin/${NAME}${path}`)
    }
  })

  test('answers an HTTP/1.0 client until the end of the connection', async () => {
    const head = asked('GET', NAME, '/a').replace('HTTP/1.1', 'HTTP/1.0')
    const response = await exchange(daemon.url, head)
    assert.equal(response.header('transfer-encoding'), undefined)
    assert.equal(response.text, `${USER.name} /services/plugin/${NAME}/a`)
  })

  test('takes a body', async () => {
    const response = await exchange(daemon.url, `${asked('PUT', NAME, '/a', 'Content-Length: 5\r\n')}hello`)
    assert.deepEqual([response.status, response.reason, response.text], [201, 'Made It', 'hello'])
  })
})

describe('node:http with server-sent events', { timeout: 300_000 }, () => {
  const NAME = 'com.example.events'

  test('its events arrive one by one as it sends them, and it hears that the client is gone', async () => {
    const opened = Promise.withResolvers<(event: string) => void>()
    let isGone = false
    await serveHttp(suite, daemon.place.socket(NAME), (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.flushHeaders()
      opened.resolve((event) => void response.write(`data: ${event}\n\n`))
      response.on('close', () => (isGone = true))
    })
    const client = await RawClient.connect(daemon.url)
    await client.send(asked('GET', NAME, '', 'Accept: text/event-stream\r\n'))
    const send = await opened.promise
    assert.match(await client.until('\r\n\r\n'), /Content-Type: text\/event-stream/)
    for (const event of ['one', 'two', 'three']) {
      // Each is sent only when the one before it has arrived.
      send(event)
      assert.match(await client.until('\n\n\r\n'), new RegExp(`data: ${event}\n\n`))
      assert.equal(client.unread, '')
    }
    client.destroy()
    // A client may end its own side and read on, so it is further events that show that nobody is there.
    await until(() => {
      send('more')
      return isGone
    }, 'the end of the response')
  })
})

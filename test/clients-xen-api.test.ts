// npm's xen-api, unchanged, as a client: what Xen Orchestra does.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import type { IncomingMessage, RequestListener } from 'node:http'
import { Readable } from 'node:stream'
import { before, beforeEach, describe, test } from 'node:test'
import { serve } from '@xengate/service'
import { type Daemon, Place, startDaemon, USER } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'
import { type XenApiClient, xenApiClient } from './harness/xen-api.ts'

const NAME = 'com.example.images'
const PATH = `/services/plugin/${NAME}`
const IMAGE = randomBytes(2 * 1024 * 1024)

/** What a service got of a request. */
interface Received {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly user: unknown
  readonly sha256: string
  readonly bytes: number
}

/** Keeps what it gets; answers GET with IMAGE and everything else with 200, before the body when its path ends in `/early`. */
class Images {
  readonly received: Received[] = []
  readonly listener: RequestListener = (request, response) => {
    const hash = createHash('sha256')
    let bytes = 0
    // Not ended yet, although there is no more of it: Node.js reads no request whose response has ended.
    if (request.url?.includes('/early') === true) response.writeHead(200, { 'Content-Length': 0 }).flushHeaders()
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      bytes += chunk.length
    })
    request.on('error', () => {}) // the client cuts its connection when it has no more to send
    request.on('close', () => {
      const { method, url, headers } = request
      this.received.push({
        method,
        url,
        headers,
        user: headers['x-xen-session-user'],
        sha256: hash.digest('hex'),
        bytes,
      })
    })
    request.on('end', () => {
      if (!response.headersSent) response.end(request.method === 'GET' ? IMAGE : '')
    })
  }

  /** The request whose body has bytes, when it is over. */
  upload(): Promise<Received> {
    return until(() => this.received.find(({ bytes }) => bytes > 0), 'the upload to end')
  }
}

const IMAGE_SHA256 = createHash('sha256').update(IMAGE).digest('hex')

/** IMAGE as a stream, as Xen Orchestra's are: with its length as a property, or without. */
function imageStream(length?: number): Readable {
  const parts = Array.from({ length: 32 }, (_, index) => IMAGE.subarray(index * 65_536, (index + 1) * 65_536))
  const stream = Readable.from(parts, { objectMode: false })
  return length === undefined ? stream : Object.assign(stream, { length })
}

async function connect(scope: Scope, daemon: Daemon, options: object = {}): Promise<XenApiClient> {
  const client = xenApiClient(daemon.url, { user: USER.name, password: USER.password }, options)
  await within(client.connect(), 'the client to connect')
  scope.defer(() => client.disconnect())
  return client
}

describe("npm's xen-api", { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  const images = new Images()
  let daemon: Daemon
  before(async () => {
    daemon = await startDaemon(suite)
    await serveHttp(suite, daemon.place.socket(NAME), images.listener)
  })
  beforeEach(() => {
    images.received.length = 0
  })

  for (const transport of ['auto', 'json-rpc', 'xml-rpc']) {
    test(`connects and disconnects with transport ${transport}, and its session ends`, async (t) => {
      const client = await connect(scopeOf(t), daemon, { transport })
      const session = client.sessionId
      assert.match(session, /^OpaqueRef:/)
      assert.equal(client.pool['$type'], 'pool')
      // A short answer, which the end of the session does not cut.
      const request = `PUT ${PATH} HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\nCookie: session_id=${session}\r\n\r\n`
      assert.equal((await exchange(daemon.url, request)).status, 200)
      await client.disconnect()
      // It does not wait for the answer to its logout.
      const hasEnded = (): Promise<boolean> =>
        exchange(daemon.url, request).then(
          ({ status }) => status === 403,
          () => false, // cut in the middle: its session ended
        )
      await until(hasEnded, 'the end of the session')
    })
  }

  test('watches events, and finds the pool and the host', async (t) => {
    const client = await connect(scopeOf(t), daemon, { watchEvents: true })
    await within(client.objectsFetched, 'the objects')
    const types = Object.values(client.objects.all).map(({ $type }) => $type)
    assert.deepEqual(types.toSorted(), ['host', 'pool'])
  })

  test('gets a resource', async (t) => {
    const client = await connect(scopeOf(t), daemon)
    const response = await within(client.getResource(`${PATH}/image`, { query: { a: 'b c' } }), 'the resource')
    assert.equal(response.statusCode, 200)
    assert.equal(
      createHash('sha256')
        .update(await response.body.bytes())
        .digest('hex'),
      IMAGE_SHA256,
    )
    const [received] = images.received
    assert.equal(received?.user, USER.name)
    const query = new URLSearchParams(received?.url?.split('?')[1])
    assert.deepEqual([query.get('a'), query.get('session_id')], ['b c', client.sessionId])
  })

  test('puts a buffer', async (t) => {
    const client = await connect(scopeOf(t), daemon)
    await within(client.putResource(IMAGE, `${PATH}/image`), 'the upload')
    const { method, sha256, headers } = await images.upload()
    assert.deepEqual([method, sha256], ['PUT', IMAGE_SHA256])
    assert.equal(headers['content-length'], String(IMAGE.length))
  })

  test('puts a stream of known length, after an empty PUT', async (t) => {
    const client = await connect(scopeOf(t), daemon)
    await within(client.putResource(imageStream(IMAGE.length), `${PATH}/image`), 'the upload')
    const { sha256 } = await images.upload()
    assert.equal(sha256, IMAGE_SHA256)
    assert.deepEqual(
      images.received.map(({ method, bytes }) => [method, bytes]),
      [
        ['PUT', 0],
        ['PUT', IMAGE.length],
      ],
    )
  })

  test('puts a stream of unknown length to a service that answers early, and cuts the connection at its end', async (t) => {
    const client = await connect(scopeOf(t), daemon)
    await within(client.putResource(imageStream(), `${PATH}/early`), 'the upload')
    const { sha256, bytes, headers } = await images.upload()
    assert.equal(headers['content-length'], String(2 ** 50))
    // It waits for no more than that its bytes are sent: all of them have to reach the service nonetheless.
    assert.equal(bytes, IMAGE.length)
    assert.equal(sha256, IMAGE_SHA256)
  })

  test('is told of a service that is not there', async (t) => {
    const client = await connect(scopeOf(t), daemon)
    const failure = client.getResource('/services/plugin/com.example.none')
    await assert.rejects(failure, { message: 'unexpected 404' })
  })
})

/** Reports progress on the request's task by a call of its own, as the caller; answers when it is told to. */
class Reporting {
  readonly asked = Promise.withResolvers<void>()
  readonly answered = Promise.withResolvers<void>()
  readonly #daemon: Daemon

  constructor(daemon: Daemon) {
    this.#daemon = daemon
  }

  readonly handler: RequestListener = async ({ xen }, response) => {
    await this.#daemon.call('task.set_progress', [xen.sessionId, xen.task, 0.5])
    this.asked.resolve()
    await this.answered.promise
    response.end('whole')
  }
}

describe(
  "npm's xen-api as it is by default, which makes a task for each transfer and waits for its end",
  { timeout: 90_000 },
  () => {
    const suite = scopeOfSuite()
    const images = new Images()
    let daemon: Daemon
    before(async () => {
      daemon = await startDaemon(suite, { workers: 2 })
      await serveHttp(suite, daemon.place.socket(NAME), images.listener)
    })
    beforeEach(() => {
      images.received.length = 0
    })

    async function watching(scope: Scope): Promise<XenApiClient> {
      const client = await connect(scope, daemon, { watchEvents: true, debounce: 20 })
      await within(client.objectsFetched, 'the objects')
      return client
    }

    /** Waits until the client has destroyed its tasks. */
    async function noTasks(client: XenApiClient): Promise<void> {
      await until(async () => ((await client.call('task.get_all')) as unknown[]).length === 0, 'the end of the tasks')
    }

    test('gets a resource', async (t) => {
      const client = await watching(scopeOf(t))
      const response = await within(client.getResource(`${PATH}/image`), 'the resource')
      assert.equal((await response.body.bytes()).length, IMAGE.length)
      assert.equal(await within(response.task ?? Promise.reject(new Error('it made no task')), 'the task'), '')
      await noTasks(client)
    })

    test('puts a buffer', async (t) => {
      const client = await watching(scopeOf(t))
      assert.equal(await within(client.putResource(IMAGE, `${PATH}/image`), 'the upload'), '')
      assert.equal((await images.upload()).sha256, IMAGE_SHA256)
      await noTasks(client)
    })

    test('puts a stream of known length', async (t) => {
      const client = await watching(scopeOf(t))
      assert.equal(await within(client.putResource(imageStream(IMAGE.length), `${PATH}/image`), 'the upload'), '')
      assert.equal((await images.upload()).sha256, IMAGE_SHA256)
      await noTasks(client)
    })

    test('puts a stream of unknown length to a service that answers early', async (t) => {
      const client = await watching(scopeOf(t))
      await within(client.putResource(imageStream(), `${PATH}/early`), 'the upload')
      assert.equal((await images.upload()).sha256, IMAGE_SHA256)
      await noTasks(client)
    })

    test('is told by the task, too, that a transfer failed', async (t) => {
      const client = await watching(scopeOf(t))
      const task = await client.createTask('lost')
      const watched = client.watchTask(task)
      // It may fail before it is waited for.
      watched.catch(() => {})
      const query = { task_id: task, session_id: client.sessionId }
      const target = `/services/plugin/com.example.none?${new URLSearchParams(query).toString()}`
      assert.equal((await exchange(daemon.url, `GET ${target} HTTP/1.1\r\nHost: gate\r\n\r\n`)).status, 404)
      await assert.rejects(within(watched, 'the task'), { code: 'REQUEST_FAILED', params: ['404', 'service-unknown'] })
      await noTasks(client)
    })

    test('sees the progress that a service on @xengate/service reports', async (t) => {
      const scope = scopeOf(t)
      const reporting = new Reporting(daemon)
      const { handler } = reporting
      const service = await serve({ name: 'com.example.slow', directory: daemon.place.plugin, handler })
      scope.defer(() => service.close())
      const client = await watching(scope)
      const getting = client.getResource('/services/plugin/com.example.slow')
      await within(reporting.asked.promise, 'the report')
      await until(() => Object.values(client.objects.all).some(({ progress }) => progress === 0.5), 'the progress')
      reporting.answered.resolve()
      const { body, task } = await within(getting, 'the resource')
      assert.equal(await body.text(), 'whole')
      assert.equal(await within(task ?? Promise.reject(new Error('it made no task')), 'the task'), '')
    })
  },
)

describe("npm's xen-api and two gateways", { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  const images = new Images()
  let near: Daemon
  let far: Daemon
  before(async () => {
    // Both know the same sessions: the client's is made while they have one state, and the second is started with a copy.
    const nearPlace = await Place.make(suite)
    await nearPlace.addUser(USER.name, USER.password, USER.role)
    near = await nearPlace.start()
  })

  /** Starts the second gateway with the sessions of the first, and tells the first that the service is there. */
  async function startFar(scope: Scope): Promise<XenApiClient> {
    const client = await connect(scope, near)
    const place = await Place.make(scope)
    await cp(near.place.state, place.state, { recursive: true, filter: (path) => !lstatSync(path).isSocket() })
    far = await place.start()
    await serveHttp(scope, far.place.socket(NAME), images.listener)
    await near.place.configure({ tables: `[pool]\nregistry = "static"\n[pool.static]\n"${NAME}" = "${far.url}"` })
    const seen = near.events.filter(({ event }) => event === 'reloaded').length
    near.child.signal('SIGHUP')
    await until(() => near.events.filter(({ event }) => event === 'reloaded').length > seen, 'the reload')
    return client
  }

  beforeEach(() => {
    images.received.length = 0
  })

  test('follows the 302 with getResource', async (t) => {
    const client = await startFar(scopeOf(t))
    const response = await within(client.getResource(`${PATH}/image`, { query: { a: 'b' } }), 'the resource')
    assert.equal(
      createHash('sha256')
        .update(await response.body.bytes())
        .digest('hex'),
      IMAGE_SHA256,
    )
    assert.equal(images.received[0]?.user, USER.name)
  })

  test('follows the 302 with a buffer', async (t) => {
    const client = await startFar(scopeOf(t))
    await within(client.putResource(IMAGE, `${PATH}/image`), 'the upload')
    assert.equal((await images.upload()).sha256, IMAGE_SHA256)
  })

  test('follows the 302 with a stream, whose body goes to the second gateway only', async (t) => {
    const client = await startFar(scopeOf(t))
    await within(client.putResource(imageStream(IMAGE.length), `${PATH}/image`), 'the upload')
    assert.equal((await images.upload()).sha256, IMAGE_SHA256)
    assert.equal(images.received.length, 1)
  })
})

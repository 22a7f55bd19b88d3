// A lot of data: it arrives as it was sent, the gateway holds little of it, and whoever is slow slows down the other side.

import assert from 'node:assert/strict'
import { createHash, type Hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, test } from 'node:test'
import { probeRing } from '../packages/gateway/src/transport/ring/probe.ts'
import { type Daemon, type DaemonSettings, startDaemon } from './harness/daemon.ts'
import { sampleData } from './harness/data.ts'
import { until, within } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp, serveSockets } from './harness/services.ts'

const NAME = 'com.example.bulk'
const GIB = 1024 ** 3
const MIB = 1024 ** 2
/** How much the worker may grow by. */
const GROWTH_BYTES_MAX = 32 * MIB
/** What the gateway and the kernel may hold between a sender and a reader that does not read. */
const HELD_BYTES_MAX = 24 * MIB

/** Memory of a process, in bytes: what it has now, and the most it had. */
function memoryOf(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { now: bytes('VmRSS'), peak: bytes('VmHWM') }
}

async function startBulk(
  scope: Scope,
  settings: DaemonSettings = {},
): Promise<{ daemon: Daemon; session: string; worker: number }> {
  const daemon = await startDaemon(scope, settings)
  const [worker = 0] = daemon.workerPids
  return { daemon, session: await daemon.login(), worker }
}

function head(method: string, session: string, lines = '', path = ''): string {
  const target = `/services/plugin/${NAME}${path}`
  return `${method} ${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
}

/** Sends `request` on a connection that nobody reads from yet. */
async function connectFor(daemon: Daemon, request: string): Promise<Socket> {
  const { socket } = await RawClient.connect(daemon.url)
  socket.pause().removeAllListeners('data')
  await write(socket, [Buffer.from(request)])
  return socket
}

describe('1 GiB', { timeout: 300_000 }, () => {
  test('down arrives as it was sent, and the worker grows by less than 32 MiB', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session, worker } = await startBulk(scope)
    const sent = createHash('sha256')
    await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
      if (request.url?.endsWith('/small') === true) {
        response.end('small')
        return
      }
      response.setHeader('Content-Length', GIB)
      pipeline(Readable.from(sampleData(GIB, sent)), response).catch(() => response.destroy())
    })
    using warm = await RawClient.connect(daemon.url)
    await warm.exchange(head('GET', session, '', '/small'))
    const before = memoryOf(worker)

    const body = createHash('sha256')
    const response = await readAll(daemon, head('GET', session), body)
    assert.match(response.head, /^HTTP\/1\.1 200 OK\r\n/)
    assert.equal(response.bytes, GIB)
    assert.equal(body.digest('hex'), sent.digest('hex'))
    assertGrowth(before.now, memoryOf(worker).peak)
  })

  for (const framing of ['with its length', 'in chunks'] as const) {
    test(`up ${framing} arrives as it was sent, and the worker grows by less than 32 MiB`, async (t) => {
      const scope = scopeOf(t)
      const { daemon, session, worker } = await startBulk(scope)
      await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
        const received = createHash('sha256')
        request.on('data', (chunk: Buffer) => received.update(chunk))
        request.on('end', () => response.end(received.digest('hex')))
      })
      using warm = await RawClient.connect(daemon.url)
      await warm.exchange(`${head('PUT', session, 'Content-Length: 5\r\n')}hello`)
      const before = memoryOf(worker)

      const sent = createHash('sha256')
      using client = await RawClient.connect(daemon.url)
      if (framing === 'with its length') {
        await client.send(head('PUT', session, `Content-Length: ${GIB}\r\n`))
        await write(client.socket, sampleData(GIB, sent))
      } else {
        await client.send(head('PUT', session, 'Transfer-Encoding: chunked\r\n'))
        await write(client.socket, chunked(sampleData(GIB, sent)))
      }
      const response = await client.response()
      assert.equal(response.status, 200)
      assert.equal(response.text, sent.digest('hex'))
      assertGrowth(before.now, memoryOf(worker).peak)
    })
  }
})

function assertGrowth(before: number, peak: number): void {
  const grown = peak - before
  assert.ok(
    grown < GROWTH_BYTES_MAX,
    `the worker grew by ${(grown / MIB).toFixed(1)} MiB from ${(before / MIB).toFixed(1)}`,
  )
}

/** Sends `request`, and reads the response to its end. */
async function readAll(daemon: Daemon, request: string, body: Hash): Promise<{ head: string; bytes: number }> {
  using client = await RawClient.connect(daemon.url)
  await client.send(request)
  const responseHead = await client.until('\r\n\r\n')
  const length = Number(/Content-Length: (\d+)/.exec(responseHead)?.[1])
  const first = await client.bytes(client.unread.length)
  body.update(first)
  let bytes = first.length
  const whole = Promise.withResolvers<void>()
  client.socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
    body.update(chunk)
    bytes += chunk.length
    if (bytes >= length) whole.resolve()
  })
  client.socket.on('close', () => whole.reject(new Error(`the connection ended after ${bytes} bytes`)))
  if (bytes < length) await within(whole.promise, 'the whole body', 100_000)
  return { head: responseHead, bytes }
}

/** Writes all of `pieces`, no faster than they are taken. */
async function write(to: Writable, pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    if (to.write(piece)) continue
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    to.once('drain', resolve).once('close', reject)
    await promise
    to.off('close', reject)
  }
}

function* chunked(pieces: Iterable<Buffer>): Generator<Buffer> {
  for (const piece of pieces)
    yield Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')])
  yield Buffer.from('0\r\n\r\n')
}

/** Counts what a sender gets rid of. */
class Counter {
  bytes = 0
  #lastBytes = -1
  #looks = 0

  /** Waits until nothing more is taken, as many looks show. */
  async standsStill(): Promise<number> {
    return until(() => {
      this.#looks = this.bytes === this.#lastBytes ? this.#looks + 1 : 0
      this.#lastBytes = this.bytes
      return this.bytes > 0 && this.#looks >= 50 ? this.bytes : undefined
    }, 'the sender to be stopped')
  }

  *count(pieces: Iterable<Buffer>): Generator<Buffer> {
    for (const piece of pieces) {
      yield piece
      this.bytes += piece.length
    }
  }
}

describe('a reader that stops reading', { timeout: 300_000 }, () => {
  const TOTAL = 256 * MIB

  test('stops the service that sends to it, which goes on when it reads again', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session, worker } = await startBulk(scope)
    const counter = new Counter()
    const sent = createHash('sha256')
    await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${TOTAL}\r\n\r\n`)
        write(socket, counter.count(sampleData(TOTAL, sent))).catch(() => {})
      })
    })
    const before = memoryOf(worker)
    const socket = await connectFor(daemon, head('GET', session))
    scope.defer(() => void socket.destroy())
    const stopped = await counter.standsStill()
    assert.ok(stopped < HELD_BYTES_MAX, `the service got rid of ${stopped} bytes`)
    assertGrowth(before.now, memoryOf(worker).peak)

    const received = Promise.withResolvers<void>()
    let bytes = 0
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > TOTAL) received.resolve()
    })
    socket.resume()
    await within(received.promise, 'the rest')
    assert.equal(counter.bytes, TOTAL)
    assertGrowth(before.now, memoryOf(worker).peak)
  })

  test('stops the client that sends to it, which goes on when the service reads again', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session, worker } = await startBulk(scope)
    const accepted = Promise.withResolvers<Socket>()
    await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
      socket.pause()
      accepted.resolve(socket)
    })
    const before = memoryOf(worker)
    using client = await RawClient.connect(daemon.url)
    await client.send(head('PUT', session, `Content-Length: ${TOTAL}\r\n`))
    const counter = new Counter()
    const sent = createHash('sha256')
    const written = write(client.socket, counter.count(sampleData(TOTAL, sent)))
    const service = await accepted.promise
    const stopped = await counter.standsStill()
    assert.ok(stopped < HELD_BYTES_MAX, `the client got rid of ${stopped} bytes`)
    assertGrowth(before.now, memoryOf(worker).peak)

    const received = createHash('sha256')
    let bytes = 0
    let isInBody = false
    service.on('data', (chunk: Buffer) => {
      const from = isInBody ? 0 : chunk.indexOf('\r\n\r\n') + 4
      isInBody = true
      received.update(chunk.subarray(from))
      bytes += chunk.length - from
      if (bytes === TOTAL) service.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone')
    })
    service.resume()
    await within(written, 'the rest')
    assert.equal((await client.response()).text, 'done')
    assert.equal(received.digest('hex'), sent.digest('hex'))
    assertGrowth(before.now, memoryOf(worker).peak)
  })

  test('does not slow down others on the same worker', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session } = await startBulk(scope)
    const counter = new Counter()
    await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
      if (request.url?.endsWith('/small') === true) response.end('small')
      else write(response, counter.count(sampleData(TOTAL, createHash('sha256')))).catch(() => {})
    })
    const socket = await connectFor(daemon, head('GET', session))
    scope.defer(() => void socket.destroy())
    await counter.standsStill()
    using client = await RawClient.connect(daemon.url)
    for (let count = 0; count < 100; count++) {
      assert.equal((await client.exchange(head('GET', session, '', '/small'))).text, 'small')
    }
  })
})

describe('an upload that ends before its length', { timeout: 300_000 }, () => {
  /** How long the service is busy with something else before it reads on. */
  const BUSY_MS = 30

  test('reaches a busy service with every byte that was sent, and then ends there too', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session } = await startBulk(scope)
    let ended = Promise.withResolvers<number>()
    await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
      let bytes = 0
      socket.on('data', (chunk: Buffer) => {
        if (bytes === 0) {
          // Xen Orchestra uploads streams of unknown length like this: it is answered early, sends all and closes.
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
          socket.pause()
          setTimeout(() => socket.resume(), BUSY_MS)
        }
        bytes += chunk.length - (bytes === 0 ? chunk.indexOf('\r\n\r\n') + 4 : 0)
      })
      socket.on('close', () => ended.resolve(bytes))
      socket.on('end', () => socket.end())
    })
    // Around what the kernel holds for a Unix socket the end is heard while the gateway still holds some of the body.
    for (let pieces = 10; pieces <= 60; pieces += 2) {
      using client = await RawClient.connect(daemon.url)
      await client.exchange(`${head('PUT', session, `Content-Length: ${2 ** 50}\r\n`)}x`)
      for (let piece = 0; piece < pieces; piece++) await client.send(Buffer.alloc(8192, piece))
      client.socket.end()
      assert.equal(await within(ended.promise, 'the end of the upload'), 1 + pieces * 8192)
      ended = Promise.withResolvers<number>()
    }
  })
})

describe('an upload whose service has answered already', { timeout: 300_000 }, () => {
  const PIECES = 1300
  const UPLOADS = 10
  /** How long the service is busy between two reads. */
  const BUSY_MS = 2
  const probed = probeRing()
  for (const transport of ['net', 'ring'] as const) {
    const skip = transport === 'ring' && !probed.works ? probed.reason : false
    test(`reaches it whole · ${transport}`, { skip }, async (t) => {
      const scope = scopeOf(t)
      const { daemon, session } = await startBulk(scope, { transport })
      let ended = Promise.withResolvers<string>()
      await serveSockets(scope, daemon.place.socket(NAME), (socket) => {
        let last = ''
        socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
        socket.on('data', (chunk: Buffer) => {
          last = chunk.toString('latin1').slice(-16)
          socket.pause()
          setTimeout(() => socket.resume(), BUSY_MS)
        })
        socket.on('end', () => ended.resolve(last))
      })
      for (let upload = 0; upload < UPLOADS; upload++) {
        using client = await RawClient.connect(daemon.url)
        await client.send(head('PUT', session, 'Transfer-Encoding: chunked\r\n'))
        await write(client.socket, chunked(Array.from({ length: PIECES }, (_, piece) => Buffer.alloc(4096, piece))))
        await client.response()
        assert.match(await within(ended.promise, 'the end of the upload'), /\r\n0\r\n\r\n$/)
        ended = Promise.withResolvers<string>()
      }
    })
  }
})

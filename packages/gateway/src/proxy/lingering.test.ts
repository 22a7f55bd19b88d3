// Answers on their way to clients that read slowly, while what these send behind is refused, or answered early, and dropped.

import assert from 'node:assert/strict'
import { test } from './testing/each-transport.ts'
import { fixture, request, response } from './testing/fixture.ts'
import type { Peer } from './testing/peer.ts'

const DEADLINE = { timeout: 60_000 }
/** Less than the sockets between the two hold. */
const ANSWER_BYTES = 5_000_000
/** A client reads 64 KiB at most in such a time: longer than anything is waited for without progress, in all. */
const SLOWLY_MS = 100

interface Behind {
  readonly what: string
  readonly text: string
  /** What is sent again and again after that. */
  readonly piece: Buffer
  /** Of the answer. */
  readonly status: number
}

const REFUSED = 'PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: '
/** What clients send behind a request whose answer is long. */
const BEHIND: readonly Behind[] = [
  {
    what: 'an upload that is answered early',
    text: request('PUT', '/', 'Content-Length: 1000000000\r\n'),
    piece: Buffer.alloc(16_384),
    status: 413,
  },
  { what: 'an upload that is refused', text: `${REFUSED}1000000000\r\n\r\n`, piece: Buffer.alloc(16_384), status: 404 },
  { what: 'more than is dropped', text: `${REFUSED}1000000000\r\n\r\n`, piece: Buffer.alloc(4_000_000), status: 404 },
  { what: 'a short body, late', text: `${REFUSED}60000\r\n\r\n`, piece: Buffer.alloc(1), status: 404 },
]

/** Answers at length, but uploads early. */
async function answer(connection: Peer): Promise<void> {
  const head = await connection.until('\r\n\r\n')
  if (head.startsWith('PUT')) connection.end('HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
  else connection.end(response('\u0001'.repeat(ANSWER_BYTES), 'Connection: close\r\n'))
}

/** Reads slowly to the status of the second answer, or to the close. @returns how much of the first has come, and what came last */
async function readSlowly(peer: Peer): Promise<{ count: number; end: string }> {
  const { socket } = peer
  const { promise, resolve } = Promise.withResolvers<void>()
  let count = 0
  let end = ''
  socket.once('close', resolve).on('data', (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 1) count++
    end = (end + chunk.toString('latin1')).slice(-2000)
    if (/HTTP\/1\.1 4\d\d /.test(end)) resolve()
    socket.pause()
    setTimeout(() => socket.resume(), SLOWLY_MS)
  })
  socket.resume()
  await promise
  return { count, end }
}

test(
  'slow readers get all of their answers, although what they send behind is refused or dropped',
  DEADLINE,
  async (t) => {
    const { client, service } = await fixture(t)
    const svc = await service('svc')
    svc.server.on('connection', () => void svc.connections.next().then(answer))
    await Promise.all(
      BEHIND.map(async ({ what, text, piece, status }) => {
        const peer = client()
        peer.socket.removeAllListeners('data').pause()
        peer.write(request('GET') + text)
        const timer = setInterval(() => peer.socket.writableNeedDrain || peer.socket.write(piece), SLOWLY_MS)
        t.after(() => clearInterval(timer))
        const { count, end } = await readSlowly(peer)
        assert.equal(count, ANSWER_BYTES, what)
        assert.match(end, new RegExp(`HTTP/1.1 ${status} `), what)
      }),
    )
  },
)

test('a client that goes on sending, byte by byte, is not waited for without end', DEADLINE, async (t) => {
  const { client } = await fixture(t, { limits: { bodyIdleTimeoutMs: 1000 } })
  const peer = client()
  peer.write(`${REFUSED}1000000000\r\n\r\n`)
  await peer.until('404 ')
  const { socket } = peer
  const trickle = setInterval(() => socket.write('x'), SLOWLY_MS)
  t.after(() => clearInterval(trickle))
  const closed = Promise.withResolvers<void>()
  socket.once('close', closed.resolve)
  socket.resume()
  await closed.promise
})

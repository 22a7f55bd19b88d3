// Big bodies through blocks: what arrives is what was sent, whoever is slow, with blocks and when there are none left.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BLOCKS_MAX, blocksInUse } from '../transport/blocks.ts'
import { test } from './testing/each-transport.ts'
import { fixture, request } from './testing/fixture.ts'

const DEADLINE = { timeout: 60_000 }
const WAIT_MS = 10_000
/** So many bodies, of which the kernel holds a part each, take every block and then some. */
const COUNT = 80
/** Not a multiple of a block or of a read. */
const BODY_BYTES = 8_345_678
/** Every body is another part of this, so that none is like another and no byte can be another's. */
const STEP_BYTES = 10_007
const DATA = Buffer.allocUnsafe(BODY_BYTES + COUNT * STEP_BYTES + 4)
for (let at = 0; at + 4 <= DATA.length; at += 4) {
  DATA.writeUInt32LE((Math.imul(at, 2_654_435_761) ^ (at >>> 9)) >>> 0, at)
}

function body(number: number): Buffer {
  return DATA.subarray(number * STEP_BYTES, number * STEP_BYTES + BODY_BYTES)
}

/** Reads body `number` to its end, and compares it. */
async function expectBody(from: AsyncIterable<Buffer>, number: number): Promise<void> {
  const expected = body(number)
  let at = 0
  for await (const chunk of from) {
    assert.ok(chunk.equals(expected.subarray(at, at + chunk.length)), `body ${number} differs after ${at} bytes`)
    at += chunk.length
    if (at === BODY_BYTES) return
  }
  assert.fail(`body ${number} ended after ${at} bytes`)
}

async function untilBlocksInUse(isSo: (count: number) => boolean): Promise<void> {
  const lastMs = performance.now() + WAIT_MS
  while (!isSo(blocksInUse())) {
    assert.ok(performance.now() < lastMs, `${blocksInUse()} blocks are in use`)
    await nextTurn()
  }
}

const isEvery = (count: number): boolean => count === BLOCKS_MAX
const isNone = (count: number): boolean => count === 0

/** A gateway, and a service behind it on node:http. */
async function start(
  t: TestContext,
  listener: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<(text: string) => net.Socket> {
  const { directory, port } = await fixture(t)
  const server = createServer(listener).listen(join(directory, 'svc'))
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return (text) => {
    const socket = net.connect(port, '127.0.0.1')
    t.after(() => socket.destroy())
    socket.write(text)
    return socket
  }
}

/** What follows the head of a response. */
async function* bodyOf(socket: net.Socket): AsyncGenerator<Buffer> {
  let head: Buffer | null = Buffer.alloc(0)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    if (head === null) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) continue
    yield head.subarray(end + 4)
    head = null
  }
}

for (const framing of ['with their length', 'in chunks']) {
  test(
    `${COUNT} downloads ${framing} that wait for their clients arrive whole, and give back every block`,
    DEADLINE,
    async (t) => {
      const open = await start(t, ({ url = '' }, response) => {
        if (framing === 'with their length') response.setHeader('Content-Length', BODY_BYTES)
        // Without a length, node:http makes chunks of what is written before the end.
        response.write(body(Number(url.slice(url.lastIndexOf('/') + 1))))
        response.end()
      })
      const clients = Array.from({ length: COUNT }, (_, number) => open(request('GET', `/${number}`)))
      await untilBlocksInUse(isEvery)
      if (framing === 'with their length') {
        await Promise.all(clients.map((client, number) => expectBody(bodyOf(client), number)))
      } else {
        await Promise.all(clients.map((client, number) => expectBody(unchunked(bodyOf(client)), number)))
      }
      for (const client of clients) client.destroy()
      await untilBlocksInUse(isNone)
    },
  )
}

/** The data of the chunks in `from`. */
async function* unchunked(from: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let left = 0
  let line = ''
  for await (let bytes of from) {
    while (bytes.length > 0) {
      if (left === 0) {
        const end = bytes.indexOf('\n')
        line += bytes.toString('latin1', 0, end === -1 ? bytes.length : end + 1)
        bytes = end === -1 ? Buffer.alloc(0) : bytes.subarray(end + 1)
        if (end !== -1 && line !== '\r\n') left = Number.parseInt(line, 16)
        assert.ok(!Number.isNaN(left), `a chunk starts with ${JSON.stringify(line)}`)
        if (end !== -1) line = ''
        continue
      }
      yield bytes.subarray(0, left)
      const count = Math.min(left, bytes.length)
      left -= count
      bytes = bytes.subarray(count)
    }
  }
}

test(`${COUNT} uploads that wait for the service arrive whole, and give back every block`, DEADLINE, async (t) => {
  const { promise: read, resolve: startReading } = Promise.withResolvers<void>()
  const take = async (upload: IncomingMessage): Promise<string> => {
    await read
    await expectBody(upload, Number(upload.url?.slice(upload.url.lastIndexOf('/') + 1)))
    return 'whole'
  }
  const open = await start(t, (upload, response) => {
    take(upload).then(
      (text) => response.end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  const clients = Array.from({ length: COUNT }, (_, number) => {
    const client = open(request('PUT', `/${number}`, `Content-Length: ${BODY_BYTES}\r\n`))
    client.write(body(number))
    return client
  })
  await untilBlocksInUse((count) => count >= Math.min(COUNT, BLOCKS_MAX))
  startReading()
  for (const client of clients) {
    const [answer] = (await once(client, 'data')) as [Buffer]
    assert.match(answer.toString(), /whole/)
  }
  await untilBlocksInUse(isNone)
})

test('a client that leaves in the middle of a big body gives back every block', DEADLINE, async (t) => {
  const open = await start(t, (_, response) => response.end(DATA))
  const clients = Array.from({ length: 5 }, () => open(request('GET')))
  await Promise.all(clients.map((client) => once(client, 'readable')))
  await untilBlocksInUse((count) => count > 0)
  for (const client of clients) client.destroy()
  await untilBlocksInUse(isNone)
})

// What services can answer to desynchronise a gateway from its clients: each vector has the same verdict however it comes, and what is left
// over of it is never a part of another answer. With DESYNC_CUTS=all the bytes are cut at every place.

import assert from 'node:assert/strict'
import net from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { test } from '../../packages/gateway/src/proxy/testing/each-transport.ts'
import { fixture } from '../../packages/gateway/src/proxy/testing/fixture.ts'
import { VectorClient } from './client.ts'
import { BASE, LINES, TAG } from './vector.ts'
import { RESPONSE_VECTORS, type ResponseVector } from './vectors-responses.ts'

const DEADLINE = { timeout: 600_000 }
const AT_A_TIME = 24
const CUTS_EACH = process.env['DESYNC_CUTS'] === 'all' ? 2000 : 6

/** A vector, and where it is cut. */
interface Answer {
  readonly vector: ResponseVector
  readonly cuts: readonly number[]
}

/** How a connection of the hostile service ended up. */
interface Served {
  requests: number
  readonly closed: Promise<void>
}

/** A service that answers the first request of each connection with what is asked for by its path, and the next with a good answer. */
class HostileService {
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  readonly #answers: readonly Answer[]
  readonly served = new Map<number, Served>()

  constructor(answers: readonly Answer[]) {
    this.#answers = answers
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#serve(socket))
  }

  async listen(path: string): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(path, resolve))
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket)
    let text = ''
    let served: Served | null = null
    const { promise, resolve } = Promise.withResolvers<void>()
    const isClosed = (): void => {
      this.#sockets.delete(socket)
      resolve()
    }
    socket
      .on('error', isClosed)
      .on('close', isClosed)
      .on('end', () => {
        isClosed()
        socket.end()
      })
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (!text.includes('\r\n\r\n')) return
      const index = Number(/T(\d{5})/.exec(text)?.[1])
      const isNext = text.includes('/next ')
      text = ''
      if (served !== null) served.requests++
      if (isNext) {
        socket.write(NEXT)
        return
      }
      served = { requests: 1, closed: promise }
      this.served.set(index, served)
      void this.#answer(socket, this.#answers[index]!) // as many as there are paths
    })
  }

  async #answer(socket: net.Socket, { vector, cuts }: Answer): Promise<void> {
    let from = 0
    for (const cut of [...cuts, vector.bytes.length]) {
      if (from > 0) for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve))
      if (cut > from && socket.writable) socket.write(vector.bytes.slice(from, cut), 'latin1')
      from = cut
    }
    if (vector.ends) socket.end()
  }
}

const NEXT = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext'

/**
 * Runs each answer: a client asks, and where its connection goes on asks again. What is left over of an answer, and comes when its
 * connection is in use again, nobody can tell from the answer to that use (docs/decisions/0006): these run one after the other.
 */
async function runAll(t: TestContext, answers: readonly Answer[]): Promise<void> {
  const isAlone = ({ vector }: Answer): boolean => !vector.isReused && vector.status !== 502
  await runSome(
    t,
    answers.filter((answer) => !isAlone(answer)),
    AT_A_TIME,
  )
  await runSome(t, answers.filter(isAlone), 1)
}

async function runSome(t: TestContext, answers: readonly Answer[], atATime: number): Promise<void> {
  const { directory, port } = await fixture(t, { methods: ['GET', 'HEAD'] })
  const service = new HostileService(answers)
  await service.listen(join(directory, 'svc'))
  t.after(() => service.close())
  const queue = [...answers.keys()]
  const failures: string[] = []
  await Promise.all(
    Array.from({ length: atATime }, async () => {
      for (let index = queue.shift(); index !== undefined; index = queue.shift()) {
        const answer = answers[index]!
        try {
          await run(port, service, index, answer)
        } catch (error) {
          const { family, name } = answer.vector
          failures.push(`${family} · ${name} · ${answer.cuts.join(',')}: ${(error as Error).message}`)
        }
      }
    }),
  )
  assert.deepEqual(failures, [], `${failures.length} of ${answers.length} differ`)
}

async function run(port: number, service: HostileService, index: number, { vector }: Answer): Promise<void> {
  const client = new VectorClient(port, false)
  const tag = `T${String(index).padStart(5, '0')}`
  const ask = (method: string, path: string): Promise<void> =>
    client.write(`${method} ${BASE}/${path} HTTP/1.1\r\n${LINES}\r\n`.replaceAll(TAG, tag))
  const methods = [vector.method, 'GET']
  await ask(vector.method, 'v')
  await client.answered(1, methods)
  if (vector.status === 'reset') {
    await client.ended()
    assert.equal(client.answers(methods).messages.length, 0, client.text)
    assert.ok(client.isReset, 'the connection ended in order')
  } else {
    const [first] = client.answers(methods).messages
    assert.equal(Number(first?.startLine.slice(9, 12)), vector.status, client.text)
    if (vector.status !== 502) assert.equal(first?.body, vector.body)
  }
  const served = service.served.get(index)
  // What may not be used again is closed; only then the next one cannot be on it.
  if (!vector.isReused) await served?.closed
  if (vector.status !== 'reset' && !client.hasEnded) {
    await ask('GET', 'next')
    await client.answered(2, methods)
    const { messages, error } = client.answers(methods)
    assert.equal(error, null)
    assert.equal(messages[1]?.body, 'next', client.text)
  }
  client.destroy()
  if (!vector.isReused) assert.equal(served?.requests, 1, 'the connection was used again')
}

function cutsOf({ bytes }: ResponseVector): number[] {
  const places = Math.max(0, bytes.length - 1)
  const count = Math.min(places, CUTS_EACH)
  return Array.from({ length: count }, (_, index) => 1 + Math.floor(((index + 0.5) * places) / count))
}

test('each answer whole', DEADLINE, async (t) => {
  await runAll(
    t,
    RESPONSE_VECTORS.map((vector) => ({ vector, cuts: [] })),
  )
})

test('each answer cut in two', DEADLINE, async (t) => {
  await runAll(
    t,
    RESPONSE_VECTORS.flatMap((vector) => cutsOf(vector).map((cut) => ({ vector, cuts: [cut] }))),
  )
})

test('each answer byte by byte', DEADLINE, async (t) => {
  await runAll(
    t,
    RESPONSE_VECTORS.map((vector) => ({
      vector,
      cuts: Array.from({ length: Math.max(0, vector.bytes.length - 1) }, (_, index) => index + 1),
    })),
  )
})

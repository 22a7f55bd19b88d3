// The whole gateway as a black box, between two hostile clients with a session each and a hostile service. What the service gets is strict,
// in the order of the client's bytes as the codec reads them, and under the client's own session; what a client gets is strict, and has
// nothing in it that was for the other.

import assert from 'node:assert/strict'
import net from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { MessageReader } from '../../../packages/http1/src/testing/read-messages.ts'
import { fixture, READER_ID, ROOT_ID } from '../../../packages/gateway/src/proxy/testing/fixture.ts'
import { VectorClient } from '../../desync/client.ts'
import { readRequests, readResponses, valuesOf } from '../../desync/strict.ts'
import { TAG } from '../../desync/vector.ts'
import { VECTORS } from '../../desync/vectors.ts'
import { RESPONSE_VECTORS } from '../../desync/vectors-responses.ts'
import { cuts, mutate } from '../mutate.ts'
import type { Target } from '../target.ts'

/** Both are in whatever is one client's: in its paths and bodies, and in what it is answered. */
const MARKS = ['alpha0', 'bravo0'] as const
const USERS = ['root', 'reader'] as const
const IDS = [ROOT_ID, READER_ID] as const
const LIMITS = { headBytesMax: 16_384, targetBytesMax: 8192 }
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS']

type Corpus = readonly [string, ...string[]]

/** The vectors as one client's. */
function corpusOf(index: 0 | 1): Corpus {
  const texts = VECTORS.filter(({ family, bytes }) => family !== 89 && bytes.length < 2000).map(({ bytes }) =>
    bytes.replaceAll(TAG, MARKS[index]).replaceAll(ROOT_ID, IDS[index]),
  )
  const plain = `GET /services/plugin/svc/${MARKS[index]}/x HTTP/1.1\r\nHost: h\r\nCookie: session_id=${IDS[index]}\r\n\r\n`
  return [plain, ...texts]
}

const CORPORA = [corpusOf(0), corpusOf(1)] as const
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nMARK00'
const ANSWERS: Corpus = [ANSWER, ANSWER, ...RESPONSE_VECTORS.map(({ bytes }) => bytes.replaceAll('hidden', 'MARK00'))]

/** Answers every request with the same bytes, in which its own mark is put. */
class HostileService {
  answer = ANSWER
  ends = false
  /** What each connection has got. */
  connections: { text: string }[] = []
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  constructor(t: TestContext, path: string) {
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket)).listen(path)
    t.after(() => {
      this.#server.close()
      this.forget()
    })
  }

  /** Ends what is open, so that no input has to do with the one before. */
  forget(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.connections = []
  }

  #serve(socket: net.Socket): void {
    const connection = { text: '' }
    let answered = 0
    this.connections.push(connection)
    this.#sockets.add(socket)
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
    socket.on('end', () => socket.end())
    socket.on('data', (chunk: Buffer) => {
      connection.text += chunk.toString('latin1')
      const heads = connection.text.split('X-Xen-Session-User: ').slice(1)
      for (; answered < readRequests(connection.text).messages.length; answered++) {
        const mark = heads[answered]?.startsWith('root\r\n') === true ? MARKS[0] : MARKS[1]
        if (socket.writable) socket.write(this.answer.replaceAll('MARK00', mark), 'latin1')
        if (this.ends) socket.end()
      }
    })
  }
}

export const GATEWAY: Target = {
  name: 'gateway',
  async start(t) {
    const short = { responseTimeoutMs: 300, bodyIdleTimeoutMs: 300, headTimeoutMs: 300 }
    const { port, directory } = await fixture(t, { methods: METHODS, limits: short })
    const service = new HostileService(t, join(directory, 'svc'))
    let seen = 0
    return {
      make: (random) => {
        const stream = (index: 0 | 1): string => {
          const corpus = CORPORA[index]
          const text = Array.from({ length: random.integer(1, 3) }, () => random.pick(corpus)).join('')
          return random.isSo(0.4) ? text : mutate(random, text, corpus)
        }
        const [one, two] = [stream(0), stream(1)]
        const answer = random.isSo(0.3) ? random.pick(ANSWERS) : mutate(random, random.pick(ANSWERS), ANSWERS)
        return { one, two, cuts: cuts(random, one.length, 3), answer, ends: random.isSo(0.3) || !isWhole(answer) }
      },
      attempt: async ({ one, two, cuts: places, answer, ends }) => {
        service.forget()
        service.answer = String(answer)
        service.ends = ends === true
        const texts = [String(one), String(two)] as const
        const clients = texts.map(() => new VectorClient(port, false))
        try {
          await Promise.all(
            clients.map(async (client, index) => {
              await client.write(texts[index] ?? '', index === 0 ? (places as readonly number[]) : [])
              client.end()
              await client.ended()
            }),
          )
        } finally {
          for (const client of clients) client.destroy()
        }
        seen += judgeService(service.connections, texts, / 101/.test(service.answer))
        for (const [index, client] of clients.entries())
          judgeClient(client.text, texts[index] ?? '', index, service.answer)
      },
      finish: () => {
        assert.ok(seen > 0, 'nothing came through')
        return `${seen} requests came through`
      },
    }
  },
}

/** Whether a client that reads strictly knows the end of the answer. */
function isWhole(answer: string): boolean {
  const { messages, rest, error } = readResponses(answer, ['GET'], false)
  return error === null && rest === '' && messages.some(({ startLine }) => !/^HTTP\/1\.. 1/.test(startLine))
}

/** @param switches whether the service may have switched protocols, where it was asked to. @returns how many requests have come through */
function judgeService(
  connections: readonly { readonly text: string }[],
  texts: readonly [string, string],
  switches: boolean,
): number {
  const seen: string[][] = [[], []]
  for (const { text } of connections) {
    const { messages, error } = readRequests(text)
    const isTunnel = switches && messages.some(({ fields }) => valuesOf(fields, 'upgrade').length > 0)
    if (!isTunnel) assert.equal(error, null, `the service got ${JSON.stringify(text)}`)
    for (const { startLine, fields, body } of messages) {
      const index = USERS.indexOf(valuesOf(fields, 'x-xen-session-user').join() as 'root')
      assert.ok(index !== -1, `a request of nobody: ${JSON.stringify(text)}`)
      const all = [startLine, body, ...fields.flat()].join('\n')
      assert.ok(
        !all.includes(MARKS[1 - index]!),
        `a request of ${USERS[index]} with bytes of the other: ${JSON.stringify(text)}`,
      )
      seen[index]?.push(`${startLine.slice(0, -' HTTP/1.1'.length)} ${body}`)
      // Behind it the client may say what it likes.
      if (switches && valuesOf(fields, 'upgrade').length > 0) break
    }
  }
  for (const [index, requests] of seen.entries()) {
    const all = requestsIn(texts[index] ?? '')
    // A GET without a body is sent once more when its connection turns out to be gone.
    const left = [...all, ...all.filter((request) => /^GET \S+ $/.test(request))]
    for (const request of requests.toSorted((a, b) => left.indexOf(a) - left.indexOf(b))) {
      const at = left.indexOf(request)
      assert.ok(at !== -1, `${JSON.stringify(request)} is none of ${JSON.stringify(all)}`)
      left.splice(at, 1)
    }
  }
  return seen.flat().length
}

/** The requests in a client's bytes, as the codec reads them: method, target in origin form, body. */
function requestsIn(text: string): string[] {
  const reader = new MessageReader('requests', LIMITS)
  reader.write(Buffer.from(text, 'latin1'))
  return reader.messages
    .filter(({ isComplete }) => isComplete)
    .map(({ startLine, body }) => {
      const [method = '', target = ''] = startLine.split(' ')
      const origin = target.replace(/^https?:\/\/[^/?]*/i, '')
      return `${method} ${origin.startsWith('/') ? origin : `/${origin}`} ${body}`
    })
}

function judgeClient(text: string, sent: string, index: number, answer: string): void {
  assert.ok(!text.includes('(deadline)'), `the gateway stands still: ${JSON.stringify(text)}`)
  assert.ok(!text.includes(MARKS[1 - index]!), `an answer of the other: ${JSON.stringify(text)}`)
  // Behind 101 both sides may say what they like.
  if (/^HTTP\/1\.1 101/m.test(text)) return
  const reader = new MessageReader('requests', LIMITS)
  reader.write(Buffer.from(sent, 'latin1'))
  const methods = reader.messages.map(({ startLine }) => startLine.slice(0, startLine.indexOf(' ')))
  const { messages, error } = readResponses(text, methods, true)
  assert.equal(error, null, `the client got ${JSON.stringify(text)} of ${JSON.stringify(answer)}`)
  const finals = messages.filter(({ startLine }) => !/^HTTP\/1\.. 1/.test(startLine))
  assert.ok(
    finals.length <= methods.length + 1,
    `${finals.length} answers to ${methods.length} requests: ${JSON.stringify(text)}`,
  )
}

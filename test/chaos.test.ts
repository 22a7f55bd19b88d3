// What `npm run chaos -- faults` says is worth something: its checker sees each thing that may not be.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { answerBytes } from './chaos/answer.ts'
import { Checker } from './chaos/checker.ts'
import { BadLink } from './harness/bad-link.ts'
import { RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 30_000 }
const SIGNED = { user: 'alice', session: 'OpaqueRef:a' }

interface Answer {
  readonly status?: number
  readonly id?: string
  readonly user?: string
  readonly body?: Buffer
  readonly isCut?: boolean
}

/** What a checker says of one answer. */
async function judged(
  t: TestContext,
  answerTo: (id: string) => Answer,
): Promise<{ outcome: string; wrong: readonly string[] }> {
  const server = createServer((request, response) => {
    const id = String(request.headers['x-chaos-id'])
    const { status = 200, id: told = id, user = 'alice', body = answerBytes(id), isCut = false } = answerTo(id)
    const hash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' // of nothing
    response.writeHead(status, { 'X-Chaos-Id': told, 'X-Chaos-User': user, 'X-Chaos-Body': hash })
    if (isCut) response.write(body.subarray(0, 10), () => response.destroy())
    else response.end(body)
  })
  scopeOf(t).defer(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const checker = new Checker(`http://127.0.0.1:${port}`, '/', [], 0)
  const outcome = await checker.ask(SIGNED, false)
  await checker.stop()
  return { outcome, wrong: checker.wrong }
}

for (const [what, answer, outcome, wrong] of [
  ['a right answer is right', () => ({}), 'right', null],
  ['a refusal is one', () => ({ status: 503 }), 'refused', null],
  ['an answer that breaks off is cut', () => ({ body: Buffer.alloc(5000), isCut: true }), 'cut', null],
  ['a refusal of a live session is wrong', () => ({ status: 403 }), 'refused', /: 403/],
  ["another's answer is wrong", () => ({ id: 'another' }), 'right', /the answer to another/],
  ['what is done as another is wrong', () => ({ user: 'bob' }), 'right', /done as bob/],
  [
    'a byte that is another is wrong',
    (id: string) => {
      const body = Buffer.concat([answerBytes(id), Buffer.of(0)])
      body[0] = (body[0] ?? 0) ^ 1
      return { body: body.subarray(0, -1) }
    },
    'right',
    /other bytes/,
  ],
  [
    'an answer that is short and looks whole is wrong',
    (id: string) => ({ body: answerBytes(id).subarray(1) }),
    'right',
    /other bytes/,
  ],
] as const satisfies readonly (readonly [string, (id: string) => Answer, string, RegExp | null])[]) {
  test(what, DEADLINE, async (t) => {
    const told = await judged(t, answer)
    assert.equal(told.outcome, outcome)
    if (wrong === null) assert.deepEqual(told.wrong, [])
    else assert.match(told.wrong.join('\n'), wrong)
  })
}

test(
  'a bad link loses and delays packets, and what is sent over it comes whole',
  { ...DEADLINE, skip: !BadLink.isPossible },
  async (t) => {
    const scope = scopeOf(t)
    const link = await BadLink.make(scope, 1)
    const body = answerBytes('whole').toString('hex')
    const server = createServer((_request, response) => void response.end(body))
    scope.defer(() => void server.close())
    await new Promise<void>((resolve) => server.listen(0, link.address, resolve))
    const { port } = server.address() as { port: number }
    using client = await RawClient.connect(`unix:${link.path}`)
    await client.send(`${link.address}:${port}\n`)
    const request = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
    for (const badness of [
      { lost: 0, delayMs: 0 },
      { lost: 0.1, delayMs: 0 },
      { lost: 0.01, delayMs: 40 },
    ]) {
      await link.become(badness)
      assert.equal((await client.exchange(request)).text, body)
    }
    await link.become({ lost: 1, delayMs: 0 })
    await client.send(request)
    // What is said on standard input is done before what comes by the link's socket.
    await link.become({ lost: 1, delayMs: 0 })
    assert.equal(client.unread, '')
    await link.become({ lost: 0, delayMs: 0 })
    assert.equal((await client.response()).text, body)
  },
)

// The services: each request is looked up by its token, and answered as its plan says.

import type { Socket } from 'node:net'
import { within } from '../harness/deadline.ts'
import type { Scope } from '../harness/scope.ts'
import { serveSockets } from '../harness/services.ts'
import type { BodyPlan, ExchangePlan, TunnelPlan } from './plan.ts'
import { EndedError, framingOf, readBody, sendBody, Stream, WrongError } from './stream.ts'

/** What a token stands for. */
export type Known = { readonly isEndAllowed: boolean } & (
  | { readonly kind: 'exchange'; readonly plan: ExchangePlan }
  | { readonly kind: 'tunnel'; readonly plan: TunnelPlan }
)

/** Tokens that are known for some time after their connection, since the gateway may still be about to connect. */
const LATE_TOKENS = 20_000

/** The deadline for a service to be rid of an exchange whose client is done. */
const QUIET_MS = 30_000

/** The service has ended its connection on purpose. */
class VanishedError extends Error {}

/** See the head of this file. */
export class Services {
  readonly #known = new Map<string, Known>()
  readonly #retired: string[] = []
  readonly #busy = new Map<string, Promise<void>>()
  readonly #sockets = new Set<Socket>()
  readonly #failed: (error: Error, token: string) => void

  /** @param failed is told what was wrong, and of which request */
  constructor(failed: (error: Error, token: string) => void) {
    this.#failed = failed
  }

  listen(scope: Scope, path: string): Promise<void> {
    return serveSockets(scope, path, (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      void this.#serve(new Stream(socket))
    })
  }

  /** Closes every connection, of which none is in use: what the gateway has kept for later. */
  closeKept(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Makes a token known. */
  expect(token: string, known: Known): void {
    this.#known.set(token, known)
  }

  /** Waits until nothing more is done for `token`, whose client is done. */
  async retire(token: string): Promise<void> {
    const busy = this.#busy.get(token)
    if (busy !== undefined) await within(busy, 'the service to be rid of it', QUIET_MS)
    this.#retired.push(token)
    if (this.#retired.length > LATE_TOKENS) this.#known.delete(this.#retired.shift() ?? '')
  }

  async #serve(stream: Stream): Promise<void> {
    let token = ''
    let known: Known | undefined
    try {
      while (await stream.hasMore()) {
        known = undefined
        const head = await stream.until('\r\n\r\n')
        token = /^x-token: *(.*)\r$/im.exec(head)?.[1] ?? ''
        known = this.#known.get(token)
        if (known === undefined) throw new WrongError(`a request that nobody has sent: ${JSON.stringify(head)}`)
        if (!(await this.#track(token, answer(stream, head, known)))) break
      }
      await stream.close()
    } catch (error) {
      stream.socket.destroy()
      if (!(error instanceof Error)) throw error
      const isAllowed = error instanceof EndedError && known?.isEndAllowed !== false
      if (!isAllowed && !(error instanceof VanishedError)) this.#failed(error, token)
    }
  }

  async #track(token: string, work: Promise<boolean>): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#busy.set(token, promise)
    try {
      return await work
    } finally {
      if (this.#busy.get(token) === promise) this.#busy.delete(token)
      resolve()
    }
  }
}

/** @returns whether the connection goes on */
async function answer(stream: Stream, head: string, known: Known): Promise<boolean> {
  if (known.kind === 'tunnel') return passBothWays(stream, head, known.plan)
  const { plan } = known
  const { fate, up } = plan
  checkHead(head, plan)
  if (plan.hints) await stream.write('HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n')
  if (plan.answers === 'unread') {
    await respond(stream, plan)
    await stream.end()
    throw new VanishedError()
  }
  if (plan.expects) await stream.write('HTTP/1.1 100 Continue\r\n\r\n')
  const vanishesAt = fate.kind === 'service-vanishes' && fate.during === 'up' ? fate.bytes : Number.POSITIVE_INFINITY
  if (vanishesAt === 0) throw new VanishedError()
  const read = up === null ? Promise.resolve() : readUp(stream, head, up, vanishesAt)
  if (plan.answers === 'early') {
    await Promise.all([read, respond(stream, plan)])
  } else {
    await read
    await respond(stream, plan)
  }
  return !plan.closes
}

function checkHead(head: string, { method, service, token, up }: ExchangePlan): void {
  const line = `${method} /services/plugin/${service}/${token} HTTP/1.1\r\n`
  if (!head.startsWith(line)) throw new WrongError(`${JSON.stringify(head)} instead of ${line.trim()}`)
  const framing = framingOf(head)
  const isRight = up === null ? framing === null : up.framing === 'chunked' ? framing === 'chunked' : framing !== null
  if (!isRight) throw new WrongError(`another framing: ${JSON.stringify(head)}`)
}

function readUp(stream: Stream, head: string, up: BodyPlan, vanishesAt: number): Promise<void> {
  const framing = framingOf(head) ?? { length: 0 }
  return readBody(stream, framing, up, (bytes) => {
    if (bytes >= vanishesAt) throw new VanishedError()
  })
}

async function respond(stream: Stream, { token, down, closes, fate }: ExchangePlan): Promise<void> {
  const isCut = fate.kind === 'service-vanishes'
  if (isCut && fate.bytes === 0) throw new VanishedError()
  const framing = { length: `Content-Length: ${down.bytes}\r\n`, chunked: 'Transfer-Encoding: chunked\r\n', close: '' }
  const connection = closes ? 'Connection: close\r\n' : ''
  await stream.write(`HTTP/1.1 200 OK\r\nX-Token: ${token}\r\n${framing[down.framing]}${connection}\r\n`)
  await sendBody(stream, down, isCut ? fate.bytes : down.bytes)
  if (isCut) throw new VanishedError()
}

/** The service's side of an upgraded connection. */
async function passBothWays(
  stream: Stream,
  head: string,
  { token, up, down, vanishes, vanishesAt }: TunnelPlan,
): Promise<boolean> {
  if (!/^upgrade: soak\r$/im.test(head)) throw new WrongError(`no upgrade: ${JSON.stringify(head)}`)
  await stream.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: soak\r\nConnection: Upgrade\r\nX-Token: ${token}\r\n\r\n`,
  )
  await bothWays(stream, { sends: down, reads: up, cutAt: vanishes === 'service' ? vanishesAt : null })
  return false
}

/** Sends one body and reads another at once; with `cutAt` the connection is closed after that many bytes. */
export async function bothWays(
  stream: Stream,
  { sends, reads, cutAt }: { readonly sends: BodyPlan; readonly reads: BodyPlan; readonly cutAt: number | null },
): Promise<void> {
  const send = async (): Promise<void> => {
    await sendBody(stream, sends, cutAt ?? sends.bytes)
    if (cutAt === null) stream.socket.end()
    else stream.socket.destroy()
  }
  await Promise.all([send(), readBody(stream, 'close', reads)])
}

// The client's side of a plan: what is sent, and what has to come back.

import { connect } from 'node:net'
import { once } from 'node:events'
import { addressOf } from '../harness/raw.ts'
import type { ConnectionPlan, ExchangePlan, TunnelPlan } from './plan.ts'
import { bothWays } from './service.ts'
import { EndedError, type Framing, framingOf, readBody, sendBody, Stream, WrongError } from './stream.ts'

/** What came of a connection. */
export interface Outcome {
  /** Responses that came whole, and were right. */
  readonly responses: number
  /** Bytes both ways. */
  readonly bytes: number
  /** Answers of services that read nothing of a body which did not reach the client. */
  readonly lost: number
}

/** Where requests go, and by whose right. */
export interface Gate {
  /** `http://host:port` or `unix:/path`. */
  readonly url: string
  readonly session: string
}

/** Does what `plan` says. @throws what was wrong */
export async function runConnection(plan: ConnectionPlan, gate: Gate, signal: AbortSignal): Promise<Outcome> {
  const socket = connect({ ...addressOf(gate.url), allowHalfOpen: true })
  const destroy = (): void => void socket.destroy()
  signal.addEventListener('abort', destroy)
  try {
    await once(socket, 'connect')
    const stream = new Stream(socket)
    if (plan.kind === 'requests') return await new Requests(stream, plan, gate).run()
    await runTunnel(stream, plan.tunnel, gate)
    return { responses: 1, bytes: stream.sentBytes + stream.readBytes, lost: 0 }
  } finally {
    signal.removeEventListener('abort', destroy)
    socket.destroy()
  }
}

function headOf(
  method: string,
  { service, token }: { service: string; token: string },
  session: string,
  lines: string,
): string {
  return `${method} /services/plugin/${service}/${token} HTTP/1.1\r\nHost: soak\r\nCookie: session_id=${session}\r\nX-Token: ${token}\r\n${lines}\r\n`
}

async function runTunnel(stream: Stream, plan: TunnelPlan, { session }: Gate): Promise<void> {
  await stream.write(headOf('GET', plan, session, 'Connection: Upgrade\r\nUpgrade: soak\r\n'))
  try {
    const head = await stream.until('\r\n\r\n')
    if (!head.startsWith('HTTP/1.1 101 ')) throw new WrongError(`no switch of protocols: ${JSON.stringify(head)}`)
    checkToken(head, plan.token)
    const cutAt = plan.vanishes === 'client' ? plan.vanishesAt : null
    await bothWays(stream, { sends: plan.up, reads: plan.down, cutAt })
    if (plan.vanishes === null) await stream.close()
  } catch (error) {
    if (plan.vanishes === null || !(error instanceof EndedError)) throw error
  }
}

function checkToken(head: string, token: string): void {
  const found = /^x-token: *(.*)\r$/im.exec(head)?.[1]
  if (found !== token) throw new WrongError(`the response to ${found} came for ${token}: ${JSON.stringify(head)}`)
}

/** Requests on one connection, one after the other or all at once, and their responses. */
class Requests {
  readonly #stream: Stream
  readonly #exchanges: readonly ExchangePlan[]
  readonly #isPipelined: boolean
  readonly #gate: Gate
  #responses = 0
  #lost = 0
  /** Whether a response said that no other follows. */
  #isLast = false
  #hasVanished = false
  /** Whether the gateway may cut the connection with responses on it that came before the one that failed. */
  readonly #isCutAllowed: boolean

  constructor(stream: Stream, plan: Extract<ConnectionPlan, { kind: 'requests' }>, gate: Gate) {
    this.#stream = stream
    this.#exchanges = plan.exchanges
    this.#isPipelined = plan.isPipelined
    this.#gate = gate
    const last = plan.exchanges.at(-1)
    // Of a service that closes on a body that it has not read, nobody can tell whether what ends with the connection is complete.
    const isTorn = last?.answers === 'unread' && last.down.framing === 'close'
    this.#isCutAllowed = plan.isPipelined && (last?.fate.kind === 'service-vanishes' || isTorn)
  }

  async run(): Promise<Outcome> {
    const stream = this.#stream
    if (this.#isPipelined) await Promise.all([this.#sendAll(), this.#readAll()])
    else for (const each of this.#exchanges) if (!this.#isLast) await this.#exchange(each)
    await stream.end()
    if (!this.#hasVanished && (await stream.hasMore())) throw new WrongError('bytes after the last response')
    return { responses: this.#responses, bytes: stream.sentBytes + stream.readBytes, lost: this.#lost }
  }

  async #exchange(each: ExchangePlan): Promise<void> {
    const continued = Promise.withResolvers<boolean>()
    await Promise.all([this.#send(each, this.#headOf(each), continued.promise), this.#read(each, continued.resolve)])
  }

  /** Requests without a body go out with those that follow, in one write. */
  async #sendAll(): Promise<void> {
    let heads = ''
    for (const each of this.#exchanges) {
      heads += this.#headOf(each)
      if (each.up === null && each !== this.#exchanges.at(-1)) continue
      await this.#send(each, heads, Promise.resolve(true))
      heads = ''
    }
  }

  async #readAll(): Promise<void> {
    for (const each of this.#exchanges) if (!this.#isLast) await this.#read(each, () => {})
  }

  #headOf(each: ExchangePlan): string {
    const { up, expects } = each
    if (up === null) return headOf(each.method, each, this.#gate.session, '')
    const length = up.framing === 'length' ? `Content-Length: ${up.bytes}\r\n` : 'Transfer-Encoding: chunked\r\n'
    return headOf(each.method, each, this.#gate.session, length + (expects ? 'Expect: 100-continue\r\n' : ''))
  }

  /** Sends a request. That the connection ends meanwhile is for whoever reads to judge. @param continued whether the body is wanted */
  async #send({ up, fate, expects }: ExchangePlan, heads: string, continued: Promise<boolean>): Promise<void> {
    try {
      await this.#stream.write(heads)
      if (up !== null) {
        if (expects && !(await continued)) return
        const vanishesAt = fate.kind === 'client-vanishes' && fate.during === 'up' ? fate.bytes : up.bytes
        await sendBody(this.#stream, up, vanishesAt)
      }
      if (fate.kind === 'client-half-closes') this.#stream.socket.end()
      if (fate.kind === 'client-vanishes' && (fate.during === 'up' || fate.bytes === 0)) this.#vanish(fate.isReset)
    } catch (error) {
      if (!(error instanceof EndedError)) throw error
    }
  }

  #vanish(isReset: boolean): void {
    const { socket } = this.#stream
    this.#hasVanished = true
    if (isReset && socket.remoteAddress !== undefined) socket.resetAndDestroy()
    else socket.destroy()
  }

  async #read(each: ExchangePlan, continued: (isWanted: boolean) => void): Promise<void> {
    try {
      await this.#readResponse(each, continued)
    } catch (error) {
      if (!(error instanceof EndedError)) throw error
      this.#isLast = true
      if (each.answers === 'unread') this.#lost++
      else if (!this.#hasVanished && !this.#isCutAllowed && each.fate.kind !== 'service-vanishes') throw error
    } finally {
      continued(false)
    }
  }

  async #readResponse(each: ExchangePlan, continued: (isWanted: boolean) => void): Promise<void> {
    const { fate, down } = each
    const head = await this.#finalHead(each, continued)
    const status = Number(head.slice(9, 12))
    const framing = framingOf(head) ?? 'close'
    if (/^connection: *close\r$/im.test(head) || framing === 'close') this.#isLast = true
    if (status !== 200) {
      await this.#readRefusal(each, status, head, framing)
      return
    }
    checkToken(head, each.token)
    const vanishesAt = fate.kind === 'client-vanishes' && fate.during === 'down' ? fate.bytes : Number.POSITIVE_INFINITY
    await readBody(this.#stream, framing, down, (bytes) => {
      if (bytes < vanishesAt || fate.kind !== 'client-vanishes') return
      this.#vanish(fate.isReset)
      throw new EndedError('vanished')
    })
    if (fate.kind === 'service-vanishes')
      throw new WrongError('a whole response of a service that vanished in the middle of it')
    this.#responses++
  }

  /** The head of the response itself, after interim ones. */
  async #finalHead(each: ExchangePlan, continued: (isWanted: boolean) => void): Promise<string> {
    for (;;) {
      const head = await this.#stream.until('\r\n\r\n')
      if (!/^HTTP\/1\.1 \d{3} /.test(head)) throw new WrongError(`no response: ${JSON.stringify(head)}`)
      if (head.startsWith('HTTP/1.1 100 ')) continued(true)
      else if (!head.startsWith('HTTP/1.1 103 ') || !each.hints) return head
    }
  }

  /** The gateway's own answer, where the service gave none. */
  async #readRefusal(each: ExchangePlan, status: number, head: string, framing: Framing): Promise<void> {
    const isRight = status === 502 && (each.fate.kind === 'service-vanishes' || each.answers === 'unread')
    if (!isRight || framing === 'close' || framing === 'chunked')
      throw new WrongError(`another response: ${JSON.stringify(head)}`)
    for (let left = framing.length; left > 0;) left -= (await this.#stream.some(left)).length
    if (each.answers === 'unread') this.#lost++
  }
}

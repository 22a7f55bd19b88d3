// Clients that check every answer: that it is whole and theirs, or a refusal, or a connection that broke off. What else there is, is wrong.

import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { Agent, type IncomingMessage, request } from 'node:http'
import { answerBytes } from './answer.ts'

/** Somebody who is signed in. */
export interface Signed {
  readonly user: string
  readonly session: string
}

/** What became of requests. */
export interface Tally {
  /** Whole, and theirs. */
  right: number
  /** Answers of the gateway that say that it cannot now. */
  refused: number
  /** Connections that could not be had, or that broke off before an answer was whole. */
  cut: number
}

/** Answers of the gateway's own that a fault may cause. 403 is none: the sessions are live. */
const FAULTS: ReadonlySet<number> = new Set([404, 502, 503, 504])
/** A request that is neither answered nor cut by then hangs. */
const HANGS_MS = 30_000
const BODY_BYTES_MAX = 100_000

export class Checker {
  readonly tally: Tally = { right: 0, refused: 0, cut: 0 }
  /** What may not be, each in words. */
  readonly wrong: string[] = []
  /** How often each refusal, and each end of a connection, was the outcome. */
  readonly reasons: Map<string, number> = new Map()
  /** Ids of POSTs that were answered as done. */
  readonly done: string[] = []
  readonly #url: string
  readonly #target: string
  readonly #signed: readonly Signed[]
  readonly #agent = new Agent({ keepAlive: true })
  readonly #running: Promise<void>[] = []
  #isStopping = false

  /** @param clients how many ask at once */
  constructor(url: string, target: string, signed: readonly Signed[], clients: number) {
    this.#url = url
    this.#target = target
    this.#signed = signed
    for (let number = 0; number < clients; number++) this.#running.push(this.#run(number))
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(this.#running)
    this.#agent.destroy()
  }

  async #run(number: number): Promise<void> {
    while (!this.#isStopping) {
      const signed = this.#signed[number % this.#signed.length]
      if (signed === undefined) return
      const outcome = await this.ask(signed, number % 3 === 0)
      this.tally[outcome]++
      // Where nobody listens this would be all that the machine does.
      if (outcome !== 'right') await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Asks once. @param isPost whether with a body, for what may be done once */
  async ask(signed: Signed, isPost: boolean): Promise<keyof Tally> {
    const id = randomUUID()
    const body = isPost ? randomBytes(Math.floor(Math.random() * BODY_BYTES_MAX)) : Buffer.alloc(0)
    const told = `${isPost ? 'POST' : 'GET'} ${id} of ${signed.user}`
    try {
      const { response, bytes } = await this.#exchange(signed, id, body)
      return this.#judge(told, signed, id, body, response, bytes)
    } catch (error) {
      this.#count(error instanceof Error && 'code' in error ? String(error.code) : String(error))
      if (error instanceof Hung) this.wrong.push(`${told}: neither answered nor cut within ${HANGS_MS / 1000} s`)
      return 'cut'
    }
  }

  #judge(
    told: string,
    { user }: Signed,
    id: string,
    body: Buffer,
    { statusCode = 0, headers }: IncomingMessage,
    bytes: Buffer,
  ): keyof Tally {
    if (statusCode !== 200) {
      this.#count(
        `${statusCode} ${/details="([\w-]+)"/.exec(String(headers['proxy-status']))?.[1] ?? 'of the service'}`,
      )
      if (!FAULTS.has(statusCode)) this.wrong.push(`${told}: ${statusCode} ${bytes.toString()}`)
      return 'refused'
    }
    if (headers['x-chaos-id'] !== id) this.wrong.push(`${told}: the answer to ${String(headers['x-chaos-id'])}`)
    if (headers['x-chaos-user'] !== user) this.wrong.push(`${told}: done as ${String(headers['x-chaos-user'])}`)
    if (headers['x-chaos-body'] !== createHash('sha256').update(body).digest('hex')) {
      this.wrong.push(`${told}: the service had another body`)
    }
    if (!bytes.equals(answerBytes(id))) this.wrong.push(`${told}: other bytes, ${bytes.length}, and all of them`)
    if (body.length > 0) this.done.push(id)
    return 'right'
  }

  #count(reason: string): void {
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1)
  }

  #exchange(signed: Signed, id: string, body: Buffer): Promise<{ response: IncomingMessage; bytes: Buffer }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ response: IncomingMessage; bytes: Buffer }>()
    const isPost = body.length > 0
    const asked = request(`${this.#url}${this.#target}`, {
      method: isPost ? 'POST' : 'GET',
      // Some on connections of their own.
      agent: Math.random() < 0.2 ? false : this.#agent,
      headers: {
        Cookie: `session_id=${signed.session}`,
        'X-Chaos-Id': id,
        ...(isPost ? { 'Content-Length': body.length } : {}),
      },
    })
    const timer = setTimeout(() => {
      reject(new Hung())
      asked.destroy()
    }, HANGS_MS)
    asked.once('error', reject).once('close', () => clearTimeout(timer))
    asked.once('response', (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.once('error', reject)
      response.once('close', () => reject(new Error('it broke off')))
      // Node.js says so when the message is complete, and at no other end.
      response.once('end', () => {
        if (response.complete) resolve({ response, bytes: Buffer.concat(parts) })
      })
    })
    asked.end(body)
    return promise
  }
}

class Hung extends Error {}

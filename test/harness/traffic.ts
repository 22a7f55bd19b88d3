// Clients that count all that goes wrong: requests on connections that are kept, and on connections of their own.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { until } from './deadline.ts'
import { addressOf } from './raw.ts'

/** What became of everything. */
export interface Count {
  /** Requests that were answered as they should be. */
  answered: number
  /** Connections that could not be had. */
  refused: number
  /** Connections that were reset. */
  reset: number
  /** Requests that were sent and not answered, or otherwise than they should be. */
  lost: number
  /** Connections that were kept and have ended, or were told to, though their client went on. */
  ended: number
}

/** What clients do. */
export interface TrafficOptions {
  readonly url: string
  /** Without `Connection`. */
  readonly request: string
  /** What the end of the answer is. */
  readonly answer: string
  /** Clients that keep their connection, each with a pause between its requests. */
  readonly kept: number
  readonly pauseMs: number
  /** Clients that use a connection for each request, one after the other. */
  readonly fresh: number
  /** What is asked first on each connection that is kept, and what the end of its answer is. */
  readonly opening?: { readonly request: string; readonly answer: string }
}

/** Clients of the service `name`, as `node_service.ts` has it, whose connections it has: each answer says so. */
export function channelClients(url: string, session: string, name: string, kept: number): TrafficOptions {
  const request = `GET /services/plugin/${name}/way HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
  return { url, request, answer: '\r\n\r\nchannel', kept, pauseMs: 50, fresh: 0 }
}

/** Clients that switch protocols at the service `name`, as `echoUpgrades` has it, and say something again and again. */
export function tunnelClients(url: string, session: string, name: string, kept: number): TrafficOptions {
  const lines = `Host: gate\r\nCookie: session_id=${session}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
  const opening = { request: `GET /services/plugin/${name} HTTP/1.1\r\n${lines}\r\n`, answer: '\r\n\r\n' }
  return { url, opening, request: 'to and fro', answer: 'to and fro', kept, pauseMs: 50, fresh: 0 }
}

/** See the head of this file. */
export class Traffic {
  readonly count: Count = { answered: 0, refused: 0, reset: 0, lost: 0, ended: 0 }
  /** The first things that went wrong. */
  readonly troubles: string[] = []
  readonly #options: TrafficOptions
  readonly #running: Promise<void>[] = []
  #isStopping = false

  constructor(options: TrafficOptions) {
    this.#options = options
    for (let number = 0; number < options.kept; number++) this.#running.push(this.#keep())
    for (let number = 0; number < options.fresh; number++) this.#running.push(this.#renew())
  }

  /** Waits until so many more requests are answered. */
  async more(requests: number): Promise<void> {
    const wanted = this.count.answered + requests
    await until(() => this.count.answered >= wanted, `${requests} more answers`)
  }

  /** Lets all clients finish their requests. */
  async stop(): Promise<Count> {
    this.#isStopping = true
    await Promise.all(this.#running)
    return this.count
  }

  #trouble(what: Exclude<keyof Count, 'answered'>, text: string): void {
    this.count[what]++
    if (this.troubles.length < 20) this.troubles.push(`${what}: ${text}`)
  }

  async #keep(): Promise<void> {
    while (!this.#isStopping) {
      const client = await this.#connect()
      if (client === null) continue
      const { opening, request, answer } = this.#options
      if (opening !== undefined) await this.#ask(client, opening.request, opening.answer, true)
      while (!this.#isStopping && (await this.#ask(client, request, answer, true))) {
        await new Promise((resolve) => setTimeout(resolve, this.#options.pauseMs * Math.random() * 2))
        if (client.hasEnded) {
          this.#trouble(client.isReset ? 'reset' : 'ended', 'between two requests')
          break
        }
      }
      client.socket.destroy()
    }
  }

  async #renew(): Promise<void> {
    const request = this.#options.request.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')
    while (!this.#isStopping) {
      const client = await this.#connect()
      if (client !== null) await this.#ask(client, request, this.#options.answer, false)
      client?.socket.destroy()
    }
  }

  async #connect(): Promise<TrafficClient | null> {
    const socket = connect(addressOf(this.#options.url))
    try {
      await once(socket, 'connect')
      return new TrafficClient(socket)
    } catch (error) {
      this.#trouble('refused', String(error))
      return null
    }
  }

  /** @returns whether the connection goes on */
  async #ask(client: TrafficClient, request: string, answer: string, isKept: boolean): Promise<boolean> {
    const text = await client.exchange(request, answer)
    if (!text.endsWith(answer)) {
      if (client.isReset) this.#trouble('reset', JSON.stringify(text))
      this.#trouble('lost', JSON.stringify(text))
      return false
    }
    this.count.answered++
    if (isKept && /\r\nconnection: close\r\n/i.test(text)) {
      this.#trouble('ended', 'with an answer')
      return false
    }
    return true
  }
}

/** An answer that takes longer is lost. */
const ANSWER_MS = 10_000

class TrafficClient {
  readonly socket: Socket
  hasEnded = false
  isReset = false
  #text = ''
  #wake: () => void = () => {}

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#text += text
      this.#wake()
    })
    socket.on('error', () => {
      this.isReset = true
    })
    const ended = (): void => {
      this.hasEnded = true
      this.#wake()
    }
    socket.on('end', ended).on('close', ended)
  }

  /** Sends a request, and reads up to the end of its answer, or of the connection, or until it takes too long. */
  async exchange(request: string, answer: string): Promise<string> {
    this.#text = ''
    this.socket.write(request)
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ANSWER_MS)
    this.#wake = () => {
      if (this.hasEnded || this.#text.endsWith(answer)) resolve()
    }
    this.#wake()
    await promise
    clearTimeout(timer)
    return this.#text
  }
}

// Where metrics and health are read without a session: `[control] metrics`.
//
//   GET /metrics    all series, as Prometheus reads them
//   GET /healthz    200 while the gateway serves; 503 from the moment that it stops, before a listener closes, and while no worker serves

import { createServer, type Server, type ServerResponse } from 'node:http'
import type { ListenAddress } from '../config/addresses.ts'
import { EXPOSITION_TYPE } from '../metrics/exposition.ts'
import { listenAt, type SocketFile } from './listening-socket.ts'
import { closeServer, retireServer } from './servers.ts'

/** Why the gateway is not healthy; null when it is. */
export type Ailment = 'draining' | 'no worker serves' | null

/** What is served. */
export interface Measured {
  readonly metrics: () => Promise<string>
  readonly ailment: () => Ailment
  /** Whether the gateway goes by this Host. */
  readonly answersTo: (host: string | undefined) => boolean
}

/** A listener of a configuration that is not in force yet: one of these is called, once. */
export interface Taken {
  /** The configuration is in force: the earlier listener closes. */
  readonly keep: () => void
  /** It is not: this one closes. */
  readonly undo: () => void
}

/** A socket that the daemon's group may read. */
const SOCKET_FILE: SocketFile = Object.freeze({ mode: 0o660, owner: null, group: null })

/** See the head of this file. */
export class MetricsListener {
  readonly #measured: Measured
  #address: ListenAddress | null = null
  #server: Server | null = null
  #url: string | null = null

  constructor(measured: Measured) {
    this.#measured = measured
  }

  /** Where it listens; null when it does not. */
  get url(): string | null {
    return this.#url
  }

  /**
   * Listens at `address`, where it does not listen yet; null: nowhere.
   * @throws {ListenError} with the earlier one as it was
   */
  async take(address: ListenAddress | null): Promise<Taken> {
    if (JSON.stringify(address) === JSON.stringify(this.#address)) return { keep: () => {}, undo: () => {} }
    const before = { server: this.#server, address: this.#address, url: this.#url }
    const server = address === null ? null : createMetricsServer(this.#measured)
    this.#url = server === null || address === null ? null : await listenAt(server, address, SOCKET_FILE)
    this.#server = server
    this.#address = address
    return {
      keep: () => closeIfAny(before.server),
      undo: () => {
        closeIfAny(server)
        this.#server = before.server
        this.#address = before.address
        this.#url = before.url
      },
    }
  }

  /** Leaves it to another process that listens there. */
  async retire(): Promise<void> {
    if (this.#server !== null) await retireServer(this.#server)
  }

  close(): void {
    closeIfAny(this.#server)
    this.#server = null
  }
}

function closeIfAny(server: Server | null): void {
  if (server !== null) closeServer(server)
}

function createMetricsServer({ metrics, ailment, answersTo }: Measured): Server {
  return createServer((request, response) => {
    const { method = '', url = '' } = request
    const [path] = url.split('?')
    if (!answersTo(request.headers.host)) answer(response, 421, 'text/plain', 'not a name of this host\n')
    else if (path !== '/metrics' && path !== '/healthz') answer(response, 404, 'text/plain', 'not found\n')
    else if (method !== 'GET' && method !== 'HEAD') answer(response, 405, 'text/plain', 'use GET\n')
    else if (path === '/healthz') answerHealth(response, ailment())
    else {
      metrics().then(
        (text) => answer(response, 200, EXPOSITION_TYPE, text),
        () => answer(response, 500, 'text/plain', 'the metrics cannot be read\n'),
      )
    }
  })
}

function answerHealth(response: ServerResponse, ailment: Ailment): void {
  if (ailment === null) answer(response, 200, 'text/plain', 'ok\n')
  else answer(response, 503, 'text/plain', `${ailment}\n`)
}

function answer(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(text)
}

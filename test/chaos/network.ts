// What is between clients and the gateway in a run of faults: it can be held and cut, and lead over a bad link.

import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net'
import type { Scope } from '../harness/scope.ts'
import { freePort } from '../harness/tls.ts'

/** What is between clients and the gateway, which it passes on as it comes. */
export class Network {
  readonly url: string
  /** Where new connections lead: the gateway itself, or a bad link to it. */
  #target: NetConnectOpts
  /** What is sent first there. */
  #opening = ''
  readonly #direct: NetConnectOpts
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  #isPaused = false

  private constructor(url: string, port: number) {
    this.url = url
    this.#direct = { host: '127.0.0.1', port }
    this.#target = this.#direct
  }

  static async open(scope: Scope, port: number): Promise<Network> {
    const own = await freePort()
    const network = new Network(`http://127.0.0.1:${own}`, port)
    const server = createServer({ allowHalfOpen: true }, (client) => network.#join(client))
    await new Promise<void>((resolve) => server.listen(own, '127.0.0.1', resolve))
    scope.defer(() => {
      network.cut()
      server.close()
    })
    return network
  }

  #join(client: Socket): void {
    const gateway = connect({ ...this.#target, allowHalfOpen: true })
    gateway.write(this.#opening)
    const pair = [client, gateway] as const
    this.#pairs.add(pair)
    for (const [one, other] of [pair, [gateway, client] as const]) {
      one.setNoDelay(true)
      one.on('error', () => breakOff(other))
      one.on('close', () => this.#pairs.delete(pair))
      // Those that come while nothing gets through are joined when it does again.
      if (this.#isPaused) one.pause()
      else one.pipe(other)
    }
  }

  /** Has new connections go over a link, to this place. @param path of the link's socket. @param place `HOST:PORT` */
  overLink(path: string, place: string): void {
    this.#target = { path }
    this.#opening = `${place}\n`
  }

  /** Has new connections go to the gateway itself. */
  direct(): void {
    this.#target = this.#direct
    this.#opening = ''
  }

  /** Nothing gets through, and nothing is lost. */
  pause(): void {
    this.#isPaused = true
    for (const [one, other] of this.#pairs) {
      one.unpipe()
      other.unpipe()
      one.pause()
      other.pause()
    }
  }

  resume(): void {
    this.#isPaused = false
    for (const [one, other] of this.#pairs) {
      one.pipe(other)
      other.pipe(one)
    }
  }

  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) breakOff(socket)
  }
}

/** With a reset, which Unix sockets do not have. */
function breakOff(socket: Socket): void {
  if (socket.remoteFamily === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

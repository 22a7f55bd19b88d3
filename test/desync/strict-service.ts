// A service that reads every request strictly and whole, and answers it: what it has read is what the gateway has let through.

import { chmodSync } from 'node:fs'
import net from 'node:net'
import { readRequests, type StrictMessage, valuesOf } from './strict.ts'

/** A request that the service has read. */
export interface SeenRequest {
  /** `METHOD target body`. */
  readonly text: string
  /** Number of the connection on which it came. */
  readonly connection: number
  readonly fields: StrictMessage['fields']
}

/** Fields that a service believes, and of which there is one alone. */
const BELIEVED = ['x-xen-session-user', 'x-xen-session-roles', 'x-forwarded-for', 'x-request-id', 'host']

/** See the head of this file. */
export class StrictService {
  readonly seen: SeenRequest[] = []
  /** What must not have come. */
  readonly faults: string[] = []
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  #connections = 0

  constructor() {
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket))
  }

  /** Listens. @param readsBodies whether it says so by the mode of its socket */
  async listen(path: string, readsBodies: boolean): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(path, resolve))
    chmodSync(path, readsBodies ? 0o1666 : 0o666)
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #serve(socket: net.Socket): void {
    const connection = this.#connections++
    this.#sockets.add(socket)
    let text = ''
    let hasContinued = false
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
    socket.on('end', () => socket.end())
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const { messages, rest, error } = readRequests(text)
      if (error !== null) this.faults.push(`${error} in ${JSON.stringify(text)}`)
      for (const message of messages) this.#answer(socket, message, connection)
      if (messages.length > 0) hasContinued = false
      if (!hasContinued && /^expect: *100-continue\r\n/im.test(rest) && rest.includes('\r\n\r\n')) {
        hasContinued = true
        socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      }
      text = rest
    })
  }

  #answer(socket: net.Socket, { startLine, fields, body }: StrictMessage, connection: number): void {
    const [method = '', target = ''] = startLine.split(' ')
    this.seen.push({ text: `${method} ${target} ${body}`, connection, fields })
    for (const name of BELIEVED) {
      if (valuesOf(fields, name).length !== 1) this.faults.push(`${name} is not there once: ${JSON.stringify(fields)}`)
    }
    for (const [name, value] of fields) {
      if (value === 'forged') this.faults.push(`${name} is forged`)
      if (name === 'upgrade' && /h2c|http|tls/i.test(value)) this.faults.push(`an upgrade to ${value}`)
    }
    const content = method === 'HEAD' ? '' : 'ok'
    const closes = valuesOf(fields, 'connection').some((value) => value.toLowerCase() === 'close')
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${closes ? 'Connection: close\r\n' : ''}\r\n${content}`)
    if (closes) socket.end()
  }
}

// A model of xapi's server: it answers by the head alone, and takes a body that it did not need for the next request, unless it was told
// that the request is the last.

import net from 'node:net'

/** See the head of this file. */
export class LazyServer {
  /** What it took for requests: `METHOD target `. */
  readonly seen: { readonly text: string }[] = []
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  constructor() {
    this.#server = net.createServer((socket) => this.#serve(socket))
  }

  /** Listens. @returns the port */
  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket)
    let text = ''
    let isLast = false
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end !== -1 && !isLast; end = text.indexOf('\r\n\r\n')) {
        isLast = this.#answer(socket, text.slice(0, end + 2))
        text = text.slice(end + 4)
      }
    })
  }

  /** @returns whether the connection ends with it */
  #answer(socket: net.Socket, head: string): boolean {
    const [method = '', target = '', version = ''] = (head.split('\r\n', 1)[0] ?? '').split(' ')
    this.seen.push({ text: `${method} ${target} ` })
    const isKept =
      version === 'HTTP/1.0' ? /^connection: *keep-alive\r$/im.test(head) : !/^connection: *close\r$/im.test(head)
    const isLast = !isKept || method === 'CONNECT'
    const line = isLast ? 'Connection: close\r\n' : version === 'HTTP/1.0' ? 'Connection: keep-alive\r\n' : ''
    socket.write(`HTTP/1.1 200 OK\r\n${line}Content-Length: 2\r\n\r\n${method === 'HEAD' ? '' : 'ok'}`)
    if (isLast) socket.end()
    return isLast
  }
}

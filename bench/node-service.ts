// A service on Node.js, for channels: the same handler is reached through the gateway (relayed or passed) and, to compare, by
// TCP as a plain node:http server.
//
//   node-service.ts DIRECTORY NAME
//
// Prints "ready PORT", the port of the plain server.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@xengate/service'

const SMALL = Buffer.from('hello from the service')
const PIECE = Buffer.alloc(1024 * 1024, 'x')

function handler(request: IncomingMessage, response: ServerResponse): void {
  const url = request.url ?? ''
  const bulk = /\/bulk\/(\d+)$/.exec(url)
  if (bulk !== null) {
    sendBulk(response, Number(bulk[1]))
  } else if (url.endsWith('/user')) {
    response.end(request.headers['x-xen-session-user'])
  } else if (url.endsWith('/64k')) {
    response.end(PIECE.subarray(0, 65_536))
  } else if (request.method === 'GET') {
    response.writeHead(200, { 'Content-Length': SMALL.length }).end(SMALL)
  } else {
    request.resume().on('end', () => response.end(SMALL))
  }
}

function sendBulk(response: ServerResponse, bytes: number): void {
  let left = bytes
  response.setHeader('Content-Length', bytes)
  const send = (): void => {
    while (left > 0) {
      const piece = PIECE.subarray(0, left)
      left -= piece.length
      if (!response.write(piece)) {
        response.once('drain', send)
        return
      }
    }
    response.end()
  }
  send()
}

const [directory = '', name = ''] = process.argv.slice(2)
await serve({ name, directory, handler })
const plain = createServer(handler).listen(0, '127.0.0.1', () => {
  process.stdout.write(`ready ${(plain.address() as AddressInfo).port}\n`)
})

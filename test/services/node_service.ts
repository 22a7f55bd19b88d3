// A service that takes channels, as a process of its own: node_service.ts DIRECTORY NAME…
//
//   …/who           who asks, and how the request came, as JSON
//   …/way           whether it came on a channel, in a word
//   …/hang          begins an answer that never ends
//   PUT, POST       the body, as it came
//   Upgrade         a WebSocket that says back what it hears

import type { IncomingMessage, ServerResponse } from 'node:http'
import { serve } from '@xengate/service'
import { WebSocketServer } from 'ws'

function answer(name: string, request: IncomingMessage, response: ServerResponse): void {
  if (request.url?.endsWith('/hang') === true) {
    response.writeHead(200).write('begun')
  } else if (request.url?.endsWith('/way') === true) {
    response.end(request.xen.channel ? 'channel' : 'relay')
  } else if (request.method === 'PUT' || request.method === 'POST') {
    request.pipe(response)
  } else {
    const { user, subject, roles, originator, sessionId, channel } = request.xen
    const { url } = request
    const { 'x-xen-session-user': header, 'x-forwarded-for': address } = request.headers
    response.end(JSON.stringify({ name, url, user, subject, roles, originator, sessionId, channel, header, address }))
  }
}

const [directory = '', ...names] = process.argv.slice(2)
const sockets = new WebSocketServer({ noServer: true })
for (const name of names) {
  await serve({
    name,
    directory,
    // What hangs is not waited for.
    drainTimeoutMs: 500,
    handler: (request, response) => answer(name, request, response),
    upgrade: (request, socket, head) =>
      sockets.handleUpgrade(request, socket, head, (opened) => {
        opened.on('message', (data, isBinary) => opened.send(data, { binary: isBinary }))
      }),
  })
}
process.stdout.write('ready\n')

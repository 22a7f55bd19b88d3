// WebSockets, and a service that sends back what they send.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'
import type { Daemon } from './daemon.ts'
import { within } from './deadline.ts'
import type { Scope } from './scope.ts'
import { listen } from './services.ts'

/** Starts the service `name`, and opens a WebSocket to it. */
export async function openWebSocket(scope: Scope, daemon: Daemon, name: string, session: string): Promise<WebSocket> {
  const server = createServer()
  const webSockets = new WebSocketServer({ server })
  webSockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data, { binary: false })))
  await listen(server, daemon.place.socket(name))
  scope.defer(() => {
    for (const socket of webSockets.clients) socket.terminate()
    server.close()
  })
  const headers = { Cookie: `session_id=${session}` }
  const socket = new WebSocket(`${daemon.url.replace('http:', 'ws:')}/services/plugin/${name}`, { headers })
  // Where it is cut, the test sees it by its end.
  socket.on('error', () => {})
  scope.defer(() => socket.terminate())
  await within(once(socket, 'open'), 'the WebSocket to open')
  return socket
}

// The custom service `org.xengate.control`: a server of the primary on a socket in the first plugin directory, which only the gateway's
// workers may connect to. The gateway's policy lets in sessions with the role pool-admin alone.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { CONTROL_SERVICE } from '../../model/control-service.ts'
import type { Account } from '../account.ts'
import { listenPrivately } from '../listening-socket.ts'
import { controlAnswer, type Watched } from './answers.ts'
import { sendAnswer } from './door.ts'

const PREFIX = `/services/plugin/${CONTROL_SERVICE}`

/** Longer than workers keep a connection. */
const KEEP_ALIVE_MS = 60_000

/**
 * Starts the service. @param owner whom workers run as; null: this process's user
 * @throws {ListenError} when the socket cannot be had
 */
export async function startControlService(watched: Watched, directory: string, owner: Account | null): Promise<Server> {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    request.resume()
    answer(watched, request, response).catch(() => response.destroy())
  })
  await listenPrivately(server, join(directory, CONTROL_SERVICE), owner)
  return server
}

async function answer(watched: Watched, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = '', url = '', headers } = request
  const [path = ''] = url.split('?')
  // The gateway says who asks; nobody else can connect.
  const asker = { by: String(headers['x-xen-session-user'] ?? ''), client: String(headers['x-forwarded-for'] ?? '') }
  const within = path.startsWith(PREFIX) ? path.slice(PREFIX.length) : path
  sendAnswer(response, await controlAnswer(watched, method, within, asker), watched.events)
}

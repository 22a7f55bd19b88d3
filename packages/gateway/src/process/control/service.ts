// The custom service `org.xengate.control`: a server of the primary on a socket in the state directory, which only the gateway's workers
// may connect to, and root. It is in no plugin directory: on a host xapi takes clients to what it finds there, with the fields that they send. The gateway's policy lets in sessions with the role pool-admin alone.

import { randomBytes } from 'node:crypto'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { join } from 'node:path'
import { CONTROL_SERVICE } from '../../model/control-service.ts'
import type { Account } from '../account.ts'
import { listenPrivately } from '../listening-socket.ts'
import { controlAnswer, SCHEMA, type Watched } from './answers.ts'
import { sendAnswer } from './door.ts'

const PREFIX = `/services/plugin/${CONTROL_SERVICE}`

/** What a page has to know to end something: another site's cannot read it. */
const TOKEN = randomBytes(18).toString('base64url')

/** Longer than workers keep a connection. */
const KEEP_ALIVE_MS = 60_000

/**
 * Starts the service. @param owner whom workers run as; null: this process's user
 * @throws {ListenError} when the socket cannot be had
 */
export async function startControlService(watched: Watched, stateDir: string, owner: Account | null): Promise<Server> {
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    request.resume()
    answer(watched, request, response).catch(() => response.destroy())
  })
  await listenPrivately(server, join(stateDir, CONTROL_SERVICE), owner)
  return server
}

async function answer(watched: Watched, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { method = '', url = '', headers } = request
  const [path = ''] = url.split('?')
  // The gateway says who asks; nobody else can connect.
  const asker = { by: String(headers['x-xen-session-user'] ?? ''), client: String(headers['x-forwarded-for'] ?? '') }
  const within = path.startsWith(PREFIX) ? path.slice(PREFIX.length) : path
  if (within === '/token' && method === 'GET') {
    sendAnswer(
      response,
      { kind: 'json', status: 200, body: { schema: SCHEMA, user: asker.by, token: TOKEN } },
      watched.events,
    )
    return
  }
  if (method !== 'GET' && isOfPage(headers) && headers['x-xengate-token'] !== TOKEN) {
    const error = { code: 'token-missing', message: 'a page has to send the token of GET /token as X-Xengate-Token' }
    sendAnswer(response, { kind: 'json', status: 403, body: { schema: SCHEMA, error } }, watched.events)
    return
  }
  sendAnswer(response, await controlAnswer(watched, method, within, asker), watched.events)
}

/** Whether a browser's page asks, rather than a program: browsers say so. */
function isOfPage(headers: IncomingHttpHeaders): boolean {
  return headers['sec-fetch-site'] !== undefined || headers.origin !== undefined
}

// A host that serves `/services/plugin/<name>` as xapi itself does: a session in the query or the cookie, 401 without one, 404 without a
// service, bodies only with Content-Length, the body of an answer only with 200, and a connection for each request.

import { randomUUID } from 'node:crypto'
import { createServer, request as send, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import type { Scope } from './scope.ts'

const PREFIX = '/services/plugin/'

/** See the head of this file. */
export class XapiServices {
  readonly directory: string
  readonly #users: ReadonlyMap<string, string>
  readonly #sessions = new Set<string>()
  #url = ''

  private constructor(directory: string, users: ReadonlyMap<string, string>) {
    this.directory = directory
    this.#users = users
  }

  /** @param users passwords by name */
  static async start(scope: Scope, users: ReadonlyMap<string, string>): Promise<XapiServices> {
    const host = new XapiServices(await scope.directory(), users)
    const server = createServer({ requestTimeout: 0 }, (request, response) => {
      response.setHeader('Connection', 'close')
      host.#answer(request, response).catch(() => response.destroy())
    })
    const { promise, resolve } = Promise.withResolvers<void>()
    server.listen(0, '127.0.0.1', resolve)
    await promise
    scope.defer(() => {
      server.close()
      server.closeAllConnections()
    })
    host.#url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return host
  }

  get url(): string {
    return this.#url
  }

  /** Path of the socket of the service `name`. */
  socket(name: string): string {
    return join(this.directory, name)
  }

  /** Ends a session as an administrator would. */
  end(session: string): void {
    this.#sessions.delete(session)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', this.#url)
    if (pathname === '/jsonrpc' && request.method === 'POST') {
      response.end(JSON.stringify(this.#call((await json(request)) as Call)))
      return
    }
    if (!pathname.startsWith(PREFIX)) {
      response.writeHead(404).end()
      return
    }
    const cookie = /(?:^|;\s*)session_id=([^;]*)/.exec(request.headers.cookie ?? '')?.[1]
    if (!this.#sessions.has(cookie ?? searchParams.get('session_id') ?? '')) {
      response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="XenServer"' }).end()
    } else if (!['GET', 'PUT', 'POST'].includes(request.method ?? '')) {
      response.writeHead(501).end()
    } else this.#relay(request, response, pathname.slice(PREFIX.length).split('/')[0] ?? '')
  }

  #relay(request: IncomingMessage, response: ServerResponse, name: string): void {
    const { method, url, headers } = request
    const { 'transfer-encoding': _chunked, connection: _connection, ...kept } = headers
    const upstream = send({ socketPath: this.socket(name), method, path: url, headers: kept, agent: false })
    upstream.once('error', () => {
      if (response.headersSent) response.destroy()
      else response.writeHead(404).end()
    })
    upstream.once('response', (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.statusCode === 200 ? answer.headers : {})
      if (answer.statusCode === 200) answer.pipe(response)
      else response.end()
    })
    response.once('close', () => upstream.destroy())
    request.pipe(upstream)
  }

  #call({ id, method, params: [first, second] }: Call): unknown {
    const failed = (message: string, ...data: unknown[]): unknown => ({
      jsonrpc: '2.0',
      id,
      error: { code: 1, message, data },
    })
    const found = (result: unknown): unknown => ({ jsonrpc: '2.0', id, result })
    if (method === 'session.login_with_password') {
      if (this.#users.get(String(first)) !== second)
        return failed('SESSION_AUTHENTICATION_FAILED', first, 'Authentication failure')
      const session = `OpaqueRef:${randomUUID()}`
      this.#sessions.add(session)
      return found(session)
    }
    if (!this.#sessions.has(String(first))) return failed('SESSION_INVALID', first)
    switch (method) {
      case 'session.logout':
        this.#sessions.delete(String(first))
        return found('')
      case 'pool.get_all':
        return found(['OpaqueRef:pool'])
      case 'host.get_all_records':
        return found({ 'OpaqueRef:host': { address: '127.0.0.1' } })
      default:
        return failed('MESSAGE_METHOD_UNKNOWN', method)
    }
  }
}

interface Call {
  readonly id: unknown
  readonly method: string
  readonly params: readonly unknown[]
}

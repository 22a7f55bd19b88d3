// A XenAPI endpoint for tests: a real authority on a real file behind the real server.

import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'

import { freshPath, startAuthority, type TestAuthority } from '../../sessions/embedded/testing/state.ts'
import type { SessionRules } from '../../sessions/accounts/sign-in.ts'
import { XenApiError } from '../errors.ts'
import type { CallPlugin } from '../plugin-methods.ts'
import type { XenApiPool } from '../records.ts'
import { createXenApi, type XenApi } from '../server.ts'

export const POOL: XenApiPool = {
  poolUuid: '11111111-1111-4111-8111-111111111111',
  poolName: 'pool <1> & more',
  hostUuid: '22222222-2222-4222-8222-222222222222',
  hostName: 'host-a',
  hostAddress: '10.0.0.1',
  otherAddresses: [],
}

export const POOL_REF: string = `OpaqueRef:${POOL.poolUuid}`
export const HOST_REF: string = `OpaqueRef:${POOL.hostUuid}`

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

export interface Endpoint extends TestAuthority, XenApi {
  /** Path of the Unix socket, or `undefined` on a TCP port. */
  readonly socketPath: string
  readonly port: number
  /** Everything that was logged. */
  readonly logged: string[]
  readonly draining: AbortController
  /** Sends one request; `headers` may carry what a worker adds. */
  readonly send: (path: string, body: string | Buffer, options?: SendOptions) => Promise<Answer>
  /** A JSON-RPC 2.0 call: its result, or its error as `[code, ...params]`. */
  readonly call: (method: string, ...params: unknown[]) => Promise<unknown>
}

export interface SendOptions {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
}

/** Listens on a Unix socket, or on a TCP port (`tcp`), with the users root (pool-admin), olga (pool-operator) and rita (read-only). */
export async function startEndpoint(
  t: TestContext,
  options: { settings?: Partial<SessionRules>; tcp?: boolean; callPlugin?: CallPlugin } = {},
): Promise<Endpoint> {
  const one = startAuthority(t, options.settings)
  await Promise.all([
    one.authority.users.add('root', 'root-pw', 'pool-admin'),
    one.authority.users.add('olga', 'olga-pw', 'pool-operator'),
    one.authority.users.add('rita', 'rita-pw', 'read-only'),
  ])
  const logged: string[] = []
  const log = (level: string) => {
    return (event: object): void => {
      logged.push(JSON.stringify({ level, ...event }))
    }
  }
  const draining = new AbortController()
  const { clock, authority } = one
  const xenapi = createXenApi({
    authority,
    pool: POOL,
    clock: clock.read,
    log: { info: log('info'), warn: log('warn'), error: log('error') },
    version: '1.2.3',
    callPlugin: options.callPlugin ?? (() => Promise.reject(new XenApiError('XENAPI_MISSING_PLUGIN', []))),
    draining: draining.signal,
  })
  const { server } = xenapi
  const socketPath = freshPath(t, 'xenapi')
  if (options.tcp === true) server.listen(0, '127.0.0.1')
  else server.listen(socketPath)
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const port = options.tcp === true ? (server.address() as AddressInfo).port : 0
  const target = options.tcp === true ? { host: '127.0.0.1', port } : { socketPath }
  const send = async (path: string, body: string | Buffer, sending: SendOptions = {}): Promise<Answer> => {
    const { method = 'POST', headers = {}, signal } = sending
    const asked = request({ ...target, path, method, headers, agent: false, ...(signal && { signal }) })
    asked.end(body)
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) }
  }
  const call = async (method: string, ...params: unknown[]): Promise<unknown> => {
    const { body } = await send('/jsonrpc', JSON.stringify({ jsonrpc: '2.0', method, params, id: 1 }))
    const answer = JSON.parse(body) as { result?: unknown; error?: { message: string; data: string[] } }
    return answer.error === undefined ? answer.result : [answer.error.message, ...answer.error.data]
  }
  return { ...one, ...xenapi, socketPath, port, logged, draining, send, call }
}

/** Signs in and answers the session id. */
export async function signIn({ call }: Endpoint, user = 'root'): Promise<string> {
  return String(await call('session.login_with_password', user, `${user}-pw`, '1.0', 'tests'))
}

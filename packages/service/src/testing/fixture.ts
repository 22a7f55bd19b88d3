// A service behind the played gateway, for one test.

import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { RawClient } from '../../../../test/harness/raw.ts'
import { serve, type ServeOptions, type Service } from '../serve.ts'
import { COOKIE, PlayedGateway, SERVICE_NAME, TARGET } from './gateway.ts'

export interface Fixture {
  readonly gateway: PlayedGateway
  readonly service: Service
  /** Path of the plain socket. */
  readonly path: string
  /** What `onError` was told. */
  readonly errors: Error[]
  /** Connects a client whose connection is passed to the service. */
  readonly client: () => Promise<RawClient>
  /** Connects to the plain socket, as the gateway does to relay. */
  readonly relayed: () => Promise<RawClient>
}

/** Starts both; all ends with the test. */
export async function fixture(t: TestContext, options: Partial<ServeOptions>): Promise<Fixture> {
  const gateway = new PlayedGateway()
  await gateway.listen()
  const errors: Error[] = []
  const { directory } = gateway
  const service = await serve({ name: SERVICE_NAME, directory, onError: (error) => errors.push(error), ...options })
  const clients: RawClient[] = []
  const connect = async (url: string): Promise<RawClient> => {
    const client = await RawClient.connect(url)
    clients.push(client)
    return client
  }
  t.after(async () => {
    for (const client of clients) client.destroy()
    await service.close()
    await gateway.close()
  })
  const path = join(directory, SERVICE_NAME)
  return {
    gateway,
    service,
    path,
    errors,
    client: () => connect(`http://127.0.0.1:${gateway.port}`),
    relayed: () => connect(`unix:${path}`),
  }
}

/** The text of a request for the service, with the session's cookie. */
export function requestText(method: string, path = '', lines = '', body = ''): string {
  return `${method} ${TARGET}${path} HTTP/1.1\r\nHost: h\r\n${COOKIE}${lines}\r\n${body}`
}

/** The fields that the gateway adds to a request that it relays for the session of the played gateway. */
export const IDENTITY_LINES: string =
  'X-Xen-Session-User: zo%C3%AB\r\nX-Xen-Session-Subject: OpaqueRef:1\r\nX-Xen-Session-Roles: vm-admin\r\n' +
  'X-Xen-Session-Originator: tests\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n' +
  'X-Forwarded-Host: h\r\nX-Request-Id: w0-1-0\r\n'

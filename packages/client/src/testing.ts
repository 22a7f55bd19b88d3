// A gateway without a network, for tests of programs that call services.

import { Gateway } from './gateway.ts'
import type { Transport } from './xenapi.ts'

/** Answers a request for a service. */
export type MockService = (request: Request) => Response | Promise<Response>

const URL_OF_MOCK = 'https://mock.invalid'
const PREFIX = '/services/plugin/'

/**
 * A gateway under an open session whose services are functions. What is for none of them is 404, as a gateway answers; what is for another
 * host fails: there is no network behind it.
 * @param services by name
 */
export function mockGateway(services: Readonly<Record<string, MockService>>): Gateway {
  const id = 'OpaqueRef:00000000-0000-4000-8000-000000000000'
  return new Gateway(
    URL_OF_MOCK,
    { id, credentials: null, coordinator: URL_OF_MOCK },
    { fetch: mockTransport(services) },
  )
}

/** The same as something to give to `login` and `session`. It takes any user with any password, at any host. */
export function mockTransport(services: Readonly<Record<string, MockService>>): Transport {
  let sessions = 0
  return async (url, init) => {
    const { pathname, host } = new URL(url)
    if (pathname === '/jsonrpc') return xenApiOf(new Request(url, init), () => ++sessions)
    if (!pathname.startsWith(PREFIX))
      throw new Error(`there is no network here: ${init.method ?? 'GET'} ${host}${pathname}`)
    const name = pathname.slice(PREFIX.length).split('/')[0] ?? ''
    const service = Object.hasOwn(services, name) ? services[name] : undefined
    if (service !== undefined) return service(new Request(url, init))
    return new Response('No such service is running here.\n', {
      status: 404,
      headers: { 'Proxy-Status': 'xengate; error=destination_not_found; details="service-unknown"' },
    })
  }
}

async function xenApiOf(request: Request, count: () => number): Promise<Response> {
  const { method } = (await request.json()) as { method: string }
  const answers: Readonly<Record<string, () => unknown>> = {
    'session.login_with_password': () => `OpaqueRef:00000000-0000-4000-8000-${String(count()).padStart(12, '0')}`,
    'session.logout': () => '',
    'pool.get_all': () => [],
    'host.get_all_records': () => ({}),
  }
  const answer = answers[method]
  const body =
    answer === undefined
      ? { error: { code: 1, message: 'MESSAGE_METHOD_UNKNOWN', data: [method] } }
      : { result: answer() }
  return Response.json({ jsonrpc: '2.0', id: 1, ...body })
}

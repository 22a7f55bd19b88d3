// A small custom service, to see a gateway at work: it says who is asking, sends back what it gets, and tells the time.
// It is an ordinary HTTP server on a Unix socket; the gateway has checked the session before a request gets here.

import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { SERVICES_PREFIX } from '@xengate/channel/contract'

/** Well-known name of the demo service. */
export const DEMO_SERVICE = 'org.xengate.demo'

/** How often the clock ticks, milliseconds. */
const TICK_MS = 1000

/** Creates the service. Listening, on a Unix socket named {@link DEMO_SERVICE}, is the caller's business. */
export function createDemoService(): Server {
  return createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path = ''] = String(request.url).split('?')
  switch (path.slice(SERVICES_PREFIX.length + DEMO_SERVICE.length)) {
    case '':
    case '/':
      return sayWho(request, response)
    case '/echo':
      return echo(request, response)
    case '/clock':
      return tick(response)
    default:
      response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' })
      response.end('There is only /, /echo and /clock here.\n')
  }
}

/** Who asks, as the gateway says; a client cannot set these headers. */
function sayWho(request: IncomingMessage, response: ServerResponse): void {
  const header = (name: string): string => String(request.headers[name] ?? '')
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' })
  response.end(`Hello ${header('x-xen-session-user')}. This is ${DEMO_SERVICE}, a custom service behind Xengate.

subject     ${header('x-xen-session-subject')}
roles       ${header('x-xen-session-roles')}
originator  ${header('x-xen-session-originator')}
from        ${header('x-forwarded-for')}
request     ${header('x-request-id')}

Try a PUT or POST to /echo, which sends the body back, and a GET of /clock, which ticks.
`)
}

async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const length = request.headers['content-length']
  response.writeHead(200, {
    'Content-Type': request.headers['content-type'] ?? 'application/octet-stream',
    ...(length === undefined ? {} : { 'Content-Length': length }),
  })
  await pipeline(request, response)
}

/** Server-sent events: the time, now and every second, until the client goes away. */
function tick(response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' })
  const send = (): void => void response.write(`data: ${new Date().toISOString()}\n\n`)
  send()
  const timer = setInterval(send, TICK_MS)
  response.once('close', () => clearInterval(timer))
}

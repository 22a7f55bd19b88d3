// A service on @xengate/service, for the tests of service libraries: library_service.ts DIRECTORY NAME [JSON of options].

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { serve, type ServeOptions } from '@xengate/service'

type Answer = (request: IncomingMessage, response: ServerResponse) => unknown

let release = Promise.withResolvers<void>()
process.on('SIGUSR1', () => {
  release.resolve()
  release = Promise.withResolvers()
})

/** Waits for the next SIGUSR1. */
function untilReleased(): Promise<void> {
  process.stdout.write('asked\n')
  return release.promise
}

async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await text(request)
  const { method, url: target, headers, rawHeaders, trailers, xen } = request
  const fields = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [[name, rawHeaders[at + 1]]] : []))
  const caller = { ...xen, sessionId: xen.sessionId ?? '', task: xen.task ?? '' }
  response.end(
    JSON.stringify({
      method,
      target,
      headers,
      fields,
      caller,
      body,
      trailers,
      listenFds: process.env['LISTEN_FDS'] ?? '',
    }),
  )
}

const ANSWERS: Readonly<Record<string, Answer>> = {
  hello: (request, response) => {
    if (request.method === 'DELETE') response.writeHead(405, { Allow: 'GET, HEAD, PUT, POST' }).end()
    else response.end(`hello ${request.xen.user}\n`)
  },
  length: async (request, response) => response.end(String((await text(request)).length)),
  none: (_request, response) => response.writeHead(404).end(),
  empty: (_request, response) => response.writeHead(204).end(),
  pieces: async (_request, response) => {
    response.write('one')
    await untilReleased()
    response.end('last')
  },
  lines: async (request, response) => {
    for await (const line of createInterface(request)) process.stdout.write(`read ${line}\n`)
    response.end('all read')
  },
  duplex: async (request, response) => {
    response.write('one')
    for await (const chunk of request) response.write(chunk)
    response.end('last')
  },
  endless: (_request, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(100_000)));
    }
    response.on('drain', more)
    more()
  },
  slow: async (_request, response) => {
    await untilReleased()
    response.end('done')
  },
  fail: (_request, response) => {
    response.setHeader('Content-Length', 3)
    throw new Error('on purpose')
  },
  'fail-late': async (_request, response) => {
    await new Promise<unknown>((resolve) => response.write('begun', resolve))
    throw new Error('on purpose')
  },
  'fail-done': (_request, response) => {
    response.end('done')
    throw new Error('on purpose')
  },
}

function handler(request: IncomingMessage, response: ServerResponse): unknown {
  const name = request.url?.split('?', 1)[0]?.split('/').at(-1) ?? ''
  return (ANSWERS[name] ?? echo)(request, response)
}

const [directory = '', name = '', options = '{}'] = process.argv.slice(2)
const { drainMs, ...rest } = JSON.parse(options) as Partial<ServeOptions> & { readonly drainMs?: number }
try {
  await serve({
    name,
    directory,
    handler,
    upgrade: (request, socket, head) => {
      if (request.url?.endsWith('/fail') === true) throw new Error('of the upgrade')
      socket.on('error', () => {})
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.write(request.xen.user)
      socket.write(head)
      socket.pipe(socket)
    },
    ...rest,
    ...(drainMs === undefined ? {} : { drainTimeoutMs: drainMs }),
  })
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 1
}

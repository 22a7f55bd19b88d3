// Handlers in the style of fetch: they take a Request and return a Response, as in browsers and other runtimes.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import type { Caller } from './caller.ts'

/** Answers a request of `caller`. */
export type FetchHandler = (request: Request, caller: Caller) => Response | Promise<Response>

/** `fetch` as a listener of `node:http`, whose promise is rejected with what it throws. */
export function listenerOf(fetch: FetchHandler): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return (request, response) => answer(fetch, request, response)
}

async function answer(fetch: FetchHandler, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController()
  response.on('close', () => {
    if (!response.writableFinished) gone.abort()
  })
  const answered = await fetch(requestOf(request, gone.signal), request.xen)
  response.statusCode = answered.status
  if (answered.statusText !== '') response.statusMessage = answered.statusText
  for (const [name, value] of answered.headers) response.appendHeader(name, value)
  if (answered.body === null) response.end()
  else await pipeline(Readable.fromWeb(answered.body), response)
}

function requestOf(request: IncomingMessage, signal: AbortSignal): Request {
  const { method = 'GET', rawHeaders } = request
  const headers = new Headers()
  for (let index = 0; index < rawHeaders.length; index += 2) {
    headers.append(rawHeaders[index] as string, rawHeaders[index + 1] as string)
  }
  const body = method === 'GET' || method === 'HEAD' ? null : (Readable.toWeb(request) as ReadableStream<Uint8Array>)
  return new Request(urlOf(request), { method, headers, body, signal, duplex: 'half' })
}

/** The URL asked for; the host is the client's word and may be no host at all. */
function urlOf({ headers, url = '/' }: IncomingMessage): string {
  // This field is the gateway's alone.
  const scheme = headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'
  const asked = `${scheme}://${headers.host ?? 'localhost'}${url}`
  return URL.canParse(asked) ? asked : `${scheme}://localhost${url}`
}

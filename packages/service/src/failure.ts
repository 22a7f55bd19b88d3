// What becomes of a request whose handler has failed.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { cutConnection, descriptorOf } from '@xengate/channel'

const TEXT = 'The service failed.\n'

/** Calls `handle`, and `failed` with what it throws or what its promise is rejected with. */
export function guarded(handle: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = handle()
    if (isThenable(result)) result.then(undefined, failed)
  } catch (error) {
    failed(error)
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

/** Answers with 500, or, when an answer has begun, ends it so that nobody takes it for whole. `onError` is told why. */
export function answerFailure(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  onError: (error: Error) => void,
): void {
  const isWhole = response.writableEnded
  if (response.destroyed && !isWhole) return // the client has gone, and the rest is a consequence
  onError(new Error(`cannot answer ${request.method} ${pathOf(request)}`, { cause: error }))
  if (isWhole) return
  if (response.headersSent) {
    // A body that ends with its connection would look complete to a client over TCP.
    cutConnection(descriptorOf(request.socket))
    request.socket.destroy()
    return
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.statusMessage = ''
  response.writeHead(500, { 'Content-Type': 'text/plain', 'Content-Length': TEXT.length }).end(TEXT)
}

/** Without the query, in which there may be a session id. */
function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? ''
}

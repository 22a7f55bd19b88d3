// What the service answers to a request with this id: as long, and of such bytes, as the id says.

import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

/** The name of one of many services. */
export function nameOf(number: number): string {
  return `com.example.n${number}`
}

/** Past what one read or write takes. */
const BYTES_MAX = 150_000

export function answerBytes(id: string): Buffer {
  const seed = createHash('sha256').update(id).digest()
  const bytes = Buffer.alloc(seed.readUInt32LE(0) % BYTES_MAX)
  // Not the same in any two places that are likely to be mixed up.
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE((seed.readUInt32LE(4) + at) >>> 0, at)
  return bytes
}

/** Answers a request so that all of it can be checked. @param done is told the id of each POST when all of it is there */
export function answer(request: IncomingMessage, response: ServerResponse, done: (id: string) => void): void {
  const id = String(request.headers['x-chaos-id'])
  const hash = createHash('sha256')
  request.on('data', (chunk: Buffer) => hash.update(chunk))
  request.on('end', () => {
    if (request.method === 'POST') done(id)
    const body = answerBytes(id)
    response.setHeader('X-Chaos-Id', id)
    response.setHeader('X-Chaos-User', String(request.headers['x-xen-session-user']))
    response.setHeader('X-Chaos-Body', hash.digest('hex'))
    // Some with a length, some in chunks, some in two parts with a pause.
    if (body.length % 2 === 0) response.setHeader('Content-Length', body.length)
    if (body.length % 3 !== 0) {
      response.end(body)
      return
    }
    response.write(body.subarray(0, body.length / 2))
    setTimeout(() => response.end(body.subarray(body.length / 2)), 5)
  })
}

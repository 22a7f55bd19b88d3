// Ends a session by the XenAPI that gave it: the gateway's own, or that of xapi behind it.

import { request, type RequestOptions } from 'node:http'

const TIMEOUT_MS = 5000

/** Calls `session.logout`. @param at Unix socket or host and port of the XenAPI. Rejects when nobody answers. */
export async function signOutAt(at: RequestOptions, session: string): Promise<void> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'session.logout', params: [session] })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const call = request(
    {
      ...at,
      path: '/jsonrpc',
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    },
    (response) => {
      response.resume()
      response.once('end', resolve)
    },
  )
  call.once('error', reject)
  call.end(body)
  return promise
}

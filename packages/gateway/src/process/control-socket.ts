// Where the command line reaches the running daemon: HTTP on a Unix socket that is its owner's alone.
//
//   GET    /held-up                    who cannot sign in now, or only by turns, because of wrong passwords
//   DELETE /held-up?name=…&address=…   forgets wrong passwords: of a name, from an address, or all

import { createServer, type Server } from 'node:http'
import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'

/** What the socket serves: null where the gateway signs nobody in. */
export type Controlled = Pick<SignInAuthority, 'heldUp' | 'clearHeldUp'> | null

/** The server; listening and closing are the caller's. */
export function createControlServer(controlled: Controlled): Server {
  return createServer((request, response) => {
    request.resume()
    const { status, body } = answer(controlled, request.method ?? '', request.url ?? '')
    const headers = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
    response.writeHead(status, headers).end(`${JSON.stringify(body)}\n`)
  })
}

function answer(controlled: Controlled, method: string, target: string): { status: number; body: unknown } {
  const { pathname, searchParams } = new URL(target, 'http://control')
  if (pathname !== '/held-up' || controlled === null) return { status: 404, body: { error: 'not-found' } }
  if (method === 'GET') return { status: 200, body: controlled.heldUp() }
  if (method !== 'DELETE') return { status: 405, body: { error: 'method-not-allowed' } }
  const [name, address] = [searchParams.get('name'), searchParams.get('address')]
  controlled.clearHeldUp({ ...(name === null ? {} : { name }), ...(address === null ? {} : { address }) })
  return { status: 200, body: controlled.heldUp() }
}

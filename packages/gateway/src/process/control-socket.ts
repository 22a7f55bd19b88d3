// Where the command line reaches the running daemon: HTTP on a Unix socket that is its owner's alone.
//
//   GET    /held-up                    who cannot sign in now, or only by turns, because of wrong passwords
//   DELETE /held-up?name=…&address=…   forgets wrong passwords: of a name, from an address, or all
//   POST   /changes                    logs what the command line has changed
//   GET    /status                     how the daemon does: see status.ts
//   GET    /services                   which services are here, and how they do
//   POST   /reload                     takes the configuration as it is now, and answers when it is in force, or why it is not
//   *      /control/…                  what the control service answers: see control/answers.ts

import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import { type Asker, controlAnswer, type Watched } from './control/answers.ts'
import { sendAnswer } from './control/door.ts'
import { type AccountChange, readAccountChange } from './account-change.ts'

/** Its name in the state directory. */
export const CONTROL_SOCKET = 'control.sock'
/** Bytes of a request's body; a change may name many sessions. */
const BODY_BYTES_MAX = 1_048_576

/** What the socket serves. */
export interface Controlled {
  /** Null where the gateway signs nobody in. */
  readonly signIn: Pick<SignInAuthority, 'heldUp' | 'clearHeldUp'> | null
  readonly changed: (change: AccountChange) => void
  readonly status: () => Promise<unknown>
  readonly services: () => Promise<unknown>
  readonly watched: Watched
  /** Acts of the daemon that take a while, by their paths. */
  readonly acts: Readonly<Record<string, () => Promise<ActOutcome>>>
}

/** What became of an act: what there is to say of it, or why the daemon is as it was. */
export type ActOutcome =
  | { readonly kind: 'done'; readonly said: Readonly<Record<string, unknown>> }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string }

/** Below it is what the control service has, too. */
const CONTROL_PREFIX = '/control/'
/** Who connects there is the daemon's own user. */
const ROOT: Asker = { by: 'control-socket' }

interface Answer {
  readonly status: number
  readonly body: unknown
}

const NOT_FOUND: Answer = { status: 404, body: { error: 'not-found' } }
const NOT_ALLOWED: Answer = { status: 405, body: { error: 'method-not-allowed' } }

/** The server; listening and closing are the caller's. */
export function createControlServer(controlled: Controlled): Server {
  return createServer((request, response) => {
    const answered = ({ status, body }: Answer): void => {
      const headers = { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }
      response.writeHead(status, headers).end(`${JSON.stringify(body)}\n`)
    }
    const { method = '', url = '' } = request
    if (url.startsWith(CONTROL_PREFIX)) {
      const [path = ''] = url.slice(CONTROL_PREFIX.length - 1).split('?')
      const { watched } = controlled
      controlAnswer(watched, method, path, ROOT)
        .then((made) => sendAnswer(response, made, watched.events))
        .catch(() => request.destroy())
      request.resume()
      return
    }
    bodyOf(request)
      .then((body) => answer(controlled, method, url, body))
      .then(answered)
      .catch(() => request.destroy())
  })
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new RangeError('read a control request: its body is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

async function answer(controlled: Controlled, method: string, target: string, body: string): Promise<Answer> {
  const { signIn, changed, status, services, acts } = controlled
  const url = URL.parse(`http://control${target}`)
  // What does not begin with "/" would be part of the host.
  if (url === null || !target.startsWith('/')) return NOT_FOUND
  const { pathname, searchParams } = url
  if (pathname === '/changes') return answerChange(changed, method, body)
  if (pathname === '/status') return method === 'GET' ? { status: 200, body: await status() } : NOT_ALLOWED
  if (pathname === '/services') return method === 'GET' ? { status: 200, body: await services() } : NOT_ALLOWED
  if (Object.hasOwn(acts, pathname)) return method === 'POST' ? answerAct(acts[pathname]) : NOT_ALLOWED
  if (pathname !== '/held-up' || signIn === null) return NOT_FOUND
  if (method === 'GET') return { status: 200, body: signIn.heldUp() }
  if (method !== 'DELETE') return NOT_ALLOWED
  const [name, address] = [searchParams.get('name'), searchParams.get('address')]
  signIn.clearHeldUp({ ...(name === null ? {} : { name }), ...(address === null ? {} : { address }) })
  return { status: 200, body: signIn.heldUp() }
}

async function answerAct(act: Controlled['acts'][string] | undefined): Promise<Answer> {
  const outcome = await act?.()
  if (outcome === undefined) return NOT_FOUND
  if (outcome.kind === 'done') return { status: 200, body: outcome.said }
  return { status: 409, body: { error: outcome.code, message: outcome.message } }
}

function answerChange(changed: Controlled['changed'], method: string, body: string): Answer {
  if (method !== 'POST') return NOT_ALLOWED
  const change = readAccountChange(body)
  if (change === undefined) return { status: 400, body: { error: 'no-change' } }
  changed(change)
  return { status: 200, body: {} }
}

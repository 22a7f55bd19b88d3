// The dashboard's server, in the primary; only the gateway's workers connect to it. It serves files, and keeps a session in a cookie that
// no script can read. What the pages show and do they ask of the control service, with that session.
//
//   GET  /, /assets/…            the files; in front of xapi below /xengate/, where they are in any case
//   GET  /docs/…                 the documentation, likewise
//   GET  /xengate/session        204: the gateway is here, which the page asks first, since xapi's web server may have sent it
//   POST /xengate/session        {"session": "OpaqueRef:…"}: the browser keeps it
//   POST /xengate/sign-out       the session ends, and the browser forgets it

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { sessionIdInCookie } from '@xengate/channel/contract'
import { dashboardFiles, type DashboardFile } from './files.ts'

const PREFIX = '/xengate'
const BODY_BYTES_MAX = 4096
/** Longer than workers keep a connection. */
const KEEP_ALIVE_MS = 60_000
/** What a session of the XenAPI is called. */
const REFERENCE = /^OpaqueRef:[\da-f-]{36}$/i

/** Files have their content in their name, but for the page itself. */
const FOR_EVER = 'public, max-age=31536000, immutable'

const SAFE: Readonly<Record<string, string>> = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
}

/** Ends a session; whatever fails, the browser forgets it. */
export type SignOut = (session: string) => Promise<void>

/** The server, not listening. */
export function createDashboardServer(signOut: SignOut): Server {
  return createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    answer(signOut, request, response).catch(() => response.destroy())
  })
}

async function answer(signOut: SignOut, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [path = ''] = (request.url ?? '').split('?')
  if (path === PREFIX || path === '/docs' || path === `${PREFIX}/docs`) {
    response.writeHead(308, { Location: `${path}/`, 'Content-Length': 0 }).end()
    return
  }
  if (path === `${PREFIX}/session` && request.method === 'GET') {
    request.resume()
    response.writeHead(204, { 'Cache-Control': 'no-store' }).end()
    return
  }
  if (path === `${PREFIX}/session` || path === `${PREFIX}/sign-out`) {
    await act(signOut, path, request, response)
    return
  }
  request.resume()
  const within = path.startsWith(`${PREFIX}/`) ? path.slice(PREFIX.length) : path
  const file = dashboardFiles().get(within.endsWith('/') ? `${within}index.html` : within)
  if (request.method !== 'GET' && request.method !== 'HEAD') refuse(response, 405, 'use GET', { Allow: 'GET, HEAD' })
  else if (file === undefined) refuse(response, 404, 'nothing is here')
  else sendFile(file, within, request, response)
}

function sendFile(file: DashboardFile, path: string, request: IncomingMessage, response: ServerResponse): void {
  const headers = {
    ...SAFE,
    ETag: file.tag,
    'Cache-Control': path.startsWith('/assets/') ? FOR_EVER : 'no-cache',
    Vary: 'Accept-Encoding',
  }
  if (request.headers['if-none-match'] === file.tag) {
    response.writeHead(304, headers).end()
    return
  }
  const isCompressed = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')
  const bytes = isCompressed ? file.compressed : file.bytes
  const encoding = isCompressed ? { 'Content-Encoding': 'gzip' } : {}
  response.writeHead(200, { ...headers, ...encoding, 'Content-Type': file.type, 'Content-Length': bytes.length })
  response.end(request.method === 'HEAD' ? undefined : bytes)
}

/** Takes or gives back the cookie, for pages of this origin alone. */
async function act(signOut: SignOut, path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await bodyOf(request)
  if (request.method !== 'POST') refuse(response, 405, 'use POST', { Allow: 'POST' })
  else if (!isOfThisOrigin(request)) refuse(response, 403, 'only the dashboard itself may ask for this')
  else if (path === `${PREFIX}/session`) {
    const session = sessionIn(body)
    if (session === null) refuse(response, 400, 'the body has to be JSON with "session", a session of the XenAPI')
    else response.writeHead(204, { 'Set-Cookie': cookie(session, request) }).end()
  } else {
    const session = sessionIdInCookie(request.headers.cookie ?? '')
    if (session !== undefined && REFERENCE.test(session)) await signOut(session).catch(() => undefined)
    response.writeHead(204, { 'Set-Cookie': `${cookie('', request)}; Max-Age=0` }).end()
  }
}

/** Whether a page of this gateway asks: a form of another site cannot send JSON, and browsers say where a request comes from. */
function isOfThisOrigin({ headers }: IncomingMessage): boolean {
  const site = headers['sec-fetch-site']
  return headers['content-type'] === 'application/json' && (site === undefined || site === 'same-origin')
}

function cookie(session: string, { headers }: IncomingMessage): string {
  const secure = headers['x-forwarded-proto'] === 'https' ? '; Secure' : ''
  return `session_id=${session}; Path=/; HttpOnly; SameSite=Strict${secure}`
}

function sessionIn(body: string | null): string | null {
  try {
    const told: unknown = JSON.parse(body ?? '')
    const session = typeof told === 'object' && told !== null && 'session' in told ? told.session : null
    return typeof session === 'string' && REFERENCE.test(session) ? session : null
  } catch {
    return null
  }
}

/** Null when it is too long. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length <= BODY_BYTES_MAX) chunks.push(chunk)
  }
  return length > BODY_BYTES_MAX ? null : Buffer.concat(chunks).toString()
}

function refuse(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): void {
  const body = JSON.stringify({ error: { message } })
  response.writeHead(status, {
    ...headers,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
  })
  response.end(body)
}

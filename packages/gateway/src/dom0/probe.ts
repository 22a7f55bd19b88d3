// Who answers at a socket: Xengate, xapi behind it, or nobody.

import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectSecurely } from 'node:tls'
import { SERVICES_PREFIX } from '@xengate/channel/contract'
import { type Finding, bad, ok } from './findings.ts'
import type { Host } from './host.ts'

/** A way in for clients. */
export type Door =
  /** The gateway's socket, as stunnel connects to it. */
  | { readonly kind: 'front'; readonly path: string }
  /** stunnel's port. */
  | { readonly kind: 'tls'; readonly host: string; readonly port: number }

const TIMEOUT_MS = 5000
const HEAD_BYTES_MAX = 65_536
/** Nobody listens there, and without a session nobody is told so: the gateway answers 403. */
const SERVICE_TARGET = `${SERVICES_PREFIX}org.xengate.front-check`
/** What the gateway answers when xapi does not. */
const NO_UPSTREAM: ReadonlySet<number> = new Set([502, 503, 504])

interface Answer {
  readonly status: number
  /** Each refusal of the gateway has an id. */
  readonly hasRequestId: boolean
}

/** Whether Xengate answers for services at `door`. @throws when nobody answers */
export async function isGatewayAt(door: Door): Promise<boolean> {
  const { status, hasRequestId } = await ask(door, SERVICE_TARGET)
  return status === 403 && hasRequestId
}

/** Whether xapi answers what is not for a service at `door`, with or without Xengate before it. @throws when nobody answers */
export async function isXapiAt(door: Door): Promise<boolean> {
  const { status, hasRequestId } = await ask(door, '/')
  return !(hasRequestId && NO_UPSTREAM.has(status))
}

/** Whether the gateway answers at its socket, and xapi behind it. */
export async function gatewayFindings({ frontSocket }: Host): Promise<Finding[]> {
  const door: Door = { kind: 'front', path: frontSocket }
  const subject = 'gateway'
  try {
    if (!(await isGatewayAt(door))) {
      return [bad(subject, `another program than Xengate answers at ${frontSocket}`, 'stop it, and start xengate')]
    }
    if (await isXapiAt(door)) return [ok(subject, `answers at ${frontSocket}, and so does xapi behind it`)]
    return [
      bad(subject, `answers at ${frontSocket}, but xapi behind it does not`, 'systemctl status xapi; see [front]'),
    ]
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return [bad(subject, `does not answer at ${frontSocket}: ${why}`, 'systemctl start xengate; journalctl -u xengate')]
  }
}

async function ask(door: Door, target: string): Promise<Answer> {
  const socket = open(door)
  // xapi is told what stunnel would tell it.
  const hello = door.kind === 'front' ? 'PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 1023 443\r\n' : ''
  socket.write(`${hello}GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: xengate\r\nConnection: close\r\n\r\n`)
  try {
    const head = await readHead(socket)
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1])
    if (Number.isNaN(status)) throw new Error('the answer is not HTTP')
    return { status, hasRequestId: /^x-request-id:/im.test(head) }
  } finally {
    socket.destroy()
  }
}

function open(door: Door): Socket {
  if (door.kind === 'front') return connectPlain({ path: door.path })
  // It is asked who answers, and not whether it is to be trusted: the certificate may be for any name.
  return connectSecurely({ host: door.host, port: door.port, rejectUnauthorized: false })
}

async function readHead(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let head = ''
  const timer = setTimeout(() => reject(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS)
  socket.setEncoding('latin1').on('data', (text: string) => {
    head += text
    if (head.includes('\r\n\r\n') || head.length > HEAD_BYTES_MAX) resolve(head)
  })
  socket.on('error', (error: NodeJS.ErrnoException) => reject(new Error(error.code ?? error.message, { cause: error })))
  socket.on('close', () => reject(new Error('the connection was closed without an answer')))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

// Requests of a channel's client that two readers could understand in different ways. The gateway refuses them, and so does a channel,
// where the client is not the gateway: Node.js takes some of them.

import type { Duplex } from 'node:stream'
import type { IncomingMessage, ServerResponse } from 'node:http'

/** How a request is refused; null when it is not. */
export type Fault = 400 | 417 | 505 | null

/** A host and an optional port, as the gateway's codec reads them (RFC 9110 section 7.2). */
const HOST = /^(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[A-Za-z0-9\-._~!$&'()*+,;=%:]+\])(?::[0-9]{0,5})?$/
/** What Connection must not name (RFC 9110 section 7.6.1). */
const NOT_OPTION = /(?:^|,)[ \t]*(?:content-length|transfer-encoding|host)[ \t]*(?:,|$)/i

/** Judges a head. @param fields names and values in turn */
export function faultOf(head: IncomingMessage, fields: readonly string[]): Fault {
  const { httpVersionMajor, httpVersionMinor: minorVersion } = head
  if (httpVersionMajor !== 1) return 505
  let hosts = 0
  let expectations = 0
  for (let index = 0; index < fields.length; index += 2) {
    const value = fields[index + 1] as string
    switch ((fields[index] as string).toLowerCase()) {
      case 'host':
        if (++hosts > 1 || !HOST.test(value) || (value.startsWith(':') && value.length > 0)) return 400
        break
      case 'connection':
        if (NOT_OPTION.test(value)) return 400
        break
      case 'content-length':
        if (Number(value) > Number.MAX_SAFE_INTEGER) return 400
        break
      case 'transfer-encoding':
        if (minorVersion === 0 || value.toLowerCase() !== 'chunked') return 400
        break
      case 'expect':
        if (minorVersion > 0 && (++expectations > 1 || value.toLowerCase() !== '100-continue')) return 417
        break
      default:
    }
  }
  return hosts === 0 && minorVersion > 0 ? 400 : null
}

/** Answers a request that is refused, and has nothing behind it answered. */
export function answerFault(response: ServerResponse, status: number): void {
  response.shouldKeepAlive = false
  response.writeHead(status, { 'Content-Length': 0 }).end()
}

/** The answer that is under way on a connection. */
interface Answering extends Duplex {
  readonly _httpMessage?: (ServerResponse & { readonly req: IncomingMessage }) | null
}

const STATUS_LINES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

const refused = new WeakSet<Duplex>()

/**
 * Refuses bytes that Node.js could not read as a request: behind the answers to the requests before them, which Node.js itself does not
 * wait for, and in place of the answer to the request whose body they are.
 */
export function answerUnreadable(error: NodeJS.ErrnoException, socket: Answering): void {
  const { code = '' } = error
  if (refused.has(socket)) return
  if (!socket.writable || code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  refused.add(socket)
  // What follows the last request of a connection is nobody's to read, and is not answered.
  refuse(socket, code === 'HPE_CLOSED_CONNECTION' ? null : (STATUS_LINES[code] ?? '400 Bad Request'))
}

function refuse(socket: Answering, status: string | null): void {
  const response = socket._httpMessage ?? null
  if (response?.req.complete === true) response.once('close', () => refuse(socket, status))
  // A body that cannot be read: its request is the refused one, if it is not answered yet.
  else if (response?.headersSent === true) socket.destroy()
  else if (status === null) socket.end(() => socket.destroy())
  else socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`, () => socket.destroy())
}

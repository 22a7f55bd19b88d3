// What a channel must not answer: requests of another session, for another service or for the XenAPI, or with another method. They go
// to the gateway as they came, and what it answers goes to the client as it came.

import {
  type ClientRequest,
  type IncomingMessage,
  request as sendRequest,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Channel } from './channel.ts'
import { HEAD_BYTES_MAX } from './limits.ts'
import type { ServiceRequest } from './request.ts'

const UNREACHABLE = 'The gateway cannot be reached. Try again.\n'
const UNREADABLE = 'The answer of the gateway cannot be read.\n'
const RETRY_AFTER_SECONDS = 1
const MALFORMED = 'The request has a field that cannot be sent on.\n'

/** Forwards `request` to the gateway, and answers with what it answers. `onError` is told of failures. */
export function forward(
  channel: Channel,
  request: ServiceRequest,
  response: ServerResponse,
  onError: (error: Error) => void,
): void {
  count(channel, request, response)
  send(channel, request, response, onError)
}

/** Counts the bytes of both apart from the channel's own. What a chunked body has between its chunks is not seen here. */
function count(channel: Channel, request: ServiceRequest, response: ServerResponse): void {
  const { socket } = channel
  channel.forwardedIn += headText(request).length
  if (hasBody(request)) {
    request.on('data', (chunk: Buffer) => {
      channel.forwardedIn += chunk.length
    })
  }
  let before = response.socket === null ? Number.NaN : socket.bytesWritten
  response.once('socket', () => {
    before = socket.bytesWritten
  })
  // Before Node.js lets the next answer go out.
  response.prependOnceListener('finish', () => {
    channel.forwardedOut += socket.bytesWritten - before
  })
}

function send(
  channel: Channel,
  request: ServiceRequest,
  response: ServerResponse,
  onError: (error: Error) => void,
): void {
  const upstream = requestOf(channel, request)
  if (upstream === null) {
    answerPlain(response, 400, MALFORMED)
    return
  }
  // Set once something of an answer has come: then it is too late for one of our own.
  let isAnswered = false
  upstream.on('information', ({ statusCode, rawHeaders }) => {
    isAnswered = true
    if (request.httpVersionMinor > 0 && !response.headersSent) writeInformation(response, statusCode, rawHeaders)
  })
  upstream.on('response', (answer) => {
    isAnswered = true
    relayAnswer(answer, request, response)
  })
  upstream.on('error', (error: NodeJS.ErrnoException) => {
    if (response.writableFinished) return
    if (response.headersSent || response.destroyed || isAnswered) {
      request.socket.destroy()
    } else if (!upstream.reusedSocket || isUnreadable(error)) {
      onError(new Error(`cannot forward a request to ${channel.wayBack.path}`, { cause: error }))
      answerFailed(response, error)
    } else if (isRepeatable(request)) {
      send(channel, request, response, onError)
    } else {
      // A kept connection has ended as the request went out: for the client it is as if its own had, and it may try again.
      request.socket.destroy()
    }
  })
  response.on('close', () => {
    // After an early answer the rest of the body is still to be read, so that the next request is.
    request.unpipe(upstream)
    request.resume()
    upstream.destroy()
  })
  sendBody(request, upstream)
}

/** Says an interim answer as it came. */
function writeInformation(response: ServerResponse, status: number, fields: string[]): void {
  if (typeof response.writeInformation === 'function') {
    response.writeInformation(status, fields)
    return
  }
  // Node.js 22 has ways to say only some of them, all of which do this.
  const lines = pairsOf(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  const raw = response as unknown as { _writeRaw(text: string, encoding: string): void }
  raw._writeRaw(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`, 'latin1')
}

/** The request to the gateway; null when Node.js cannot send it as it came. */
function requestOf({ wayBack }: Channel, request: ServiceRequest): ClientRequest | null {
  try {
    return sendRequest({
      agent: wayBack,
      method: request.method ?? '',
      path: request.url ?? '/',
      headers: fieldsFor(request),
      maxHeaderSize: HEAD_BYTES_MAX,
    })
  } catch {
    return null
  }
}

/** The fields as they came; a body that is empty for lack of framing is said to be, or Node.js would send it chunked. */
function fieldsFor(request: ServiceRequest): string[] {
  const { headers, method } = request
  // Node.js does not send Trailer without chunks, where it means nothing.
  const isChunked = headers['transfer-encoding'] !== undefined
  const fields = isChunked ? [...request.fieldsAsCame] : without(request.fieldsAsCame, TRAILER)
  if (!hasBody(request) && headers['content-length'] === undefined && method !== 'GET' && method !== 'HEAD') {
    fields.push('Content-Length', '0')
  }
  return fields
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

function isRepeatable(request: IncomingMessage): boolean {
  return (request.method === 'GET' || request.method === 'HEAD') && !hasBody(request)
}

function sendBody(request: IncomingMessage, upstream: ClientRequest): void {
  if (!hasBody(request)) {
    request.resume()
    upstream.end()
    return
  }
  upstream.flushHeaders() // the body may be long in coming
  request.pipe(upstream, { end: false })
  request.on('end', () => {
    if (request.rawTrailers.length > 0) upstream.addTrailers(pairsOf(request.rawTrailers))
    upstream.end()
  })
}

function relayAnswer(answer: IncomingMessage, request: ServiceRequest, response: ServerResponse): void {
  const isHttp10 = request.httpVersionMinor === 0
  response.sendDate = false
  // An HTTP/1.0 client has to be told whether the connection stays; others only what the gateway says.
  if (!isHttp10) response.removeHeader('Connection')
  const isChunked = !isHttp10 && answer.headers['transfer-encoding'] !== undefined
  const fields = isChunked ? answer.rawHeaders : without(answer.rawHeaders, isHttp10 ? CHUNKING : TRAILER)
  try {
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, fields)
  } catch {
    // Node.js cannot say it as it came: better no answer than another.
    request.socket.destroy()
    return
  }
  answer.on('error', () => request.socket.destroy())
  answer.on('end', () => {
    if (answer.rawTrailers.length > 0 && !isHttp10) response.addTrailers(pairsOf(answer.rawTrailers))
    response.end()
  })
  answer.pipe(response, { end: false })
}

const TRAILER = /^trailer$/i
const CHUNKING = /^(?:transfer-encoding|trailer)$/i

/** The fields but for those whose names are `names`. */
function without(fields: readonly string[], names: RegExp): string[] {
  return pairsOf(fields)
    .filter(([name]) => !names.test(name))
    .flat()
}

function pairsOf(fields: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let index = 0; index < fields.length; index += 2) {
    pairs.push([fields[index] as string, fields[index + 1] as string])
  }
  return pairs
}

/** Whether the gateway has answered, with what Node.js cannot read. */
function isUnreadable({ code = '' }: NodeJS.ErrnoException): boolean {
  return code.startsWith('HPE_')
}

function answerFailed(response: ServerResponse, error: NodeJS.ErrnoException): void {
  if (isUnreadable(error)) {
    answerPlain(response, 502, UNREADABLE)
    return
  }
  response.setHeader('Retry-After', RETRY_AFTER_SECONDS)
  answerPlain(response, 503, UNREACHABLE)
}

function answerPlain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': text.length })
  response.end(text)
}

/**
 * Forwards a request that may turn the connection into something else (Upgrade, CONNECT), and all that follows on it: from here on
 * the client talks to the gateway as if it had connected there.
 */
export function forwardConnection(channel: Channel, request: ServiceRequest, client: Duplex, head: Buffer): void {
  afterAnswers(request.socket, () => {
    const gateway = channel.wayBack.connect(true)
    let isConnected = false
    gateway.on('connect', () => {
      isConnected = true
      gateway.write(headText(request), 'latin1')
      if (head.length > 0) gateway.write(head)
      client.pipe(gateway).pipe(client)
    })
    gateway.on('error', () => {
      if (isConnected) client.destroy()
      else client.end(unreachableText())
    })
    gateway.on('close', () => {
      if (isConnected && !gateway.readableEnded) client.destroy()
    })
    client.on('error', () => gateway.destroy())
    client.on('close', () => gateway.destroy())
  })
}

/** Calls `then` when the answers to earlier requests on the connection are out. */
function afterAnswers(socket: Socket, then: () => void): void {
  const { _httpMessage: response } = socket as { readonly _httpMessage?: ServerResponse | null }
  if (response === null || response === undefined) then()
  else response.once('close', () => afterAnswers(socket, then))
}

function headText(request: ServiceRequest): string {
  const lines = pairsOf(request.fieldsAsCame).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n${lines.join('')}\r\n`
}

function unreachableText(): string {
  return (
    'HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n' +
    `Content-Length: ${UNREACHABLE.length}\r\nRetry-After: ${RETRY_AFTER_SECONDS}\r\nConnection: close\r\n\r\n${UNREACHABLE}`
  )
}

// xengate get, put, post: calls a service under the session that `xengate login` keeps, or one that is given.

import { randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Body, GatewayError, type RequestOptions, session } from '@xengate/client'
import { pageOf } from '../../proxy/heads/refusals.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, say } from '../io.ts'
import { ProgressLine } from '../progress-line.ts'
import { keptSession, trustOf } from '../session-file.ts'
import { trust, type TrustOptions } from '../trust.ts'
import { callFailure } from './login.ts'

export interface CallOptions extends TrustOptions {
  readonly data?: string
  readonly uploadFile?: string
  readonly output?: string
  readonly header?: readonly string[]
  readonly include?: boolean
  readonly url?: string
  readonly sessionId?: string
}

/** What fetch has of its own: the rest of a request may be said by `-H`. */
const FORM = 'application/x-www-form-urlencoded'

/** @param target `SERVICE[/PATH][?QUERY]` */
export async function call(method: string, target: string, options: CallOptions, io: Io): Promise<number> {
  const { url, id, ...believed } = whereOf(options, io)
  trust({ ...believed, ...options }, io)
  const [, name = '', path = ''] = /^([^/?]*)(.*)$/s.exec(target) ?? []
  const headers = headersOf(options)
  const { body, size } = bodyOf(method, options, headers, io)
  const line = io.stderr.isTTY === true ? new ProgressLine(io) : null
  const settings: RequestOptions = {
    headers,
    ...(size !== undefined && { size }),
    ...(line !== null && { onProgress: line.show }),
  }
  try {
    const service = serviceAt(url, id, name)
    const sent = body === undefined ? { method } : { method, body }
    const response = await service.fetch(path, { ...settings, ...sent })
    await take(response, name, options, io)
  } catch (error) {
    if (error instanceof TypeError && error.message.includes('is not below')) {
      throw new CliError('service-name-invalid', error.message, { cause: error })
    }
    throw error instanceof GatewayError ? callFailure(error) : error
  } finally {
    line?.end()
  }
  return EXIT.ok
}

function serviceAt(url: string, id: string, name: string): ReturnType<ReturnType<typeof session>['service']> {
  try {
    return session(url, id).service(name)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    if (why.includes('URL')) throw new CliError('url-invalid', why, { cause })
    throw new CliError('service-name-invalid', `"${name}" cannot be the name of a service`, { cause })
  }
}

/** The gateway and the session that are meant. @throws {CliError} `session-needed` */
function whereOf(
  { url, sessionId }: CallOptions,
  io: Io,
): TrustOptions & { readonly url: string; readonly id: string } {
  const kept = keptSession(io)
  const isKept = kept !== null && (url === undefined || URL.parse(url)?.origin === kept.url)
  const given = sessionId ?? io.env['XENGATE_SESSION']
  const at = url ?? kept?.url
  const id = given ?? (isKept ? kept.id : undefined)
  if (at === undefined || id === undefined)
    throw new CliError('session-needed', `nobody is signed in${at === undefined ? '' : ` at ${at}`}`)
  return { ...(isKept ? trustOf(kept) : {}), url: at, id }
}

function headersOf({ header = [] }: CallOptions): Headers {
  const headers = new Headers()
  for (const text of header) {
    const [, name = '', value = ''] = /^([^:\s]+):\s*(.*?)\s*$/s.exec(text) ?? []
    try {
      headers.append(name, value)
    } catch (cause) {
      throw new CliError('header-invalid', `"${text}" is not a header field`, { cause })
    }
  }
  return headers
}

/** What is sent, and how long it is where that is known. Sets Content-Type for `-d`, as curl does. */
function bodyOf(
  method: string,
  { data, uploadFile }: CallOptions,
  headers: Headers,
  io: Io,
): { readonly body?: Body; readonly size?: number } {
  if (method === 'PUT' && data === undefined && uploadFile === undefined) {
    throw new CliError('body-missing', 'nothing was said of what is to be put')
  }
  if (uploadFile === '-') return { body: bytesOf(io.stdin) }
  if (uploadFile !== undefined) {
    const path = resolve(io.cwd, uploadFile)
    const size = readable(path, () => statSync(path).size)
    return { body: bytesOf(createReadStream(path)), size }
  }
  if (data === undefined) return {}
  if (!headers.has('content-type')) headers.set('Content-Type', FORM)
  if (!data.startsWith('@')) return { body: data }
  const path = resolve(io.cwd, data.slice(1))
  return { body: readable(path, () => new Uint8Array(readFileSync(path))) }
}

async function* bytesOf(stream: Readable): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) yield Buffer.from(chunk as Uint8Array)
}

function readable<Value>(path: string, read: () => Value): Value {
  try {
    return read()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new CliError('file-unreadable', `cannot read ${path}: ${why}`, { cause })
  }
}

// ── the answer ──

/** Writes the answer where it is to go. One that is no success goes to standard error: what is written is what was asked for. */
async function take(response: Response, name: string, { include, output }: CallOptions, io: Io): Promise<void> {
  const { status, statusText, headers, ok: isSuccess } = response
  const body = Readable.from(response.body ?? [])
  if (include === true)
    io.stdout.write(
      `HTTP/1.1 ${status} ${statusText}\n${[...headers].map(([field, value]) => `${field}: ${value}\n`).join('')}\n`,
    )
  if (isSuccess) {
    if (output === undefined || output === '-') await write(body, io)
    else await writeFile(body, resolve(io.cwd, output))
    return
  }
  const refusal = /xengate;.*details="([a-z-]+)"/.exec(headers.get('proxy-status') ?? '')?.[1]
  let text = ''
  for await (const piece of body) text += text.length < 4096 ? Buffer.from(piece as Uint8Array).toString() : ''
  if (refusal !== undefined) {
    const fields = { status, requestId: headers.get('x-request-id') }
    throw callFailure(new GatewayError(refusal, text.trim(), fields), helpOf(response, refusal))
  }
  if (text !== '') say(io, text.trimEnd())
  throw new CliError('call-failed', `${name} answers ${status} ${statusText}`.trimEnd(), {
    shownCode: `status-${status}`,
  })
}

/** Where to read about a code, if the gateway says that it has a page; a service could name any. */
function helpOf({ url, headers }: Response, code: string): string | null {
  const page = pageOf(code)
  return headers.get('link') === `<${page}>; rel="help"` && url !== '' ? new URL(page, url).href : null
}

async function write(body: Readable, io: Io): Promise<void> {
  await pipeline(body, io.stdout, { end: false }).catch((cause: unknown) => {
    throw broken('standard output', cause)
  })
}

/** A file is there whole or not at all: what it had before stays until all has come. */
async function writeFile(body: Readable, path: string): Promise<void> {
  const isPlain = statSync(path, { throwIfNoEntry: false })?.isFile() ?? true
  const at = isPlain ? `${path}.${randomBytes(6).toString('hex')}.part` : path
  try {
    await pipeline(body, createWriteStream(at, { flags: isPlain ? 'wx' : 'w' }))
    if (isPlain) renameSync(at, path)
  } catch (cause) {
    if (isPlain) rmSync(at, { force: true })
    throw broken(isPlain ? `${path}, which is as it was before` : path, cause)
  }
}

function broken(what: string, cause: unknown): CliError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new CliError('transfer-broken', `the answer did not come whole to ${what} (${why})`, { cause })
}

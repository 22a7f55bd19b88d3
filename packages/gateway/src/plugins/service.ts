// The custom service org.xengate.plugins: plugin scripts of the XenAPI as they are, by HTTP.
//
//   GET  /                     what there is, and what runs
//   POST /<plugin>/<function>  runs one, with the arguments as a JSON object of strings; the body of the answer is the value
//   POST /runs/<id>/end        ends one that runs

import { randomUUID } from 'node:crypto'
import { accessSync, constants, readdirSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { type Caller, serve, type Service } from '@xengate/service'
import { SERVICES_PREFIX } from '@xengate/channel/contract'
import { PLUGINS_SERVICE } from '../model/plugins-service.ts'
import { permissionDenied, tooBusy, XenApiError } from '../xenapi/errors.ts'
import { type RunLimits, runScript } from './run.ts'
import { argumentOf } from './script-call.ts'

/** What the service is started with. */
export interface PluginsOptions extends RunLimits {
  /** Where the scripts are: `/etc/xapi.d/plugins`. */
  readonly scripts: string
  /** Where the service's sockets are made. */
  readonly directory: string
  /** Of the sockets' files. */
  readonly group?: string
  /** How many scripts run at once; past it a call gets 503. */
  readonly runsMax: number
}

/** A script that runs. */
interface Run {
  readonly id: string
  readonly plugin: string
  readonly fn: string
  readonly user: string
  readonly since: string
  readonly ending: AbortController
}

/** Bytes of the arguments: what an argument of a program may have in Linux, 32 pages with the zero at its end. */
const ARGUMENT_BYTES_MAX = 131_071
/** How often a client that is told of a run as it goes hears that it goes on, in milliseconds. */
const HEARTBEAT_MS = 2000
const STREAMED = 'application/x-ndjson'
const RETRY_AFTER_S = 2

/** What is answered with a status and an error of the XenAPI. */
class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly status: number
  readonly error: XenApiError

  constructor(status: number, error: XenApiError) {
    super(error.message)
    this.status = status
    this.error = error
  }
}

/** Starts the service. @throws {ServiceError} when its sockets cannot be made */
export function servePlugins(options: PluginsOptions): Promise<Service> {
  const { directory, group } = options
  const plugins = new Plugins(options)
  return serve({
    name: PLUGINS_SERVICE,
    directory,
    ...(group === undefined ? {} : { group }),
    handler: (request, response) => plugins.answer(request, response),
  })
}

class Plugins {
  readonly #options: PluginsOptions
  readonly #runs = new Map<string, Run>()

  constructor(options: PluginsOptions) {
    this.#options = options
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (!request.xen.roles.includes('pool-admin')) {
        throw new Refusal(403, permissionDenied('host.call_plugin', 'pool-admin'))
      }
      await this.#route(request, response)
    } catch (error) {
      if (error instanceof Refusal) answerError(response, error.status, error.error)
      else if (error instanceof XenApiError) answerError(response, 500, error)
      else throw error
    }
  }

  #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = ''] = (request.url ?? '').slice(SERVICES_PREFIX.length + PLUGINS_SERVICE.length).split('?')
    const [first = '', second = '', third, ...more] = path.split('/').slice(1).map(decoded)
    if (more.length > 0) throw notHere()
    if (first === '') return this.#list(request, response)
    if (request.method !== 'POST') throw notPossible(405, 'a plugin is called by POST')
    if (third === undefined) return this.#call(first, second, request, response)
    if (first !== 'runs' || third !== 'end') throw notHere()
    return this.#end(second, response)
  }

  async #list({ method }: IncomingMessage, response: ServerResponse): Promise<void> {
    if (method !== 'GET') throw notPossible(405, 'the list is read by GET')
    const runs = [...this.#runs.values()].map(({ id, plugin, fn, user, since }) => ({ id, plugin, fn, user, since }))
    answerJson(response, 200, { plugins: this.#plugins(), runs })
  }

  async #end(id: string, response: ServerResponse): Promise<void> {
    const run = this.#runs.get(id)
    if (run === undefined) throw notPossible(404, 'no such run; GET / lists them')
    run.ending.abort()
    response.writeHead(204).end()
  }

  #plugins(): string[] {
    return readdirSync(this.#options.scripts).filter((name) => isRunnable(join(this.#options.scripts, name)))
  }

  async #call(plugin: string, fn: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!this.#plugins().includes(plugin)) throw new Refusal(404, new XenApiError('XENAPI_MISSING_PLUGIN', [plugin]))
    const argument = argumentOf({ fn, sessionId: request.xen.sessionId ?? '', args: await argumentsIn(request) })
    if (Buffer.byteLength(argument) > ARGUMENT_BYTES_MAX) {
      throw notPossible(413, `a plugin takes ${ARGUMENT_BYTES_MAX} bytes, as XML-RPC`)
    }
    const run = this.#begin(plugin, fn, request.xen)
    response.once('close', () => run.ending.abort())
    if (response.closed) run.ending.abort()
    const isStreamed = (request.headers.accept ?? '').includes(STREAMED)
    try {
      if (isStreamed) await this.#streamed(run, argument, response)
      else answerText(response, await this.#run(run, argument, () => {}))
    } finally {
      this.#runs.delete(run.id)
    }
  }

  #begin(plugin: string, fn: string, { user }: Caller): Run {
    if (this.#runs.size >= this.#options.runsMax) throw new Refusal(503, tooBusy())
    const run: Run = {
      id: randomUUID(),
      plugin,
      fn,
      user,
      since: new Date().toISOString(),
      ending: new AbortController(),
    }
    this.#runs.set(run.id, run)
    return run
  }

  #run({ plugin, ending }: Run, argument: string, told: (text: string) => void): Promise<string> {
    return runScript(join(this.#options.scripts, plugin), argument, this.#options, told, ending.signal)
  }

  /** A line for the beginning, each piece of standard error, each time that it goes on, and the end. */
  async #streamed(run: Run, argument: string, response: ServerResponse): Promise<void> {
    const say = (line: Readonly<Record<string, unknown>>): void => void response.write(`${JSON.stringify(line)}\n`)
    response.writeHead(200, { 'Content-Type': STREAMED, 'Cache-Control': 'no-store' })
    say({ run: run.id })
    const heartbeat = setInterval(() => say({ running: true }), HEARTBEAT_MS)
    try {
      say({ value: await this.#run(run, argument, (text) => say({ stderr: text })) })
    } catch (error) {
      if (!(error instanceof XenApiError)) throw error
      say({ error: [error.code, ...error.params] })
    } finally {
      clearInterval(heartbeat)
    }
    response.end()
  }
}

/** @throws {Refusal} when the body is no JSON object of strings */
async function argumentsIn(request: IncomingMessage): Promise<Readonly<Record<string, string>>> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > ARGUMENT_BYTES_MAX) throw notPossible(413, `the arguments may have ${ARGUMENT_BYTES_MAX} bytes`)
    parts.push(part)
  }
  if (bytes === 0) return {}
  const args = jsonIn(Buffer.concat(parts).toString('utf8'))
  if (!isTextMap(args)) throw notPossible(400, 'the body has to be a JSON object whose values are strings')
  return args
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isTextMap(value: unknown): value is Readonly<Record<string, string>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((text) => typeof text === 'string')
  )
}

/** A script is a file that may be executed; a symbolic link to one is one. */
function isRunnable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw notPossible(400, 'the path is not percent-encoded UTF-8')
  }
}

function notHere(): Refusal {
  return notPossible(404, 'call /<plugin>/<function>; GET / lists what there is')
}

function notPossible(status: number, why: string): Refusal {
  return new Refusal(status, new XenApiError('OPERATION_NOT_ALLOWED', [why]))
}

function answerText(response: ServerResponse, value: string): void {
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' }).end(value)
}

function answerJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' })
  response.end(`${JSON.stringify(value)}\n`)
}

/** In the form in which `host.call_plugin` tells of it. */
function answerError(response: ServerResponse, status: number, { code, params }: XenApiError): void {
  if (response.headersSent) return void response.destroy()
  if (status === 503) response.setHeader('Retry-After', RETRY_AFTER_S)
  if (status === 405) response.setHeader('Allow', 'GET, POST')
  answerJson(response, status, { error: [code, ...params] })
}

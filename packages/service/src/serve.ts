// A custom service: two sockets, one HTTP server behind both.
//
//     <name>           the gateway's connections, on which it relays requests
//     <name>.channel   control connections, each with a client's own connection: a channel

import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createSocketServer, type Server as SocketServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import {
  CHANNEL_SUFFIX,
  closeDescriptor,
  descriptorOf,
  encodeRefused,
  peerUser,
  READS_BODIES_MODE,
  receiveChannel,
  type Received,
} from '@xengate/channel'
import { isHttpInDisguise } from '@xengate/channel/contract'
import { callerOfFields } from './caller.ts'
import { Channel, type ClientSocket, LOOK_MS } from './channel.ts'
import { answerFailure, guarded } from './failure.ts'
import { type FetchHandler, listenerOf } from './fetch.ts'
import { forward, forwardConnection } from './forward.ts'
import { HEAD_BYTES_MAX } from './limits.ts'
import { answerFault, answerUnreadable } from './malformed.ts'
import { ServiceError } from './errors.ts'
import { checkOptions } from './options.ts'
import { decideUpgrades, ServiceRequest } from './request.ts'
import { forgetSignals, stopAtSignals } from './signals.ts'
import { bindServiceSocket, checkDirectory, checkName, groupId, type ServiceSocket, userId } from './sockets.ts'
import { takeGivenSockets } from './systemd.ts'

/** Answers a request, as listeners of `node:http` do; what its promise is rejected with is answered with 500. */
export type RequestHandler = (...of: Parameters<RequestListener>) => unknown

/** Answers an upgrade, as listeners of `upgrade` of `node:http` do; `request.xen` is the caller. */
export type UpgradeListener = (request: ServiceRequest, socket: Duplex, head: Buffer) => unknown

/** What a service is. Either `handler` or `fetch` is given. */
export interface ServeOptions {
  /** Well-known name: clients ask for `/services/plugin/<name>`. */
  readonly name: string
  /** Where its sockets are made. Default `/var/xapi/plugin`. */
  readonly directory?: string
  /** A listener of `node:http`: a function, an Express app, `fastify.routing`. */
  readonly handler?: RequestHandler
  /** A handler in the style of fetch. */
  readonly fetch?: FetchHandler
  /** Takes WebSockets and other upgrades. Without it, requests for one are ordinary requests, and the last of their connection on a channel. */
  readonly upgrade?: UpgradeListener
  /** Mode of the sockets' files. Default 0o660. */
  readonly mode?: number
  /** Group of the sockets' files, by name or id. Default: this process's. */
  readonly group?: string | number
  /**
   * Who the gateway's workers run as, by name or id: what another says of a caller is not believed. Root is another, too: on a XenServer
   * or XCP-ng host xapi passes on what clients claim. Default: the user `xengate`, where there is one, else whoever can connect.
   */
  readonly gateway?: string | number
  /** Whether the gateway may pass clients' connections. Default true. */
  readonly channels?: boolean
  /** How long requests under way may take at the end, in milliseconds. Default 30,000. */
  readonly drainTimeoutMs?: number
  /** Is told what goes wrong outside of any request. Default: a line on standard error. */
  readonly onError?: (error: Error) => void
}

/** A service that runs. */
export interface Service {
  /**
   * Ends it politely: takes no new connections, finishes requests under way, at most for the drain timeout, removes its sockets'
   * files. SIGTERM and SIGINT do this too, and end the process then.
   */
  close(): Promise<void>
}

const DIRECTORY = '/var/xapi/plugin'
const MODE = 0o660
const DRAIN_TIMEOUT_MS = 30_000
/** Who the packages for hosts have the gateway's workers run as. */
const GATEWAY_USER = 'xengate'
/** How long a request's head may take. */
const HEAD_TIMEOUT_MS = 60_000
/** How often connections that have become idle are looked for while draining. */
const DRAIN_LOOK_MS = 20

/** Starts a service. @throws {ServiceError} when its options or its sockets do not allow it */
export async function serve(options: ServeOptions): Promise<Service> {
  checkOptions(options)
  checkName(options.name)
  const sockets = takeGivenSockets(process.env) ?? (await bindBoth(options))
  const service = new RunningService(options)
  await service.listen([sockets.plain, sockets.channel])
  return service
}

function printError(error: Error): void {
  const cause = error.cause instanceof Error ? `: ${error.cause.stack ?? error.cause.message}` : ''
  process.stderr.write(`${error.message}${cause}\n`)
}

/** @throws {ServiceError} when the user that is named does not exist */
function gatewayUser(gateway: string | number | undefined): number | null {
  if (typeof gateway === 'number') return gateway
  const id = userId(gateway ?? GATEWAY_USER)
  if (id !== null || gateway === undefined) return id
  throw new ServiceError('options-invalid', `cannot believe the user "${gateway}": there is no such user`)
}

interface BothSockets {
  readonly plain: ServiceSocket | null
  readonly channel: ServiceSocket | null
}

async function bindBoth(options: ServeOptions): Promise<BothSockets> {
  const { name, directory = DIRECTORY, mode = MODE, group, channels = true } = options
  checkDirectory(directory)
  const gid = group === undefined ? null : groupId(group)
  const path = join(directory, name)
  // Node.js reads what a handler leaves of a body, before it looks for another request.
  const plain = await bindServiceSocket(path, mode | READS_BODIES_MODE, gid)
  try {
    return { plain, channel: channels ? await bindServiceSocket(`${path}${CHANNEL_SUFFIX}`, mode, gid) : null }
  } catch (error) {
    plain.removeFile()
    closeDescriptor(plain.fd)
    throw error
  }
}

class RunningService implements Service {
  readonly #name: string
  readonly #handler: RequestHandler
  readonly #upgrade: UpgradeListener | undefined
  readonly #drainTimeoutMs: number
  readonly #onError: (error: Error) => void
  /** The id of the user whose connections are the gateway's; null: everybody's are. */
  readonly #gateway: number | null
  readonly #http: Server<typeof ServiceRequest>
  readonly #channelServer: SocketServer
  readonly #channels = new Set<Channel>()
  /** Every connection with HTTP on it, and every control connection. */
  readonly #connections = new Set<Socket>()
  #sockets: readonly ServiceSocket[] = []
  #looks: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #whenIdle: () => void = () => {}

  constructor(options: ServeOptions) {
    this.#name = options.name
    // One of the two is given.
    this.#handler = options.handler ?? listenerOf(options.fetch as FetchHandler)
    this.#upgrade = options.upgrade
    this.#drainTimeoutMs = options.drainTimeoutMs ?? DRAIN_TIMEOUT_MS
    this.#onError = options.onError ?? printError
    this.#gateway = gatewayUser(options.gateway)
    this.#http = this.#createHttp()
    this.#channelServer = createSocketServer({ pauseOnConnect: true }, (control) => {
      this.#track(control)
      void this.#receive(control)
    })
    this.#channelServer.on('error', this.#onError)
  }

  #createHttp(): Server<typeof ServiceRequest> {
    const http = createServer({
      IncomingMessage: ServiceRequest,
      maxHeaderSize: HEAD_BYTES_MAX, // what the gateway takes at most; it has looked at the first head
      keepAliveTimeout: 0, // channels look after that without two timers for each request; so does the gateway
      headersTimeout: HEAD_TIMEOUT_MS,
      requestTimeout: 0, // an upload may take as long as it takes
      shouldUpgradeCallback: (request) => this.#wantsConnection(request),
    })
    decideUpgrades(http, (request) => this.#wantsConnection(request))
    // A client may end its side after its request, and gets the answer still.
    Object.assign(http, { httpAllowHalfOpen: true })
    http.maxHeadersCount = 0 // all of them: one that is not seen would not be judged
    http.on('connection', (socket: ClientSocket) => {
      socket.isStranger =
        socket.channel === undefined && this.#gateway !== null && peerUser(descriptorOf(socket)) !== this.#gateway
      this.#track(socket)
    })
    http.on('request', (request, response) => this.#request(request, response))
    http.on('checkContinue', (request, response) => {
      if (!this.#isForeign(request) && !isRefused(request)) response.writeContinue()
      this.#request(request, response)
    })
    http.on('checkExpectation', (request, response) => {
      if (this.#isForeign(request) || isRefused(request)) this.#request(request, response)
      else response.writeHead(417).end()
    })
    http.on('upgrade', (request, socket, head) => this.#connection(request, socket, head))
    http.on('connect', (request, socket, head) => this.#connection(request, socket, head))
    http.on('clientError', answerUnreadable)
    http.on('error', this.#onError)
    return http
  }

  /** Listens on the sockets for plain connections and for channels; either may be null. */
  async listen([plain, channel]: readonly [ServiceSocket | null, ServiceSocket | null]): Promise<void> {
    this.#sockets = [plain, channel].filter((socket) => socket !== null)
    if (plain !== null) await listening(this.#http, plain.fd)
    // Node.js keeps track of an HTTP server's connections from this event on.
    else this.#http.emit('listening')
    if (channel !== null) await listening(this.#channelServer, channel.fd)
    this.#looks = setInterval(() => this.#look(), LOOK_MS).unref()
    stopAtSignals(this)
  }

  #look(): void {
    for (const channel of this.#channels) channel.look()
  }

  #track(socket: Socket): void {
    this.#connections.add(socket)
    socket.once('close', () => {
      this.#connections.delete(socket)
      if (this.#connections.size === 0) this.#whenIdle()
    })
  }

  async #receive(control: Socket): Promise<void> {
    control.on('error', () => {}) // a close follows
    const taken = await receiveChannel(control)
    if (taken.kind === 'invalid') {
      this.#onError(new Error(`cannot take a channel: ${taken.why}`))
      refuse(control, taken.why)
    } else if (taken.kind !== 'received') {
      control.destroy()
    } else if (this.#closing !== undefined || control.destroyed) {
      closeDescriptor(taken.clientFd)
      refuse(control, 'the service is about to end')
    } else if (taken.offer.service !== this.#name) {
      closeDescriptor(taken.clientFd)
      refuse(control, `this is ${this.#name}, and not ${taken.offer.service}`)
    } else {
      this.#open(control, taken)
    }
  }

  #open(control: Socket, { clientFd, offer, received }: Extract<Received, { kind: 'received' }>): void {
    let channel: Channel
    try {
      channel = new Channel(clientFd, offer, received.length, control, (of) => this.#channels.delete(of))
    } catch {
      closeDescriptor(clientFd)
      refuse(control, 'the descriptor that came is no stream socket')
      return
    }
    this.#channels.add(channel)
    const { socket } = channel
    socket.setNoDelay(true)
    this.#http.emit('connection', socket)
    if (received.length > 0) socket.unshift(received)
    socket.resume()
  }

  /** Whether the request came on a channel that must not answer it. */
  #isForeign(request: ServiceRequest): boolean {
    const { channel } = request.socket as ClientSocket
    return channel !== undefined && !channel.admits(request)
  }

  #request(request: ServiceRequest, response: ServerResponse<ServiceRequest>): void {
    const { channel } = request.socket as ClientSocket
    if (this.#closing !== undefined || channel?.last === request) response.shouldKeepAlive = false
    if (channel === undefined) {
      request.xen = callerOfFields(request.rawHeaders, request.url ?? '')
    } else if (channel.last !== null && isRefused(request)) {
      if (channel.last === request && request.fault !== null) answerFault(response, request.fault)
      return
    } else if (this.#isForeign(request)) {
      forward(channel, request, response, this.#onError)
      return
    } else {
      channel.requests++
    }
    guarded(
      () => this.#handler(request, response),
      (error) => answerFailure(request, response, error, this.#onError),
    )
  }

  /** Whether a request that asks for an upgrade gets the connection, here or at the gateway. */
  #wantsConnection(request: ServiceRequest): boolean {
    const wants = !isRefused(request) && this.#wants(request)
    const { channel } = request.socket as ClientSocket
    // Node.js loses what came with an upgrade that is none: the answer is the last.
    if (!wants && channel !== undefined) channel.last ??= request
    return wants
  }

  #wants(request: ServiceRequest): boolean {
    const { headers } = request
    const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
    if (this.#isForeign(request) || isHttpInDisguise(headers.upgrade)) return !hasBody
    return this.#upgrade !== undefined && !hasBody
  }

  #connection(request: ServiceRequest, socket: Duplex, head: Buffer): void {
    const { channel } = request.socket as ClientSocket
    if (channel !== undefined && (this.#isForeign(request) || isHttpInDisguise(request.headers.upgrade))) {
      channel.forwardAll()
      forwardConnection(channel, request, socket, head)
    } else if (this.#upgrade === undefined || request.method !== 'GET') {
      socket.destroy()
    } else {
      if (channel === undefined) {
        request.xen = callerOfFields(request.rawHeaders, request.url ?? '')
      } else {
        channel.requests++
        channel.isUpgraded = true
      }
      this.#upgradeTo(this.#upgrade, request, socket, head)
    }
  }

  #upgradeTo(upgrade: UpgradeListener, request: ServiceRequest, socket: Duplex, head: Buffer): void {
    guarded(
      () => upgrade(request, socket, head),
      (error) => {
        this.#onError(new Error('cannot upgrade a connection', { cause: error }))
        socket.destroy()
      },
    )
  }

  close(): Promise<void> {
    this.#closing ??= this.#drain()
    return this.#closing
  }

  async #drain(): Promise<void> {
    for (const socket of this.#sockets) socket.removeFile()
    const idle = new Promise<void>((resolve) => {
      this.#whenIdle = resolve
    })
    this.#channelServer.close()
    this.#http.close()
    for (const connection of this.#connections) askToClose(connection)
    this.#http.closeIdleConnections()
    const looks = setInterval(() => this.#http.closeIdleConnections(), DRAIN_LOOK_MS)
    const deadline = setTimeout(() => this.#destroyConnections(), this.#drainTimeoutMs)
    if (this.#connections.size > 0) await idle
    clearInterval(looks)
    clearTimeout(deadline)
    this.#ended()
  }

  #destroyConnections(): void {
    for (const connection of this.#connections) connection.destroy()
  }

  #ended(): void {
    clearInterval(this.#looks)
    forgetSignals(this)
  }

  /** Ends it at once. */
  destroy(): void {
    for (const socket of this.#sockets) socket.removeFile()
    this.#destroyConnections()
  }
}

/** Whether the request came on a channel, and is refused by its head or follows the last one. */
function isRefused(request: ServiceRequest): boolean {
  const { channel } = request.socket as ClientSocket
  const last = channel?.last ?? null
  return last !== null && (last !== request || request.fault !== null)
}

function listening(server: SocketServer, fd: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen({ fd, exclusive: true }, resolve)
  return promise
}

function refuse(control: Socket, why: string): void {
  control.end(encodeRefused(why))
  control.resume()
}

/** Has the answer that is under way on `connection`, if its head is not out, say that it is the last. */
function askToClose(connection: Socket): void {
  const { _httpMessage: response } = connection as { readonly _httpMessage?: ServerResponse | null }
  if (response !== null && response !== undefined && !response.headersSent) response.shouldKeepAlive = false
}

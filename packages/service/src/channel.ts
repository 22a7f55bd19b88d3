// A channel: the client's own connection, which the gateway has passed to this process, and the control connection beside it.

import { Agent, type ServerResponse } from 'node:http'
import { connect, Socket } from 'node:net'
import { type ChannelOffer, encodeAccepted, encodeUsage, REPORT_INTERVAL_MS } from '@xengate/channel'
import { type Caller, callerOfChannel, fieldsOfChannel } from './caller.ts'
import type { Remembered, ServiceRequest } from './request.ts'
import { sessionIdInCookie } from './session-id.ts'

/** A client's connection. */
export class ClientSocket extends Socket {
  /** Not there on connections of the gateway to the service's plain socket. */
  readonly channel: Channel | undefined

  /** @throws when `fd` is no stream socket */
  constructor(fd: number, channel: Channel) {
    // Half open: a client may end its side and still gets what it has asked for, as behind the gateway.
    super({ fd, allowHalfOpen: true })
    this.channel = channel
  }
}

/** How often channels are looked at. */
export const LOOK_MS: number = REPORT_INTERVAL_MS / 2
/** After so many looks without use a connection that waits for a request is ended: 75 s, as at the gateway. */
const QUIET_LOOKS_MAX = 15

/** Connections to the gateway that are kept for a client's next request to forward. */
const FREE_CONNECTIONS_MAX = 4

/** What follows the service's name in a target, if anything does. */
const SLASH = '/'.charCodeAt(0)
const QUESTION_MARK = '?'.charCodeAt(0)

export class Channel {
  readonly socket: ClientSocket
  readonly caller: Caller
  readonly sessionId: string
  readonly #gateway: string
  readonly #greeting: string
  #wayBack: WayBack | null = null
  readonly #methods: readonly string[]
  readonly #id: string
  readonly #prefix: string
  readonly #fields: readonly string[]
  readonly #control: Socket
  /** Bytes of the client that the gateway had read. */
  readonly #receivedBytes: number
  /** The last request that was admitted. */
  remembered: Remembered | null = null
  /** Requests that were answered here. */
  requests = 0
  /** Bytes of requests that were forwarded, and of their answers: the gateway counts those itself. */
  forwardedIn = 0
  forwardedOut = 0
  /** Whether the connection is no longer HTTP's, so that its pauses mean nothing. */
  isUpgraded = false
  #isForwarded = false
  #nextRequest = 0
  #quietLooks = 0
  #seenBytes = 0
  #told = { requests: 0, bytesIn: 0, bytesOut: 0 }
  #wasInUse = false
  #isOver = false

  /** @param fd the client's connection. @throws when it is no stream socket; it is the caller's then */
  constructor(fd: number, offer: ChannelOffer, receivedBytes: number, control: Socket, onEnd: (of: Channel) => void) {
    this.#id = offer.channel
    this.#prefix = `/services/plugin/${offer.service}`
    this.#fields = fieldsOfChannel(offer)
    this.#methods = offer.methods
    this.sessionId = offer.session.id
    this.caller = callerOfChannel(offer)
    this.#gateway = offer.gateway
    this.#greeting = offer.greeting
    this.#receivedBytes = receivedBytes
    this.#control = control
    this.socket = new ClientSocket(fd, this)
    // An error is followed by a close, and handlers of upgrades may not expect one.
    this.socket.on('error', () => {}).on('close', () => this.#clientClosed(onEnd))
    control.on('error', () => {}).on('close', () => this.destroy())
    control.write(encodeAccepted())
    control.resume()
  }

  /** Whether `cookie`, the value of a Cookie field, has the channel's session id; unknown if it has none. */
  judgeCookie(cookie: string): 'right' | 'wrong' | 'unknown' {
    const id = sessionIdInCookie(cookie)
    if (id === undefined) return 'unknown'
    return id === this.sessionId ? 'right' : 'wrong'
  }

  /** Whether `target` is the channel's service. */
  isTarget(target: string): boolean {
    if (!target.startsWith(this.#prefix)) return false
    const next = target.length === this.#prefix.length ? SLASH : target.charCodeAt(this.#prefix.length)
    return next === SLASH || next === QUESTION_MARK
  }

  /** Adds the fields that the gateway adds to a request it relays. */
  addFields(fields: string[], host: string | undefined): void {
    for (const text of this.#fields) fields.push(text)
    if (host !== undefined) fields.push('X-Forwarded-Host', host)
    fields.push('X-Request-Id', this.nextRequestId())
  }

  nextRequestId(): string {
    return `${this.#id}-${this.#nextRequest++}`
  }

  /** Where the gateway takes what is not answered here; most channels never need it. */
  get wayBack(): WayBack {
    this.#wayBack ??= new WayBack(this.#gateway, this.#greeting)
    return this.#wayBack
  }

  /** All that follows on the connection is forwarded, and none of it is a use of this channel. */
  forwardAll(): void {
    this.#report()
    this.isUpgraded = true
    this.#isForwarded = true
  }

  /** To be called every LOOK_MS: tells the gateway of use, and ends a connection that has been quiet between requests for too long. */
  look(): void {
    this.#report()
    const bytes = this.socket.bytesRead + this.socket.bytesWritten
    const isQuiet = bytes === this.#seenBytes && !this.isUpgraded && answerOn(this.socket) === undefined
    this.#seenBytes = bytes
    this.#quietLooks = isQuiet ? this.#quietLooks + 1 : 0
    if (this.#quietLooks >= QUIET_LOOKS_MAX) this.destroy()
  }

  /**
   * Tells the gateway of use since the last time. Whatever is told keeps the caller's session alive, so that what others do on the
   * connection is not.
   */
  #report(): void {
    const told = this.#told
    const isInUse = this.#isInUse
    const mayBeUsed = isInUse || this.#wasInUse || this.requests > told.requests
    // What a gateway that does not keep up is not told now, it is told later.
    if (!mayBeUsed || this.#isForwarded || this.#control.destroyed || this.#control.writableNeedDrain) return
    this.#wasInUse = isInUse
    const { bytesRead, bytesWritten } = this.socket
    const now = {
      requests: this.requests,
      bytesIn: Math.max(told.bytesIn, bytesRead + this.#receivedBytes - this.forwardedIn),
      bytesOut: Math.max(told.bytesOut, bytesWritten - this.forwardedOut),
    }
    const requests = now.requests - told.requests
    const bytesIn = now.bytesIn - told.bytesIn
    const bytesOut = now.bytesOut - told.bytesOut
    if (requests === 0 && bytesIn === 0 && bytesOut === 0) return
    this.#told = now
    this.#control.write(encodeUsage(requests, bytesIn, bytesOut))
  }

  /** Whether a request of the channel's own is under way. */
  get #isInUse(): boolean {
    if (this.isUpgraded) return !this.#isForwarded
    const request = answerOn(this.socket)?.req
    return request !== undefined && this.admits(request)
  }

  /** Whether `request` is to be answered here. */
  admits({ isAdmitted, method }: ServiceRequest): boolean {
    return isAdmitted && this.#methods.includes(method ?? '')
  }

  #clientClosed(onEnd: (of: Channel) => void): void {
    this.#isOver = true
    this.#report()
    this.#control.end()
    this.#wayBack?.destroy()
    onEnd(this)
  }

  /** Ends the channel now, whatever is under way: the gateway has ended it, or this process stops. */
  destroy(): void {
    if (!this.#isOver) this.socket.destroy()
  }
}

/** The answer that is under way on `socket`. */
function answerOn(socket: Socket): ServerResponse<ServiceRequest> | undefined {
  const { _httpMessage: response } = socket as { readonly _httpMessage?: ServerResponse<ServiceRequest> | null }
  return response ?? undefined
}

/** The gateway's socket for what is not answered here, with the connections to it that are kept for this client's requests. */
export class WayBack extends Agent {
  readonly path: string
  readonly #greeting: string

  /** @param greeting what a connection begins with, so that the gateway knows whose it is */
  constructor(path: string, greeting: string) {
    super({ keepAlive: true, maxFreeSockets: FREE_CONNECTIONS_MAX })
    this.path = path
    this.#greeting = greeting
  }

  override createConnection(): Socket {
    return this.connect(false)
  }

  /** @param isHalfOpen whether the connection stays when the gateway has ended its side */
  connect(isHalfOpen: boolean): Socket {
    const gateway = connect({ path: this.path, allowHalfOpen: isHalfOpen })
    if (this.#greeting !== '') gateway.write(this.#greeting, 'latin1')
    return gateway
  }
}

// A channel: the client's own connection, which the gateway has passed to this process, and the control connection beside it.

import { Socket } from 'node:net'
import { type ChannelOffer, encodeAccepted, encodeUsage, REPORT_INTERVAL_MS } from '@xengate/channel'
import { type Caller, callerOfChannel, fieldsOfChannel } from './caller.ts'
import type { Remembered } from './request.ts'
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

/** What follows the service's name in a target, if anything does. */
const SLASH = '/'.charCodeAt(0)
const QUESTION_MARK = '?'.charCodeAt(0)

export class Channel {
  readonly socket: ClientSocket
  readonly caller: Caller
  readonly sessionId: string
  /** Path of the socket where the gateway takes what is not answered here. */
  readonly gatewayPath: string
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
  /** Whether the connection is no longer HTTP's, so that its pauses mean nothing. */
  isUpgraded = false
  #nextRequest = 0
  #quietLooks = 0
  #told = { requests: 0, bytesIn: 0, bytesOut: 0 }
  #isOver = false

  /** @param fd the client's connection. @throws when it is no stream socket; it is the caller's then */
  constructor(fd: number, offer: ChannelOffer, receivedBytes: number, control: Socket, onEnd: (of: Channel) => void) {
    this.#id = offer.channel
    this.#prefix = `/services/plugin/${offer.service}`
    this.#fields = fieldsOfChannel(offer)
    this.#methods = offer.methods
    this.sessionId = offer.session.id
    this.caller = callerOfChannel(offer)
    this.gatewayPath = offer.gateway
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

  isMethod(method: string): boolean {
    return this.#methods.includes(method)
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

  /** To be called every LOOK_MS: tells the gateway of use, and ends a connection that has been quiet between requests for too long. */
  look(): void {
    if (this.#report() || this.isUpgraded || isAnswering(this.socket)) this.#quietLooks = 0
    else if (++this.#quietLooks >= QUIET_LOOKS_MAX) this.destroy()
  }

  /** Tells the gateway of use since the last time; returns whether there was any. */
  #report(): boolean {
    const { socket } = this
    const now = {
      requests: this.requests,
      bytesIn: socket.bytesRead + this.#receivedBytes,
      bytesOut: socket.bytesWritten,
    }
    const told = this.#told
    const [requests, bytesIn, bytesOut] = [
      now.requests - told.requests,
      now.bytesIn - told.bytesIn,
      now.bytesOut - told.bytesOut,
    ]
    if (requests === 0 && bytesIn === 0 && bytesOut === 0) return false
    // What a gateway that does not keep up is not told now, it is told later.
    if (this.#control.destroyed || this.#control.writableNeedDrain) return true
    this.#told = now
    this.#control.write(encodeUsage(requests, bytesIn, bytesOut))
    return true
  }

  #clientClosed(onEnd: (of: Channel) => void): void {
    this.#isOver = true
    this.#report()
    this.#control.end()
    onEnd(this)
  }

  /** Ends the channel now, whatever is under way: the gateway has ended it, or this process stops. */
  destroy(): void {
    if (!this.#isOver) this.socket.destroy()
  }
}

/** Whether a request is under way on `socket`. */
function isAnswering(socket: Socket): boolean {
  const { _httpMessage: response } = socket as { readonly _httpMessage?: object | null }
  return response !== null && response !== undefined
}

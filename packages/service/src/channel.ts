// A channel: the client's own connection, which the gateway has passed to this process, and the control connection beside it.

import { Agent, type IncomingMessage } from 'node:http'
import { connect, Socket } from 'node:net'
import { type ChannelOffer, encodeAccepted, encodeUsage, REPORT_INTERVAL_MS } from '@xengate/channel'
import { ChannelAdmission } from './admission.ts'

/** A client's connection. */
export class ClientSocket extends Socket {
  /** Not there on connections of the gateway to the service's plain socket. */
  readonly channel: Channel | undefined
  /** There: whether it was somebody else who connected, whose word about callers is worth nothing. */
  declare isStranger: boolean | undefined

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

export class Channel {
  readonly socket: ClientSocket
  /** Which requests are answered here. */
  readonly admission: ChannelAdmission
  readonly #gateway: string
  readonly #greeting: string
  #wayBack: WayBack | null = null
  readonly #control: Socket
  /** Bytes of the client that the gateway had read. */
  readonly #receivedBytes: number
  /** Requests that were answered here. */
  requests = 0
  /** Bytes of requests that were forwarded, and of their answers: the gateway counts those itself. */
  forwardedIn = 0
  forwardedOut = 0
  /** The request behind which nothing is answered; null while there is none. */
  last: IncomingMessage | null = null
  /** Whether the connection is no longer HTTP's, so that its pauses mean nothing. */
  isUpgraded = false
  #isForwarded = false
  #quietLooks = 0
  #seenBytes = 0
  #told = { requests: 0, bytesIn: 0, bytesOut: 0 }
  #wasInUse = false
  #isOver = false

  /** @param fd the client's connection. @throws when it is no stream socket; it is the caller's then */
  constructor(fd: number, offer: ChannelOffer, receivedBytes: number, control: Socket, onEnd: (of: Channel) => void) {
    this.admission = new ChannelAdmission(offer)
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
  admits({ isAdmitted, method }: Judged): boolean {
    return isAdmitted && this.admission.isMethod(method ?? '')
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

/** A request of which all but the method was judged. */
interface Judged {
  readonly isAdmitted: boolean
  readonly method?: string | undefined
}

/** The answer that is under way on `socket`. */
function answerOn(socket: Socket): { readonly req: Judged } | undefined {
  const { _httpMessage: response } = socket as { readonly _httpMessage?: { readonly req: Judged } | null }
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

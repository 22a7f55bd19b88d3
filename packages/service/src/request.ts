// The request that a handler gets. On a channel its fields come from the client itself: here those that are the gateway's to write are
// taken out and the true ones put in, before Node.js makes `headers` of them, so that a handler sees what it would see relayed.
//
// This is done in `_addHeaderLines`, which Node.js calls with the fields as they were parsed, once for the head and once for
// trailers. It is the one place before `headers` exists, costs no second parse, and also holds for frameworks that give requests
// another prototype, as Express does. Should a later Node.js not call it, `isAdmitted` stays false and all is forwarded.

import { IncomingMessage, type Server } from 'node:http'
import { type ChannelAdmission, type Remembered, withoutGatewayFields } from './admission.ts'
import { type Caller, NOBODY, withTaskOf } from './caller.ts'
import type { Channel, ClientSocket } from './channel.ts'
import { type Fault, faultOf } from './malformed.ts'

type AddHeaderLines = (this: IncomingMessage, fields: string[], count: number) => void

const addHeaderLines = (IncomingMessage.prototype as unknown as { _addHeaderLines: AddHeaderLines })._addHeaderLines

export class ServiceRequest extends IncomingMessage {
  // Set below rather than here: initialisers of fields cost each request 0.1 µs.
  declare xen: Caller
  /** On a channel: whether the target and session are the channel's. The method is still to be looked at. */
  declare isAdmitted: boolean
  /** On a channel: how it is refused, since others could read it differently. */
  declare fault: Fault
  /** On a channel: the fields as they came, names and values in turn. */
  declare fieldsAsCame: readonly string[]

  /** @internal called by Node.js */
  _addHeaderLines(fields: string[], count: number): void {
    const { channel, isStranger } = this.socket as ClientSocket
    if (channel === undefined && isStranger === true) {
      const kept = withoutGatewayFields(fields)
      addHeaderLines.call(this, kept, kept.length)
    } else if (channel === undefined) {
      addHeaderLines.call(this, fields, count)
    } else if (this.complete) {
      const kept = this.isAdmitted ? withoutGatewayFields(fields) : fields
      addHeaderLines.call(this, kept, kept.length)
    } else {
      this.fieldsAsCame = fields
      const { admission } = channel
      const { remembered } = admission
      const isAgain =
        remembered !== null && remembered.minorVersion === this.httpVersionMinor && isSame(fields, remembered.fields)
      if (isAgain) this.#recall(admission, fields, remembered)
      else if ((this.fault = faultOf(this, fields)) === null) this.#judge(admission, fields)
      else this.#refuse(channel, fields)
    }
  }

  /** It is refused, and nothing behind it is answered. */
  #refuse(channel: Channel, fields: string[]): void {
    channel.last ??= this
    addHeaderLines.call(this, fields, fields.length)
  }

  /** Decides whether a request with the same fields as one before is the channel's. */
  #recall(admission: ChannelAdmission, fields: string[], { session, kept, headers }: Remembered): void {
    const target = this.url ?? ''
    if (!admission.isAgain(target, session)) {
      addHeaderLines.call(this, fields, fields.length)
      return
    }
    this.isAdmitted = true
    this.xen = withTaskOf(target, admission.caller)
    const id = admission.nextRequestId()
    const all = kept.slice()
    all[all.length - 1] = id
    addHeaderLines.call(this, all, all.length)
    const own = { ...headers }
    own['x-request-id'] = id
    this.headers = own
  }

  /** Decides whether the request is the channel's; gives it the fields for its handler if so, else those that came. */
  #judge(admission: ChannelAdmission, fields: string[]): void {
    const { url: target = '', httpVersionMinor: minorVersion } = this
    const admitted = admission.judge(target, fields)
    if (admitted === null) {
      addHeaderLines.call(this, fields, fields.length)
      return
    }
    const { kept, session } = admitted
    this.isAdmitted = true
    this.xen = withTaskOf(target, admission.caller)
    addHeaderLines.call(this, kept, kept.length)
    if (fields.length <= REMEMBERED_FIELDS_MAX && this.headers['set-cookie'] === undefined) {
      admission.remembered = { fields, kept: [...kept], headers: { ...this.headers }, session, minorVersion }
    }
  }
}

/** Most names and values of a request that is remembered. */
const REMEMBERED_FIELDS_MAX = 64

/**
 * Has `wants` decide which requests for an upgrade are one, as the option `shouldUpgradeCallback` does where Node.js knows it:
 * version 22 does not, and takes them all for upgrades when anybody listens for some. It asks the request itself.
 */
export function decideUpgrades(server: Server, wants: (request: ServiceRequest) => boolean): void {
  if ('shouldUpgradeCallback' in server) return
  Object.defineProperty(ServiceRequest.prototype, 'upgrade', {
    configurable: true, // by the next service of this process, alike
    get(this: Asking): boolean {
      return this._asksToUpgrade === true && (this.method === 'CONNECT' || this.socket.server._wantsUpgrade(this))
    },
    set(this: Asking, asks: boolean | null): void {
      this._asksToUpgrade = asks
    },
  })
  Object.assign(server, { _wantsUpgrade: wants })
}

/** A request as it is on such a Node.js. */
interface Asking extends ServiceRequest {
  _asksToUpgrade: boolean | null
  readonly socket: ClientSocket & { readonly server: { _wantsUpgrade(request: ServiceRequest): boolean } }
}

ServiceRequest.prototype.xen = NOBODY
ServiceRequest.prototype.isAdmitted = false
ServiceRequest.prototype.fault = null
ServiceRequest.prototype.fieldsAsCame = []

function isSame(fields: readonly string[], remembered: readonly string[]): boolean {
  if (fields.length !== remembered.length) return false
  for (let index = 0; index < fields.length; index++) if (fields[index] !== remembered[index]) return false
  return true
}

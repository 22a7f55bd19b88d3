// Which requests on a channel are the channel's own: the rules of docs/channels.md, as the gateway has them.

import type { IncomingHttpHeaders } from 'node:http'
import type { ChannelOffer } from '@xengate/channel'
import { SERVICES_PREFIX, sessionIdInCookie, sessionIdInTarget } from '@xengate/channel/contract'
import { type Caller, callerOfChannel, fieldsOfChannel } from './caller.ts'
import { FIELD, fieldOf, FIRST_OF_GATEWAY } from './fields.ts'

/** What follows the service's name in a target, if anything does. */
const SLASH = '/'.charCodeAt(0)
const QUESTION_MARK = '?'.charCodeAt(0)

/** What the fields say about the session: unknown when they have none, and the target has to be looked at. */
export type SessionInFields = 'right' | 'unknown'

/**
 * The last request of a channel, for the next one: clients send the same fields again and again. It saves looking at each of them and
 * making `headers` from them anew: 1.1 µs of 11 for a small request.
 */
export interface Remembered {
  /** As they came. */
  readonly fields: readonly string[]
  /** As they are given to the handler, the request's id last. */
  readonly kept: readonly string[]
  readonly headers: IncomingHttpHeaders
  readonly session: SessionInFields
  /** 0 or 1 of HTTP/1.0 or HTTP/1.1. */
  readonly minorVersion: number
}

/** A head that is the channel's. */
export interface Admitted {
  /** Its fields as they are given to the handler, the request's id last. */
  readonly kept: string[]
  readonly session: SessionInFields
}

export class ChannelAdmission {
  readonly caller: Caller
  /** The last request that was admitted. */
  remembered: Remembered | null = null
  readonly #sessionId: string
  readonly #methods: readonly string[]
  readonly #channelId: string
  readonly #prefix: string
  readonly #fields: readonly string[]
  #nextRequest = 0

  constructor(offer: ChannelOffer) {
    this.caller = callerOfChannel(offer)
    this.#sessionId = offer.session.id
    this.#methods = offer.methods
    this.#channelId = offer.channel
    this.#prefix = SERVICES_PREFIX + offer.service
    this.#fields = fieldsOfChannel(offer)
  }

  /** Judges all of a head but its method; null when it is not the channel's. @param fields names and values in turn */
  judge(target: string, fields: readonly string[]): Admitted | null {
    const { session, isCrossSite, host } = this.#read(fields)
    // A cookie that a page of another site made a browser send proves nothing: the gateway refuses that.
    if (session === 'wrong' || (session === 'right' && isCrossSite) || !this.isAgain(target, session)) return null
    const kept = withoutGatewayFields(fields)
    for (const text of this.#fields) kept.push(text)
    if (host !== undefined) kept.push('X-Forwarded-Host', host)
    kept.push('X-Request-Id', this.nextRequestId())
    return { kept, session }
  }

  /** Whether `target` is the channel's, of a request whose fields say `session`. */
  isAgain(target: string, session: SessionInFields): boolean {
    return this.#isTarget(target) && (session === 'right' || sessionIdInTarget(target) === this.#sessionId)
  }

  isMethod(method: string): boolean {
    return this.#methods.includes(method)
  }

  nextRequestId(): string {
    return `${this.#channelId}-${this.#nextRequest++}`
  }

  #isTarget(target: string): boolean {
    if (!target.startsWith(this.#prefix)) return false
    const next = target.length === this.#prefix.length ? SLASH : target.charCodeAt(this.#prefix.length)
    // Servers differ on whether a `#` ends the path: the gateway refuses it.
    return (next === SLASH || next === QUESTION_MARK) && !target.includes('#')
  }

  #read(fields: readonly string[]): Read {
    const found: Read = { session: 'unknown', isCrossSite: false, host: undefined }
    for (let index = 0; index < fields.length; index += 2) {
      const value = fields[index + 1] as string
      switch (fieldOf(fields[index] as string)) {
        case FIELD.COOKIE:
          if (found.session === 'unknown') found.session = this.#judgeCookie(value)
          break
        case FIELD.HOST:
          found.host ??= value
          break
        case FIELD.SEC_FETCH_SITE:
          found.isCrossSite ||= value.toLowerCase() === 'cross-site'
          break
        default:
      }
    }
    return found
  }

  #judgeCookie(cookie: string): Read['session'] {
    const id = sessionIdInCookie(cookie)
    if (id === undefined) return 'unknown'
    return id === this.#sessionId ? 'right' : 'wrong'
  }
}

interface Read {
  session: SessionInFields | 'wrong'
  isCrossSite: boolean
  host: string | undefined
}

/** The fields but for those that only the gateway may write. */
export function withoutGatewayFields(fields: readonly string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string
    if (fieldOf(name) < FIRST_OF_GATEWAY) kept.push(name, fields[index + 1] as string)
  }
  return kept
}

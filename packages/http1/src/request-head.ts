// The head of a request (RFC 9112 section 3): method, request target in one of its four forms, version, fields.

import { ASTERISK, AUTHORITY, COLON, CR, DIGIT_0, LF, SLASH, SP, TARGET, TOKEN } from './bytes.ts'
import { FIELD, type FieldNames } from './field-names.ts'
import { NEED_MORE } from './field-lines.ts'
import { BODY, type BodyKind, Head, type HeadLimits } from './head.ts'
import type { Reason } from './reasons.ts'

/** Those that most requests have. */
const METHODS: readonly string[] = ['GET', 'PUT', 'POST']

/** Longest method, in bytes. */
const METHOD_BYTES_MAX = 32

/** A parsed request head; see `Head` for how long it holds. */
export class RequestHead extends Head {
  #methodStart = 0
  #methodEnd = 0
  #targetStart = 0
  #targetEnd = 0
  /** Of an absolute-form target: where its authority starts and ends; equal otherwise. */
  #authorityStart = 0
  #authorityEnd = 0
  /** Index of Host among the fields, -1 when there is none. */
  #hostIndex = -1
  readonly #requiresHost: boolean

  /** @param requiresHost whether an HTTP/1.1 request without Host is refused (RFC 9112 section 3.2); false where others judge it */
  constructor(names: FieldNames, limits: HeadLimits, requiresHost: boolean = true) {
    super(names, limits)
    this.#requiresHost = requiresHost
  }

  get method(): string {
    return this.known(METHODS, this.#methodStart, this.#methodEnd)
  }

  /** The request target as received. */
  get target(): string {
    return this.slice(this.#targetStart, this.#targetEnd)
  }

  /** The target as an origin server is sent it (RFC 9112 section 3.2.1): of an absolute form, what follows the authority. */
  get originTarget(): string {
    if (this.#authorityStart === this.#authorityEnd) return this.target
    const rest = this.slice(this.#authorityEnd, this.#targetEnd)
    return rest.startsWith('/') ? rest : `/${rest}`
  }

  /**
   * The host that the request is for: the authority of an absolute-form target, which overrides Host
   * (RFC 9112 section 3.2.2), or Host. Undefined without either, as HTTP/1.0 may be.
   */
  get host(): string | undefined {
    if (this.#authorityStart !== this.#authorityEnd) return this.slice(this.#authorityStart, this.#authorityEnd)
    return this.#hostIndex === -1 ? undefined : this.value(this.#hostIndex)
  }

  /** How the body ends: a request's never ends with the connection (RFC 9112 section 6.3). */
  get bodyKind(): BodyKind {
    if (this.isChunked) return BODY.CHUNKED
    return this.contentLength > 0 ? BODY.LENGTH : BODY.NONE
  }

  protected parseStartLine(bytes: Buffer, from: number, end: number): number {
    const start = this.#skipEmptyLine(bytes, from, end)
    if (start < 0) return start
    let at = this.#parseMethod(bytes, start, end)
    if (at < 0) return at
    at = this.#parseTarget(bytes, at, end)
    if (at < 0) return at
    at = this.parseVersion(bytes, at, end)
    if (at < 0) return at
    return this.parseLineEnd(bytes, at, end)
  }

  /** A server ignores one empty line before the request line (RFC 9112 section 2.2). */
  #skipEmptyLine(bytes: Buffer, from: number, end: number): number {
    if (from >= end) return NEED_MORE
    if (bytes[from] !== CR) return bytes[from] === LF ? this.refuse('bare-lf', from) : from
    if (from + 1 >= end) return NEED_MORE
    return bytes[from + 1] === LF ? from + 2 : this.refuse('bare-cr', from)
  }

  #parseMethod(bytes: Buffer, from: number, end: number): number {
    let at = from
    const limit = Math.min(end, from + METHOD_BYTES_MAX + 1)
    while (at < limit && TOKEN[bytes[at]!] === 1) at++
    if (at - from > METHOD_BYTES_MAX) return this.refuse('method-invalid', at)
    if (at >= end) return NEED_MORE
    if (bytes[at] !== SP || at === from) return this.refuse('method-invalid', at)
    this.#methodStart = from
    this.#methodEnd = at
    return at + 1
  }

  #parseTarget(bytes: Buffer, from: number, end: number): number {
    let at = from
    const limit = Math.min(end, from + this.limits.targetBytesMax + 1)
    while (at < limit && TARGET[bytes[at]!] === 1) at++
    if (at - from > this.limits.targetBytesMax) return this.refuse('target-too-long', at)
    if (at >= end) return NEED_MORE
    if (bytes[at] === CR || bytes[at] === LF) return this.refuse('start-line-invalid', at)
    if (bytes[at] !== SP || at === from) return this.refuse('target-invalid', at)
    this.#targetStart = from
    this.#targetEnd = at
    this.#authorityStart = from
    this.#authorityEnd = from
    return this.#hasKnownForm(bytes) ? at + 1 : this.refuse('target-invalid', from)
  }

  /** Whether the target is in a form that its method may use (RFC 9112 section 3.2). */
  #hasKnownForm(bytes: Buffer): boolean {
    const from = this.#targetStart
    if (bytes[from] === SLASH) return true
    const method = bytes.toString('latin1', this.#methodStart, this.#methodEnd)
    if (method === 'CONNECT') return isAuthority(bytes, from, this.#targetEnd)
    if (bytes[from] === ASTERISK) return method === 'OPTIONS' && this.#targetEnd === from + 1
    return this.#hasAbsoluteForm(bytes)
  }

  /** `http://authority...` or `https://authority...`, without userinfo (RFC 9110 section 4.2). */
  #hasAbsoluteForm(bytes: Buffer): boolean {
    const prefix = bytes
      .toString('latin1', this.#targetStart, Math.min(this.#targetEnd, this.#targetStart + 8))
      .toLowerCase()
    const schemeBytes = prefix === 'https://' ? 8 : prefix.startsWith('http://') ? 7 : 0
    if (schemeBytes === 0) return false
    const from = this.#targetStart + schemeBytes
    let at = from
    while (at < this.#targetEnd && bytes[at] !== SLASH && bytes[at] !== QUESTION_MARK) at++
    this.#authorityStart = from
    this.#authorityEnd = at
    return at > from && isAuthority(bytes, from, at)
  }

  protected checkFields(): boolean {
    this.#hostIndex = -1
    const { fields } = this
    let expectIndex = -1
    for (let index = 0; index < fields.count; index++) {
      const id = fields.id(index)
      if (id === FIELD.EXPECT) {
        if (!this.#isExpected(index, expectIndex)) return this.#refuse('expectation-unknown', fields.valueStart(index))
        expectIndex = index
      }
      if (id !== FIELD.HOST) continue
      if (this.#hostIndex !== -1) return this.#refuse('host-repeated', fields.nameStart(index))
      this.#hostIndex = index
    }
    if (this.#hostIndex === -1) {
      return this.minorVersion === 0 || !this.#requiresHost || this.#refuse('host-missing', this.start)
    }
    const from = fields.valueStart(this.#hostIndex)
    return isAuthority(this.bytes, from, fields.valueEnd(this.#hostIndex)) || this.#refuse('host-invalid', from)
  }

  /** Whether field `index`, an Expect, is one that everybody reads alike; HTTP/1.0 has none (RFC 9110 section 10.1.1). */
  #isExpected(index: number, earlier: number): boolean {
    return this.minorVersion === 0 || (earlier === -1 && this.value(index).toLowerCase() === '100-continue')
  }

  #refuse(reason: Reason, offset: number): false {
    this.refuse(reason, offset)
    return false
  }
}

const QUESTION_MARK = 0x3f

const BRACKET_OPEN = 0x5b
const BRACKET_CLOSE = 0x5d
const PORT_DIGITS_MAX = 5
const PORT_MAX = 65_535

/** Whether the bytes are a host and an optional port (RFC 3986 section 3.2); an empty host stands alone, as in `Host:`. */
function isAuthority(bytes: Buffer, from: number, to: number): boolean {
  const at = bytes[from] === BRACKET_OPEN ? literalEnd(bytes, from, to) : nameEnd(bytes, from, to)
  return at === to || (at > from && bytes[at] === COLON && isPort(bytes, at + 1, to))
}

/** The end of a name or an IPv4 address: brackets are for IP literals alone. */
function nameEnd(bytes: Buffer, from: number, to: number): number {
  let at = from
  while (at < to && isHostByte(bytes[at]!) && bytes[at] !== COLON) at++
  return at
}

/** The end of `[...]`; `from` when it is none. */
function literalEnd(bytes: Buffer, from: number, to: number): number {
  let at = from + 1
  while (at < to && isHostByte(bytes[at]!)) at++
  return at < to && bytes[at] === BRACKET_CLOSE && at > from + 1 ? at + 1 : from
}

function isHostByte(byte: number): boolean {
  return AUTHORITY[byte] === 1 && byte !== BRACKET_OPEN && byte !== BRACKET_CLOSE
}

/** Whether the bytes are a port: nothing, or one to five digits (RFC 3986 section 3.2.3). */
function isPort(bytes: Buffer, from: number, to: number): boolean {
  if (to - from > PORT_DIGITS_MAX) return false
  let port = 0
  for (let at = from; at < to; at++) {
    const digit = bytes[at]! - DIGIT_0
    if (digit < 0 || digit > 9) return false
    port = port * 10 + digit
  }
  return port <= PORT_MAX
}

// What request and response heads share: their field lines, and the fields that decide framing and persistence.

import { CR, DIGIT_0, DIGIT_9, LF } from './bytes.ts'
import { FIELD, type FieldNames } from './field-names.ts'
import { FieldLines, INVALID, NEED_MORE } from './field-lines.ts'
import type { Reason } from './reasons.ts'

/** What `parse` found. */
export const HEAD = {
  /** The bytes are the beginning of a head: call again with these and more. */
  NEED_MORE: 0,
  COMPLETE: 1,
  /** `reason` and `offset` say why and where. */
  INVALID: 2,
} as const

/** One of `HEAD`. */
export type HeadStatus = (typeof HEAD)[keyof typeof HEAD]

/** How a message's body ends (RFC 9112 section 6.3). */
export const BODY = {
  NONE: 0,
  /** After `contentLength` bytes. */
  LENGTH: 1,
  /** With the last chunk and the trailers. */
  CHUNKED: 2,
  /** With the connection; only responses. */
  CLOSE: 3,
} as const

/** One of `BODY`. */
export type BodyKind = (typeof BODY)[keyof typeof BODY]

/** Bounds of a head, in bytes. */
export interface HeadLimits {
  /** The whole head, from its first byte to its empty line. */
  readonly headBytesMax: number
  /** The request target. */
  readonly targetBytesMax: number
}

/**
 * A parsed head. One object serves many heads, one after the other: what it says is about the last `parse` and holds as
 * long as the bytes that were given to it do. Strings are made when asked for.
 */
export abstract class Head {
  readonly fields: FieldLines
  /** Offset of the first byte after the head. */
  end = 0
  /** 0 or 1: the message's version is HTTP/1.0 or HTTP/1.1. */
  minorVersion = 1
  /** Value of Content-Length in bytes, -1 when there is none. */
  contentLength = -1
  /** Whether the body has chunked framing. */
  isChunked = false
  /** Whether Connection has the option `close`, `keep-alive`, `upgrade`. */
  hasClose = false
  hasKeepAlive = false
  hasConnectionUpgrade = false
  /** Names that Connection lists beside those three, in lower case: they are hop-by-hop (RFC 9110 section 7.6.1). */
  connectionNames: readonly string[] = NO_NAMES
  reason: Reason = 'start-line-invalid'
  /** Where in the bytes the first error is. */
  offset = 0

  protected bytes: Buffer = NO_BYTES
  protected start = 0
  /** Where the bytes that were given to `parse` end. */
  #givenEnd = 0
  protected readonly limits: HeadLimits
  #text: string | undefined

  constructor(names: FieldNames, limits: HeadLimits) {
    this.fields = new FieldLines(names)
    this.limits = limits
  }

  /** Whether the sender keeps the connection open after this message (RFC 9112 section 9.3). */
  get isPersistent(): boolean {
    return !this.hasClose && (this.minorVersion === 1 || this.hasKeepAlive)
  }

  /** All that was given to the last `parse`, from the head on: the head, and what has come behind it. */
  get received(): Buffer {
    return this.bytes.subarray(this.start, this.#givenEnd)
  }

  /** The part of the head from `from` to `to`, offsets as in `fields`; one character a byte. */
  slice(from: number, to: number): string {
    const text = (this.#text ??= this.bytes.toString('latin1', this.start, this.end))
    return text.slice(from - this.start, to - this.start)
  }

  /** The same, without a new string when it is one of `texts`. */
  protected known(texts: readonly string[], from: number, to: number): string {
    for (const text of texts) {
      if (text.length === to - from && isText(this.bytes, from, text)) return text
    }
    return this.slice(from, to)
  }

  name(index: number): string {
    return this.slice(this.fields.nameStart(index), this.fields.nameEnd(index))
  }

  value(index: number): string {
    return this.slice(this.fields.valueStart(index), this.fields.valueEnd(index))
  }

  /** Value of the first field with this id, or undefined. */
  first(id: number): string | undefined {
    for (let index = 0; index < this.fields.count; index++) {
      if (this.fields.id(index) === id) return this.value(index)
    }
    return undefined
  }

  /** Offset after the start line; NEED_MORE or INVALID of `field-lines.ts` otherwise. */
  protected abstract parseStartLine(bytes: Buffer, from: number, end: number): number
  /** What only one direction asks of its fields. */
  protected abstract checkFields(): boolean

  /** Parses the head that starts at `from`; never reads at or beyond `end`. */
  parse(bytes: Buffer, from: number, end: number): HeadStatus {
    this.#reset(bytes, from)
    this.#givenEnd = end
    const limit = Math.min(end, from + this.limits.headBytesMax)
    let at = this.parseStartLine(bytes, from, limit)
    if (at >= 0) at = this.#parseFields(bytes, at, limit)
    if (at === INVALID) return HEAD.INVALID
    if (at === NEED_MORE) {
      if (end - from < this.limits.headBytesMax) return HEAD.NEED_MORE
      this.refuse('head-too-large', limit)
      return HEAD.INVALID
    }
    this.end = at
    return this.#readFields() && this.checkFields() ? HEAD.COMPLETE : HEAD.INVALID
  }

  #reset(bytes: Buffer, from: number): void {
    this.bytes = bytes
    this.start = from
    this.end = from
    this.#text = undefined
    this.fields.count = 0
    this.contentLength = -1
    this.isChunked = false
    this.hasClose = false
    this.hasKeepAlive = false
    this.hasConnectionUpgrade = false
    this.connectionNames = NO_NAMES
  }

  #parseFields(bytes: Buffer, from: number, end: number): number {
    const at = this.fields.parse(bytes, from, end)
    if (at === INVALID) this.refuse(this.fields.reason, this.fields.offset)
    return at
  }

  #readFields(): boolean {
    const { fields } = this
    let hasTransferEncoding = false
    for (let index = 0; index < fields.count; index++) {
      switch (fields.id(index)) {
        case FIELD.CONTENT_LENGTH:
          if (this.contentLength !== -1) return this.#refuseField('content-length-repeated', index)
          this.contentLength = this.#digits(index)
          if (this.contentLength === -1) return this.#refuseField('content-length-invalid', index)
          break
        case FIELD.TRANSFER_ENCODING:
          if (this.minorVersion === 0) return this.#refuseField('transfer-encoding-in-1.0', index)
          if (hasTransferEncoding || this.value(index).toLowerCase() !== 'chunked') {
            return this.#refuseField('transfer-encoding-invalid', index)
          }
          hasTransferEncoding = true
          break
        case FIELD.CONNECTION:
          if (!this.#readConnection(this.value(index))) return this.#refuseField('connection-option-invalid', index)
          break
      }
    }
    this.isChunked = hasTransferEncoding
    if (!hasTransferEncoding || this.contentLength === -1) return true
    this.refuse('framing-ambiguous', this.start)
    return false
  }

  /** The value of field `index` as digits within 2^53, or -1. */
  #digits(index: number): number {
    const from = this.fields.valueStart(index)
    const to = this.fields.valueEnd(index)
    if (from === to) return -1
    let value = 0
    for (let at = from; at < to; at++) {
      const byte = this.bytes[at]! // within the value
      if (byte < DIGIT_0 || byte > DIGIT_9) return -1
      value = value * 10 + (byte - DIGIT_0)
      if (value > Number.MAX_SAFE_INTEGER) return -1
    }
    return value
  }

  /** @returns whether all that it names may be left out */
  #readConnection(value: string): boolean {
    // The two usual values, without splitting.
    if (value === 'keep-alive' || value === 'Keep-Alive') this.hasKeepAlive = true
    else if (value === 'close') this.hasClose = true
    else return this.#readOptions(value)
    return true
  }

  #readOptions(value: string): boolean {
    const names: string[] = [...this.connectionNames]
    for (const part of value.split(',')) {
      const option = part.trim().toLowerCase()
      if (option === 'close') this.hasClose = true
      else if (option === 'keep-alive') this.hasKeepAlive = true
      else if (option === 'upgrade') this.hasConnectionUpgrade = true
      else if (NOT_OPTIONS.has(option)) return false
      else if (option !== '') names.push(option)
    }
    this.connectionNames = names
    return true
  }

  #refuseField(reason: Reason, index: number): false {
    this.refuse(reason, this.fields.valueStart(index))
    return false
  }

  /** Records why the head is refused. */
  protected refuse(reason: Reason, offset: number): typeof INVALID {
    this.reason = reason
    this.offset = offset
    return INVALID
  }

  /** Offset after `HTTP/1.<0 or 1>` at `at`, or NEED_MORE or INVALID; sets `minorVersion`. */
  protected parseVersion(bytes: Buffer, from: number, end: number): number {
    for (let index = 0; index < VERSION.length; index++) {
      if (from + index >= end) return NEED_MORE
      if (bytes[from + index] !== VERSION[index]) return this.#refuseVersion(bytes, from, index)
    }
    const at = from + VERSION.length
    if (at >= end) return NEED_MORE
    const minor = bytes[at]! - DIGIT_0 // at < end
    if (minor !== 0 && minor !== 1) return this.#refuseVersion(bytes, from, VERSION.length)
    this.minorVersion = minor
    return at + 1
  }

  /** Another version's digits are `version-unsupported`; what is no version at all is `start-line-invalid`. */
  #refuseVersion(bytes: Buffer, from: number, index: number): typeof INVALID {
    const byte = bytes[from + index]! // the byte that differed
    const isOtherVersion = index >= MAJOR && byte >= DIGIT_0 && byte <= DIGIT_9
    return this.refuse(isOtherVersion ? 'version-unsupported' : 'start-line-invalid', from + index)
  }

  /** Offset after the CRLF that ends a start line at `at`, or NEED_MORE or INVALID. */
  protected parseLineEnd(bytes: Buffer, at: number, end: number): number {
    if (at >= end) return NEED_MORE
    if (bytes[at] === LF) return this.refuse('bare-lf', at)
    if (bytes[at] !== CR) return this.refuse('start-line-invalid', at)
    if (at + 1 >= end) return NEED_MORE
    return bytes[at + 1] === LF ? at + 2 : this.refuse('bare-cr', at)
  }
}

function isText(bytes: Buffer, from: number, text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (bytes[from + index] !== text.charCodeAt(index)) return false
  }
  return true
}

const VERSION = Buffer.from('HTTP/1.', 'latin1')
/** Where in VERSION the major digit is. */
const MAJOR = 5
const NO_BYTES = Buffer.alloc(0)
const NO_NAMES: readonly string[] = []
/** Fields that everybody on the way reads: Connection must not name them (RFC 9110 section 7.6.1). */
const NOT_OPTIONS: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'host'])

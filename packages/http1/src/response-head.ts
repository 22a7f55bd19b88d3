// The head of a response (RFC 9112 section 4): version, status code, reason phrase, fields.

import { CR, DIGIT_0, DIGIT_9, FIELD_VALUE, SP } from './bytes.ts'
import { NEED_MORE } from './field-lines.ts'
import { BODY, type BodyKind, Head } from './head.ts'

/** Those that most responses have. */
const PHRASES: readonly string[] = ['OK']

/** A parsed response head; see `Head` for how long it holds. */
export class ResponseHead extends Head {
  /** Status code, 100 to 599. */
  status = 0
  #reasonStart = 0
  #reasonEnd = 0

  /** The reason phrase, often empty. */
  get reasonPhrase(): string {
    return this.known(PHRASES, this.#reasonStart, this.#reasonEnd)
  }

  /** Whether another response to the same request follows (RFC 9110 section 15.2); 101 is the last. */
  get isInterim(): boolean {
    return this.status < 200 && this.status !== 101
  }

  /**
   * How the body ends (RFC 9112 section 6.3).
   * @param isHeadRequest whether the request's method was HEAD
   */
  bodyKind(isHeadRequest: boolean): BodyKind {
    if (isHeadRequest || this.status < 200 || this.status === 204 || this.status === 304) return BODY.NONE
    if (this.isChunked) return BODY.CHUNKED
    if (this.contentLength === -1) return BODY.CLOSE
    return this.contentLength === 0 ? BODY.NONE : BODY.LENGTH
  }

  protected parseStartLine(bytes: Buffer, from: number, end: number): number {
    let at = this.parseVersion(bytes, from, end)
    if (at < 0) return at
    if (at >= end) return NEED_MORE
    if (bytes[at] !== SP) return this.refuse('start-line-invalid', at)
    at = this.#parseStatus(bytes, at + 1, end)
    if (at < 0) return at
    at = this.#parseReasonPhrase(bytes, at, end)
    if (at < 0) return at
    return this.parseLineEnd(bytes, at, end)
  }

  #parseStatus(bytes: Buffer, from: number, end: number): number {
    let status = 0
    for (let at = from; at < from + 3; at++) {
      if (at >= end) return NEED_MORE
      const byte = bytes[at]! // at < end
      if (byte < DIGIT_0 || byte > DIGIT_9) return this.refuse('status-invalid', at)
      status = status * 10 + (byte - DIGIT_0)
    }
    if (status < 100 || status > 599) return this.refuse('status-invalid', from)
    this.status = status
    return from + 3
  }

  /** The phrase after one space; a status line that ends right behind the code is read as an empty phrase. */
  #parseReasonPhrase(bytes: Buffer, from: number, end: number): number {
    if (from >= end) return NEED_MORE
    this.#reasonStart = from
    this.#reasonEnd = from
    if (bytes[from] === CR) return from
    if (bytes[from] !== SP) return this.refuse('status-invalid', from)
    let at = from + 1
    while (at < end && FIELD_VALUE[bytes[at]!] === 1) at++
    this.#reasonStart = from + 1
    this.#reasonEnd = at
    return at
  }

  protected checkFields(): boolean {
    return true
  }
}

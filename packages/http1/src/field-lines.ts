// A section of field lines (RFC 9112 section 5): the fields of a head, or the trailers of a chunked body.

import { COLON, CR, FIELD_VALUE, HTAB, LF, SP, TOKEN } from './bytes.ts'
import type { FieldNames } from './field-names.ts'
import type { Reason } from './reasons.ts'

/** The section goes on beyond the bytes given. */
export const NEED_MORE = -1
/** The section is malformed; `reason` and `offset` say why and where. */
export const INVALID = -2

/** Most field lines in one section. Reached only by heads that are made to hurt: it bounds the table of offsets. */
export const FIELDS_MAX = 1000

/**
 * The field lines of one section, as offsets into the bytes that were parsed. One object serves many sections, one after the other:
 * what it says is about the last `parse`, and holds as long as those bytes do.
 */
export class FieldLines {
  /** Number of field lines. */
  count = 0
  /** Whether each line is written `name: value` with exactly one space and none behind, so that it can be copied. */
  isCanonical = true
  reason: Reason = 'field-name-invalid'
  /** Where in the bytes the first error is. */
  offset = 0

  /** For each field line: start and end of the name, start and end of the value (without white space around it). */
  readonly #offsets = new Int32Array(4 * FIELDS_MAX)
  readonly #ids = new Uint8Array(FIELDS_MAX)
  readonly #names: FieldNames

  constructor(names: FieldNames) {
    this.#names = names
  }

  /** Id in the table of names of field `index`. */
  id(index: number): number {
    return this.#ids[index]! // for index < count, as for the four below
  }

  nameStart(index: number): number {
    return this.#offsets[4 * index]!
  }

  nameEnd(index: number): number {
    return this.#offsets[4 * index + 1]!
  }

  valueStart(index: number): number {
    return this.#offsets[4 * index + 2]!
  }

  valueEnd(index: number): number {
    return this.#offsets[4 * index + 3]!
  }

  /**
   * Parses the section that starts at `from`, up to and with its empty line.
   * @returns the offset after the empty line, `NEED_MORE`, or `INVALID`
   */
  parse(bytes: Uint8Array, from: number, end: number): number {
    this.count = 0
    this.isCanonical = true
    let at = from
    for (;;) {
      if (at >= end) return NEED_MORE
      const first = bytes[at]! // at < end
      if (TOKEN[first] === 1) {
        at = this.#fieldLine(bytes, at, end)
        if (at < 0) return at
      } else if (first === CR) {
        if (at + 1 >= end) return NEED_MORE
        return bytes[at + 1] === LF ? at + 2 : this.#refuse('bare-cr', at)
      } else {
        return this.#refuse(reasonAtLineStart(first), at)
      }
    }
  }

  #fieldLine(bytes: Uint8Array, from: number, end: number): number {
    let at = from + 1
    while (at < end && TOKEN[bytes[at]!] === 1) at++
    if (at >= end) return NEED_MORE
    if (bytes[at] !== COLON) return this.#refuse(reasonAtNameEnd(bytes[at]!), at)
    const nameEnd = at++

    while (at < end && (bytes[at] === SP || bytes[at] === HTAB)) at++
    const valueStart = at
    while (at < end && FIELD_VALUE[bytes[at]!] === 1) at++
    if (at >= end) return NEED_MORE
    if (bytes[at] !== CR) return this.#refuse(bytes[at] === LF ? 'bare-lf' : 'field-value-invalid', at)
    if (at + 1 >= end) return NEED_MORE
    if (bytes[at + 1] !== LF) return this.#refuse('bare-cr', at)

    let valueEnd = at
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--
    if (valueEnd !== at || valueStart !== nameEnd + 2 || bytes[nameEnd + 1] !== SP) this.isCanonical = false
    if (this.count === FIELDS_MAX) return this.#refuse('fields-too-many', from)
    this.#record(this.#names.find(bytes, from, nameEnd), from, nameEnd, valueStart, valueEnd)
    return at + 2
  }

  #record(id: number, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): void {
    const slot = 4 * this.count
    this.#offsets[slot] = nameStart
    this.#offsets[slot + 1] = nameEnd
    this.#offsets[slot + 2] = valueStart
    this.#offsets[slot + 3] = valueEnd
    this.#ids[this.count++] = id
  }

  #refuse(reason: Reason, offset: number): typeof INVALID {
    this.reason = reason
    this.offset = offset
    return INVALID
  }
}

function reasonAtLineStart(byte: number): Reason {
  if (byte === LF) return 'bare-lf'
  return byte === SP || byte === HTAB ? 'obs-fold' : 'field-name-invalid'
}

function reasonAtNameEnd(byte: number): Reason {
  if (byte === LF) return 'bare-lf'
  return byte === SP || byte === HTAB ? 'space-before-colon' : 'field-name-invalid'
}

// Body framing (RFC 9112 sections 6 and 7): which of the bytes that follow a head are its body, and where it ends.
//
// Of a chunked body, each state, what it accepts, and the next (RFC 9112 section 7.1):
//
//   SIZE_FIRST     one hexadecimal digit          → SIZE
//   SIZE           more digits                    → SIZE       `;` → EXT_START    CR → SIZE_LF
//   EXT_START      white space, or a name's first → EXT_NAME
//   EXT_NAME       token                          → EXT_NAME   `=` → EXT_EQUALS   then as EXT_END
//   EXT_EQUALS     white space, token's first     → EXT_TOKEN  `"` → EXT_QUOTED
//   EXT_TOKEN      token                          → EXT_TOKEN  then as EXT_END
//   EXT_QUOTED     qdtext                         → EXT_QUOTED `"` → EXT_END      `\` → EXT_ESCAPED
//   EXT_ESCAPED    what may be quoted             → EXT_QUOTED
//   EXT_END        white space                    → EXT_END    `;` → EXT_START    CR → SIZE_LF
//   EXT_NAME_END   as EXT_END, after a name       → EXT_NAME_END, and `=` → EXT_EQUALS
//   SIZE_LF        LF                             → DATA, or TRAILERS after size 0
//   DATA           the chunk's bytes              → DATA_CR after the last
//   DATA_CR        CR                             → DATA_LF
//   DATA_LF        LF                             → SIZE_FIRST
//   TRAILERS       field lines and an empty line  → ENDED

import { BACKSLASH, CR, EQUALS, FIELD_VALUE, HEX_VALUE, HTAB, LF, QUOTE, SEMICOLON, SP, TOKEN } from './bytes.ts'
import { FIELD } from './field-names.ts'
import { type FieldLines, INVALID as LINES_INVALID, NEED_MORE as LINES_NEED_MORE } from './field-lines.ts'
import { BODY, type BodyKind } from './head.ts'
import type { Reason } from './reasons.ts'

/** What `step` found. */
export const STEP = {
  /** All bytes given are used up; the body goes on. */
  NEED_MORE: 0,
  /** The bytes from `dataStart` to `dataEnd` are body; call again. */
  DATA: 1,
  /** The body is complete; what follows `at` is no part of it. */
  DONE: 2,
  /** `reason` says why; `at` where. */
  INVALID: 3,
} as const

/** One of `STEP`. */
export type Step = (typeof STEP)[keyof typeof STEP]

const STATE = {
  SIZE_FIRST: 0,
  SIZE: 1,
  SIZE_LF: 2,
  DATA: 3,
  DATA_CR: 4,
  DATA_LF: 5,
  TRAILERS: 6,
  ENDED: 7,
  EXT_START: 8,
  EXT_NAME: 9,
  EXT_NAME_END: 10,
  EXT_EQUALS: 11,
  EXT_TOKEN: 12,
  EXT_QUOTED: 13,
  EXT_ESCAPED: 14,
  EXT_END: 15,
} as const

/** Most bytes of chunk extensions in one body, and of its trailers. */
const EXTENSION_BYTES_MAX = 16_384
const TRAILER_BYTES_MAX = 16_384

/** Decoder of one body. */
export class BodyDecoder {
  /** After a step: the offset of the first byte that is not used up, or of the error. */
  at = 0
  dataStart = 0
  dataEnd = 0
  reason: Reason = 'chunk-size-invalid'
  /**
   * After DONE: the trailer lines, each with its CRLF. Names in the table of field names are left out: they frame or
   * identify a message, which a trailer must not (RFC 9110 section 6.5.1).
   */
  trailers = ''

  readonly #kind: BodyKind
  readonly #lines: FieldLines
  #state: number = STATE.SIZE_FIRST
  /** Bytes left of the body (LENGTH) or of the chunk (CHUNKED). */
  #left: number
  #extensionBytes = 0
  /** Of a trailer section that did not come whole: the part that came. */
  #trailerBytes: Buffer | undefined

  /**
   * @param kind how the body ends
   * @param contentLength its length in bytes, when kind is BODY.LENGTH
   * @param lines parser of the trailers; used within `step` only, so that many decoders can share one
   */
  constructor(kind: BodyKind, contentLength: number, lines: FieldLines) {
    this.#kind = kind
    this.#left = kind === BODY.LENGTH ? contentLength : 0
    this.#lines = lines
  }

  /** Whether the end of the connection is the end of the body. */
  get endsWithConnection(): boolean {
    return this.#kind === BODY.CLOSE
  }

  /** Whether the whole body has been taken. */
  get isDone(): boolean {
    return this.#kind === BODY.CHUNKED ? this.#state === STATE.ENDED : this.#kind !== BODY.CLOSE && this.#left === 0
  }

  /** Bytes still to come of a body of known length, -1 for the other kinds. */
  get left(): number {
    return this.#kind === BODY.LENGTH ? this.#left : -1
  }

  /** Looks at the bytes from `from` to `end`, up to the next thing to tell. */
  step(bytes: Buffer, from: number, end: number): Step {
    this.at = from
    switch (this.#kind) {
      case BODY.NONE:
        return STEP.DONE
      case BODY.LENGTH:
        return this.#left === 0 ? STEP.DONE : this.#data(end)
      case BODY.CLOSE:
        this.#left = end - from
        return this.#data(end)
      case BODY.CHUNKED:
        return this.#chunked(bytes, end)
    }
  }

  /** Hands out what is there of the `#left` bytes. */
  #data(end: number): Step {
    const count = Math.min(this.#left, end - this.at)
    if (count === 0) return STEP.NEED_MORE
    this.dataStart = this.at
    this.at += count
    this.dataEnd = this.at
    this.#left -= count
    return STEP.DATA
  }

  #chunked(bytes: Buffer, end: number): Step {
    while (this.at < end) {
      if (this.#state === STATE.DATA) {
        const step = this.#data(end)
        if (this.#left === 0) this.#state = STATE.DATA_CR
        return step
      }
      if (this.#state === STATE.TRAILERS) return this.#trailerSection(bytes, end)
      if (this.#state === STATE.ENDED) return STEP.DONE
      const reason = this.#framingByte(bytes[this.at]!) // at < end
      if (reason !== undefined) return this.#refuse(reason)
      this.at++
    }
    return this.#state === STATE.ENDED ? STEP.DONE : STEP.NEED_MORE
  }

  /** Takes one byte outside of data and trailers; answers why it is refused. */
  #framingByte(byte: number): Reason | undefined {
    switch (this.#state) {
      case STATE.SIZE_FIRST:
      case STATE.SIZE:
        return this.#sizeByte(byte)
      case STATE.SIZE_LF:
        this.#state = this.#left === 0 ? STATE.TRAILERS : STATE.DATA
        return byte === LF ? undefined : 'bare-cr'
      case STATE.DATA_CR:
        this.#state = STATE.DATA_LF
        return byte === CR ? undefined : 'chunk-end-invalid'
      case STATE.DATA_LF:
        this.#state = STATE.SIZE_FIRST
        return byte === LF ? undefined : 'chunk-end-invalid'
      default:
        return this.#extensionByte(byte)
    }
  }

  #sizeByte(byte: number): Reason | undefined {
    const digit = HEX_VALUE[byte]!
    if (digit !== 255) {
      this.#left = this.#left * 16 + digit
      // Zeros in front do not grow the number: they count as extension bytes, so that they are bounded.
      if (this.#left === 0 && ++this.#extensionBytes > EXTENSION_BYTES_MAX) return 'chunk-size-invalid'
      this.#state = STATE.SIZE
      return this.#left > Number.MAX_SAFE_INTEGER ? 'chunk-size-invalid' : undefined
    }
    if (this.#state === STATE.SIZE_FIRST) return 'chunk-size-invalid'
    if (byte === CR) this.#state = STATE.SIZE_LF
    else if (byte === SEMICOLON) this.#state = STATE.EXT_START
    else return byte === LF ? 'bare-lf' : 'chunk-size-invalid'
    return undefined
  }

  #extensionByte(byte: number): Reason | undefined {
    const next = nextInExtension(this.#state, byte)
    if (next === -1) return byte === LF ? 'bare-lf' : 'chunk-extension-invalid'
    this.#state = next
    return ++this.#extensionBytes > EXTENSION_BYTES_MAX ? 'chunk-extension-too-long' : undefined
  }

  #trailerSection(bytes: Buffer, end: number): Step {
    const before = this.#trailerBytes?.length ?? 0
    const fresh = bytes.subarray(this.at, Math.min(end, this.at + TRAILER_BYTES_MAX + 1 - before))
    const section = this.#trailerBytes === undefined ? fresh : Buffer.concat([this.#trailerBytes, fresh])
    const sectionEnd = this.#lines.parse(section, 0, section.length)
    if (sectionEnd === LINES_INVALID) return this.#refuse(this.#lines.reason)
    if (sectionEnd === LINES_NEED_MORE) {
      if (section.length > TRAILER_BYTES_MAX) return this.#refuse('head-too-large')
      this.#trailerBytes = Buffer.from(section)
      this.at = end
      return STEP.NEED_MORE
    }
    this.at += sectionEnd - before
    this.trailers = this.#trailerText(section)
    this.#trailerBytes = undefined
    this.#state = STATE.ENDED
    return STEP.DONE
  }

  #trailerText(section: Buffer): string {
    const lines = this.#lines
    let text = ''
    for (let index = 0; index < lines.count; index++) {
      if (lines.id(index) !== FIELD.OTHER) continue
      const name = section.toString('latin1', lines.nameStart(index), lines.nameEnd(index))
      text += `${name}: ${section.toString('latin1', lines.valueStart(index), lines.valueEnd(index))}\r\n`
    }
    return text
  }

  #refuse(reason: Reason): Step {
    this.reason = reason
    return STEP.INVALID
  }
}

/** The state after `byte` in one of the EXT states, -1 when it may not stand there (RFC 9112 section 7.1.1). */
function nextInExtension(state: number, byte: number): number {
  const isSpace = byte === SP || byte === HTAB
  switch (state) {
    case STATE.EXT_START:
      return isSpace ? state : TOKEN[byte] === 1 ? STATE.EXT_NAME : -1
    case STATE.EXT_NAME:
      return TOKEN[byte] === 1 ? state : nextAfterName(byte, isSpace)
    case STATE.EXT_NAME_END:
      return nextAfterName(byte, isSpace)
    case STATE.EXT_EQUALS:
      return isSpace ? state : byte === QUOTE ? STATE.EXT_QUOTED : TOKEN[byte] === 1 ? STATE.EXT_TOKEN : -1
    case STATE.EXT_TOKEN:
      return TOKEN[byte] === 1 ? state : nextAfterValue(byte, isSpace)
    case STATE.EXT_QUOTED:
      if (byte === QUOTE) return STATE.EXT_END
      return byte === BACKSLASH ? STATE.EXT_ESCAPED : FIELD_VALUE[byte] === 1 ? state : -1
    case STATE.EXT_ESCAPED:
      return FIELD_VALUE[byte] === 1 ? STATE.EXT_QUOTED : -1
    default:
      return nextAfterValue(byte, isSpace)
  }
}

function nextAfterName(byte: number, isSpace: boolean): number {
  if (byte === EQUALS) return STATE.EXT_EQUALS
  return isSpace ? STATE.EXT_NAME_END : nextAfterValue(byte, isSpace)
}

function nextAfterValue(byte: number, isSpace: boolean): number {
  if (isSpace) return STATE.EXT_END
  return byte === SEMICOLON ? STATE.EXT_START : byte === CR ? STATE.SIZE_LF : -1
}

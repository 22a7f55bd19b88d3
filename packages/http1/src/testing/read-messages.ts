// Reads a byte stream through the codec the way a connection does: pieces come, what is not used up is kept.

import {
  BodyDecoder,
  BODY,
  FieldLines,
  FieldNames,
  HEAD,
  type Reason,
  RequestHead,
  ResponseHead,
  STEP,
} from '../index.ts'

/** One message as it was understood. */
export interface Message {
  /** `GET /x` or `200 OK`. */
  readonly startLine: string
  readonly minorVersion: number
  /** Names and values, as received. */
  readonly fields: readonly (readonly [string, string])[]
  readonly isPersistent: boolean
  readonly body: string
  readonly trailers: string
  /** Whether the end of the body was seen. */
  readonly isComplete: boolean
}

/** What became of a stream. */
export interface Outcome {
  readonly messages: readonly Message[]
  readonly reason: Reason | null
}

const NAMES = new FieldNames(['cookie'])
const LIMITS = { headBytesMax: 1024, targetBytesMax: 256 }

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Reader of requests or responses. */
export class MessageReader {
  readonly messages: Mutable<Message>[] = []
  reason: Reason | null = null
  readonly #head: RequestHead | ResponseHead
  readonly #lines = new FieldLines(NAMES)
  #decoder: BodyDecoder | null = null
  #kept: Buffer = Buffer.alloc(0)

  constructor(direction: 'requests' | 'responses', limits: typeof LIMITS = LIMITS) {
    this.#head = direction === 'requests' ? new RequestHead(NAMES, limits) : new ResponseHead(NAMES, limits)
  }

  write(piece: Buffer): void {
    if (this.reason !== null) return
    const bytes = Buffer.concat([this.#kept, piece])
    let at = 0
    for (;;) {
      const next: number = this.#decoder === null ? this.#readHead(bytes, at) : this.#readBody(this.#decoder, bytes, at)
      if (next === -1 || this.reason !== null) break
      at = next
    }
    this.#kept = bytes.subarray(this.#decoder === null ? at : bytes.length)
  }

  #readHead(bytes: Buffer, at: number): number {
    const head = this.#head
    const status = head.parse(bytes, at, bytes.length)
    if (status === HEAD.INVALID) this.reason = head.reason
    if (status !== HEAD.COMPLETE) return -1
    const kind = head instanceof RequestHead ? head.bodyKind : head.bodyKind(false)
    this.messages.push({
      startLine: head instanceof RequestHead ? `${head.method} ${head.target}` : `${head.status} ${head.reasonPhrase}`,
      minorVersion: head.minorVersion,
      fields: Array.from({ length: head.fields.count }, (_, index) => [head.name(index), head.value(index)] as const),
      isPersistent: head.isPersistent,
      body: '',
      trailers: '',
      isComplete: kind === BODY.NONE,
    })
    if (kind !== BODY.NONE) this.#decoder = new BodyDecoder(kind, head.contentLength, this.#lines)
    return head.end
  }

  #readBody(decoder: BodyDecoder, bytes: Buffer, from: number): number {
    const message = this.messages.at(-1)
    if (message === undefined) throw new Error('a body without a message')
    let at = from
    for (;;) {
      const step = decoder.step(bytes, at, bytes.length)
      at = decoder.at
      if (step === STEP.DATA) message.body += bytes.toString('latin1', decoder.dataStart, decoder.dataEnd)
      else if (step === STEP.INVALID) {
        this.reason = decoder.reason
        return -1
      } else if (step === STEP.DONE) {
        message.trailers = decoder.trailers
        message.isComplete = true
        this.#decoder = null
        return at
      } else return -1
    }
  }
}

/** Reads `text`, one byte a character, cut at each of `cuts`. */
export function readMessages(direction: 'requests' | 'responses', text: string, cuts: readonly number[] = []): Outcome {
  const reader = new MessageReader(direction)
  const bytes = Buffer.from(text, 'latin1')
  let from = 0
  for (const cut of [...cuts, bytes.length]) {
    reader.write(bytes.subarray(from, cut))
    from = cut
  }
  return { messages: reader.messages, reason: reader.reason }
}

/** Reads `text` whole, then cut at every byte, then byte by byte; throws unless all agree. */
export function readEveryWay(direction: 'requests' | 'responses', text: string): Outcome {
  const whole = readMessages(direction, text)
  const every = Array.from({ length: text.length }, (_, index) => index)
  for (const cuts of [...every.map((cut) => [cut]), every]) {
    const cut = readMessages(direction, text, cuts)
    if (JSON.stringify(cut) !== JSON.stringify(whole)) {
      throw new Error(`cut at ${cuts.join(',')}: ${JSON.stringify(cut)} instead of ${JSON.stringify(whole)}`)
    }
  }
  return whole
}

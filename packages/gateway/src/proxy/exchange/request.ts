// One request: what a relay, a refusal and the line in the log have to know of it, and how far it has come. What is not known is null, or
// empty where text is.

import { BODY, BodyDecoder, FIELD, type FieldLines, type RequestHead } from '@xengate/http1'
import type { ServiceCounters } from '../../metrics/counters.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import { ACCEPT } from '../heads/field-ids.ts'
import type { Offence } from '../heads/offence.ts'
import { pathOf, taskIn } from '../heads/target.ts'
import type { RequestSpan } from './span.ts'

/** With its head, a response of this length goes out in one flight: TCP begins with ten segments (RFC 6928). */
const SHORT_RESPONSE_BYTES = 8192

/** Leave to be with a service that is limited, or that has failed: see admission/gates.ts. */
export interface Turn {
  /** The service has answered, or it is known that it is not there. */
  answered(): void
  /** The request is over; may be said again. */
  end(): void
}

/** See the head of this file. */
export class Request {
  /** Names the request in the response and in the log. */
  readonly id: string
  /** When its head was complete, by `performance.now`; 0 when there is none. */
  readonly startedMs: number
  method = ''
  /** As an origin server is sent it. */
  target = ''
  /** What the request is for: a service's name as the client gave it, `xenapi` or `xapi`. */
  service: string | null = null
  /** Whether `service` is a custom service. */
  isForService = false
  entry: SessionEntry | null = null
  /** The value of Accept, if the request had one. */
  accept: string | undefined = undefined
  minorVersion = 1
  /** Whether its session was asked about, or its service waited for. */
  hasWaited = false
  /** Whether the client keeps its connection open. */
  isPersistent = false
  /** Whether the client may be waiting for 100 before it sends the body (RFC 9110 section 10.1.1). */
  expectsContinue = false
  /** Whether 100 has come for it. */
  hasContinued = false
  isChunked = false
  /** Decoder of the body; null when there is none. */
  decoder: BodyDecoder | null = null
  /** The task of the XenAPI that ends with it. */
  task: string | null = null

  /** Leave to be with the service; null where it needs none. */
  turn: Turn | null = null
  /** Where it is counted that a service has it; null while none does. */
  counters: ServiceCounters | null = null
  /** Its part of a trace; null where it is not traced. */
  span: RequestSpan | null = null
  /** What could not be read of it, or of its response. */
  offence: Offence | null = null
  /** How long a connection was waited for, in milliseconds. */
  connectMs = 0
  /** How long all else was waited for before it was let go to the service: what is known of its session, and its turn. */
  waitedMs = 0
  /** Whether its response was complete in the turn in which its head came. */
  isPrompt = false

  /** Body bytes from the client and to it, without framing. */
  bytesIn = 0
  bytesOut = 0
  /** Status of the final response, 0 before it. */
  status = 0
  /** When the final response's head arrived, by `performance.now`; 0 before it. */
  firstByteMs = 0

  /** Of bytes that could not be read as a request. */
  constructor(id: string, startedMs: number) {
    this.id = id
    this.startedMs = startedMs
  }

  /** Takes what the head says. @param trailerLines parser of the body's trailers */
  read(head: RequestHead, trailerLines: FieldLines): void {
    const { bodyKind, method } = head
    this.method = method
    this.target = head.originTarget
    this.accept = head.first(ACCEPT)
    this.minorVersion = head.minorVersion
    // What follows CONNECT is no request, even where it was refused.
    this.isPersistent = head.isPersistent && method !== 'CONNECT'
    if (bodyKind === BODY.NONE) return
    this.expectsContinue = head.minorVersion === 1 && head.first(FIELD.EXPECT)?.toLowerCase() === '100-continue'
    this.isChunked = head.isChunked
    this.decoder = new BodyDecoder(bodyKind, head.contentLength, trailerLines)
  }

  /** Takes in whose name it is made. */
  isOf(entry: SessionEntry): void {
    this.entry = entry
    this.task = taskIn(this.target)
  }

  /** Ends its part of a trace. @param reason by the catalogue; null when the service answered. @param endedMs by `performance.now` */
  endSpan(reason: string | null, endedMs: number): void {
    const { status, bytesIn, bytesOut, firstByteMs } = this
    this.span?.end({ status, reason, bytesIn, bytesOut, firstByteMs, endedMs })
  }

  /** The target up to the query. */
  get path(): string {
    return pathOf(this.target)
  }

  /** Whether some of its body is still to come. */
  get isBodyComing(): boolean {
    return this.decoder !== null && !this.decoder.isDone
  }

  /**
   * Whether the client's connection can be closed without lingering, once all of the response is written. A stray byte that arrives after
   * that draws a reset, which takes along what the kernel has not sent: of a short response that is nothing.
   */
  get isLastAndShort(): boolean {
    return !this.isPersistent && this.bytesOut <= SHORT_RESPONSE_BYTES
  }
}

// What a refusal, and the line in the log, have to know of a request.

import { BODY, BodyDecoder, FIELD, type FieldLines, type RequestHead } from '@xengate/http1'
import type { SessionEntry } from '../sessions/table.ts'
import { pathOf } from './admission.ts'
import { ACCEPT } from './field-ids.ts'
import { taskIn } from './task.ts'

/** See the head of this file. Null stands for what is not known. */
export interface Asked {
  readonly id: string
  readonly method: string | null
  /** The target up to the query. */
  readonly path: string | null
  readonly service: string | null
  readonly entry: SessionEntry | null
  /** The value of Accept, if the request had one. */
  readonly accept: string | undefined
  readonly minorVersion: number
  /** Whether the client keeps its connection open. */
  readonly isPersistent: boolean
  /** Whether the client may be waiting for 100 before it sends the body. */
  readonly expectsContinue: boolean
  /** Decoder of the body; null when there is none. */
  readonly decoder: BodyDecoder | null
  /** The task of the XenAPI that ends with it. */
  readonly task: string | null
  /** When its head was complete, by `Gateway.stampMs`. */
  readonly startedMs: number
}

/** Where a request goes, and in whose name, as far as that is known. */
export type AskedOf = Pick<Asked, 'id' | 'service' | 'entry' | 'startedMs'>

/** @param trailerLines parser of the body's trailers */
export function askedIn(head: RequestHead, of: AskedOf, trailerLines: FieldLines): Asked {
  const { bodyKind, method } = head
  return {
    id: of.id,
    method,
    path: pathOf(head.originTarget),
    service: of.service,
    entry: of.entry,
    accept: head.first(ACCEPT),
    minorVersion: head.minorVersion,
    // What follows CONNECT is no request, even where it was refused.
    isPersistent: head.isPersistent && method !== 'CONNECT',
    expectsContinue: head.minorVersion === 1 && head.first(FIELD.EXPECT)?.toLowerCase() === '100-continue',
    decoder: bodyKind === BODY.NONE ? null : new BodyDecoder(bodyKind, head.contentLength, trailerLines),
    task: of.entry === null ? null : taskIn(head.originTarget),
    startedMs: of.startedMs,
  }
}

/** Of a message that could not be read as a request. */
export function nothingAsked(id: string): Asked {
  return {
    id,
    method: null,
    path: null,
    service: null,
    entry: null,
    accept: undefined,
    minorVersion: 1,
    isPersistent: false,
    expectsContinue: false,
    decoder: null,
    task: null,
    startedMs: 0,
  }
}

// What a relay has to know of a request, from its head.

import { BODY, BodyDecoder, FIELD, type FieldLines, type RequestHead } from '@xengate/http1'
import { pathOf } from './admission.ts'
import { ACCEPT } from './field-ids.ts'
import type { RelayedRequest } from './relay.ts'

/** The part of it that depends on where the request goes. */
export type RelayedTo = Pick<
  RelayedRequest,
  'id' | 'service' | 'entry' | 'text' | 'upgrade' | 'startedMs' | 'isForXapi'
>

/** @param trailerLines parser of the body's trailers */
export function relayedRequest(head: RequestHead, to: RelayedTo, trailerLines: FieldLines): RelayedRequest {
  const { bodyKind } = head
  return {
    id: to.id,
    method: head.method,
    path: pathOf(head.originTarget),
    service: to.service,
    entry: to.entry,
    text: to.text,
    decoder: bodyKind === BODY.NONE ? null : new BodyDecoder(bodyKind, head.contentLength, trailerLines),
    isChunked: head.isChunked,
    minorVersion: head.minorVersion,
    isPersistent: head.isPersistent,
    expectsContinue: expectsContinue(head),
    upgrade: to.upgrade,
    accept: head.first(ACCEPT),
    startedMs: to.startedMs,
    isForXapi: to.isForXapi,
  }
}

/** Whether the client may be waiting for 100 before it sends the body. */
export function expectsContinue(head: RequestHead): boolean {
  return head.minorVersion === 1 && head.first(FIELD.EXPECT)?.toLowerCase() === '100-continue'
}

// The heads of responses that a client gets: what the service said end to end, and what the gateway adds.

import type { ResponseHead } from '@xengate/http1'
import {
  RESPONSE_DROPS,
  RESPONSE_DROPS_BUT_UPGRADE,
  RESPONSE_DROPS_WITHOUT_BODY,
  RESPONSE_REQUEST_ID,
} from './field-ids.ts'
import { keptLines } from './kept-lines.ts'

/**
 * The head of a final response, up to and with its empty line.
 * @param requestId names the line in the log, unless the service names its own; null where nothing is to be added
 * @param isChunked whether the body goes on in chunks
 * @param connectionLine the Connection line, with its CRLF, or nothing
 */
export function responseText(
  head: ResponseHead,
  requestId: string | null,
  isChunked: boolean,
  connectionLine: string,
): string {
  const isNamed = requestId === null || head.first(RESPONSE_REQUEST_ID) !== undefined
  return (
    `HTTP/1.1 ${head.status} ${head.reasonPhrase}\r\n` +
    keptLines(head, dropsOf(head.status)) +
    (isNamed ? '' : `X-Request-Id: ${requestId}\r\n`) +
    (isChunked ? 'Transfer-Encoding: chunked\r\n' : '') +
    `${connectionLine}\r\n`
  )
}

/** The head of an interim response: 100, 103 and the like. */
export function interimText(head: ResponseHead): string {
  return `HTTP/1.1 ${head.status} ${head.reasonPhrase}\r\n${keptLines(head, RESPONSE_DROPS_WITHOUT_BODY)}\r\n`
}

/** The head of 101. @param upgrade what the service has chosen */
export function switchText(head: ResponseHead, upgrade: string): string {
  const lines = keptLines(head, RESPONSE_DROPS_WITHOUT_BODY)
  return `HTTP/1.1 101 ${head.reasonPhrase}\r\n${lines}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`
}

function dropsOf(status: number): Uint8Array {
  if (status === 204) return RESPONSE_DROPS_WITHOUT_BODY
  return status === 426 ? RESPONSE_DROPS_BUT_UPGRADE : RESPONSE_DROPS
}

// The field lines of a head that are passed on.

import { BODY, type BodyKind, type RequestHead, type ResponseHead } from '@xengate/http1'

/** A head of either direction. */
export type AnyHead = RequestHead | ResponseHead

/**
 * The lines of `head`, each with its CRLF, but for the ids in `drops` and the names that Connection lists.
 * Lines written the plain way are copied in runs; others are written anew, so that what the gateway read is what goes on.
 */
export function keptLines(head: AnyHead, drops: Uint8Array): string {
  const { fields } = head
  if (!fields.isCanonical || head.connectionNames.length > 0) return linesOneByOne(head, drops)
  let text = ''
  let runStart = -1
  for (let index = 0; index < fields.count; index++) {
    if (drops[fields.id(index)] === 1) {
      if (runStart !== -1) text += head.slice(runStart, fields.nameStart(index))
      runStart = -1
    } else if (runStart === -1) {
      runStart = fields.nameStart(index)
    }
  }
  return runStart === -1 ? text : text + head.slice(runStart, head.end - CRLF_BYTES)
}

const CRLF_BYTES = 2

function linesOneByOne(head: AnyHead, drops: Uint8Array): string {
  const { fields, connectionNames } = head
  let text = ''
  for (let index = 0; index < fields.count; index++) {
    if (drops[fields.id(index)] === 1) continue
    const name = head.name(index)
    if (connectionNames.includes(name.toLowerCase())) continue
    text += `${name}: ${head.value(index)}\r\n`
  }
  return text
}

/** The line that frames a body of known length or chunked; empty for the other kinds. */
export function framingLine(kind: BodyKind, contentLength: number): string {
  if (kind === BODY.CHUNKED) return 'Transfer-Encoding: chunked\r\n'
  return contentLength === -1 ? '' : `Content-Length: ${contentLength}\r\n`
}

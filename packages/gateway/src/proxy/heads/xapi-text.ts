// The head of a request that xapi gets, behind the gateway: nothing is added that xapi would not have been sent.

import type { RequestHead } from '@xengate/http1'
import { FRONT_DROPS } from './field-ids.ts'
import { keptLines } from './kept-lines.ts'

/**
 * The head as xapi gets it: method, target, version and end-to-end fields as they came, nothing added.
 * @param closes whether xapi's connection, if not the client's, ends with this request
 * @param upgrade value of Upgrade to pass on, if any
 */
export function xapiText(head: RequestHead, isLast: boolean, closes: boolean, upgrade: string | undefined): string {
  const { host } = head
  return (
    `${head.method} ${head.originTarget} HTTP/1.${head.minorVersion}\r\n` +
    (host === undefined ? '' : `Host: ${host}\r\n`) +
    keptLines(head, FRONT_DROPS) +
    (head.isChunked ? 'Transfer-Encoding: chunked\r\n' : '') +
    connectionLines(head, isLast || closes, upgrade) +
    '\r\n'
  )
}

function connectionLines(head: RequestHead, isLast: boolean, upgrade: string | undefined): string {
  if (isLast) return isLastAnyway(head) ? '' : 'Connection: close\r\n'
  if (upgrade !== undefined) return `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`
  return head.minorVersion === 0 ? 'Connection: keep-alive\r\n' : ''
}

/** Whether the version alone says that the connection ends: xapi takes little more than 1,000 bytes of a head. */
function isLastAnyway(head: RequestHead): boolean {
  return head.minorVersion === 0 && !head.hasClose && !head.hasKeepAlive
}

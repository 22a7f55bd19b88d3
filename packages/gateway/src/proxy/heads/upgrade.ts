// Switching protocols (RFC 9110 section 7.8): what a client asks for, and whether a service has chosen from it.

import { isHttpInDisguise } from '@xengate/channel/contract'
import { FIELD, type RequestHead } from '@xengate/http1'

/** The protocols that `head` asks to switch to, if that may be passed on (RFC 9110 section 7.8); else undefined. */
export function wantedUpgrade(head: RequestHead): string | undefined {
  if (!head.hasConnectionUpgrade || head.method !== 'GET' || head.minorVersion === 0) return undefined
  if (head.isChunked || head.contentLength > 0) return undefined
  const value = head.first(FIELD.UPGRADE)
  return value === undefined || value === '' || isHttpInDisguise(value) ? undefined : value
}

/** Whether each protocol of `chosen`, a value of Upgrade, is one of `wanted`. */
export function isAmong(chosen: string, wanted: string | undefined): boolean {
  const protocols = (wanted ?? '').toLowerCase().split(/\s*,\s*/)
  return (
    chosen !== '' &&
    chosen
      .toLowerCase()
      .split(/\s*,\s*/)
      .every((protocol) => protocols.includes(protocol))
  )
}

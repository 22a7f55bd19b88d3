// Where xapi is, and how it is reached.

import { parseOrigin } from '../model/origin.ts'

/** Where xapi is. */
export type XapiAddress =
  | { readonly kind: 'unix'; readonly path: string }
  /** `https://host[:port]`. */
  | { readonly kind: 'https'; readonly origin: string }

/** How to reach xapi. */
export interface XapiSettings {
  readonly address: XapiAddress
  /** File of certificates that xapi's may be signed by; null: those that the system trusts. */
  readonly caFile: string | null
  /** Who to log in as over HTTPS; the file is read at each login. */
  readonly user: string
  readonly passwordFile: string | null
}

/** Reads `unix:/path` or `https://host[:port]`; undefined for anything else. A path stays as it is written. */
export function parseXapiAddress(text: string): XapiAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length)
    return path === '' || path.includes('\0') ? undefined : { kind: 'unix', path }
  }
  const origin = parseOrigin(text)
  return origin?.startsWith('https:') === true ? { kind: 'https', origin } : undefined
}

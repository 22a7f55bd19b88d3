// Names of header fields that the library looks at. It is asked about every field of every request on a channel, so most names
// are done with after a look at their first letter.

import { FORWARDED_FIELDS, IDENTITY_FIELDS, isDisguise } from '@xengate/channel/contract'

/** What a name means. */
export const FIELD = {
  OTHER: 0,
  HOST: 1,
  COOKIE: 2,
  SEC_FETCH_SITE: 3,
  /** From here on: the gateway's, which a client on a channel could forge. */
  FORWARDED: 4,
  USER: 5,
  SUBJECT: 6,
  ROLES: 7,
  ORIGINATOR: 8,
  /** A known name with `_` for `-`: CGI and WSGI take both for one. */
  DISGUISED: 9,
} as const

export type FieldKind = (typeof FIELD)[keyof typeof FIELD]

/** The first kind that a client may not send. */
export const FIRST_OF_GATEWAY: FieldKind = FIELD.FORWARDED

/** In the order of `IDENTITY_FIELDS`. */
const IDENTITY_KINDS: readonly FieldKind[] = [FIELD.USER, FIELD.SUBJECT, FIELD.ROLES, FIELD.ORIGINATOR]

const KINDS: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  ['host', FIELD.HOST],
  ['cookie', FIELD.COOKIE],
  ['sec-fetch-site', FIELD.SEC_FETCH_SITE],
  ...FORWARDED_FIELDS.map((name) => [name, FIELD.FORWARDED] as const),
  ...IDENTITY_FIELDS.map((name, index) => [name, IDENTITY_KINDS[index] ?? FIELD.OTHER] as const),
])

const COOKIE_LETTER = 'c'.charCodeAt(0)
const HOST_LETTER = 'h'.charCodeAt(0)
const SEC_FETCH_SITE_LETTER = 's'.charCodeAt(0)
const GATEWAY_LETTER = 'x'.charCodeAt(0)
const LOWER_CASE_BIT = 0x20

/** What the field `name` means. Case does not count. */
export function fieldOf(name: string): FieldKind {
  if (name.includes('_')) return isDisguise(name) ? FIELD.DISGUISED : FIELD.OTHER
  switch (name.charCodeAt(0) | LOWER_CASE_BIT) {
    case COOKIE_LETTER:
      return name.length === 6 && isNamed(name, 'cookie') ? FIELD.COOKIE : FIELD.OTHER
    case HOST_LETTER:
      return name.length === 4 && isNamed(name, 'host') ? FIELD.HOST : FIELD.OTHER
    case SEC_FETCH_SITE_LETTER:
    case GATEWAY_LETTER:
      return KINDS.get(name.toLowerCase()) ?? FIELD.OTHER
    default:
      return FIELD.OTHER
  }
}

function isNamed(name: string, known: string): boolean {
  return name === known || name.toLowerCase() === known
}

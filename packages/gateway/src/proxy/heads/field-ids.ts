// Field names that the gateway looks at, beside the codec's own, and which of them are not passed on.

import { FORWARDED_FIELDS, IDENTITY_FIELDS } from '@xengate/channel/contract'
import { FIELD, FIRST_OWN_ID, FieldNames } from '@xengate/http1'

const NAMES = ['cookie', 'accept', 'sec-fetch-site', 'traceparent', ...IDENTITY_FIELDS, ...FORWARDED_FIELDS] as const

/** The names in a client's request that mean something to the gateway. */
export const REQUEST_FIELDS: FieldNames = new FieldNames(NAMES)

/** The names in a service's response that mean something to the gateway. */
export const RESPONSE_FIELDS: FieldNames = new FieldNames(['x-request-id', 'service-worker-allowed'])
export const RESPONSE_REQUEST_ID: number = FIRST_OWN_ID
const SERVICE_WORKER_ALLOWED = FIRST_OWN_ID + 1

/** Ids of the names above. */
export const COOKIE: number = FIRST_OWN_ID
export const ACCEPT: number = FIRST_OWN_ID + 1
export const SEC_FETCH_SITE: number = FIRST_OWN_ID + 2
export const TRACEPARENT: number = FIRST_OWN_ID + 3
const FIRST_IDENTITY_ID = FIRST_OWN_ID + 4

const HOP_BY_HOP = [
  FIELD.CONNECTION,
  FIELD.TRANSFER_ENCODING,
  FIELD.UPGRADE,
  FIELD.KEEP_ALIVE,
  FIELD.PROXY_CONNECTION,
  FIELD.TE,
]

/** A table with 1 at each id that is left out of a message. */
function drops(ids: readonly number[]): Uint8Array {
  const table = new Uint8Array(256)
  for (const id of ids) table[id] = 1
  return table
}

/**
 * Left out of a request: hop-by-hop fields, those that the gateway writes itself (framing, Host, who the client is), and
 * known names disguised with `_`, which a CGI or WSGI service would take for the real ones.
 */
export const REQUEST_DROPS: Uint8Array = drops([
  ...HOP_BY_HOP,
  FIELD.DISGUISED,
  FIELD.HOST,
  FIELD.CONTENT_LENGTH,
  ...NAMES.slice(FIRST_IDENTITY_ID - FIRST_OWN_ID).map((_, index) => FIRST_IDENTITY_ID + index),
])

/** `drops` with one id more. */
export function withDrop(table: Uint8Array, id: number): Uint8Array {
  const more = table.slice()
  more[id] = 1
  return more
}

/** Left out of a request to xapi behind the gateway, which gets Host in front of the others. */
export const FRONT_DROPS: Uint8Array = drops([...HOP_BY_HOP, FIELD.HOST])

/**
 * Left out of a response: hop-by-hop fields, and the leave to have pages of others on this origin, as the dashboard's, pass through a
 * script of the service's in the browser.
 */
const NOT_A_CLIENTS = [...HOP_BY_HOP, SERVICE_WORKER_ALLOWED]
export const RESPONSE_DROPS: Uint8Array = drops(NOT_A_CLIENTS)

/** Left out of 426, which has to say in Upgrade what it asks for (RFC 9110 section 15.5.22). */
export const RESPONSE_DROPS_BUT_UPGRADE: Uint8Array = drops(NOT_A_CLIENTS.filter((id) => id !== FIELD.UPGRADE))

/** Left out of a response that has no body by its status (1xx, 204): its length as well (RFC 9110 section 8.6). */
export const RESPONSE_DROPS_WITHOUT_BODY: Uint8Array = drops([...NOT_A_CLIENTS, FIELD.CONTENT_LENGTH])

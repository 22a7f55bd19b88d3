// Uuids that are made of what they name.

import { hash } from 'node:crypto'

/**
 * Part of the SHA-256 of `text` in the form of a uuid (version 8, RFC 9562). It does not lead back to the text. In Valkey that of a
 * session's id is the session's: so looking up by id and by uuid is looking up one key, and what the server says of a key names the session.
 */
export function uuidOf(text: string): string {
  const bytes = hash('sha256', text, 'buffer').subarray(0, 16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

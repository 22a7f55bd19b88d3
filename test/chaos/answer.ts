// What the service answers to a request with this id: as long, and of such bytes, as the id says.

import { createHash } from 'node:crypto'

/** Past what one read or write takes. */
const BYTES_MAX = 150_000

export function answerBytes(id: string): Buffer {
  const seed = createHash('sha256').update(id).digest()
  const bytes = Buffer.alloc(seed.readUInt32LE(0) % BYTES_MAX)
  // Not the same in any two places that are likely to be mixed up.
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE((seed.readUInt32LE(4) + at) >>> 0, at)
  return bytes
}

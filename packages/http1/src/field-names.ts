// Names that a reader of heads wants to recognise, looked up by length and first byte: no string is made for a field line.

const HYPHEN = 0x2d
/** `_` after `| 0x20`, by which the look-up folds case. DEL itself is never part of a name. */
const FOLDED_UNDERSCORE = 0x7f

/** Fields whose meaning the codec itself knows; the ids of `FieldNames` start with these. */
export const FIELD = {
  /** A field that the table does not name. */
  OTHER: 0,
  /** A known name with `_` for `-`. Servers that map both to one variable (CGI, WSGI) would take it for that name. */
  DISGUISED: 1,
  HOST: 2,
  CONNECTION: 3,
  CONTENT_LENGTH: 4,
  TRANSFER_ENCODING: 5,
  UPGRADE: 6,
  EXPECT: 7,
  KEEP_ALIVE: 8,
  PROXY_CONNECTION: 9,
  TE: 10,
} as const

const OWN_NAMES = [
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
]

/** Id of the first name given to the constructor of `FieldNames`. */
export const FIRST_OWN_ID = 11

interface Candidate {
  readonly name: Uint8Array
  readonly id: number
}

/** A table of field names: the codec's own, then those that its user adds. */
export class FieldNames {
  readonly #byLength: (readonly Candidate[])[]

  /** @param names more names, in lower case, at most 64 bytes each; the first gets the id `FIRST_OWN_ID`, and so on. */
  constructor(names: readonly string[] = []) {
    const all = [...OWN_NAMES, ...names]
    const byLength: Candidate[][] = Array.from({ length: 65 }, () => [])
    for (const [index, name] of all.entries()) {
      byLength[name.length]?.push({ name: Buffer.from(name, 'latin1'), id: index + FIELD.HOST })
    }
    this.#byLength = byLength
  }

  /** Id of the name at `from` to `to` in `bytes`, `FIELD.DISGUISED`, or `FIELD.OTHER`. Case does not count. */
  find(bytes: Uint8Array, from: number, to: number): number {
    const candidates = this.#byLength[to - from]
    if (candidates === undefined) return FIELD.OTHER
    // bytes[from] exists: a name has at least one byte.
    const first = bytes[from]! | 0x20
    for (const candidate of candidates) {
      if (candidate.name[0] !== first) continue
      const match = compare(bytes, from, candidate.name)
      if (match === EQUAL) return candidate.id
      if (match === EQUAL_BUT_UNDERSCORE) return FIELD.DISGUISED
    }
    return FIELD.OTHER
  }
}

const DIFFERENT = 0
const EQUAL = 1
const EQUAL_BUT_UNDERSCORE = 2

function compare(bytes: Uint8Array, from: number, name: Uint8Array): number {
  let match = EQUAL
  for (let index = 0; index < name.length; index++) {
    const byte = bytes[from + index]! | 0x20 // within the name that the caller measured
    if (byte === name[index]) continue
    if (byte !== FOLDED_UNDERSCORE || name[index] !== HYPHEN) return DIFFERENT
    match = EQUAL_BUT_UNDERSCORE
  }
  return match
}

// The bytes that HTTP/1.1's grammar names, and tables of the ones that a rule accepts (RFC 9110 section 5, RFC 9112).

export const HTAB = 0x09
export const LF = 0x0a
export const CR = 0x0d
export const SP = 0x20
export const COLON = 0x3a
export const SEMICOLON = 0x3b
export const EQUALS = 0x3d
export const QUOTE = 0x22
export const BACKSLASH = 0x5c
export const SLASH = 0x2f
export const ASTERISK = 0x2a
export const DIGIT_0 = 0x30
export const DIGIT_9 = 0x39

function table(accepts: (byte: number) => boolean): Uint8Array {
  const bytes = new Uint8Array(256)
  for (let byte = 0; byte < 256; byte++) bytes[byte] = accepts(byte) ? 1 : 0
  return bytes
}

const TOKEN_SIGNS = "!#$%&'*+-.^_`|~"

function isAlphanumeric(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a)
}

/** `tchar` (RFC 9110 section 5.6.2): methods and field names. */
export const TOKEN: Uint8Array = table(
  (byte) => isAlphanumeric(byte) || (byte > SP && TOKEN_SIGNS.includes(String.fromCharCode(byte))),
)

/** Bytes of a field value and of a reason phrase: tab, space, visible ASCII and obs-text (RFC 9110 section 5.5). */
export const FIELD_VALUE: Uint8Array = table((byte) => byte === HTAB || (byte >= SP && byte !== 0x7f))

/**
 * Bytes of a request target: visible ASCII but `#`. Wider than RFC 3986, since clients send `|` or `{` as they are and
 * nothing about a message's length or end hangs on them; `#` is out because servers differ on whether it ends the path.
 */
export const TARGET: Uint8Array = table((byte) => byte > SP && byte < 0x7f && byte !== 0x23)

/** Bytes of an authority without userinfo: `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2). */
export const AUTHORITY: Uint8Array = table(
  (byte) => isAlphanumeric(byte) || (byte > SP && "-._~!$&'()*+,;=%:[]".includes(String.fromCharCode(byte))),
)

/** Value of a hexadecimal digit, 255 for any other byte. */
export const HEX_VALUE: Uint8Array = new Uint8Array(256).fill(255)
for (let digit = 0; digit < 16; digit++) {
  HEX_VALUE[digit.toString(16).charCodeAt(0)] = digit
  HEX_VALUE[digit.toString(16).toUpperCase().charCodeAt(0)] = digit
}

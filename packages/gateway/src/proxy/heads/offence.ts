// What could not be read of a message, for people who look for a fault: the bytes around the offence, and where it is. Secrets are blacked
// out, one character for each, so that offsets stay right; of what is no head nothing is shown.

/** A message that was refused. */
export interface Offence {
  /** Whose message it was. */
  readonly side: 'client' | 'service'
  /** Of the byte that was refused, counted from the beginning of the message; null where that is in a body. */
  readonly offset: number | null
  /** The text around it, and its own offset in the message. Bytes that are not visible are written as `\r`, `\n` and `\xNN`. */
  readonly text: string
  readonly textOffset: number
}

/** Bytes before the offence, and from it on. */
const BEFORE_BYTES = 256
const AFTER_BYTES = 64
/** How much of a head is looked at for secrets. */
const HEAD_BYTES_MAX = 65_536

const BLACK = '*'
const SECRET_WORDS = /auth|cookie|token|key|secret|passw|session|credential/i
/** A session id, a parameter that names one or a password, or who signs in by the authority of a target. */
const SECRETS =
  /OpaqueRef(?::|%3a)[\w-]*|(?<=(?:session_id|passw\w*|pwd|token|key|secret)=)[^&;\s]*|(?<=:\/\/)[^/@\s]*(?=@)/gi
/** How a message begins; what begins otherwise may be a body whose length was told wrongly, and is not shown beyond its first bytes. */
const START = /^[\w!#$%&'*+.^`|~-]+(?:\/\d\.\d)? /
const STRANGE_BYTES = 8

/**
 * The offence in the head from `from` to `to`.
 * @param at of the byte that was refused, in `bytes`
 */
export function headOffence(side: Offence['side'], bytes: Buffer, from: number, to: number, at: number): Offence {
  const end = Math.min(to, from + HEAD_BYTES_MAX)
  const text = blackedOut(bytes.toString('latin1', from, end))
  const offset = Math.max(0, at - from)
  const textOffset = Math.max(0, offset - BEFORE_BYTES)
  return { side, offset, text: visible(text.slice(textOffset, offset + AFTER_BYTES)), textOffset }
}

/** An offence in a body, of which nothing is shown. */
export function bodyOffence(side: Offence['side']): Offence {
  return { side, offset: null, text: '', textOffset: 0 }
}

/** A head without its secrets: lines that may have one lose their value, with the lines that go on with it. */
export function blackedOut(head: string): string {
  const [, blank = '', rest = ''] = /^([\r\n]*)(.*)$/s.exec(head) ?? []
  if (!START.test(rest)) return blank + rest.slice(0, STRANGE_BYTES) + black(rest.slice(STRANGE_BYTES))
  let isSecret = false
  return head
    .split(/(?<=\n|\r(?!\n))/)
    .map((line, index) => {
      const goesOn = /^[ \t]/.test(line)
      const value = line.search(/[:=]/) + 1
      if (index > 0 && !goesOn) isSecret = SECRET_WORDS.test(value === 0 ? line : line.slice(0, value))
      if (index > 0 && isSecret) return line.slice(0, goesOn ? 0 : value) + black(line.slice(goesOn ? 0 : value))
      return line.replaceAll(SECRETS, (secret) => BLACK.repeat(secret.length))
    })
    .join('')
}

function black(text: string): string {
  return text.replaceAll(/[^\r\n\s]/g, BLACK)
}

function visible(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, (character) => {
    if (character === '\r') return String.raw`\r`
    if (character === '\n') return String.raw`\n`
    return String.raw`\x` + character.charCodeAt(0).toString(16).padStart(2, '0')
  })
}

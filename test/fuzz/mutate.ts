// Bends text of a known structure: takes pieces out, doubles them, puts in what readers stumble over, and joins what does not belong
// together.

import type { Random } from '../soak/random.ts'

/** What readers of text protocols stumble over. */
const SPLINTERS: readonly [string, ...string[]] = [
  '\0',
  '\r',
  '\n',
  '\r\n',
  '\n\n',
  '\r\n\r\n',
  ' ',
  '\t',
  '\x0b',
  '\x0c',
  '\x7f',
  '\xff',
  '\x85',
  '\xa0',
  ':',
  ';',
  ',',
  '=',
  '"',
  '\\',
  '#',
  '%',
  '%00',
  '%0d%0a',
  '0',
  '00',
  '-1',
  '+1',
  '0x1',
  '1e1',
  '9007199254740993',
  '18446744073709551616',
  'ffffffffffffffff',
  '[',
  ']',
  '{',
  '}',
  '<',
  '>',
  '&',
  '&#0;',
  '__proto__',
  'chunked',
]

/** Bends `text` in one to four places. @param others what pieces are taken from. */
export function mutate(random: Random, text: string, others: readonly [string, ...string[]]): string {
  let bent = text
  for (let count = random.integer(1, 4); count > 0; count--) bent = bend(random, bent, others)
  return bent
}

function bend(random: Random, text: string, others: readonly [string, ...string[]]): string {
  const at = random.integer(0, text.length)
  const length = random.isSo(0.7) ? random.integer(0, 4) : random.integer(0, Math.min(200, text.length))
  const [before, piece, after] = [text.slice(0, at), text.slice(at, at + length), text.slice(at + length)]
  switch (random.integer(0, 7)) {
    case 0:
      return before + after
    case 1:
      return before + piece + piece + after
    case 2:
      return before + random.pick(SPLINTERS) + after
    case 3:
      return before + random.pick(SPLINTERS) + piece + after
    case 4:
      return before + String.fromCharCode(random.integer(0, 255)) + after
    case 5:
      return swapLines(random, text)
    case 6: {
      const other = random.pick(others)
      const from = random.integer(0, other.length)
      return before + other.slice(from, from + random.integer(1, 80)) + after
    }
    default:
      return before + piece.replaceAll(/[A-Za-z]/g, otherCase) + after
  }
}

/** Of an ASCII letter alone: others have forms that are no byte. */
function otherCase(letter: string): string {
  return String.fromCharCode(letter.charCodeAt(0) ^ 0x20)
}

/** Puts a line where another was, or has it twice. */
function swapLines(random: Random, text: string): string {
  const lines = text.split('\r\n')
  const from = random.integer(0, lines.length - 1)
  const to = random.integer(0, lines.length - 1)
  lines.splice(to, random.integer(0, 1), lines[from] ?? '')
  return lines.join('\r\n')
}

/** Up to `most` places in a text of this length, in order. */
export function cuts(random: Random, length: number, most: number): number[] {
  return Array.from({ length: random.integer(0, most) }, () => random.integer(0, length)).toSorted((a, b) => a - b)
}

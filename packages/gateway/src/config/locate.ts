// Where a key stands in a TOML text: a walk over a text that the TOML parser has accepted, which keeps the line of each
// key. It knows just enough of the grammar not to lose its place, and never fails.

/** Keys and array indices from the top of the file, such as `['listen', 0, 'address']`. */
export type KeyPath = readonly PropertyKey[]

/**
 * Reads where keys stand.
 *
 * @param text a TOML document that has been parsed without errors.
 * @returns a function that gives the line, from 1, of a key, or of the nearest one around it; `undefined` when the text
 *   has none of them.
 */
export function locateKeys(text: string): (path: KeyPath) => number | undefined {
  const { lines } = new Walk(text)
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const line = lines.get(keyOf(path.slice(0, length)))
      if (line !== undefined) return line
    }
    return undefined
  }
}

function keyOf(path: KeyPath): string {
  return JSON.stringify(path)
}

const SPACE = /[ \t\r\n]*(?:#[^\n]*[ \t\r\n]*)*/y
const BARE_KEY = /[A-Za-z0-9_-]+/y
// Several lines come first: their opening quotes begin like an empty string.
const STRING = /"""(?:[^\\]|\\[^])*?"{3,5}|'''[^]*?'{3,5}|"(?:[^"\\]|\\.)*"|'[^']*'/y
const SCALAR = /[^,\]}\n#]*/y

class Walk {
  readonly lines: Map<string, number> = new Map()
  readonly #text: string
  #offset = 0
  /** How many tables each array of tables has so far. */
  readonly #counts = new Map<string, number>()

  constructor(text: string) {
    this.#text = text
    let table: KeyPath = []
    for (this.#take(SPACE); this.#offset < text.length; this.#take(SPACE)) {
      const before = this.#offset
      if (this.#at('[')) table = this.#header()
      else this.#pair(table)
      if (this.#offset === before) return
    }
  }

  #header(): KeyPath {
    const start = this.#offset
    const isArray = this.#text.startsWith('[[', start)
    this.#offset += isArray ? 2 : 1
    const names = this.#key()
    this.#offset += isArray ? 2 : 1
    const path: (string | number)[] = []
    for (const [index, name] of names.entries()) {
      path.push(name)
      this.#keep(path, start)
      const key = keyOf(path)
      if (isArray && index === names.length - 1) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
      const count = this.#counts.get(key)
      if (count !== undefined) path.push(count - 1)
    }
    this.#keep(path, start)
    return path
  }

  #pair(table: KeyPath): void {
    const start = this.#offset
    const path = [...table]
    for (const name of this.#key()) {
      path.push(name)
      this.#keep(path, start)
    }
    this.#skip('=')
    this.#value(path)
  }

  #value(path: KeyPath): void {
    if (this.#at('[')) this.#list(']', (index) => this.#element([...path, index]))
    else if (this.#at('{')) this.#list('}', () => this.#pair(path))
    else if (this.#take(STRING) === '') this.#take(SCALAR)
  }

  #element(path: KeyPath): void {
    this.#keep(path, this.#offset)
    this.#value(path)
  }

  /** An array or inline table, from its opening bracket past its closing one. */
  #list(end: string, entry: (index: number) => void): void {
    this.#offset++
    for (let index = 0; ; index++) {
      this.#take(SPACE)
      if (this.#at(end) || this.#offset >= this.#text.length) break
      const before = this.#offset
      entry(index)
      this.#skip(',')
      if (this.#offset === before) break
    }
    this.#offset++
  }

  #key(): string[] {
    const names: string[] = []
    do {
      this.#take(SPACE)
      const bare = this.#take(BARE_KEY)
      names.push(bare === '' ? unquote(this.#take(STRING)) : bare)
    } while (this.#skip('.'))
    return names
  }

  #keep(path: KeyPath, offset: number): void {
    const key = keyOf(path)
    if (!this.lines.has(key)) this.lines.set(key, this.#text.slice(0, offset).split('\n').length)
  }

  #at(char: string): boolean {
    return this.#text[this.#offset] === char
  }

  #skip(char: string): boolean {
    this.#take(SPACE)
    if (!this.#at(char)) return false
    this.#offset++
    this.#take(SPACE)
    return true
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#offset
    const taken = pattern.exec(this.#text)?.[0] ?? ''
    this.#offset += taken.length
    return taken
  }
}

/** A quoted key without its quotes. TOML's escapes are JSON's, but for a few that no key of ours has. */
function unquote(text: string): string {
  if (text.startsWith("'")) return text.slice(1, -1)
  try {
    return String(JSON.parse(text))
  } catch {
    return text.slice(1, -1)
  }
}

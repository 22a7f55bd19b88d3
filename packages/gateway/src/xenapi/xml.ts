// Reads and writes the little of XML that XML-RPC uses: elements, text, CDATA, the predefined entities.
//
// Why not the parser that Xen Orchestra's client uses (@vates/xml over sax): it loses CDATA, cuts a text at 64 KiB into
// pieces of which its XML-RPC layer keeps the first, and bounds no depth. What is refused here: DOCTYPE (so there are no
// entities to expand), nesting beyond `DEPTH_MAX`, and whatever is not well-formed. Attributes are read and ignored;
// XML-RPC has none.

import { MalformedCallError } from './errors.ts'

/** An element: its name, and what is in it, in order. Adjacent texts are one. */
export interface XmlElement {
  readonly name: string
  readonly children: (XmlElement | string)[]
}

/** Deeper than any call of the XenAPI; keeps recursion over the tree short. */
const DEPTH_MAX = 64

const NAME = String.raw`[A-Za-z_:][\w:.-]*`
const OPEN_TAG = new RegExp(String.raw`<(${NAME})(?:\s+${NAME}\s*=\s*(?:"[^<"]*"|'[^<']*'))*\s*(/?)>`, 'y')
const CLOSE_TAG = new RegExp(String.raw`</(${NAME})\s*>`, 'y')
const REFERENCE = /&(?:#x([0-9A-Fa-f]{1,6})|#(\d{1,7})|([a-z]{2,4}));|&/g
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** What XML 1.0 can hold in no form, not even as a character reference (section 2.2). */
// oxlint-disable-next-line no-control-regex -- control characters are what it is about
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/

/**
 * Parses a document.
 *
 * @throws {MalformedCallError} when it is not well-formed, or has what this file refuses.
 */
export function parseXml(document: string): XmlElement {
  if (NOT_XML.test(document)) throw malformed('a character that XML cannot hold')
  return new Reader(document.replace(/\r\n?/g, '\n')).document()
}

/** `text` as content of an element. Characters that XML cannot hold become U+FFFD. */
export function escapeXml(text: string): string {
  return text.toWellFormed().replace(ESCAPED, (character) => ESCAPES[character] ?? '\u{fffd}')
}

// A carriage return must be a reference: readers turn a bare one into a line feed.
const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' }
// oxlint-disable-next-line no-control-regex -- as above
const ESCAPED = /[&<>\r\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g

/** One pass over a document. Each turn of the loop in `document` consumes at least one character. */
class Reader {
  readonly #text: string
  #at = 0
  /** Open elements, outermost first; the first stands for the document itself. */
  readonly #open: XmlElement[] = [{ name: '', children: [] }]

  constructor(text: string) {
    this.#text = text
  }

  document(): XmlElement {
    if (this.#text.startsWith('\u{feff}')) this.#at = 1
    while (this.#at < this.#text.length) {
      if (this.#text[this.#at] === '<') this.#markup()
      else this.#characters()
    }
    const [root, second] = this.#top().children
    if (this.#open.length > 1) throw malformed('an element is not closed')
    if (typeof root !== 'object' || second !== undefined) throw malformed('there is not exactly one root element')
    return root
  }

  #characters(): void {
    const end = this.#text.indexOf('<', this.#at)
    const raw = this.#text.slice(this.#at, end === -1 ? undefined : end)
    if (raw.includes(']]>')) throw malformed('"]]>" in text')
    this.#append(raw.replace(REFERENCE, resolve))
    this.#at += raw.length
  }

  #markup(): void {
    const { length } = this.#open
    if (this.#text.startsWith('<?', this.#at)) this.#skipTo('?>', 2)
    else if (this.#text.startsWith('<!--', this.#at)) this.#skipTo('-->', 4)
    else if (this.#text.startsWith('<![CDATA[', this.#at) && length > 1) this.#append(this.#skipTo(']]>', 9))
    else if (this.#text.startsWith('<!', this.#at)) throw malformed('a DOCTYPE or other declaration')
    else if (this.#text.startsWith('</', this.#at)) this.#closeTag()
    else this.#openTag()
  }

  #openTag(): void {
    const [tag, name, slash] = this.#match(OPEN_TAG)
    const element: XmlElement = { name, children: [] }
    this.#top().children.push(element)
    if (slash === '') this.#open.push(element)
    if (this.#open.length > DEPTH_MAX) throw malformed(`elements are nested deeper than ${DEPTH_MAX}`)
    this.#at += tag.length
  }

  #closeTag(): void {
    const [tag, name] = this.#match(CLOSE_TAG)
    if (this.#top().name !== name) throw malformed('an element is closed that is not the innermost')
    this.#open.pop()
    this.#at += tag.length
  }

  /** Moves behind the next `end`; answers what is before it. */
  #skipTo(end: string, prefixLength: number): string {
    const start = this.#at + prefixLength
    const found = this.#text.indexOf(end, start)
    if (found === -1) throw malformed(`"${end}" is missing`)
    this.#at = found + end.length
    return this.#text.slice(start, found)
  }

  #match(pattern: RegExp): [string, string, string] {
    pattern.lastIndex = this.#at
    const [tag, name, slash = ''] = pattern.exec(this.#text) ?? []
    if (tag === undefined || name === undefined) throw malformed('a tag is not well-formed')
    return [tag, name, slash]
  }

  #append(text: string): void {
    if (this.#open.length === 1) {
      if (text.trim() !== '') throw malformed('text outside of the root element')
      return
    }
    const { children } = this.#top()
    const last = children.at(-1)
    if (typeof last === 'string') children[children.length - 1] = last + text
    else if (text !== '') children.push(text)
  }

  #top(): XmlElement {
    const top = this.#open.at(-1)
    if (top === undefined) throw new TypeError('read XML: no element is open')
    return top
  }
}

function resolve(_reference: string, hex?: string, decimal?: string, name?: string): string {
  if (name !== undefined) {
    const character = Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : undefined
    if (character === undefined) throw malformed('an entity that XML does not predefine')
    return character
  }
  const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16)
  // A bare "&" has neither number: its code is NaN, which no comparison lets pass.
  const isCharacter = code <= 0x10_ffff && !(code >= 0xd800 && code <= 0xdfff)
  const character = isCharacter ? String.fromCodePoint(code) : ''
  if (character === '' || NOT_XML.test(character)) throw malformed('"&" stands before no valid reference')
  return character
}

function malformed(what: string): MalformedCallError {
  return new MalformedCallError(`read XML: ${what}`)
}

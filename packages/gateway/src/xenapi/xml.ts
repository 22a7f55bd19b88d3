// Reads and writes the little of XML that XML-RPC uses: elements, text, CDATA, the predefined entities.
//
// fast-xml-parser reads, and this file narrows it: its validator and its parser scan the document separately, and disagree
// about processing instructions, declarations and odd end tags. `MARKUP` refuses those first, so that each document has one
// reading. DOCTYPE is among them: there are no entities to expand. Attributes are read and ignored; XML-RPC has none.

import { XMLParser } from 'fast-xml-parser'

import { MalformedCallError } from './errors.ts'

/** An element: its name, and what is in it, in order. Adjacent texts are one. */
export interface XmlElement {
  readonly name: string
  readonly children: (XmlElement | string)[]
}

/** What the library makes of an element (its content by its name, then its attributes) or of a text. */
type LibraryNode = Readonly<Record<string, string | readonly LibraryNode[]>>

/** Comments, CDATA and end tags, whole; else the first two characters of what may not stand in a document. */
const MARKUP = /<!--[^]*?-->|<!\[CDATA\[[^]*?\]\]>|<\/[^\s<>/]+\s*>|<[!?/]/g
const PROLOG = /^\u{feff}?(?:<\?xml\s[^<>?]*\?>)?/u
const REFERENCE = /&(?:#x([0-9A-Fa-f]{1,6});|#(\d{1,7});|[a-z]+;)?/g
const ENTITIES: Record<string, string> = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&apos;': "'" }

/** What XML 1.0 can hold in no form, not even as a character reference (section 2.2). */
// oxlint-disable-next-line no-control-regex -- control characters are what it is about
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/
// A carriage return must be a reference: readers turn a bare one into a line feed.
const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' }
const ESCAPED = new RegExp(`[&<>\r]|${NOT_XML.source}`, 'g')

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  parseTagValue: false,
  trimValues: false,
  jPath: false,
  // Deeper than any call of the XenAPI; keeps recursion over the tree short.
  maxNestedTags: 63,
  // The library's own decoder lets character references, and references that are not valid, stand as they are.
  entityDecoder: { decode, setExternalEntities() {}, addInputEntities() {}, setXmlVersion() {}, reset() {} },
})

/**
 * Parses a document.
 *
 * @throws {MalformedCallError} when it is not well-formed, or has what this file refuses.
 */
export function parseXml(document: string): XmlElement {
  if (NOT_XML.test(document)) throw malformed('a character that XML cannot hold')
  const text = document.replace(PROLOG, '')
  for (const [markup] of text.matchAll(MARKUP)) if (markup.length === 2) throw malformed(`"${markup}" out of place`)
  const [root, ...more] = readTopLevel(text).filter((child) => typeof child === 'object' || child.trim() !== '')
  if (typeof root !== 'object' || more.length > 0) throw malformed('there is not exactly one root element')
  return root
}

/** `text` as content of an element. Characters that XML cannot hold become U+FFFD. */
export function escapeXml(text: string): string {
  return text.toWellFormed().replace(ESCAPED, (character) => ESCAPES[character] ?? '\u{fffd}')
}

/** The text is read inside an element, as the library drops what stands around the root. */
function readTopLevel(text: string): XmlElement['children'] {
  try {
    const [top] = parser.parse(`<top>${text}</top>`, true) as [{ top: readonly LibraryNode[] }]
    return childrenOf(top.top)
  } catch {
    // The library's error is no cause to keep: it quotes the document, which may hold a password.
    throw malformed('the document is not well-formed')
  }
}

function childrenOf(nodes: readonly LibraryNode[]): XmlElement['children'] {
  const children: XmlElement['children'] = []
  for (const node of nodes) {
    const [name, content] = Object.entries(node)[0] ?? ['', '']
    const last = children.at(-1)
    if (typeof content !== 'string') children.push({ name, children: childrenOf(content) })
    else if (typeof last === 'string') children[children.length - 1] = last + content
    else if (content !== '') children.push(content)
  }
  return children
}

/** Called by the library with each text outside of CDATA and each attribute's value; `readTopLevel` catches. */
function decode(raw: string): string {
  if (/<|\]\]>/.test(raw)) throw malformed('"<" in an attribute, or "]]>" in text')
  return raw.replace(REFERENCE, (reference, hex?: string, decimal?: string) => {
    // `fromCodePoint` throws for NaN, the number of what is no reference, and beyond the last code point.
    const character = ENTITIES[reference] ?? String.fromCodePoint(Number(hex === undefined ? decimal : `0x${hex}`))
    if (!character.isWellFormed() || NOT_XML.test(character)) throw malformed('a reference to no character of XML')
    return character
  })
}

function malformed(what: string): MalformedCallError {
  return new MalformedCallError(`read XML: ${what}`)
}

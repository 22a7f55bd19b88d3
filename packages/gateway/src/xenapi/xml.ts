// Reads and writes the little of XML that XML-RPC uses: elements, text, CDATA, the predefined entities.
//
// saxes reads, which knows XML 1.0 and nothing beside it, and makes sure that each document is well-formed. What a call has no need of
// is refused on top: DOCTYPE, with which come entities to expand, and processing instructions. Attributes are read and ignored;
// XML-RPC has none.

import { SaxesParser } from 'saxes'

import { MalformedCallError } from './errors.ts'

/** An element: its name, and what is in it, in order. Adjacent texts are one. */
export interface XmlElement {
  readonly name: string
  readonly children: (XmlElement | string)[]
}

/** Deeper than any call of the XenAPI; keeps recursion over the tree short. */
const DEPTH_MAX = 63

/** What XML 1.0 can hold in no form, not even as a character reference (section 2.2). */
// oxlint-disable-next-line no-control-regex -- control characters are what it is about
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/
// A carriage return must be a reference: readers turn a bare one into a line feed.
const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' }
const ESCAPED = new RegExp(`[&<>\r]|${NOT_XML.source}`, 'g')

/**
 * Parses a document.
 *
 * @throws {MalformedCallError} when it is not well-formed, or has what this file refuses. The text quotes nothing of the document,
 *   which may hold a password.
 */
export function parseXml(document: string): XmlElement {
  // saxes takes whatever follows half of a surrogate pair for its other half.
  if (!document.isWellFormed()) refuse('it is not Unicode')
  const parser = new SaxesParser({ defaultXMLVersion: '1.0', forceXMLVersion: true, position: false })
  /** Holds the root; then the open elements, from the root on. */
  const outside: XmlElement = { name: '', children: [] }
  const open: XmlElement[] = [outside]
  const take = (text: string): void => {
    const children = open.at(-1)?.children ?? []
    const last = children.at(-1)
    if (typeof last === 'string') children[children.length - 1] = last + text
    else if (text !== '') children.push(text)
  }
  parser.on('error', () => refuse('it is not well-formed'))
  parser.on('doctype', () => refuse('it has a DOCTYPE'))
  parser.on('processinginstruction', () => refuse('it has a processing instruction'))
  parser.on('opentag', ({ name }) => {
    const element: XmlElement = { name, children: [] }
    open.at(-1)?.children.push(element)
    if (open.push(element) > DEPTH_MAX + 1) refuse('it is too deep')
  })
  parser.on('closetag', () => open.pop())
  parser.on('text', take)
  parser.on('cdata', take)
  parser.write(document).close()
  const root = outside.children.find((child) => typeof child === 'object')
  return root ?? refuse('it has no root element')
}

/** `text` as content of an element. Characters that XML cannot hold become U+FFFD. */
export function escapeXml(text: string): string {
  return text.toWellFormed().replace(ESCAPED, (character) => ESCAPES[character] ?? '\u{fffd}')
}

function refuse(why: string): never {
  throw new MalformedCallError(`read XML: ${why}`)
}

// Whether Node.js understands the same as the codec.

import assert from 'node:assert/strict'
import { readWithNode } from './node-parser.ts'
import { type Message, readMessages } from './read-messages.ts'

/** Reasons for which Node.js may refuse what Xengate accepts, without reading it differently: it is stricter there. */
const NODE_IS_STRICTER = new Set([
  'HPE_INVALID_METHOD', // it knows a list of methods
  'HPE_INVALID_URL', // and fewer characters in a target
])

/** It knows fewer chunk extensions than RFC 9112 section 7.1.1 allows, and refuses trailers that frame a message. */
function isStricter(error: string | null, text: string): boolean {
  return error !== null && (/^[0-9A-Fa-f]+;/m.test(text) || FRAMING_TRAILER.test(text))
}

const FRAMING_TRAILER = /^0+\r\n(?:[^\r\n]+\r\n)*?(?:content-length|transfer-encoding|connection|upgrade):/im

/**
 * Node.js reads nothing behind CONNECT, an upgrade or 101, nor the body of one; behind 1xx with a length it reads a body, which RFC 9112
 * section 6.3 says is none.
 */
function leavesHttp({ startLine, fields }: Message): boolean {
  const has = (known: RegExp): boolean => fields.some(([name]) => known.test(name))
  if (/^(?:CONNECT|101) /.test(startLine) || has(/^upgrade$/i)) return true
  return /^1\d\d /.test(startLine) && has(/^(?:content-length|transfer-encoding)$/i)
}

/** It leaves a tab behind a transfer coding on it, which is white space around the value (RFC 9112 section 5.1). */
const TAB_BEHIND_CODING = /^transfer-encoding:[^\r\n]*\t/im

/** @returns how many messages were accepted. @throws when Node.js understands differently what Xengate accepts */
export function compare(direction: 'requests' | 'responses', text: string): number {
  if (TAB_BEHIND_CODING.test(text)) return 0
  const ours = readMessages(direction, text)
  const theirs = readWithNode(direction, text)
  for (const [index, message] of ours.messages.entries()) {
    if (!message.isComplete || leavesHttp(message)) break
    const their = theirs.messages[index]
    if (their === undefined && NODE_IS_STRICTER.has(theirs.error ?? '')) break
    if (their?.isComplete !== true && isStricter(theirs.error, text)) break
    assert.deepEqual(
      their === undefined
        ? theirs.error
        : [their.startLine.trimEnd(), their.minorVersion, trimmed(their.fields), their.body, their.isComplete],
      [message.startLine.trimEnd(), message.minorVersion, message.fields, message.body, true],
      JSON.stringify(text),
    )
    // What follows a message that ends its connection is nobody's to read.
    if (!message.isPersistent) break
  }
  return ours.messages.filter((message) => message.isComplete).length
}

/** Node.js keeps white space behind a value in some versions; it is no part of the value. */
function trimmed(fields: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  return fields.map(([name, value]) => [name, value.replace(/[ \t]+$/, '')] as const)
}

// Where a request carries its session id: the cookie `session_id`, or the query parameter of that name.
// As in xapi the cookie goes first and is not decoded, the parameter is percent-decoded, and of duplicates the first counts.

import type { RequestHead } from '@xengate/http1'
import { COOKIE } from './field-ids.ts'

const NAME = 'session_id'

/** A session id as a request presents it; it need not be anyone's. */
export interface PresentedSession {
  /** The id; empty when it is malformed, so that it is nobody's. */
  readonly id: string
  readonly isFromCookie: boolean
}

/** The session id in `head`, whose target is `target`; undefined when it carries none. */
export function presentedSession(head: RequestHead, target: string): PresentedSession | undefined {
  const { fields } = head
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) !== COOKIE) continue
    const id = cookieIn(head.value(index))
    if (id !== undefined) return { id: bounded(id), isFromCookie: true }
  }
  const id = parameterIn(target)
  return id === undefined ? undefined : { id: bounded(id), isFromCookie: false }
}

/** Longest session id, in characters; xapi's have 46. */
const ID_CHARACTERS_MAX = 128

function bounded(id: string): string {
  return id.length <= ID_CHARACTERS_MAX ? id : ''
}

function cookieIn(value: string): string | undefined {
  if (value.startsWith(`${NAME}=`) && !value.includes(';')) return value.slice(NAME.length + 1)
  for (const pair of value.split(';')) {
    const [name, text] = split(pair.trim())
    if (name === NAME) return text
  }
  return undefined
}

function parameterIn(target: string): string | undefined {
  const start = target.indexOf('?')
  if (start === -1) return undefined
  for (const pair of target.slice(start + 1).split('&')) {
    const [name, text] = split(pair)
    if (decoded(name) === NAME) return decoded(text)
  }
  return undefined
}

/** `name=text` as its two parts; without `=` the text is empty. */
function split(pair: string): readonly [string, string] {
  const at = pair.indexOf('=')
  return at === -1 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
}

/** Percent-decoded; empty when that is malformed. */
function decoded(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

/** `target` without its `session_id` parameters. */
export function targetWithoutSession(target: string): string {
  const start = target.indexOf('?')
  if (start === -1) return target
  const pairs = target.slice(start + 1).split('&')
  const kept = pairs.filter((pair) => decoded(split(pair)[0]) !== NAME)
  if (kept.length === pairs.length) return target
  return kept.length === 0 ? target.slice(0, start) : `${target.slice(0, start)}?${kept.join('&')}`
}

/** The Cookie line of `head` without `session_id`, with its CRLF; empty when nothing is left. */
export function cookieLineWithoutSession(head: RequestHead): string {
  const kept: string[] = []
  const { fields } = head
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) !== COOKIE) continue
    for (const pair of head.value(index).split(';')) {
      const text = pair.trim()
      if (text !== '' && split(text)[0] !== NAME) kept.push(text)
    }
  }
  return kept.length === 0 ? '' : `Cookie: ${kept.join('; ')}\r\n`
}

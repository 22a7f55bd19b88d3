// Where a request carries its session id: the cookie `session_id`, or the query parameter of that name.
// How both are read is the contract's, which services on channels keep too.

import { cookieWithoutSession, sessionIdInCookie, sessionIdInTarget } from '@xengate/channel/contract'
import type { RequestHead } from '@xengate/http1'
import { COOKIE } from './field-ids.ts'

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
    const id = sessionIdInCookie(head.value(index))
    if (id !== undefined) return { id: bounded(id), isFromCookie: true }
  }
  const id = sessionIdInTarget(target)
  return id === undefined ? undefined : { id: bounded(id), isFromCookie: false }
}

/** Longest session id, in characters; xapi's have 46. */
const ID_CHARACTERS_MAX = 128

function bounded(id: string): string {
  return id.length <= ID_CHARACTERS_MAX ? id : ''
}

/** The Cookie line of `head` without `session_id`, with its CRLF; empty when nothing is left. */
export function cookieLineWithoutSession(head: RequestHead): string {
  const kept: string[] = []
  const { fields } = head
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) !== COOKIE) continue
    const value = cookieWithoutSession(head.value(index))
    if (value !== '') kept.push(value)
  }
  return kept.length === 0 ? '' : `Cookie: ${kept.join('; ')}\r\n`
}

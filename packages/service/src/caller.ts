// Who is asking: what a handler finds in `request.xen`, and how it travels in header fields.

import type { ChannelOffer } from '@xengate/channel'
import {
  identityFields,
  parameterIn,
  percentDecoded,
  sessionIdInCookie,
  sessionIdInTarget,
} from '@xengate/channel/contract'
import { FIELD, fieldOf } from './fields.ts'

/**
 * The caller of a request, as the gateway has established it.
 *
 * On the Unix socket all of this is what the gateway's header fields say; without them, as when somebody on the host connects to
 * the socket without the gateway, `user` and `subject` are empty and `roles` has nothing in it. Who may connect is up to the
 * socket's mode and group.
 */
export interface Caller {
  /** The name that the user signed in with. */
  readonly user: string
  /** `OpaqueRef:<uuid>`; `OpaqueRef:NULL` for root. */
  readonly subject: string
  /** From the highest. */
  readonly roles: readonly string[]
  /** What the client called itself when it logged in; often empty. */
  readonly originator: string
  /** The session id of the request, for calls of the XenAPI on the caller's behalf; null when the gateway keeps it back. */
  readonly sessionId: string | null
  /** Whether the client's own connection was passed to this process. */
  readonly channel: boolean
  /**
   * The task that the caller has made for this request, a reference of the XenAPI, for a service that tells of its progress there:
   * the query parameter `task_id`, as requests to xapi have it. It is the client's word: whether there is such a task, and
   * whether it is the caller's, is seen when the XenAPI is asked with `sessionId`.
   */
  readonly task: string | undefined
}

declare module 'node:http' {
  interface IncomingMessage {
    /** The caller, in requests that `@xengate/service` gives to a handler. */
    xen: Caller
  }
}

/** Nobody: before it is known who asks. */
export const NOBODY: Caller = Object.freeze({
  user: '',
  subject: '',
  roles: Object.freeze([]),
  originator: '',
  sessionId: null,
  channel: false,
  task: undefined,
})

/** The caller of all requests on a channel, but for their tasks. */
export function callerOfChannel({ session }: ChannelOffer): Caller {
  const { id, user, subject, roles, originator } = session
  return Object.freeze({
    user,
    subject,
    roles: Object.freeze([...roles]),
    originator,
    sessionId: id,
    channel: true,
    task: undefined,
  })
}

/** `caller` with the task that `target` names, if it names one. */
export function withTaskOf(target: string, caller: Caller): Caller {
  const task = taskIn(target)
  return task === undefined ? caller : Object.freeze({ ...caller, task })
}

function taskIn(target: string): string | undefined {
  const task = parameterIn(target, 'task_id')
  return task === '' ? undefined : task
}

/** The caller of a request that the gateway relays. @param fields names and values in turn, @param target the request's */
export function callerOfFields(fields: readonly string[], target: string): Caller {
  let { user, subject, roles, originator } = NOBODY
  let sessionId: string | undefined
  for (let index = 0; index < fields.length; index += 2) {
    const value = fields[index + 1] ?? ''
    switch (fieldOf(fields[index] ?? '')) {
      case FIELD.COOKIE:
        sessionId ??= sessionIdInCookie(value)
        break
      case FIELD.USER:
        user = percentDecoded(value)
        break
      case FIELD.SUBJECT:
        subject = percentDecoded(value)
        break
      case FIELD.ROLES:
        roles = value === '' ? [] : value.split(', ')
        break
      case FIELD.ORIGINATOR:
        originator = percentDecoded(value)
        break
      default:
    }
  }
  sessionId ??= sessionIdInTarget(target)
  return { user, subject, roles, originator, sessionId: sessionId ?? null, channel: false, task: taskIn(target) }
}

/** The fields, names and values in turn, by which the gateway tells of a channel's caller in a relayed request. */
export function fieldsOfChannel({ session, client, proto }: ChannelOffer): readonly string[] {
  return [
    ...identityFields(session),
    ...(client.address === '' ? [] : ['X-Forwarded-For', client.address]),
    'X-Forwarded-Proto',
    proto,
  ]
}

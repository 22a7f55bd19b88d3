// Requests that name a task of the XenAPI in their query, as requests to xapi do: when one is over, so is its task.

import type { Session } from '../model/session.ts'
import type { Outcome } from './relay.ts'

/** A task whose request is over. */
export interface EndedTask {
  /** In whose name the request was made. */
  readonly session: Session
  readonly reference: string
  /** A code of the XenAPI's and its parameters; null when nothing failed. */
  readonly failure: readonly string[] | null
}

const PARAMETER = 'task_id='
const REFERENCE_CHARACTERS_MAX = 128

/** Whether `target` may name a task. */
export function namesTask(target: string): boolean {
  return target.includes(PARAMETER)
}

/** The task that `target` names; null when it names none. */
export function taskIn(target: string): string | null {
  if (!namesTask(target)) return null
  const query = new URLSearchParams(target.slice(target.indexOf('?') + 1))
  const reference = query.get('task_id') ?? ''
  return reference === '' || reference.length > REFERENCE_CHARACTERS_MAX ? null : reference
}

/** What a request that ended so says of its task; undefined when the task goes on: the client is sent elsewhere. */
export function taskFailure(status: number, outcome: Outcome, reason: string | null): EndedTask['failure'] | undefined {
  // xapi's own word, which Xen Orchestra expects of streams whose length it does not know, and passes over.
  if (outcome === 'client-gone' || outcome === 'client-failed' || reason === 'body-truncated')
    return ['VDI_IO_ERROR', reason ?? 'the client has gone']
  if (status >= 300 && status < 400) return undefined
  if (outcome === 'complete' && status < 300) return null
  return ['REQUEST_FAILED', String(status), reason ?? outcome]
}

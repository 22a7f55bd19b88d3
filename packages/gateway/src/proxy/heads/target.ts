// The request targets that mean something to the gateway.

import { SERVICES_PREFIX } from '@xengate/channel/contract'

/** The path that names no service. */
const SERVICES_PATH: string = SERVICES_PREFIX.slice(0, -1)
/** Where the XenAPI is served, to POST. */
export const XENAPI_PATHS: ReadonlySet<string> = new Set(['/', '/RPC2', '/xmlrpc', '/jsonrpc'])

/** The part of a target before its query. */
export function pathOf(target: string): string {
  const query = target.indexOf('?')
  return query === -1 ? target : target.slice(0, query)
}

/** Whether a request is for a service. `/services/plugin` alone names none: with a session it is 404, without one 403. */
export function isForService(target: string): boolean {
  return target.startsWith(SERVICES_PREFIX) || pathOf(target) === SERVICES_PATH
}

/** Below it is what the dashboard's pages ask for, also where other paths are xapi's. */
const DASHBOARD_PATH = '/xengate'

/** Whether a request is for the dashboard. @param isFront whether the gateway stands in front of xapi, which has pages of its own */
export function isForDashboard(method: string, target: string, isFront: boolean): boolean {
  if (target.startsWith(DASHBOARD_PATH)) {
    const path = pathOf(target)
    return path === DASHBOARD_PATH || path.startsWith(`${DASHBOARD_PATH}/`)
  }
  if (isFront || (method !== 'GET' && method !== 'HEAD')) return false
  const path = pathOf(target)
  return path === '/' || path === '/docs' || path.startsWith('/assets/') || path.startsWith('/docs/')
}

/** The name of the service that a target asks for, as it stands there; empty when there is none. */
export function serviceNameIn(target: string): string {
  const start = SERVICES_PREFIX.length
  let end = start
  for (; end < target.length; end++) {
    const code = target.charCodeAt(end)
    if (code === SLASH || code === QUESTION_MARK) break
  }
  return target.slice(start, end)
}

const SLASH = 0x2f
const QUESTION_MARK = 0x3f

const TASK_PARAMETER = 'task_id='
const TASK_CHARACTERS_MAX = 128

/** Whether `target` may name a task of the XenAPI, as targets of requests to xapi do. */
export function namesTask(target: string): boolean {
  return target.includes(TASK_PARAMETER)
}

/** The task that `target` names; null when it names none. */
export function taskIn(target: string): string | null {
  if (!namesTask(target)) return null
  const query = new URLSearchParams(target.slice(target.indexOf('?') + 1))
  const reference = query.get('task_id') ?? ''
  return reference === '' || reference.length > TASK_CHARACTERS_MAX ? null : reference
}

// The method table, and how a call goes through it: method, number of parameters, session, role, handler.

import { roleIncludes } from '../model/role.ts'
import { fieldTypeError, methodUnknown, parameterCountMismatch, permissionDenied, sessionInvalid } from './errors.ts'
import { Arguments, anyRole, type Call, type MethodTable, type SessionMethod } from './method.ts'
import { hostMethods, poolMethods } from './object-methods.ts'
import { type CallPlugin, pluginMethods } from './plugin-methods.ts'
import { sessionMethods } from './session-methods.ts'
import { taskMethods } from './task-methods.ts'
import type { MethodCall, RpcValue } from './values.ts'

/** Every method. The table has no prototype: a client's method name is looked up in it. @param callPlugin makes calls of plugins */
export function createMethodTable(callPlugin: CallPlugin): MethodTable {
  const table: MethodTable = Object.assign(Object.create(null) as object, {
    ...sessionMethods(() => table),
    ...poolMethods(),
    ...hostMethods(),
    ...taskMethods(),
    ...pluginMethods(callPlugin),
    ...EVENT_METHODS,
    ...SYSTEM_METHODS,
  })
  return table
}

const EVENT_METHODS: MethodTable = {
  'event.from': anyRole(['classes', 'token', 'timeout'], (call, args) =>
    call.state.events.from(call, args.texts(0), args.text(1), args.number(2)),
  ),
  'event.inject': anyRole(['class', 'ref'], ({ state }) => state.events.inject()),
  'event.get_current_id': anyRole([], ({ state }) => state.events.currentId),
  'event.register': anyRole(['classes'], (call, args) => {
    call.state.events.register(call, args.texts(0))
    return ''
  }),
  'event.unregister': anyRole(['classes'], (call, args) => {
    call.state.events.unregister(call, args.texts(0))
    return ''
  }),
  'event.next': anyRole([], (call) => call.state.events.next(call)),
}

const SYSTEM_METHODS: MethodTable = {
  'system.listMethods': {
    kind: 'open',
    // Needs no session; clients that send one with every call may do so here too.
    params: ['session_id'],
    mandatory: 0,
    handler: ({ state }) => state.methodNames,
  },
}

/**
 * Runs a call.
 *
 * @throws {XenApiError} what the client is told.
 * @throws {AccountError} `BUSY` @throws {AuthorityUnavailableError} what is answered below the XenAPI, with HTTP 503.
 */
export async function dispatch(
  table: MethodTable,
  { method: name, params }: MethodCall,
  call: Call,
): Promise<RpcValue> {
  const method = table[name]
  if (method === undefined) throw methodUnknown(name)
  if (method.kind === 'session') return withSession(name, method, params, call)
  if (params.length < method.mandatory || params.length > method.params.length) {
    throw parameterCountMismatch(name, method.mandatory, params.length)
  }
  return method.handler(call, new Arguments(method.params, params))
}

async function withSession(
  name: string,
  method: SessionMethod,
  params: readonly RpcValue[],
  call: Call,
): Promise<RpcValue> {
  const [sessionId, ...rest] = params
  if (rest.length !== method.params.length || params.length === 0) {
    throw parameterCountMismatch(name, method.params.length, params.length - 1)
  }
  if (typeof sessionId !== 'string') throw fieldTypeError('session_id')
  // Finding a session counts as its activity.
  const session = await call.state.authority.find(sessionId)
  if (session === undefined) throw sessionInvalid(sessionId)
  call.log.identified(session)
  if (!session.roles.some((held) => roleIncludes(held, method.role))) throw permissionDenied(name, method.role)
  return method.handler({ ...call, session, sessionId }, new Arguments(method.params, rest))
}

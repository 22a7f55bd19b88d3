// host.call_plugin: what clients call plugins of xapi by. Here a custom service of the plugin's name answers it.

import type { Session } from '../model/session.ts'
import { handleInvalid, operationNotAllowed } from './errors.ts'
import { anyRole, type MethodTable } from './method.ts'
import { hostsOf } from './records.ts'

/** A call of a plugin. */
export interface PluginCall {
  /** The plugin's name, as the client gave it. */
  readonly plugin: string
  readonly fn: string
  readonly args: Readonly<Record<string, string>>
  readonly session: Session
  /** The secret, which the service is given as with every request. */
  readonly sessionId: string
  readonly clientAddress: string
  /** Aborted when nobody waits for the answer any more. */
  readonly gone: AbortSignal
}

/** Makes a call, and answers its value. @throws {XenApiError} what the client is told */
export type CallPlugin = (call: PluginCall) => Promise<string>

/** @param callPlugin makes the calls */
export function pluginMethods(callPlugin: CallPlugin): MethodTable {
  return {
    'host.call_plugin': anyRole(['host', 'plugin', 'fn', 'args'], ({ state, ...call }, args) => {
      const [reference, plugin, fn] = [args.text(0), args.text(1), args.text(2)]
      const host = hostsOf(state.pool).find(({ uuid }) => reference === `OpaqueRef:${uuid}`)
      if (host === undefined) throw handleInvalid('host', reference)
      if (!host.isOwn) throw operationNotAllowed(`plugins of the host ${host.address} are called there`)
      const { session, sessionId, clientAddress, gone } = call
      return callPlugin({ plugin, fn, args: args.textMap(3), session, sessionId, clientAddress, gone })
    }),
  }
}

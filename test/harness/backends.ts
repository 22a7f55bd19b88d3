// What authorities and registries of a pool rest on: a real Valkey, and the stand-in XenAPI.

import { ValkeyServer, type ValkeyServerOptions } from '../../packages/gateway/src/valkey/testing/server.ts'
import { type StandIn, startStandIn } from '../../packages/gateway/src/xapi/testing/stand-in/start.ts'
import type { Scope } from './scope.ts'

export type { StandIn } from '../../packages/gateway/src/xapi/testing/stand-in/start.ts'
export { ValkeyServer } from '../../packages/gateway/src/valkey/testing/server.ts'

/** A running server, in a fresh directory. */
export async function startValkey(scope: Scope, options: ValkeyServerOptions = {}): Promise<ValkeyServer> {
  const server = new ValkeyServer(await scope.directory(), options)
  scope.defer(() => server.stop())
  await server.start()
  return server
}

/** A running stand-in, in a fresh directory. */
export async function startXapi(scope: Scope): Promise<StandIn> {
  const standIn = await startStandIn(await scope.directory())
  scope.defer(() => standIn.stop())
  return standIn
}

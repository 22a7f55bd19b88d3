// Where workers reach the dashboard's server.

import { join } from 'node:path'

/** Its socket, in the state directory `stateDir`. */
export function dashboardPathIn({ stateDir }: { readonly stateDir: string }): string {
  return join(stateDir, 'dashboard.sock')
}

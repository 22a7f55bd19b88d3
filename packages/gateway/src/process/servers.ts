// How servers of node:http end.

import { once } from 'node:events'
import type { Server } from 'node:http'
import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** Closes a server with all its connections. */
export function closeServer(server: Server): void {
  server.close()
  server.closeAllConnections()
}

/** Longer than a connection is kept on which nothing is asked. */
const RETIRE_MS = 6000

/**
 * Leaves what comes to another process that listens on the same socket, and answers what is asked on the connections that are there. Resolves
 * when these are gone, or have had time for it.
 */
export async function retireServer(server: Server): Promise<void> {
  const closed = once(server, 'close')
  // That of node:http would end connections on which nothing is asked, and the next request may be on its way.
  net.Server.prototype.close.call(server)
  server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'))
  await Promise.race([closed, pause(RETIRE_MS, undefined, { ref: false })])
}

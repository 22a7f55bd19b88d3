// A service on Node.js with @xengate/service, and the same handler by TCP: what a channel is compared with.

import { join } from 'node:path'
import { SERVICE } from '../bench.ts'
import type { Host, Started } from '../host.ts'
import type { Peer } from './peer.ts'

const PROGRAM = join(import.meta.dirname, '../node-service.ts')

/** Starts it. @returns the directory of its sockets, and the port of the plain server */
export async function startNodeService(
  host: Host,
  place: 'peer' | 'load',
): Promise<Started & { readonly directory: string; readonly port: number }> {
  const directory = host.makeDirectory('node')
  const argv = ['-C', '@xengate/source', PROGRAM, directory, SERVICE]
  const started = host.start(place, process.execPath, argv)
  const port = await host.printed(started, (output) => /^ready (\d+)$/m.exec(output)?.[1])
  return { ...started, directory, port: Number(port) }
}

export const nodeDirect: Peer = {
  name: 'node-direct',
  title: 'the Node.js service by TCP, no gateway',
  isGuarded: false,
  async start({ host, sessions }) {
    const { pid, port, stop } = await startNodeService(host, 'peer')
    return { url: `http://127.0.0.1:${port}`, pids: [pid], sessions, stop }
  },
}

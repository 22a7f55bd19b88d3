// npm's @fastify/http-proxy with a hook that looks the session up in a Map: what a Node.js developer would write.

import { join } from 'node:path'
import { freePort } from '../host.ts'
import type { Peer } from './peer.ts'

export const fastify: Peer = {
  name: 'fastify',
  title: '@fastify/http-proxy, a Map',
  isGuarded: true,
  async start({ host, socket, sessions }) {
    const port = await freePort()
    const program = join(import.meta.dirname, 'fastify-server.ts')
    const started = host.start('peer', process.execPath, [program, String(port), socket, sessions], {
      env: { NODE_ENV: 'production' },
    })
    await host.listens(started, { port })
    return { url: `http://127.0.0.1:${port}`, pids: [started.pid], sessions, stop: started.stop }
  },
}

// HAProxy with the sessions in a map: a look-up in its own memory, nobody to ask.

import { readFileSync, writeFileSync } from 'node:fs'
import { freePort } from '../host.ts'
import type { Peer } from './peer.ts'

export const haproxy: Peer = {
  name: 'haproxy',
  title: 'HAProxy, sessions in a map',
  isGuarded: true,
  async start({ host, socket, sessions }) {
    const [path, map, port] = [host.path('haproxy.cfg'), host.path('sessions.map'), await freePort()]
    const ids = readFileSync(sessions, 'latin1').trimEnd().split('\n')
    writeFileSync(map, `${ids.map((id) => `${id} bench`).join('\n')}\n`)
    writeFileSync(path, configuration(port, socket, map))
    const started = host.start('peer', 'haproxy', ['-db', '-f', path])
    await host.listens(started, { port })
    return { url: `http://127.0.0.1:${port}`, pids: [started.pid], sessions, stop: started.stop }
  },
}

// no strict-limits: HAProxy would ask for two descriptors for each of its connections, which the idle ones do not need.
function configuration(port: number, socket: string, map: string): string {
  return `global
  nbthread 1
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 300s
  option http-keep-alive
frontend clients
  bind 127.0.0.1:${port} backlog 4096
  http-request set-var(txn.user) req.cook(session_id),map_str(${map})
  http-request deny deny_status 403 unless { var(txn.user) -m found }
  http-request set-header X-Xen-Session-User %[var(txn.user)]
  option forwardfor
  default_backend services
backend services
  http-reuse always
  server service unix@${socket}
`
}

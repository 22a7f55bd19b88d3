// Caddy with forward_auth: each request is asked about at the checker.

import { writeFileSync } from 'node:fs'
import { freePort } from '../host.ts'
import { startChecker } from './checker.ts'
import type { Peer } from './peer.ts'

export const caddy: Peer = {
  name: 'caddy',
  title: 'Caddy, forward_auth',
  isGuarded: true,
  async start(bench) {
    const { host, socket, sessions } = bench
    const { checker, socket: checkerSocket } = await startChecker(bench)
    const [path, home, port] = [host.path('Caddyfile'), host.makeDirectory('caddy'), await freePort()]
    writeFileSync(path, configuration(port, socket, checkerSocket))
    const started = host.start('peer', 'caddy', ['run', '--config', path, '--adapter', 'caddyfile'], {
      env: { HOME: home, XDG_DATA_HOME: home, XDG_CONFIG_HOME: home },
    })
    await host.listens(started, { port })
    const stop = async (): Promise<void> => {
      await started.stop()
      await checker.stop()
    }
    return { url: `http://127.0.0.1:${port}`, pids: [started.pid, checker.pid], sessions, stop }
  },
}

function configuration(port: number, socket: string, checkerSocket: string): string {
  return `{
  admin off
  auto_https off
  grace_period 1s
  log {
    level ERROR
  }
}
http://:${port} {
  bind 127.0.0.1
  forward_auth unix/${checkerSocket} {
    uri /checker
    copy_headers X-Xen-Session-User
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
  reverse_proxy unix/${socket} {
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
}
`
}
